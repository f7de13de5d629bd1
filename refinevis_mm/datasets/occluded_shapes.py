# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""OccludedShapes: a synthetic, occlusion-heavy VIS data set.

A video shows 3 to 8 textured shapes that move, turn, grow and shrink in front
of a panning background. Shapes hide each other in a fixed depth order and
unannotated foreground occluders (pillars, passing boards) hide them all. The
class is the silhouette; colour and texture belong to the instance, and some
instances of a video are twins: same class, nearly the same look.

Shape legend: T frames of a video, N objects, H W image.
"""
from dataclasses import dataclass, field
from typing import Callable, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np

CLASSES = ('circle', 'square', 'triangle', 'star', 'cross', 'ring', 'heart')

# Design size (h, w) in pixels: sizes and ways of objects and occluders are
# meant for it and scaled by min(height / 128, width / 192) for other frames.
_DESIGN_SIZE = (128, 192)
_SUBPIXEL_BITS = 4


@dataclass
class ShapesVideo:
    """One rendered video with its exact ground truth.

    Attributes:
        frames (list[np.ndarray]): T images of shape (H, W, 3), uint8, BGR.
        labels (np.ndarray): (N, ) class index of each object, into
            ``CLASSES``.
        masks (np.ndarray): (N, T, H, W) bool, the visible pixels only.
        visibility (np.ndarray): (N, T) visible share of the part of the
            silhouette that lies inside the frame, in [0, 1]; NaN where the
            object is outside of the frame; 0 where it is hidden completely.
    """
    frames: List[np.ndarray]
    labels: np.ndarray
    masks: np.ndarray
    visibility: np.ndarray


@dataclass
class _Layer:
    """One thing that is drawn: an object or a foreground occluder.

    Attributes:
        outline (list[np.ndarray]): Closed polygons (P, 2) in units of the
            layer's radius; overlapping polygons cut holes (even-odd rule).
        centers (np.ndarray): (T, 2) pixel positions (x, y).
        radii (np.ndarray): (T, ) pixels per unit of the outline.
        angles (np.ndarray): (T, ) radians.
        texture (np.ndarray): (S, S, 3) uint8 BGR.
        label (int): Class index, -1 for an occluder.
    """
    outline: List[np.ndarray]
    centers: np.ndarray
    radii: np.ndarray
    angles: np.ndarray
    texture: np.ndarray = field(default=None, repr=False)
    label: int = -1

    def affine(self, t: int) -> np.ndarray:
        """Unit coordinates -> pixels of frame ``t``, shape (2, 3)."""
        c = np.cos(self.angles[t]) * self.radii[t]
        s = np.sin(self.angles[t]) * self.radii[t]
        x, y = self.centers[t]
        return np.array([[c, -s, x], [s, c, y]])

    def coverage(self, t: int, height: int, width: int) -> np.ndarray:
        """Anti-aliased silhouette at frame ``t``, (H, W) uint8."""
        matrix = self.affine(t)
        polygons = [
            np.round((points @ matrix[:, :2].T + matrix[:, 2]) *
                     (1 << _SUBPIXEL_BITS)).astype(np.int32)
            for points in self.outline
        ]
        canvas = np.zeros((height, width), np.uint8)
        return cv2.fillPoly(canvas, polygons, 255, cv2.LINE_AA, _SUBPIXEL_BITS)


def _regular(num: int, radius: float = 1.0, phase: float = 0.0) -> np.ndarray:
    """Corners (num, 2) of a regular polygon."""
    angles = phase + np.arange(num) * 2 * np.pi / num
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _star() -> np.ndarray:
    points = np.empty((10, 2))
    points[0::2] = _regular(5, 1.2, -np.pi / 2)
    points[1::2] = _regular(5, 0.52, -np.pi / 2 + np.pi / 5)
    return points


def _cross() -> np.ndarray:
    a, b = 0.36, 1.08
    return np.array([(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a),
                     (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)])


def _heart() -> np.ndarray:
    u = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x = 16 * np.sin(u)**3
    y = -(13 * np.cos(u) - 5 * np.cos(2 * u) - 2 * np.cos(3 * u) -
          np.cos(4 * u))
    return np.stack([x, y - 2.0], axis=1) / 15.0


OUTLINES: Dict[str, Callable[[], List[np.ndarray]]] = dict(
    circle=lambda: [_regular(48)],
    square=lambda: [_regular(4, 1.25, np.pi / 4)],
    triangle=lambda: [_regular(3, 1.3, -np.pi / 2)],
    star=lambda: [_star()],
    cross=lambda: [_cross()],
    ring=lambda: [_regular(48, 1.1), _regular(48, 0.55)],
    heart=lambda: [_heart()])


def _spline(waypoints: np.ndarray, num: int) -> np.ndarray:
    """Catmull-Rom curve through ``waypoints`` (P, 2) at ``num`` times."""
    p = np.concatenate([
        2 * waypoints[:1] - waypoints[1:2], waypoints,
        2 * waypoints[-1:] - waypoints[-2:-1]
    ])
    u = np.linspace(0, len(waypoints) - 1, num)
    k = np.minimum(u.astype(int), len(waypoints) - 2)
    f = (u - k)[:, None]
    p0, p1, p2, p3 = p[k], p[k + 1], p[k + 2], p[k + 3]
    return 0.5 * (2 * p1 + (p2 - p0) * f +
                  (2 * p0 - 5 * p1 + 4 * p2 - p3) * f**2 +
                  (3 * p1 - 3 * p2 + p3 - p0) * f**3)


def _hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """BGR colour (3, ) in [0, 255] of hue in [0, 180), s and v in [0, 255]."""
    hsv = np.array(
        [[[hue % 180,
           np.clip(saturation, 0, 255),
           np.clip(value, 0, 255)]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)[0, 0].astype(np.float32)


def _noise(rng: np.random.Generator, height: int, width: int,
           cells: Sequence[int]) -> np.ndarray:
    """Smooth noise (height, width) in [0, 1], one octave per cell size."""
    image = np.zeros((height, width), np.float32)
    for cell in cells:
        grid = rng.random((height // cell + 2, width // cell + 2), np.float32)
        image += cell**0.7 * cv2.resize(
            grid, (width, height), interpolation=cv2.INTER_CUBIC)
    low, high = image.min(), image.max()
    return (image - low) / max(high - low, 1e-6)


@dataclass
class _Look:
    """What makes an instance look like itself; twins share most of it."""
    hue: float
    saturation: float
    value: float
    pattern: str
    period: float
    second: float

    PATTERNS = ('plain', 'stripes', 'checker', 'dots', 'rings')

    @classmethod
    def sample(cls, rng: np.random.Generator) -> '_Look':
        """A random look with a saturated colour."""
        return cls(
            hue=rng.uniform(0, 180),
            saturation=rng.uniform(150, 240),
            value=rng.uniform(150, 245),
            pattern=str(rng.choice(cls.PATTERNS)),
            period=rng.uniform(9, 18),
            second=rng.choice([-1, 1]) * rng.uniform(45, 80))

    def twin(self, rng: np.random.Generator) -> '_Look':
        """Nearly the same look."""
        return _Look(self.hue + rng.uniform(-5, 5),
                     self.saturation + rng.uniform(-12, 12),
                     self.value + rng.uniform(-14, 14), self.pattern,
                     self.period * rng.uniform(0.92, 1.08), self.second)

    def texture(self, rng: np.random.Generator, size: int = 64) -> np.ndarray:
        """Texture (size, size, 3) uint8; the unit square spans half of it."""
        y, x = np.mgrid[:size, :size].astype(np.float32) - size / 2
        turn = 2 * np.pi / self.period
        blend = dict(
            plain=lambda: np.zeros_like(x),
            stripes=lambda: np.sin(x * turn),
            checker=lambda: 2 * np.sin(x * turn) * np.sin(y * turn),
            dots=lambda: 3 * (np.cos(x * turn) + np.cos(y * turn)) - 3,
            rings=lambda: np.sin(np.hypot(x, y) * turn))[self.pattern]()
        blend = 1 / (1 + np.exp(-4 * blend[..., None]))
        if self.pattern == 'plain':
            blend = np.zeros_like(blend)
        first = _hsv(self.hue, self.saturation, self.value)
        second = _hsv(self.hue + 8, self.saturation - 20,
                      self.value + self.second)
        image = first * (1 - blend) + second * blend
        grain = _noise(rng, size, size, (4, 12))[..., None]
        light = 1.08 - 0.22 * (x + y)[..., None] / size
        return np.clip(image * light * (0.86 + 0.28 * grain), 0,
                       255).astype(np.uint8)


def _occluder_texture(rng: np.random.Generator, size: int = 64) -> np.ndarray:
    """Greyish planks or bricks (size, size, 3) uint8."""
    color = _hsv(rng.uniform(5, 30), rng.uniform(15, 70), rng.uniform(60, 150))
    y, x = np.mgrid[:size, :size].astype(np.float32)
    if rng.random() < 0.5:
        seam = (x % 16 < 1.5).astype(np.float32)
        grain = cv2.resize(_noise(rng, 8, size, (2, 4)), (size, size))
    else:
        shift = 8 * ((y // 8) % 2)
        seam = ((y % 8 < 1.2) | ((x + shift) % 16 < 1.2)).astype(np.float32)
        grain = _noise(rng, size, size, (3, 8))
    gain = (0.75 + 0.5 * grain) * (1 - 0.35 * seam)
    return np.clip(color * gain[..., None], 0, 255).astype(np.uint8)


class OccludedShapesGenerator:
    """Makes OccludedShapes videos, one seed each.

    A scene is laid out first and measured on silhouettes alone; layouts that
    break a promise (an object hidden completely for fewer than ``min_hidden``
    or more than ``max_hidden`` frames at a stretch, too few visible objects,
    an object hardly ever visible) are drawn anew from the same random stream,
    so equal seeds give equal videos.

    Args:
        height (int): Frame height in pixels. Defaults to 128.
        width (int): Frame width in pixels. Defaults to 192.
        num_objects (tuple[int, int]): Fewest and most objects of a video, at
            least 2. Defaults to (3, 8).
        num_frames (tuple[int, int]): Fewest and most frames of a video, at
            least 5. Defaults to (20, 60).
        min_hidden (int): Shortest complete occlusion in frames.
            Defaults to 2.
        max_hidden (int): Longest complete occlusion in frames, at least
            ``min_hidden`` + 2. Defaults to 6.
        spread (float): How far objects roam around the common focus, as a
            share of the frame size; smaller means more occlusion.
            Defaults to 0.3.
        min_pixels (int): Fewer visible pixels count as completely hidden, or
            outside at the frame border. Defaults to 16.

    Raises:
        ValueError: If a range is not allowed or the frame is smaller than 64
            pixels.
    """

    max_attempts = 400

    def __init__(self,
                 height: int = 128,
                 width: int = 192,
                 num_objects: Tuple[int, int] = (3, 8),
                 num_frames: Tuple[int, int] = (20, 60),
                 min_hidden: int = 2,
                 max_hidden: int = 6,
                 spread: float = 0.3,
                 min_pixels: int = 16) -> None:
        if min(height, width) < 64:
            raise ValueError('frames must be at least 64 x 64 pixels, but got '
                             f'{height} x {width}')
        for name, least, (low, high) in (('num_objects', 2, num_objects),
                                         ('num_frames', 5, num_frames)):
            if not least <= low <= high:
                raise ValueError(f'{name} must satisfy {least} <= low <= '
                                 f'high, but got {(low, high)}')
        if not 0 < min_hidden <= max_hidden - 2:  # the time a board needs
            raise ValueError('max_hidden must be at least min_hidden + 2, and '
                             'min_hidden at least 1, but got '
                             f'{min_hidden} and {max_hidden}')
        self.height, self.width = height, width
        self.num_objects, self.num_frames = num_objects, num_frames
        self.min_hidden, self.max_hidden = min_hidden, max_hidden
        self.spread, self.min_pixels = spread, min_pixels
        self.unit = min(height / _DESIGN_SIZE[0], width / _DESIGN_SIZE[1])

    def generate(self, seed: Sequence[int]) -> ShapesVideo:
        """Make one video.

        Args:
            seed (int | Sequence[int]): Seed of this video.

        Returns:
            :obj:`ShapesVideo`: Frames and ground truth.

        Raises:
            RuntimeError: If no layout keeps the promises, which happens only
                for unusual parameters.
        """
        rng = np.random.default_rng(seed)
        # fixed before any layout is refused, so that crowded or long videos
        # are not refused more often
        low, high = self.num_objects
        num_objects = int(rng.integers(low, high + 1))
        low, high = self.num_frames
        num_frames = low if low == high else int(
            round(rng.triangular(low, low + (high - low) / 5, high)))
        for _ in range(self.max_attempts):
            pan, objects, occluders = self._layout(rng, num_objects,
                                                   num_frames)
            masks, visibility = self._measure(objects, occluders)
            if self._acceptable(visibility):
                break
        else:
            raise RuntimeError(
                f'no acceptable layout in {self.max_attempts} attempts for '
                f'seed {seed}: relax num_objects, spread or max_hidden')
        frames = self._render(rng, pan, objects, occluders)
        labels = np.array([layer.label for layer in objects])
        return ShapesVideo(frames, labels, masks, visibility)

    def _layout(self, rng: np.random.Generator, num: int,
                num_frames: int) -> tuple:
        """Draw the camera path (T, 2), ``num`` objects and the occluders,
        each list ordered from back to front."""
        pan = _spline(
            np.cumsum(rng.normal(0, 22 * self.unit, (4, 2)), axis=0),
            num_frames)
        looks, labels = self._cast(rng, num)
        focus = self._focus(rng, num_frames)
        objects = [
            self._object(rng, label, look, focus)
            for label, look in zip(labels, looks)
        ]
        occluders = [self._pillar(rng, pan) for _ in range(rng.integers(0, 3))]
        small = np.argsort([layer.radii.mean() for layer in objects])
        for victim in rng.permutation(small[:3])[:rng.integers(1, 3)]:
            occluders.append(self._board(rng, objects[victim]))
        return pan, objects, occluders

    def _cast(self, rng: np.random.Generator, num: int) -> tuple:
        """Looks and labels of ``num`` objects; the first few are twins."""
        num_twins = int(rng.integers(2, min(4, num) + 1))
        look, label = _Look.sample(rng), int(rng.integers(len(CLASSES)))
        looks = [look.twin(rng) for _ in range(num_twins)]
        labels = [label] * num_twins
        for _ in range(num - num_twins):
            looks.append(_Look.sample(rng))
            labels.append(int(rng.integers(len(CLASSES))))
        order = rng.permutation(num)
        return [looks[i] for i in order], [labels[i] for i in order]

    def _focus(self, rng: np.random.Generator, num_frames: int) -> np.ndarray:
        """Path (T, 2) of the point that all objects crowd around."""
        size = np.array([self.width, self.height])
        points = size * rng.uniform(0.35, 0.65, (3, 2))
        return _spline(points, num_frames)

    def _object(self, rng: np.random.Generator, label: int, look: _Look,
                focus: np.ndarray) -> _Layer:
        """One object on a smooth path around the focus."""
        num_frames = len(focus)
        size = np.array([self.width, self.height])
        num_points = max(2, int(round(num_frames / rng.uniform(9, 15))) + 1)
        offsets = rng.normal(0, self.spread, (num_points, 2)) * size
        for i in range(1, num_points):
            step = offsets[i] - offsets[i - 1]
            longest = 60 * self.unit
            offsets[i] = offsets[i - 1] + step * min(
                1, longest / max(np.linalg.norm(step), 1e-6))
        centers = focus + _spline(offsets, num_frames)
        margin = 6 * self.unit
        centers = np.clip(centers, margin, size - margin)
        radius = rng.uniform(16, 25) * self.unit
        if rng.random() < 0.22:
            centers = centers + self._excursion(rng, centers, radius)
        time = np.arange(num_frames)
        swing = rng.uniform(
            0.05, 0.2) * np.sin(time * 2 * np.pi / rng.uniform(25, 60) +
                                rng.uniform(0, 6.28))
        angles = rng.uniform(0, 2 * np.pi) + time * rng.uniform(-0.09, 0.09)
        layer = _Layer(
            OUTLINES[CLASSES[label]](),
            centers,
            radius * (1 + swing),
            angles,
            label=label)
        layer.texture = look.texture(rng)
        return layer

    def _excursion(self, rng: np.random.Generator, centers: np.ndarray,
                   radius: float) -> np.ndarray:
        """Displacement (T, 2) that takes an object out of the frame, and back
        in when the video is long enough."""
        num_frames = len(centers)
        middle = rng.uniform(0.15, 0.85) * num_frames
        half = rng.uniform(9, 13)
        u = np.clip(np.abs(np.arange(num_frames) - middle) / half - 0.35, 0, 1)
        bump = 0.5 + 0.5 * np.cos(np.pi * u)
        x = centers[int(middle), 0]
        way = 1.7 * radius
        shift = (self.width - x) + way if x > self.width / 2 else -(x + way)
        return bump[:, None] * np.array([shift, 0.0])

    def _pillar(self, rng: np.random.Generator, pan: np.ndarray) -> _Layer:
        """A tall, thin bar that stands in the foreground of the scene."""
        half = rng.uniform(3.5, 7) * self.unit
        tall = self.height / half
        outline = np.array([(-1, -tall), (1, -tall), (1, tall), (-1, tall)])
        start = np.array([rng.uniform(0.1, 0.9) * self.width, self.height / 2])
        centers = start + 1.6 * (pan - pan.mean(0)) * np.array([1.0, 0.0])
        ones = np.ones(len(pan))
        return _Layer([outline], centers, half * ones,
                      rng.uniform(-0.25, 0.25) * ones, _occluder_texture(rng))

    def _board(self, rng: np.random.Generator, victim: _Layer) -> _Layer:
        """A board that crosses ``victim`` and hides it for some frames."""
        num_frames = len(victim.centers)
        when = int(rng.integers(num_frames // 5, num_frames - num_frames // 5))
        hidden = rng.uniform(self.min_hidden + 0.5, self.max_hidden - 1.5)
        reach = np.abs(np.concatenate(
            victim.outline)).max() * victim.radii[when]
        speed = rng.choice([-1, 1]) * rng.uniform(4, 6.5) * self.unit
        half = reach + np.abs(speed) * hidden / 2
        tall = 1.3 + 0.4 * rng.random()
        outline = np.array([(-1, -tall), (1, -tall), (1, tall), (-1, tall)])
        own = (victim.centers[when + 1] - victim.centers[when - 1]) / 2
        velocity = own * np.array([0.8, 0.8]) + np.array([speed, 0.0])
        time = np.arange(num_frames)[:, None] - when
        ones = np.ones(num_frames)
        return _Layer([outline], victim.centers[when] + velocity * time,
                      half * ones,
                      rng.uniform(-0.12, 0.12) * ones, _occluder_texture(rng))

    def _measure(self, objects: List[_Layer],
                 occluders: List[_Layer]) -> Tuple[np.ndarray, np.ndarray]:
        """Visible masks (N, T, H, W) bool and visibility (N, T)."""
        num_frames = len(objects[0].centers)
        shape = (len(objects), num_frames)
        masks = np.zeros((*shape, self.height, self.width), bool)
        visibility = np.full(shape, np.nan)
        for t in range(num_frames):
            covered = np.zeros((self.height, self.width), bool)
            for layer in occluders:
                covered |= layer.coverage(t, self.height, self.width) > 127
            for i in range(len(objects) - 1, -1, -1):
                full = objects[i].coverage(t, self.height, self.width) > 127
                inside = np.count_nonzero(full)
                if inside < self.min_pixels:
                    continue
                seen = full & ~covered
                area = np.count_nonzero(seen)
                covered |= full
                if area < self.min_pixels:
                    visibility[i, t] = 0.0
                    continue
                masks[i, t] = seen
                visibility[i, t] = area / inside
        return masks, visibility

    def _acceptable(self, visibility: np.ndarray) -> bool:
        """Whether a layout keeps the promises of the class docstring."""
        seen = np.nan_to_num(visibility) > 0
        if seen.sum(0).mean() < 0.6 * len(seen):
            return False
        if seen.sum(1).min() < min(8, seen.shape[1] // 2):
            return False
        lengths = hidden_runs(visibility)
        return all(self.min_hidden <= n <= self.max_hidden for n in lengths)

    def _render(self, rng: np.random.Generator, pan: np.ndarray,
                objects: List[_Layer],
                occluders: List[_Layer]) -> List[np.ndarray]:
        """Paint the T frames, back to front, with soft shadows."""
        backdrop = self._backdrop(rng, pan)
        grain = rng.normal(0, rng.uniform(1.5, 4),
                           (4, self.height, self.width, 3)).astype(np.float32)
        gain = 1 + 0.06 * np.sin(
            np.arange(len(pan)) / rng.uniform(6, 15) + rng.uniform(0, 6))
        frames = []
        for t, (x, y) in enumerate(pan - pan.min(0)):
            shift = np.array([[1, 0, -x - 1], [0, 1, -y - 1]])
            image = cv2.warpAffine(
                backdrop,
                shift, (self.width, self.height),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101)
            image = image.astype(np.float32)
            for layer in objects + occluders:
                self._paint(image, layer, t)
            image = image * gain[t] + grain[rng.integers(len(grain))]
            frames.append(np.clip(image, 0, 255).astype(np.uint8))
        return frames

    def _backdrop(self, rng: np.random.Generator,
                  pan: np.ndarray) -> np.ndarray:
        """Muted, cluttered background (H + dy, W + dx, 3) that holds the
        whole camera path."""
        extent = np.ceil(np.ptp(pan, axis=0)).astype(int) + 3
        height, width = self.height + extent[1], self.width + extent[0]
        colors = [
            _hsv(
                rng.uniform(0, 180), rng.uniform(10, 75), rng.uniform(70, 210))
            for _ in range(3)
        ]
        coarse = _noise(rng, height, width, (24, 48))[..., None]
        fine = _noise(rng, height, width, (3, 7, 15))[..., None]
        image = colors[0] * (1 - coarse) + colors[1] * coarse
        image = image * (1 - 0.35 * fine) + colors[2] * 0.35 * fine
        for _ in range(int(rng.integers(8, 20))):
            start = rng.uniform(0, 1, 2) * (width, height)
            end = start + rng.normal(0, 30 * self.unit, 2)
            tone = image[int(start[1]), int(start[0])] * rng.uniform(0.75, 1.2)
            cv2.line(image,
                     start.astype(int).tolist(),
                     end.astype(int).tolist(), tone.tolist(),
                     int(rng.integers(1, 5)), cv2.LINE_AA)
        return np.clip(image * (0.85 + 0.3 * fine), 0, 255).astype(np.uint8)

    def _paint(self, image: np.ndarray, layer: _Layer, t: int) -> None:
        """Blend a layer and its shadow into ``image`` (H, W, 3) float32, in
        place."""
        coverage = layer.coverage(t, self.height, self.width)
        x, y, w, h = cv2.boundingRect(coverage)
        if w == 0:
            return
        pad = 6
        x1, y1 = max(x - pad, 0), max(y - pad, 0)
        x2, y2 = min(x + w + pad, self.width), min(y + h + pad, self.height)
        alpha = coverage[y1:y2, x1:x2].astype(np.float32) / 255
        core = cv2.erode(coverage[y1:y2, x1:x2], np.ones((3, 3), np.uint8))
        rim = 0.72 + 0.28 * core.astype(np.float32) / 255
        offset = np.float32([[1, 0, 2], [0, 1, 3]])
        shadow = cv2.GaussianBlur(
            cv2.warpAffine(alpha, offset, alpha.shape[::-1]), (5, 5), 0)
        size = layer.texture.shape[0]
        # unit coordinates [-2, 2] span the texture once; it repeats outside
        matrix = layer.affine(t)
        matrix[:, 2] -= (x1, y1)
        to_unit = np.array([[4 / size, 0, -2], [0, 4 / size, -2], [0, 0, 1]])
        texture = cv2.warpAffine(
            layer.texture,
            matrix @ to_unit,
            alpha.shape[::-1],
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_WRAP)
        patch = image[y1:y2, x1:x2]
        patch *= (1 - 0.35 * shadow)[..., None]
        patch += alpha[..., None] * (texture * rim[..., None] - patch)


def hidden_runs(visibility: np.ndarray) -> List[int]:
    """Lengths of the complete occlusions of a video.

    Args:
        visibility (np.ndarray): (N, T), 0 where hidden, NaN where outside.

    Returns:
        list[int]: Number of frames of every maximal run of zeros.
    """
    lengths = []
    for row in visibility:
        edges = np.diff(np.concatenate([[0], (row == 0).astype(int), [0]]))
        lengths += (np.flatnonzero(edges == -1) -
                    np.flatnonzero(edges == 1)).tolist()
    return lengths


def summarize(videos: Sequence[np.ndarray],
              labels: Optional[Sequence[np.ndarray]] = None) -> dict:
    """Statistics of a split.

    Args:
        videos (Sequence[np.ndarray]): Visibility (N, T) of each video.
        labels (Sequence[np.ndarray], optional): Labels (N, ) of each video.
            Defaults to None, which leaves out ``instances_per_class``.

    Returns:
        dict: Numbers by name. ``occluded_over_30`` and ``occluded_over_70``
        are shares, in [0, 1], of the object-frames inside of the frame,
        completely hidden ones included.
    """
    present = np.concatenate([v[~np.isnan(v)] for v in videos])
    frames = np.array([v.shape[1] for v in videos])
    runs = [run for v in videos for run in hidden_runs(v)]
    annotated = int((present > 0).sum())
    result = dict(
        videos=len(videos),
        frames=int(frames.sum()),
        frames_per_video=[
            int(frames.min()),
            float(frames.mean().round(2)),
            int(frames.max())
        ],
        instances=int(sum(len(v) for v in videos)),
        object_frames=annotated,
        objects_per_frame=round(annotated / int(frames.sum()), 3),
        occluded_over_30=round(float((present < 0.7).mean()), 4),
        occluded_over_70=round(float((present < 0.3).mean()), 4),
        complete_occlusions=len(runs),
        complete_occlusion_frames=[min(runs), max(runs)] if runs else [])
    if labels is not None:
        counts = np.bincount(np.concatenate(labels), minlength=len(CLASSES))
        result['instances_per_class'] = dict(zip(CLASSES, counts.tolist()))
    return result
