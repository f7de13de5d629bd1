# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames before and after refinement, as in the paper's Figure 3."""
from dataclasses import asdict, dataclass
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from pycocotools import mask as mask_utils

from refinevis_mm.recording import check_codes
from refinevis_mm.structures import (CODE, FRAME_LEVEL, VIEWS, FrameInstances,
                                     FrameResult, TrackMerges, Values,
                                     check_form, merge_entries)
from .text import draw_text, text_size
from .vis_overlay import MAX_SIDE, display_scale, paint_instances, resize_image

MAX_PANEL_WIDTH = 320  # px
FONT_SIZE = 14  # px
LINE = 22  # px, height of a line of text
GAP = 6  # px between panels
MARGIN = 12  # px around the picture and between strips
OTHERS = 0.2  # opacity of the objects that a strip is not about
SHOWN = 0.5  # opacity of its object
MIN_CHANGE = 5e-4  # of a moment that is worth a strip
SPARE = 2  # times as many strips are kept as are drawn: ids may turn out noise
GRAY = (90, 90, 90)
VIEW_NAMES = {FRAME_LEVEL: 'frame level'}
INSTANCE = dict(
    name=str,
    score=float,
    before=(None, CODE),
    after=(None, CODE),
    iou=float,
    size=float,
    recovered=bool)
STATE = dict(
    after=(None, str),
    scale=float,
    start=(None, int),
    end=int,
    frames={
        int:
        dict(
            image=Values((None, None, 3), torch.uint8),
            instances={int: INSTANCE})
    },
    strips=[
        dict(change=float, moment=int, instance_id=int, first=int, end=int)
    ])


@dataclass
class _Instance:
    """What a frame holds of an instance.

    Attributes:
        name (str): Its class.
        score (float): Its running score.
        before (dict | None): Run-length code before refinement.
        after (dict | None): After it.
        iou (float): Of both, 0 if there is only one.
        size (float): Share of the frame that both cover together.
        recovered (bool): Whether only refinement found it.
    """

    name: str
    score: float
    before: Optional[dict]
    after: Optional[dict]
    iou: float
    size: float
    recovered: bool

    @property
    def change(self) -> float:
        """float: How much refinement changed it, in [0, score].

        The pixels that differ, as a share of the frame, times 1 - IoU:
        neither scraps of a mask nor the rim of a large one count for much.
        """
        return self.score * self.size * (1 - self.iou)**2

    @property
    def verdict(self) -> str:
        """str: What refinement did, in words."""
        if self.before is None:
            return 'recovered' if self.recovered else 'added'
        if self.after is None:
            return 'removed'
        return f'IoU {self.iou:.2f}'


@dataclass
class _Frame:
    """A frame that a strip shows or may show.

    Attributes:
        image (np.ndarray): Not larger than a panel, uint8, BGR.
        instances (dict[int, _Instance]): By id.
    """

    image: np.ndarray
    instances: Dict[int, _Instance]


@dataclass
class _Strip:
    """An object in some frames.

    Attributes:
        change (float): How much refinement changed it in ``moment``.
        moment (int): A frame.
        instance_id (int): The object.
        first (int): First frame that is shown.
        end (int): End of the frames, exclusive.
    """

    change: float
    moment: int
    instance_id: int
    first: int
    end: int


