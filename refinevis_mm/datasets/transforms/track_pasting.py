# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pasting of object tracks into clips, with exact masks.

Shape legend: T frames, N objects of the clip, H W its image size, h w the
image size of the clip that a track comes from.
"""
from typing import Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

import cv2
import numpy as np


class Track(NamedTuple):
    """An object with the pixels it is seen by.

    Attributes:
        frames (Sequence[np.ndarray]): T images of shape (h, w, 3).
        masks (np.ndarray): (T, h, w) bool, empty where it is absent.
        label (int): Class index.
    """
    frames: Sequence[np.ndarray]
    masks: np.ndarray
    label: int


class Placement(NamedTuple):
    """Where a track goes.

    Attributes:
        size (tuple[int, int]): Height and width its frames are resized to.
        flip (bool): Whether they are mirrored left to right.
        offsets (np.ndarray): (T, 2) int pixels (x, y) of their upper left
            corner in the clip.
    """
    size: Tuple[int, int]
    flip: bool
    offsets: np.ndarray


class LayeredClip:
    """A clip made of objects with a depth order.

    The objects that the clip starts with lie beside each other; tracks are
    pasted one after the other before or behind all objects that are there.
    Ignored regions belong to the background: whatever is pasted lies before
    them.

    Args:
        frames (Sequence[np.ndarray]): T images of shape (H, W, 3), which are
            not changed.
        masks (np.ndarray): (N, T, H, W) bool, visible pixels of its objects.
        ignored (np.ndarray, optional): (M, T, H, W) bool, regions that say
            nothing about what is in them, such as crowds. Defaults to None,
            M = 0.

    Raises:
        ValueError: If the frames differ in size.

    Attributes:
        frames (list[np.ndarray]): T images of shape (H, W, 3).
        masks (np.ndarray): (N, T, H, W) bool, pixels visible by now.
        silhouettes (np.ndarray): (N, T, H, W) bool, all pixels inside of the
            frame, hidden ones included.
        ignored (np.ndarray): (M, T, H, W) bool, what is left of the regions.
    """

    def __init__(self,
                 frames: Sequence[np.ndarray],
                 masks: np.ndarray,
                 ignored: Optional[np.ndarray] = None) -> None:
        sizes = {frame.shape[:2] for frame in frames}
        if len(sizes) > 1:
            raise ValueError('the frames of a clip must have one (height, '
                             f'width), but got {sorted(sizes)}')
        self.frames: List[np.ndarray] = [frame.copy() for frame in frames]
        self.masks = masks.copy()
        self.silhouettes = masks.copy()
        self.ignored = masks[:0] if ignored is None else ignored

    @property
    def size(self) -> Tuple[int, int]:
        """Height and width of the frames in pixels."""
        return self.frames[0].shape[:2]

    def paste(self, track: Track, placement: Placement, behind: bool) -> None:
        """Add a track as the last object; it hides what it is pasted over.

        Args:
            track (Track): T frames.
            placement (Placement): Where it goes.
            behind (bool): Whether it lies behind all objects (but before
                the background) instead of before them.

        Raises:
            ValueError: If the track has not T frames.
        """
        if len(track.frames) != len(self.frames):
            raise ValueError('a track must have as many frames as the clip, '
                             f'but got {len(track.frames)} and '
                             f'{len(self.frames)}')
        silhouette = np.zeros((len(self.frames), *self.size), bool)
        before = self.masks.any(0) if behind else np.zeros_like(silhouette)
        for t, (frame, mask) in enumerate(zip(track.frames, track.masks)):
            if mask.any():
                self._paste_frame(t, frame, mask, placement, before[t],
                                  silhouette[t])
        visible = silhouette & ~before
        self.masks = np.concatenate([self.masks & ~visible, visible[None]])
        self.silhouettes = np.concatenate([self.silhouettes, silhouette[None]])
        self.ignored = self.ignored & ~visible

    def _paste_frame(self, t: int, frame: np.ndarray, mask: np.ndarray,
                     placement: Placement, before: np.ndarray,
                     silhouette: np.ndarray) -> None:
        """Blend one frame in; ``before`` (H, W) stays as it is."""
        (h, w), (height, width) = placement.size, self.size
        x, y = placement.offsets[t].tolist()
        rows = slice(max(y, 0), min(y + h, height))
        cols = slice(max(x, 0), min(x + w, width))
        if rows.start >= rows.stop or cols.start >= cols.stop:
            return
        shrinks = h < mask.shape[0]
        interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        window = tuple(
            slice(part.start - corner, part.stop - corner)
            for part, corner in ((rows, y), (cols, x)))
        patch, alpha = (
            cv2.resize(image, (w, h), interpolation=interpolation)
            for image in (frame, mask.astype(np.float32)))
        if placement.flip:
            patch, alpha = patch[:, ::-1], alpha[:, ::-1]
        patch, alpha = patch[window], alpha[window]
        silhouette[rows, cols] = alpha >= 0.5
        alpha = np.where(before[rows, cols], 0, alpha)[..., None]
        target = self.frames[t][rows, cols]
        blend = alpha * patch + (1 - alpha) * target
        if target.dtype == np.uint8:
            blend = np.rint(blend)
        target[...] = blend

    def visibility(self) -> np.ndarray:
        """Visible shares.

        Returns:
            np.ndarray: (N, T) visible share of the part of an object's
            silhouette that lies inside the frame, in [0, 1]; NaN where the
            object is outside of the frame; 0 where it is hidden completely.
        """
        visible = self.masks.sum((2, 3), dtype=float)
        full = self.silhouettes.sum((2, 3), dtype=float)
        return np.divide(
            visible, full, out=np.full_like(full, np.nan), where=full > 0)


class TrackPaster:
    """Pastes tracks at random places.

    A track is resized by one factor and may be mirrored, then it is moved so
    that the centre of its box in a random frame meets a random point of the
    clip. Its own motion stays: all frames are moved alike, save for an
    optional drift of constant speed.

    Args:
        scale_range (tuple[float, float]): Smallest and largest size relative
            to the frame: at 1 the track's frame just fits into the clip's.
            Defaults to (0.4, 1.2).
        flip_prob (float): Probability to mirror a track. Defaults to 0.5.
        aim_prob (float): Probability that the random point is the centre of
            the box of an object that is visible in that frame, which hides
            objects more often. Defaults to 0.5.
        behind_prob (float): Probability that a track goes behind all objects
            instead of before them. Defaults to 0.25.
        max_drift (float): Largest drift over the whole clip, as a share of
            the width and the height of the frame. Defaults to 0.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 scale_range: Tuple[float, float] = (0.4, 1.2),
                 flip_prob: float = 0.5,
                 aim_prob: float = 0.5,
                 behind_prob: float = 0.25,
                 max_drift: float = 0.) -> None:
        if not 0 < scale_range[0] <= scale_range[1]:
            raise ValueError('scale_range must be positive and ascending, '
                             f'but got {tuple(scale_range)}')
        for name, prob in (('flip_prob', flip_prob), ('aim_prob', aim_prob),
                           ('behind_prob', behind_prob)):
            if not 0 <= prob <= 1:
                raise ValueError(f'{name} must be in [0, 1], but got {prob}')
        if max_drift < 0:
            raise ValueError('max_drift must not be negative, but got '
                             f'{max_drift}')
        self.scale_range = tuple(scale_range)
        self.flip_prob = flip_prob
        self.aim_prob = aim_prob
        self.behind_prob = behind_prob
        self.max_drift = max_drift

    def __repr__(self) -> str:
        values = ', '.join(f'{key}={value}'
                           for key, value in vars(self).items())
        return f'{self.__class__.__name__}({values})'

    def paste(self, clip: LayeredClip, track: Track,
              rng: np.random.Generator) -> None:
        """Paste a track somewhere.

        Args:
            clip (LayeredClip): Gets the track as its last object.
            track (Track): With a mask in at least one frame.
            rng (np.random.Generator): Source of all randomness.
        """
        placement = self._draw_placement(clip, track, rng)
        clip.paste(track, placement, bool(rng.random() < self.behind_prob))

    def _draw_placement(self, clip: LayeredClip, track: Track,
                        rng: np.random.Generator) -> Placement:
        """A random placement."""
        height, width = clip.size
        h, w = track.frames[0].shape[:2]
        scale = rng.uniform(*self.scale_range) * min(height / h, width / w)
        size = max(1, round(h * scale)), max(1, round(w * scale))
        flip = bool(rng.random() < self.flip_prob)
        t = rng.choice(np.flatnonzero(track.masks.any((1, 2))))
        x, y = box_center(track.masks[t])
        if flip:
            x = w - x
        center = np.array([x * size[1] / w, y * size[0] / h])
        point = self._draw_point(clip, t, rng)
        drift = rng.uniform(-self.max_drift, self.max_drift,
                            2) * (width, height)
        times = (np.arange(len(track.frames)) - t) / len(track.frames)
        offsets = np.rint(point - center + times[:, None] * drift)
        return Placement(size, flip, offsets.astype(int))

    def _draw_point(self, clip: LayeredClip, t: int,
                    rng: np.random.Generator) -> np.ndarray:
        """Where the track's centre goes in frame ``t``: pixels (x, y)."""
        point = rng.uniform(0, 1, 2) * clip.size[::-1]
        seen = np.flatnonzero(clip.masks[:, t].any((1, 2)))
        if len(seen) and rng.random() < self.aim_prob:
            point = box_center(clip.masks[rng.choice(seen), t])
        return point


