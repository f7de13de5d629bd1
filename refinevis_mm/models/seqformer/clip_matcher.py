# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Instances of a video out of overlapping clips, as in SeqFormer and IFC."""
from collections import deque
from typing import Deque, Dict, Iterator, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# Soft IoU above which an instance of a clip is one of the video.
MATCH_THR = 0.01
# Added to the union, from the official code.
UNION_EPS = 1e-6


class StoredClip(NamedTuple):
    """A clip that later ones are compared with.

    Attributes:
        ids (list[int]): Instance in the video of each of n rows.
        probs (dict[int, Tensor]): Mask probabilities by frame, each
            (n, h, w).
    """

    ids: List[int]
    probs: Dict[int, Tensor]


class ClipMatcher:
    """Gives the instances of clips their ids in the video.

    Instances of a clip are compared with those of the last clips, as many as
    a clip has frames, on the frames they share, and assigned one-to-one
    (Hungarian); those that fit none begin a new instance. Mask logits of a
    frame are averaged over the clips that have the instance.

    What is kept does not grow with the video: the masks of these clips, and
    sums of mask logits of the frames that have not been taken yet.

    Args:
        clip_length (int): Frames of a clip.
    """

    def __init__(self, clip_length: int) -> None:
        self.num_instances = 0
        self._clips: Deque[StoredClip] = deque(maxlen=clip_length)
        # sum of logits and number of clips, by frame and instance
        self._sums: Dict[int, Dict[int, Tuple[Tensor, int]]] = {}

    def add(self, frame_ids: Sequence[int],
            masks: Sequence[Tensor]) -> List[int]:
        """Add the next clip.

        Args:
            frame_ids (Sequence[int]): Positions of its frames in the video.
            masks (Sequence[Tensor]): Mask logits of n instances in each of
                these frames, each (n, h, w).

        Returns:
            list[int]: Id of each instance, all different.
        """
        probs = {
            frame: logits.sigmoid()
            for frame, logits in zip(frame_ids, masks)
        }
        ids = self._match(probs, len(masks[0]))
        self._clips.append(StoredClip(ids, probs))
        for frame, logits in zip(frame_ids, masks):
            sums = self._sums.setdefault(frame, {})
            for i, row in zip(ids, logits):
                total, count = sums.get(i, (0, 0))
                sums[i] = total + row, count + 1
        return ids

    def take(self, end: int) -> Iterator[Tuple[int, List[int], Tensor]]:
        """Frames that no later clip has.

        Args:
            end (int): First frame of the next clip, or the number of frames
                of the video.

        Yields:
            tuple: Position of a frame, the ids of its instances and their
            mean mask logits (n, h, w). Instances that no clip has in this
            frame are not among them.
        """
        for frame in sorted(frame for frame in self._sums if frame < end):
            sums = self._sums.pop(frame)
            yield frame, list(sums), torch.stack(
                [total / count for total, count in sums.values()])

    def _match(self, probs: Dict[int, Tensor], num: int) -> List[int]:
        """Ids of the instances of a clip."""
        ids = np.full(num, -1)
        live = sorted({i for clip in self._clips for i in clip.ids})
        overlaps = self._mean_overlaps(probs, live, num)
        overlaps = overlaps * (overlaps > MATCH_THR)
        rows, columns = linear_sum_assignment(overlaps, maximize=True)
        for row, column in zip(rows, columns):
            if overlaps[row, column] > 0:
                ids[column] = live[row]
        new = ids < 0
        ids[new] = self.num_instances + np.arange(new.sum())
        self.num_instances += int(new.sum())
        return ids.tolist()

    def _mean_overlaps(self, probs: Dict[int, Tensor], live: List[int],
                       num: int) -> np.ndarray:
        """Soft IoU, the mean over the clips that have an instance.

        Returns:
            np.ndarray: Has shape (len(live), num).
        """
        row_of = {i: row for row, i in enumerate(live)}
        total = np.zeros((len(live), num), np.float32)
        counts = np.zeros((len(live), 1), np.float32)
        for clip in self._clips:
            common = sorted(clip.probs.keys() & probs.keys())
            if common:
                rows = [row_of[i] for i in clip.ids]
                total[rows] += soft_iou(
                    torch.cat([clip.probs[t].flatten(1) for t in common], 1),
                    torch.cat([probs[t].flatten(1) for t in common],
                              1)).cpu().numpy()
                counts[rows] += 1
        return total / counts.clip(min=1)


def soft_iou(masks: Tensor, others: Tensor) -> Tensor:
    r"""IoU of mask probabilities.

    .. math:: \sum p q \;/\; (\sum (p + q - p q) + 10^{-6})

    Args:
        masks (Tensor): In [0, 1], has shape (n, pixels).
        others (Tensor): In [0, 1], has shape (m, pixels).

    Returns:
        Tensor: In [0, 1], has shape (n, m).
    """
    inter = masks @ others.t()
    union = masks.sum(1)[:, None] + others.sum(1) - inter
    return inter / (union + UNION_EPS)


def clip_starts(num_frames: int, clip_length: int, stride: int) -> List[int]:
    """First frames of the clips of a video.

    The last clip is moved back so that it ends with the video.

    Args:
        num_frames (int): Frames of the video.
        clip_length (int): Frames of a clip; a shorter video is one clip.
        stride (int): Frames between the starts of clips.

    Returns:
        list[int]: The starts, ascending.
    """
    last = max(num_frames - clip_length, 0)
    return [*range(0, last, stride), last]