class RefinementStrips:
    """Finds where refinement changed an object most, and draws it.

    A strip shows one object in consecutive frames: above before refinement,
    below after it. In the frame in its middle, the pixels that differ, times
    1 - IoU of the two masks and the score, are the most; an object that only
    refinement found has an IoU of 0. No two strips show the same object or
    frame.

    Frames are added one after the other. Only those around the best moments
    so far are held, not larger than they are drawn.

    Example:
        >>> strips = RefinementStrips()
        >>> for frame in inferencer.stream(images):
        ...     strips.add(frame)
        >>> picture = strips.draw()

    Args:
        before (str): The view before refinement. Defaults to 'frame_level'.
        after (str, optional): The view after it. Defaults to None, the main
            view of each frame.
        num_strips (int): Most strips of the picture. Defaults to 3.
        num_frames (int): Frames of a strip. Defaults to 5.
        score_thr (float): Least running score of a drawn object, in [0, 1].
            Defaults to 0.3.

    Raises:
        ValueError: If a view is unknown or a number is not positive.
    """

    def __init__(self,
                 before: str = FRAME_LEVEL,
                 after: Optional[str] = None,
                 num_strips: int = 3,
                 num_frames: int = 5,
                 score_thr: float = 0.3) -> None:
        for view in (before, after or before):
            if view not in VIEWS:
                raise ValueError(f'views must be out of {VIEWS}, got {view!r}')
        for name, number in (('num_strips', num_strips), ('num_frames',
                                                          num_frames)):
            if number < 1:
                raise ValueError(f'{name} must be positive, got {number}')
        self.before = before
        self.after = after
        self.num_strips = num_strips
        self.num_frames = num_frames
        self.score_thr = score_thr
        self._after = after  # the view that `after=None` means
        self._scale = 1.  # of the panels
        self._start: Optional[int] = None  # first frame ever
        self._end = 0  # id of the next frame
        self._frames: Dict[int, _Frame] = {}
        self._strips: List[_Strip] = []

    def add(self, frame: FrameResult) -> None:
        """Take the next frame; one without both views is left out.

        Args:
            frame (:obj:`FrameResult`): The frame. Objects that it says are
                noise are removed from the strips.

        Raises:
            ValueError: If it does not follow the last frame.
        """
        after = self.after or frame.view
        if after == self.before or not {self.before, after} <= set(
                frame.views):
            return
        if self._start is None:
            self._start = self._end = frame.frame_id
            height, width = frame.image.shape[:2]
            self._scale = min(
                display_scale(height, width), MAX_PANEL_WIDTH / width)
            self._after = after
        if frame.frame_id != self._end:
            raise ValueError(f'frame {self._end} must come next, got frame '
                             f'{frame.frame_id}')
        self._discard(frame.discarded_ids)
        self.merge(frame.merges)
        self._frames[self._end] = _Frame(
            resize_image(frame.image, min(self._scale, 1.)),
            _compare(frame.views[self.before], frame.views[after],
                     self.score_thr))
        self._end += 1
        num_after = self.num_frames - 1 - self.num_frames // 2
        if self._end - self._start >= self.num_frames:
            middle = self._end - 1 - num_after
            # before the first middle there are frames that never become one
            is_first = self._end - self._start == self.num_frames
            self._strips = self._improve(self._start if is_first else middle,
                                         middle + 1)
        held = range(self._window_start, self._end)
        shown = [range(strip.first, strip.end) for strip in self._strips]
        for frame_id in list(self._frames):
            if not any(frame_id in ids for ids in (held, *shown)):
                del self._frames[frame_id]

    def merge(self, merges: TrackMerges) -> None:
        """Make one of objects that turned out to be one.

        Args:
            merges (:obj:`TrackMerges`): Those of a frame are known already;
                those that come behind all frames are not.
        """
        ids = merges.ids
        if not ids:
            return
        for frame in self._frames.values():
            frame.instances = merge_entries(frame.instances, ids,
                                            lambda _, younger: younger)
        by_id: Dict[int, _Strip] = {}
        for strip in self._strips:
            strip.instance_id = ids.get(strip.instance_id, strip.instance_id)
            shown = self._frames[strip.moment].instances[strip.instance_id]
            strip.change = shown.change
        for strip in self._largest(self._strips, len(self._strips)):
            if strip.change >= MIN_CHANGE:
                by_id.setdefault(strip.instance_id, strip)
        self._strips = list(by_id.values())

    @property
    def moments(self) -> List[Tuple[int, int]]:
        """list[tuple[int, int]]: Id and frame of what :meth:`draw` would
        show now, by time."""
        return [(strip.instance_id, strip.moment) for strip in self._best()]

    def draw(self,
             numbers: Optional[Sequence[int]] = None) -> Optional[np.ndarray]:
        """Draw the strips by time, one below the other.

        Frames can be added afterwards.

        Args:
            numbers (Sequence[int], optional): What to call the frames, by
                id. Defaults to None, their ids.

        Returns:
            np.ndarray | None: Has shape (H, W, 3), uint8, BGR. None if
            refinement changed no object by ``MIN_CHANGE``, or no frame had
            both views.
        """
        strips = self._best()
        if not strips or self._after is None:
            return None
        views = (self.before, self._after)
        titles = [[word, VIEW_NAMES.get(view, view)]
                  for word, view in zip(('before', 'after'), views)]
        left = MARGIN + GAP + max(
            text_size(line, FONT_SIZE)[0] for title in titles
            for line in title)
        rows = [self._panels(strip) for strip in strips]
        height, width = rows[0][0][0].shape[:2]
        num_columns = max(strip.end - strip.first for strip in strips)
        step = 2 * (LINE + height + GAP) + MARGIN
        canvas = np.full((MARGIN + len(strips) * step, left + num_columns *
                          (width + GAP) - GAP + MARGIN, 3), 255, np.uint8)
        for index, (strip, panels) in enumerate(zip(strips, rows)):
            top = MARGIN + index * step
            self._write_titles(canvas, strip, (left, top), width, numbers)
            top += 2 * LINE
            for title, row in zip(titles, panels):
                for number, line in enumerate(title):
                    draw_text(canvas, line, (MARGIN, top + height // 2 +
                                             (number - 1) * LINE), FONT_SIZE,
                              GRAY)
                for column, panel in enumerate(row):
                    x = left + column * (width + GAP)
                    canvas[top:top + height, x:x + width] = panel
                top += height + GAP
        return canvas

    def close(self) -> None:
        """Nothing is open: the frames are in memory."""

    def state_dict(self) -> dict:
        """What has been kept so far.

        Returns:
            dict: Numbers, text, None and uint8 tensors, for ``torch.save``
            and ``torch.load(..., weights_only=True)``.
        """
        return dict(
            after=self._after,
            scale=self._scale,
            start=self._start,
            end=self._end,
            frames={
                frame_id:
                dict(
                    image=torch.from_numpy(frame.image.copy()),
                    instances={
                        instance_id: asdict(instance)
                        for instance_id, instance in frame.instances.items()
                    })
                for frame_id, frame in self._frames.items()
            },
            strips=[asdict(strip) for strip in self._strips])

    def load_state_dict(self, state: dict) -> None:
        """Go on from a state.

        Args:
            state (dict): Of strips with the same arguments.

        Raises:
            ValueError: If the state has another form.
        """
        self._check_state(state)
        self._after = state['after']
        self._scale = state['scale']
        self._start = state['start']
        self._end = state['end']
        self._frames = {
            frame_id:
            _Frame(
                frame['image'].numpy().copy(), {
                    instance_id: _Instance(**instance)
                    for instance_id, instance in frame['instances'].items()
                })
            for frame_id, frame in state['frames'].items()
        }
        self._strips = [_Strip(**strip) for strip in state['strips']]

    def _check_state(self, state: dict) -> None:
        """Raise ValueError if it is no state of such strips."""
        what = 'the state of the strips'
        check_form(state, STATE, what)
        frames, end = state['frames'], state['end']
        held = range(max(state['start'] or 0, end - self.num_frames), end)
        complete = state['after'] in (None,
                                      *VIEWS) and (state['start'] is None
                                                   or set(held) <= set(frames))
        for strip in state['strips']:
            shown = range(strip['first'], strip['end'])
            complete &= (0 < shown.stop - shown.start <= self.num_frames
                         and set(shown) <= set(frames)
                         and strip['moment'] in shown and strip['instance_id']
                         in frames[strip['moment']]['instances'])
        if not complete:
            raise ValueError(f'{what} must have the frames that it shows')
        for frame in frames.values():
            _check_picture(frame, state['scale'], what)

    @property
    def _window_start(self) -> int:
        """First of the last ``num_frames`` frames."""
        return max(self._start or 0, self._end - self.num_frames)

    def _best(self) -> List[_Strip]:
        """The strips to draw, by time."""
        if self._start is None:
            return []
        # the last frames were not in the middle yet
        first = self._end - (self.num_frames - 1) // 2
        if self._end - self._start < self.num_frames:
            first = self._start
        strips = self._improve(first, self._end)
        return sorted(
            self._largest(strips, self.num_strips),
            key=lambda strip: strip.moment)

    def _improve(self, start: int, end: int) -> List[_Strip]:
        """The best strips of the kept ones and those of some new moments."""
        strips = self._strips
        for moment in range(start, end):
            instances = self._frames[moment].instances
            for instance_id, instance in instances.items():
                if instance.change < MIN_CHANGE:
                    continue
                strip = _Strip(instance.change, moment, instance_id,
                               self._window_start, self._end)
                rivals = [
                    other for other in strips
                    if other.instance_id == instance_id or (
                        other.first < strip.end and strip.first < other.end)
                ]
                if all(other.change < strip.change for other in rivals):
                    others = [other for other in strips if other not in rivals]
                    strips = self._largest([*others, strip],
                                           SPARE * self.num_strips)
        return strips

    @staticmethod
    def _largest(strips: Sequence[_Strip], num: int) -> List[_Strip]:
        """The strips of the largest change; of equal ones the earlier."""
        return sorted(strips, key=lambda strip: -strip.change)[:num]

    def _discard(self, ids: Sequence[int]) -> None:
        """Forget instances."""
        self._strips = [
            strip for strip in self._strips if strip.instance_id not in ids
        ]
        for frame in self._frames.values():
            for instance_id in ids:
                frame.instances.pop(instance_id, None)

    def _panels(self, strip: _Strip) -> List[List[np.ndarray]]:
        """Pictures of a strip: both rows, each with its columns."""
        return [[
            self._draw_panel(self._frames[frame_id], strip.instance_id, view)
            for frame_id in range(strip.first, strip.end)
        ] for view in ('before', 'after')]

    def _draw_panel(self, frame: _Frame, shown_id: int,
                    view: str) -> np.ndarray:
        """Draw one side of a frame; other objects are pale."""
        canvas = resize_image(frame.image, max(self._scale, 1.))
        for is_shown, alpha in ((False, OTHERS), (True, SHOWN)):
            ids = [
                instance_id for instance_id in frame.instances
                if (instance_id == shown_id) == is_shown
            ]
            instances = [frame.instances[instance_id] for instance_id in ids]
            paint_instances(
                canvas, [getattr(instance, view)
                         for instance in instances], ids,
                [f'#{instance_id}' if is_shown else '' for instance_id in ids],
                [is_shown and instance.recovered
                 for instance in instances], self._scale, alpha)
        return canvas

    def _write_titles(self, canvas: np.ndarray, strip: _Strip,
                      corner: Tuple[int, int], width: int,
                      numbers: Optional[Sequence[int]]) -> None:
        """Write above a strip what it shows."""
        left, top = corner

        def name_of(frame_id: int) -> str:
            return f'frame {numbers[frame_id] if numbers else frame_id}'

        chosen = self._frames[strip.moment].instances[strip.instance_id]
        draw_text(
            canvas,
            f'{chosen.name} #{strip.instance_id}, {name_of(strip.moment)}: '
            f'{chosen.verdict.replace("IoU", "IoU before/after")}',
            (left, top),
            FONT_SIZE,
            bold=True)
        for column, frame_id in enumerate(range(strip.first, strip.end)):
            instance = self._frames[frame_id].instances.get(strip.instance_id)
            caption = name_of(frame_id)
            if instance is not None:
                caption = f'{caption}: {instance.verdict}'
            draw_text(
                canvas,
                caption, (left + column * (width + GAP), top + LINE),
                FONT_SIZE,
                bold=frame_id == strip.moment)


