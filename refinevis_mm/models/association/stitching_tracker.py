# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Joins the fragments that a tracker leaves, a few frames later.

Shapes: M detections of a frame, F fragments, E embedding dims, K classes.
"""
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import Values, check_form
from .detections import check_counts, check_finite, check_keys, check_shares
from .tracker import build_tracker, find_delay

# Log-odds that one fragment continues another: cosines of the embeddings at
# the ends, of the mean embeddings and of the mean class scores, the speed that
# is needed beyond that of the ends in widths of the picture a frame, the
# logarithm of the gap, and a constant. From a logistic regression on 9,397
# pairs of fragments in training videos of OccludedShapes, of which 2,467 were
# of one object.
ENDS, MEANS, CLASSES, SPEED, GAP, CONSTANT = 3.0, 1.1, 3.8, -14.0, -0.7, -3.8
END_FRAMES = 4  # detections that tell the speed at an end
MAX_COAST = 8  # frames over which that speed is thought to last
WHAT = 'the state of a StitchingTracker'


@dataclass
class Fragment:
    """What is remembered of a track of the inner tracker.

    Attributes:
        root (int): Id of the tracklet it belongs to.
        first (int): Its first frame.
        last (int): Its last frame.
        head (list[list[float]]): Frame, x and y of the centre of its first
            detections, at most ``END_FRAMES``.
        tail (list[list[float]]): The same of its last ones.
        first_embed (np.ndarray): Embedding of the first detection, of length
            1, has shape (E, ).
        last_embed (np.ndarray): That of the last one.
        embed_sum (np.ndarray): Sum of all, weighted by score, (E, ).
        class_sum (np.ndarray): Sum of the class scores, has shape (K, ).
        decided (bool): Whether it is settled what it continues.
        continued (bool): Whether another fragment continues it.
    """

    root: int
    first: int
    last: int
    first_embed: np.ndarray
    last_embed: np.ndarray
    embed_sum: np.ndarray
    class_sum: np.ndarray
    head: List[List[float]] = field(default_factory=list)
    tail: List[List[float]] = field(default_factory=list)
    decided: bool = False
    continued: bool = False

    def see(self, frame_id: int, centre: np.ndarray) -> None:
        """Note where it is in a frame."""
        self.last = frame_id
        place = [float(frame_id), *centre.tolist()]
        if len(self.head) < END_FRAMES:
            self.head.append(place)
        self.tail = [*self.tail, place][-END_FRAMES:]


FRAGMENT = dict(
    root=int,
    first=int,
    last=int,
    first_embed=Values((None, ), torch.float64),
    last_embed=Values((None, ), torch.float64),
    embed_sum=Values((None, ), torch.float64),
    class_sum=Values((None, ), torch.float64),
    head=[[float]],
    tail=[[float]],
    decided=bool,
    continued=bool)


@MODELS.register_module()
class StitchingTracker:
    """Finds out which tracks of another tracker are parts of one.

    A tracker that decides frame by frame has to say at once who somebody is
    that comes out from behind something. This one lets its inner tracker
    break tracks rather than confuse them, and looks at a new fragment for
    ``delay`` frames. Then all undecided fragments are assigned to those that
    ended before them, the sum of the log-odds at its best, by the look of
    both in all of their frames, their classes, the length of the gap and the
    speed that is needed to cross it. What has begun as a new tracklet goes on
    as the old one, and ``merged_ids`` says so. When a video ends,
    :meth:`finish` decides what is left.

    The memory holds fragments that live or ended in the last ``horizon +
    delay`` frames, whatever the length of the video.

    Args:
        tracker (dict): The inner :class:`Tracker`. It should give up a track
            as soon as it is missed, e.g. :class:`StreamingTracker` with
            ``num_active_frames=1`` and ``num_frames_retain=1``.
        delay (int): Frames after its first one in which a fragment is looked
            at. Defaults to 10.
        horizon (int): Longest gap, in frames from the last one of a fragment
            to the first one of the next. Defaults to 30.
        link_thr (float): Least probability of a link, in (0, 1). Far below
            0.5, since of those that might continue a track one mostly does.
            Defaults to 0.05.
        embed_dims (int, optional): Dimensions of association embeddings.
            Defaults to None, i.e. those of the first frame.

    Attributes:
        discarded_ids (list[int]): Ids judged noise by the last
            :meth:`track`.
        merged_ids (dict[int, int]): Tracklets that the last :meth:`track`
            found to continue older ones, see :class:`TrackMerges`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 tracker: ConfigType,
                 delay: int = 10,
                 horizon: int = 30,
                 link_thr: float = 0.05,
                 embed_dims: Optional[int] = None) -> None:
        check_counts(delay=delay, horizon=horizon)
        check_shares(link_thr=link_thr)
        if link_thr in (0, 1):
            raise ValueError(f'link_thr must lie in (0, 1), got {link_thr}')
        self.tracker = build_tracker(tracker, embed_dims=embed_dims)
        if find_delay(self.tracker):
            raise ValueError('the inner tracker must not merge itself, got '
                             f'{type(self.tracker).__name__}')
        self.delay = delay
        self.horizon = horizon
        self.link_thr = link_thr
        self.reset()

    @property
    def live_ids(self) -> List[int]:
        """list[int]: Ids that may still be given, ascending."""
        ids = {
            self._fragments[track_id].root
            if track_id in self._fragments else track_id
            for track_id in self.tracker.live_ids
        }
        ids.update(fragment.root for fragment in self._fragments.values()
                   if not fragment.continued)
        return sorted(ids)

    def reset(self) -> None:
        """Start of a new video."""
        self.tracker.reset()
        self._fragments: Dict[int, Fragment] = {}  # by id of the inner tracker
        self.discarded_ids: List[int] = []
        self.merged_ids: Dict[int, int] = {}

    def select(self, cls_scores: Tensor, boxes: Tensor) -> Tensor:
        """See :meth:`Tracker.select`, that of the inner tracker."""
        return self.tracker.select(cls_scores, boxes)

    def track(self, detections: InstanceData, frame_id: int) -> InstanceData:
        """See :meth:`Tracker.track`.

        Raises:
            ValueError: If ``assoc_embeds`` are missing or not finite, or the
                inner tracker refuses the frame.
        """
        if len(detections) and 'assoc_embeds' not in detections:
            raise ValueError('StitchingTracker needs assoc_embeds, got none')
        results = self.tracker.track(detections, frame_id)
        self.discarded_ids = [
            track_id for track_id in self.tracker.discarded_ids
            if self._is_noise(track_id)
        ]
        ids = results.instances_id.tolist()
        if ids:
            self._see(ids, results, frame_id)
        self.merged_ids = self._link(
            lambda fragment: frame_id - fragment.first >= self.delay)
        self._forget(frame_id)
        roots = [self._fragments[track_id].root for track_id in ids]
        results.instances_id = results.instances_id.new_tensor(roots)
        return results

    def finish(self) -> Dict[int, int]:
        """End the video: decide what every fragment continues.

        Returns:
            dict[int, int]: As ``merged_ids``.
        """
        return self._link(lambda fragment: True)

    def _is_noise(self, track_id: int) -> bool:
        """Whether what the inner tracker calls noise is no part of more."""
        fragment = self._fragments.get(track_id)
        if fragment is not None and (fragment.continued
                                     or fragment.root != track_id):
            return False
        self._fragments.pop(track_id, None)
        return True

    def _see(self, ids: Sequence[int], results: InstanceData,
             frame_id: int) -> None:
        """Add the detections of a frame to their fragments."""
        check_finite(assoc_embeds=results.assoc_embeds, boxes=results.boxes)
        embeds, scores, cls_scores, centres = (
            value.double().cpu().numpy()
            for value in (results.assoc_embeds, results.scores,
                          results.cls_scores, results.boxes[:, :2]))
        embeds = _unit(embeds)
        for row, track_id in enumerate(ids):
            fragment = self._fragments.get(track_id)
            if fragment is None:
                fragment = self._fragments[track_id] = Fragment(
                    track_id, frame_id, frame_id, embeds[row], embeds[row],
                    np.zeros_like(embeds[row]), np.zeros_like(cls_scores[row]))
            fragment.last_embed = embeds[row]
            fragment.embed_sum = fragment.embed_sum + scores[row] * embeds[row]
            fragment.class_sum = fragment.class_sum + cls_scores[row]
            fragment.see(frame_id, centres[row])

    def _link(self, is_due: Callable[[Fragment], bool]) -> Dict[int, int]:
        """Settle what fragments continue; younger root -> older root."""
        fragments = sorted(
            self._fragments.values(), key=lambda fragment: fragment.first)
        open_ = [fragment for fragment in fragments if not fragment.decided]
        due = [fragment for fragment in open_ if is_due(fragment)]
        if not due:
            return {}
        live = set(self.tracker.live_ids)
        ended = [
            fragment for track_id, fragment in self._fragments.items()
            if track_id not in live and not fragment.continued
        ]
        merged = {}
        for young, old in self._assign(open_, ended):
            if is_due(young):
                merged[young.root] = old.root
                young.root, old.continued = old.root, True
        for fragment in due:
            fragment.decided = True
        return merged

    def _assign(self, young: List[Fragment],
                old: List[Fragment]) -> List[Tuple[Fragment, Fragment]]:
        """Pairs of fragments and what they continue, the oldest first."""
        if not old:
            return []
        gaps = np.array([item.first for item in young])[:, None] - np.array(
            [item.last for item in old])
        possible = (gaps >= 1) & (gaps <= self.horizon)
        gains = link_log_odds(old, young).T - np.log(self.link_thr /
                                                     (1 - self.link_thr))
        gains = np.where(possible, gains, 0).clip(min=0)
        rows, columns = linear_sum_assignment(gains, maximize=True)
        return [(young[row], old[column])
                for row, column in zip(rows, columns)
                if gains[row, column] > 0]

    def _forget(self, frame_id: int) -> None:
        """Drop fragments that nothing can continue any more."""
        live = set(self.tracker.live_ids)
        oldest = frame_id - self.horizon - self.delay
        self._fragments = {
            track_id: fragment
            for track_id, fragment in self._fragments.items()
            if track_id in live or fragment.last >= oldest
        }

    def state_dict(self) -> Dict[str, Any]:
        """See :meth:`Tracker.state_dict`, bounded by the horizon.

        Returns:
            dict: ``tracker``, the state of the inner one, and ``fragments``
            by id.
        """
        fragments = {}
        for track_id, fragment in self._fragments.items():
            fragments[track_id] = {
                name:
                torch.from_numpy(value.copy()) if isinstance(
                    value, np.ndarray) else value
                for name, value in vars(fragment).items()
            }
        return dict(tracker=self.tracker.state_dict(), fragments=fragments)

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """See :meth:`Tracker.load_state_dict`."""
        check_keys(state, self.state_dict())
        check_form(state['fragments'], {int: FRAGMENT}, WHAT)
        fragments = {
            track_id:
            Fragment(
                **{
                    name:
                    value.numpy().copy() if isinstance(value, Tensor
                                                       ) else value
                    for name, value in item.items()
                })
            for track_id, item in state['fragments'].items()
        }
        _check_fragments(list(fragments.values()))
        self.tracker.load_state_dict(state['tracker'])
        self._fragments = fragments
        self.discarded_ids, self.merged_ids = [], {}


