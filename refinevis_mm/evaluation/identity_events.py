# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where results lose the identity of an object, and what each place costs.

Shapes: ``F`` frames, ``G`` objects and ``D`` tracklets of one video.
"""
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from pycocotools import mask as mask_utils

from refinevis_mm.vis_json import (PathOrObject, Tube, distinct_tubes,
                                   load_pair, mask_areas, num_frames_of,
                                   rows_from, to_rles)
from .clear_mot import NONE, match_frames
from .hota import EPS, hota_counts, hota_values
from .overlaps import IOU_THR, Overlaps, measure_overlaps
from .tracking_eval import add_counts

KINDS = ('switch', 'fragmentation', 'duplicate')


@dataclass
class IdentityEvent:
    """A place at which the identity of an object breaks.

    Attributes:
        kind (str): 'switch': the object is matched to another tracklet than
            at its last match. 'fragmentation': it is matched to the same one
            after frames in which it was visible and missed. 'duplicate': a
            second tracklet covers it, with an IoU of at least 0.5, without a
            match.
        video_id (Any): The video.
        object_id (Any): Id of the annotation.
        category_id (Any): Its category.
        row (int): Its position among the objects of the video.
        before (int): Last frame of the old match; of a duplicate its first
            frame.
        after (int): Frame of the new match; of a duplicate its last frame.
        old (int): Tracklet of the old match, position among the tracklets of
            the video; of a duplicate the one that is matched.
        new (int): Tracklet of the new match, or the duplicate.
        visible (float): Least share of the object, by its area next to its
            largest in the frames of the two matches and between them, 0 where
            it is hidden.
        moved (float): Distance between its centres in these frames, by the
            root of its larger area; 0 for duplicates.
        cost (float): HOTA, crowds left aside, that is gained if it alone is
            repaired: the tails of two tracklets are exchanged, the gap is
            filled, the duplicate is taken out.
    """

    kind: str
    video_id: Any
    object_id: Any
    category_id: Any
    row: int
    before: int
    after: int
    old: int
    new: int
    visible: float = 0.
    moved: float = 0.
    cost: float = 0.


@dataclass
class VideoIdentities:
    """The tracklets of a video against its objects.

    Attributes:
        video (dict): From the annotation file.
        anns (list[dict]): Its objects that are seen somewhere, G in number.
        objs (list[Sequence[dict | None]]): Their masks.
        dets (list[Sequence[dict | None]]): Masks of the D tracklets.
        overlaps (:obj:`Overlaps`): Of these.
        matches (np.ndarray): Tracklet of each object as CLEAR-MOT matches
            them or -1, int64, has shape (F, G).
        events (list[:obj:`IdentityEvent`]): What breaks, by falling cost.
    """

    video: dict
    anns: List[dict]
    objs: Sequence[Tube]
    dets: Sequence[Tube]
    overlaps: Overlaps
    matches: np.ndarray
    events: List[IdentityEvent]


def explain_identity(
        gt: PathOrObject,
        results: PathOrObject,
        score_thr: Optional[float] = None) -> List[VideoIdentities]:
    """Find the places at which results lose objects, classes taken as one.

    Args:
        gt (str | PathLike | dict): Annotations in YouTube-VIS format, as a
            path or loaded; crowds are left aside.
        results (str | PathLike | list): Rows as in :func:`evaluate_vis`, as a
            path or loaded.
        score_thr (float, optional): Least score of a row. Defaults to None,
            all rows.

    Returns:
        list[:obj:`VideoIdentities`]: One for each video, in file order.

    Raises:
        ValueError: If there is no ground truth or the input is malformed.
        OSError: If a file cannot be read.
    """
    truth, rows = load_pair(gt, results)
    videos = compare_videos(truth, rows_from(rows, score_thr))
    counts = [hota_counts(*video.overlaps) for video in videos]
    total = add_counts(counts)
    now = _hota(total)
    for video, own in zip(videos, counts):
        for event in video.events:
            repaired = hota_counts(*repair(video.overlaps, event))
            changed = {
                name: total[name] - own[name] + repaired[name]
                for name in total
            }
            event.cost = _hota(changed) - now
        video.events.sort(key=lambda event: -event.cost)
    return videos


def compare_videos(truth: dict, rows: List[dict]) -> List[VideoIdentities]:
    """Match results to objects and find what breaks, without its costs.

    Args:
        truth (dict): Checked annotations; crowds are left aside.
        rows (list[dict]): Checked result rows.

    Returns:
        list[:obj:`VideoIdentities`]: One for each video, in file order.
    """
    anns: Dict[Any, list] = defaultdict(list)
    dets: Dict[Any, list] = defaultdict(list)
    for ann in truth['annotations']:
        if not ann.get('iscrowd'):
            anns[ann['video_id']].append(ann)
    for row in rows:
        dets[row['video_id']].append(row)
    return [
        _compare(video, anns[video['id']], dets[video['id']])
        for video in truth['videos']
    ]


def track_held(other: VideoIdentities, event: IdentityEvent) -> Optional[int]:
    """The tracklet by which other results keep the object of an event.

    Args:
        other (:obj:`VideoIdentities`): The same video with other results.
        event (:obj:`IdentityEvent`): Of the first ones.

    Returns:
        int | None: The tracklet of ``other`` to which the object is matched
        both ``before`` and ``after`` the event and, between them, to no
        other one; None without one.
    """
    column = other.matches[event.before:event.after + 1, event.row]
    held = column[0]
    if NONE in column[[0, -1]] or not np.isin(column, (held, NONE)).all():
        return None
    return int(held)


def repair(overlaps: Overlaps, event: IdentityEvent) -> Overlaps:
    """What a video would be if one event had not happened.

    Args:
        overlaps (:obj:`Overlaps`): Of the video.
        event (:obj:`IdentityEvent`): Its ``old`` and ``new`` are columns.

    Returns:
        :obj:`Overlaps`: A copy with the change.
    """
    ious, obj_seen, det_seen = (part.copy() for part in overlaps)
    pair = [event.old, event.new]
    if event.kind == 'switch':  # the tails change places
        ious[event.after:, :, pair] = ious[event.after:, :, pair[::-1]]
        det_seen[event.after:, pair] = det_seen[event.after:, pair[::-1]]
    elif event.kind == 'duplicate':
        frames = slice(event.before, event.after + 1)
        ious[frames, :, event.new] = 0
        det_seen[frames, event.new] = False
    else:  # found as well as at the worse of both ends
        row = event.row
        value = min(ious[event.before, row, event.old], ious[event.after, row,
                                                             event.old])
        for frame in range(event.before + 1, event.after):
            if obj_seen[frame, row] and not det_seen[frame, event.old]:
                ious[frame, row, event.old] = value
                det_seen[frame, event.old] = True
    return Overlaps(ious, obj_seen, det_seen)


def _compare(video: dict, anns: List[dict],
             rows: List[dict]) -> VideoIdentities:
    """Match a video and find what breaks; costs are left open."""
    num_frames = num_frames_of(video)
    tubes = [to_rles(video, ann) for ann in anns]
    areas = mask_areas(tubes, num_frames)
    seen = areas.any(1)
    objs = [tube for tube, is_seen in zip(tubes, seen) if is_seen]
    dets = [
        tube for tube in distinct_tubes([to_rles(video, row)
                                         for row in rows], num_frames)
        if any(tube) and mask_areas([tube], num_frames).any()
    ]
    overlaps = measure_overlaps(objs, [], dets, num_frames)
    matches = match_frames(*overlaps)
    found = VideoIdentities(
        video, [ann for ann, is_seen in zip(anns, seen) if is_seen], objs,
        dets, overlaps, matches, [])
    for row in range(len(objs)):
        found.events += _breaks(found, row, areas[seen][row])
        found.events += _duplicates(found, row, areas[seen][row])
    return found


def _breaks(found: VideoIdentities, row: int,
            areas: np.ndarray) -> List[IdentityEvent]:
    """Switches and fragmentations of an object."""
    events = []
    column = found.matches[:, row]
    frames = np.flatnonzero(column != NONE)
    for before, after in zip(frames[:-1].tolist(), frames[1:].tolist()):
        old, new = int(column[before]), int(column[after])
        gap = found.overlaps.obj_seen[before + 1:after, row]
        if old == new and not gap.any():
            continue
        kind = 'switch' if old != new else 'fragmentation'
        between = areas[before:after + 1]
        centres = _centres([found.objs[row][i] for i in (before, after)])
        events.append(
            IdentityEvent(
                kind,
                found.video['id'],
                found.anns[row]['id'],
                found.anns[row]['category_id'],
                row,
                before,
                after,
                old,
                new,
                visible=float(between.min() / between.max()),
                moved=float(
                    np.hypot(*(centres[1] - centres[0])) /
                    between.max()**0.5)))
    return events


def _duplicates(found: VideoIdentities, row: int,
                areas: np.ndarray) -> List[IdentityEvent]:
    """Stretches in which a second tracklet covers an object."""
    events = []
    ious, matches = found.overlaps.ious, found.matches
    taken = np.zeros(found.overlaps.det_seen.shape, dtype=bool)
    frames, objs = (matches != NONE).nonzero()
    taken[frames, matches[frames, objs]] = True
    covers = (ious[:, row] >= IOU_THR - EPS) & ~taken & (matches[:, row]
                                                         != NONE)[:, None]
    for det in np.flatnonzero(covers.any(0)).tolist():
        steps = np.diff(covers[:, det].astype(np.int8), prepend=0, append=0)
        for first, end in zip(
                np.flatnonzero(steps == 1).tolist(),
                np.flatnonzero(steps == -1).tolist()):
            events.append(
                IdentityEvent(
                    'duplicate',
                    found.video['id'],
                    found.anns[row]['id'],
                    found.anns[row]['category_id'],
                    row,
                    first,
                    end - 1,
                    int(matches[first, row]),
                    det,
                    visible=float(areas[first:end].min() /
                                  areas[first:end].max())))
    return events


def _centres(masks: Sequence[dict]) -> np.ndarray:
    """Centres of the boxes of masks, (x, y) in pixels, has shape (n, 2)."""
    boxes = mask_utils.toBbox(list(masks))
    return boxes[:, :2] + boxes[:, 2:] / 2


def _hota(counts: Dict[str, Any]) -> float:
    """HOTA of summed counts."""
    return float(hota_values(counts)['hota'].mean())