def _check_picture(frame: dict, scale: float, what: str) -> None:
    """Raise ValueError unless the masks of a state are those of an image."""
    size = frame['image'].shape[:2]
    masks = [
        instance[side] for instance in frame['instances'].values()
        for side in ('before', 'after') if instance[side] is not None
    ]
    valid = all(0 <= instance[name] <= 1
                for instance in frame['instances'].values()
                for name in ('score', 'iou', 'size'))
    valid &= 0 < scale and (scale <= 1 or scale * max(size) <= MAX_SIDE)
    for mask in masks:
        check_codes([mask], mask['size'], what)
        valid &= size == tuple(
            max(1, round(min(scale, 1.) * side)) for side in mask['size'])
    if not valid or min(size) < 1:
        raise ValueError(f'{what} must have masks of the size of its images, '
                         'and shares')


def _compare(before: FrameInstances, after: FrameInstances,
             score_thr: float) -> Dict[int, _Instance]:
    """Instances of a frame that have a mask in one of two views.

    Name and score are those after refinement, if it has the instance. The
    score of one of the views must reach the threshold.
    """
    old_rows, new_rows = ({
        track_id: row
        for row, track_id in enumerate(view.ids)
    } for view in (before, after))
    instances = {}
    for track_id in dict.fromkeys((*after.ids, *before.ids)):
        sides = [(view, rows[track_id])
                 for view, rows in ((before, old_rows), (after, new_rows))
                 if track_id in rows]
        old = _mask_of(before, old_rows.get(track_id))
        new = _mask_of(after, new_rows.get(track_id))
        found = [mask for mask in (old, new) if mask is not None]
        if not found or max(view.scores[row]
                            for view, row in sides) < score_thr:
            continue
        iou = 0.
        if len(found) == 2:
            iou = float(mask_utils.iou([old], [new], [0])[0, 0])
        union = mask_utils.area(mask_utils.merge(found))
        view, row = sides[-1]
        instances[track_id] = _Instance(view.classes[row], view.scores[row],
                                        old, new, iou,
                                        float(union / np.prod(view.size)),
                                        view is after and view.recovered[row])
    return instances


def _mask_of(view: FrameInstances, row: Optional[int]) -> Optional[dict]:
    """Mask of a row, None where there is no row."""
    return None if row is None else view.masks[row]