def box_center(mask: np.ndarray) -> np.ndarray:
    """Centre of the box of a mask.

    Args:
        mask (np.ndarray): (H, W) bool, not empty.

    Returns:
        np.ndarray: (2, ) pixels (x, y); pixel i spans [i, i + 1].
    """
    x, y, w, h = cv2.boundingRect(mask.astype(np.uint8))
    return np.array([x + w / 2, y + h / 2])


def instance_labels(clip: Dict[str, list]) -> Dict[int, int]:
    """Class indices of the objects of a clip, crowds included.

    Args:
        clip (dict[str, list]): ``gt_instances_ids`` and ``gt_bboxes_labels``
            by frame.

    Returns:
        dict[int, int]: Label of each id, ids ascending.
    """
    labels: Dict[int, int] = {}
    for ids, frame_labels in zip(clip['gt_instances_ids'],
                                 clip['gt_bboxes_labels']):
        labels.update(zip(ids.tolist(), frame_labels.tolist()))
    return dict(sorted(labels.items()))


def instance_masks(clip: Dict[str, list], ids: Sequence[int]) -> np.ndarray:
    """Masks of objects of a clip.

    Args:
        clip (dict[str, list]): ``img``, ``gt_instances_ids`` and ``gt_masks``
            by frame.
        ids (Sequence[int]): N of its ids, in any order.

    Returns:
        np.ndarray: (N, T, H, W) bool, empty where an object is absent.
    """
    num_frames, size = len(clip['img']), clip['img'][0].shape[:2]
    masks = np.zeros((len(ids), num_frames, *size), bool)
    rows = {instance_id: row for row, instance_id in enumerate(ids)}
    for t in range(num_frames):
        for i, mask in zip(clip['gt_instances_ids'][t].tolist(),
                           clip['gt_masks'][t].to_ndarray()):
            if i in rows:
                masks[rows[i], t] = mask > 0
    return masks


def crowd_ids(clip: Dict[str, list]) -> Set[int]:
    """Ids of the crowds and other ignored regions of a clip.

    Args:
        clip (dict[str, list]): ``gt_instances_ids`` and ``gt_ignore_flags``
            by frame.

    Returns:
        set[int]: Ids that are flagged in at least one frame.
    """
    return {
        i
        for ids, flags in zip(clip['gt_instances_ids'],
                              clip['gt_ignore_flags'])
        for i in ids[flags].tolist()
    }


def clip_tracks(clip: Dict[str, list]) -> List[Track]:
    """Objects of a clip that can be pasted.

    Args:
        clip (dict[str, list]): Images and annotations by frame.

    Returns:
        list[Track]: All but crowds and objects without any pixel.
    """
    labels = instance_labels(clip)
    ids = sorted(set(labels) - crowd_ids(clip))
    return [
        Track(clip['img'], masks, labels[i])
        for i, masks in zip(ids, instance_masks(clip, ids)) if masks.any()
    ]