def link_log_odds(old: Sequence[Fragment],
                  young: Sequence[Fragment]) -> np.ndarray:
    """Log-odds that fragments continue others.

    Args:
        old (Sequence[:obj:`Fragment`]): F fragments.
        young (Sequence[:obj:`Fragment`]): G fragments.

    Returns:
        np.ndarray: Of any pair, has shape (F, G); without meaning where the
        young one does not begin after the end of the old one.
    """
    ends = np.stack([item.last_embed for item in old]) @ np.stack(
        [item.first_embed for item in young]).T
    means, classes = (
        _unit(np.stack([getattr(item, name) for item in old])) @ _unit(
            np.stack([getattr(item, name) for item in young])).T
        for name in ('embed_sum', 'class_sum'))
    gaps = (np.array([item.first for item in young]) -
            np.array([item.last for item in old])[:, None]).clip(min=1)
    before = np.array([_velocity(item.tail) for item in old])
    after = np.array([_velocity(item.head) for item in young])
    coast = (before[:, None] + after) / 2 * gaps.clip(max=MAX_COAST)[..., None]
    way = np.array([item.head[0][1:] for item in young]) - np.array(
        [item.tail[-1][1:] for item in old])[:, None]
    speeds = np.linalg.norm(way - coast, axis=-1) / gaps
    return (ENDS * ends + MEANS * means + CLASSES * classes + SPEED * speeds +
            GAP * np.log(gaps) + CONSTANT)


def _velocity(places: Sequence[Sequence[float]]) -> List[float]:
    """Mean velocity (x, y) a frame between the first and the last place."""
    (start, *here), (end, *there) = places[0], places[-1]
    frames = max(end - start, 1)
    return [(b - a) / frames for a, b in zip(here, there)]


def _unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; those of length 0 stay."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(min=1e-12)


def _check_fragments(fragments: Sequence[Fragment]) -> None:
    """Raise ValueError if fragments of a state do not fit each other."""
    places = [
        place for fragment in fragments
        for place in (*fragment.head, *fragment.tail)
    ]
    widths = {(len(item.first_embed), len(item.last_embed),
               len(item.embed_sum))
              for item in fragments}
    if any(len(place) != 3 for place in places) or any(
            not item.head or not item.tail or item.first > item.last
            for item in fragments):
        raise ValueError(f'{WHAT} must have frame and centre of the ends of '
                         'each fragment, in order')
    if len({width
            for item in widths
            for width in item}) > 1 or len(
                {len(item.class_sum)
                 for item in fragments}) > 1:
        raise ValueError(f'{WHAT} must have embeddings and class scores of '
                         'one width')
