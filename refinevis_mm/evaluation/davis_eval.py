# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Region similarity J and boundary accuracy F, as DAVIS 2017 takes them.

The rules are those of davis2017-evaluation: `Perazzi et al. 2016
<https://davischallenge.org>`_, `Caelles et al. 2019
<https://arxiv.org/abs/1905.00737>`_ for the unsupervised task.

Shapes: ``F`` frames of ``H`` x ``W`` pixels, ``G`` objects and ``D`` proposals
of one sequence.
"""
import math
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from refinevis_mm.vis_json import (PathOrObject, Tube, distinct_tubes,
                                   load_pair, num_frames_of, to_rles)
from .overlaps import paint

TASKS = ('unsupervised', 'semi-supervised')
RADIUS = 0.008  # of the boundary, by the diagonal of the frame
RECALL_THR = 0.5
NUM_QUARTERS = 4
MAX_PROPOSALS = 20  # unsupervised
VOID = 255
MEASURES = ('j', 'f')


def evaluate_davis(gt: PathOrObject,
                   results: PathOrObject,
                   task: str = 'unsupervised') -> Dict[str, Any]:
    """J and F of results in YouTube-VIS form, classes aside.

    A video is a sequence; its objects are those that are seen in its first
    frame, crowds are void. Masks that overlap are cut: a pixel is of the
    first object, and of the result with the highest score.

    Args:
        gt (str | PathLike | dict): Annotations, as a path or loaded.
        results (str | PathLike | list): Rows as in :func:`evaluate_vis`, as a
            path or loaded. 'semi-supervised': those of a video in the order
            of its objects.
        task (str): 'unsupervised' or 'semi-supervised', see
            :func:`sequence_scores`. Defaults to 'unsupervised'.

    Returns:
        dict: See :func:`summarise_davis`; ``per_sequence`` by video id.

    Raises:
        ValueError: If the input is malformed, or see
            :func:`sequence_scores`.
        OSError: If a file cannot be read.
    """
    loaded, all_rows = load_pair(gt, results)
    scores = {}
    for video in loaded['videos']:
        anns, rows = ([
            item for item in items if item['video_id'] == video['id']
        ] for items in (loaded['annotations'], all_rows))
        if task == 'unsupervised':
            rows.sort(key=lambda row: -row['score'])
        crowds = [ann for ann in anns if ann.get('iscrowd')]
        objs = [ann for ann in anns if not ann.get('iscrowd')]
        found: List[Tube] = [to_rles(video, row) for row in rows]
        if task == 'unsupervised':  # several classes of one tracklet
            found = distinct_tubes(found, num_frames_of(video))
        truth = [to_rles(video, ann) for ann in [*objs, *crowds]]
        scores[video['id']] = sequence_scores(
            _id_maps(video, truth, len(crowds)), _id_maps(video, found, 0),
            task, f'video {video["id"]!r}')
    return summarise_davis(scores)


def _id_maps(video: dict, tubes: Sequence[Tube], num_void: int) -> np.ndarray:
    """Tubes as id maps from 1 on, the last ones as void, int16, (F, H, W)."""
    size = video['height'], video['width']
    numbers = np.arange(1, len(tubes) + 2, dtype=np.int16)
    numbers[len(tubes) - num_void:] = VOID
    numbers[-1] = 0  # where there is none
    maps = np.empty((num_frames_of(video), *size), np.int16)
    for frame, ids in enumerate(maps):
        owners = paint([tube[frame] for tube in tubes], size)
        ids[:] = numbers[owners].reshape(size, order='F')
    return maps


class SequenceScores(NamedTuple):
    """J and F of the objects of a sequence.

    Attributes:
        j (np.ndarray): In [0, 1], float64, has shape (G, F).
        f (np.ndarray): The same of the boundaries, has shape (G, F).
        proposals (np.ndarray): Id of the proposal of each object, 0 for
            none, has shape (G, ).
    """

    j: np.ndarray
    f: np.ndarray
    proposals: np.ndarray


def sequence_scores(truth: np.ndarray,
                    found: np.ndarray,
                    task: str = 'unsupervised',
                    name: str = 'the sequence') -> SequenceScores:
    """J and F of a sequence.

    - 'unsupervised': all frames; pixels that are void in the truth count for
      neither side; every object gets one proposal, so that the mean of J and
      F is highest. Proposals that are left over cost nothing.
    - 'semi-supervised': without the first and the last frame; proposal i is
      object i; void is background.

    Args:
        truth (np.ndarray): Ids of the objects, 0 is the background, 255 is
            void. Objects are 1 to the highest id of the first frame. Integer,
            has shape (F, H, W).
        found (np.ndarray): Ids of the proposals. Has the same shape.
        task (str): One of both. Defaults to 'unsupervised'.
        name (str): What to call it in messages.

    Returns:
        :obj:`SequenceScores`: Of the frames that count.

    Raises:
        ValueError: If shapes differ, there are too many or unknown proposals,
            no frames that count, or ``task`` is unknown.
    """
    if task not in TASKS:
        raise ValueError(f'task must be one of {TASKS}, got {task!r}')
    if truth.shape != found.shape:
        raise ValueError(f'maps of {name} must have the shape {truth.shape}, '
                         f'got {found.shape}')
    first = truth[0][truth[0] != VOID]
    num_objects = int(first.max(initial=0))
    num_found = int(found.max(initial=0))
    if task == 'unsupervised':
        if num_found > MAX_PROPOSALS:
            raise ValueError(f'{name} may have {MAX_PROPOSALS} proposals, got '
                             f'{num_found}')
        found = np.where(truth == VOID, 0, found)
    else:
        if num_found > num_objects:
            raise ValueError(f'results of {name} must be of its {num_objects} '
                             f'objects, got {num_found}')
        truth, found = truth[1:-1], found[1:-1]
    if not len(truth):
        raise ValueError(f'{name} must have a frame between its first and '
                         'its last one')
    num_found = max(num_found, num_objects)
    j, f = (np.zeros((num_objects, num_found, len(truth))) for _ in MEASURES)
    for frame, maps in enumerate(zip(truth, found)):
        j[..., frame], f[..., frame] = frame_scores(*maps, num_objects,
                                                    num_found)
    pairs = np.arange(num_objects)
    if task == 'unsupervised':
        pairs = linear_sum_assignment((j + f).mean(2), maximize=True)[1]
    rows = np.arange(num_objects)
    return SequenceScores(j[rows, pairs], f[rows, pairs], pairs + 1)


def frame_scores(truth: np.ndarray, found: np.ndarray, num_objects: int,
                 num_found: int) -> Tuple[np.ndarray, np.ndarray]:
    """J and F of all pairs in a frame.

    Args:
        truth (np.ndarray): Ids of the objects, has shape (H, W).
        found (np.ndarray): Ids of the proposals, has shape (H, W).
        num_objects (int): G, objects have the ids 1 to G.
        num_found (int): D.

    Returns:
        tuple[np.ndarray]: J and F, in [0, 1], each of shape (G, D).
    """
    objs = [_Mask(truth == number + 1) for number in range(num_objects)]
    dets = [_Mask(found == number + 1) for number in range(num_found)]
    shape = num_objects, num_found
    j, f = np.ones(shape), np.ones(shape)
    for row, obj in enumerate(objs):
        for column, det in enumerate(dets):
            j[row, column] = obj.region_similarity(det)
            f[row, column] = obj.boundary_accuracy(det)
    return j, f


class _Mask:
    """A mask with what is compared of it, made once.

    Args:
        mask (np.ndarray): Bool, has shape (H, W).
    """

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask
        self.area = int(mask.sum())
        self.boundary = boundary_of(mask)
        self.length = int(self.boundary.sum())
        radius = math.ceil(RADIUS * math.hypot(*mask.shape))
        self.near = self.boundary
        if self.length:
            self.near = cv2.dilate(self.boundary.view(np.uint8),
                                   disk(radius)).view(bool)

    def region_similarity(self, other: '_Mask') -> float:
        """J, the Jaccard index; 1 if both are empty."""
        common = np.count_nonzero(self.mask & other.mask) \
            if self.area and other.area else 0
        either = self.area + other.area - common
        return common / either if either else 1.

    def boundary_accuracy(self, other: '_Mask') -> float:
        """F1 of the boundaries; 1 if both are empty, 0 if one is."""
        if not self.length or not other.length:
            return float(self.length == other.length)
        precision = np.count_nonzero(other.boundary & self.near) / \
            other.length
        recall = np.count_nonzero(self.boundary & other.near) / self.length
        total = precision + recall
        return 2 * precision * recall / total if total else 0.


def boundary_of(mask: np.ndarray) -> np.ndarray:
    """Pixels that differ from the right, the lower or the lower right one.

    Args:
        mask (np.ndarray): Bool, has shape (H, W).

    Returns:
        np.ndarray: Bool, has shape (H, W).
    """
    padded = np.pad(mask, (0, 1), mode='edge')
    return (mask != padded[:-1, 1:]) | (mask != padded[1:, :-1]) | (
        mask != padded[1:, 1:])


def disk(radius: int) -> np.ndarray:
    """Pixels at most ``radius`` away, uint8, (2 radius + 1, 2 radius + 1)."""
    steps = np.arange(-radius, radius + 1)
    return (steps**2 + steps[:, None]**2 <= radius**2).astype(np.uint8)


def summarise_davis(scores: Dict[Any, SequenceScores]) -> Dict[str, Any]:
    """Means over the objects of all sequences.

    Args:
        scores (dict[Any, :obj:`SequenceScores`]): By sequence.

    Returns:
        dict: ``j_and_f``, ``j_mean``, ``f_mean``; ``j_recall`` and
        ``f_recall``, frames above 0.5; ``j_decay`` and ``f_decay``, what is
        lost from the first to the last quarter; ``num_objects``;
        ``per_sequence``: the same of each and ``proposals``.

    Raises:
        ValueError: If there is no object.
    """
    parts = {name: _summarise([part]) for name, part in scores.items()}
    if not any(len(part.j) for part in scores.values()):
        raise ValueError('there is no object in any first frame')
    for name, part in parts.items():
        part['proposals'] = scores[name].proposals.tolist()
    return dict(_summarise(list(scores.values())), per_sequence=parts)


def _summarise(parts: List[SequenceScores]) -> Dict[str, Any]:
    """Means over the objects of some sequences; 0 without objects."""
    numbers: Dict[str, Any] = dict(num_objects=sum(len(p.j) for p in parts))
    for name in MEASURES:
        rows = [row for part in parts for row in getattr(part, name)]
        values = np.array([[row.mean(), (row > RECALL_THR).mean(),
                            decay(row)] for row in rows]).reshape(-1, 3)
        means = values.mean(0) if len(values) else np.zeros(3)
        for key, value in zip(('mean', 'recall', 'decay'), means.tolist()):
            numbers[f'{name}_{key}'] = value
    numbers['j_and_f'] = (numbers['j_mean'] + numbers['f_mean']) / 2
    return numbers


def decay(values: np.ndarray) -> float:
    """Mean of the first quarter of the frames less that of the last.

    Args:
        values (np.ndarray): J or F of an object, has shape (F, ).

    Returns:
        float: In [-1, 1]; the quarters share their ends.
    """
    ends = np.round(np.linspace(1, len(values), NUM_QUARTERS + 1) +
                    1e-10).astype(int) - 1
    return float(values[ends[0]:ends[1] + 1].mean() -
                 values[ends[-2]:ends[-1] + 1].mean())
