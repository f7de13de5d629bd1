# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR at inference: online window and offline clips (paper Sec. 3.6)."""
from abc import ABCMeta, abstractmethod
from typing import List, Mapping, Optional, Sequence

import torch
from torch import Tensor

from refinevis_mm.structures import (FrameTracks, TrackletMemory,
                                     interpolate_boxes)
from .tar_head import TARHead

MODES = ('online', 'offline')


class BaseRefiner(metaclass=ABCMeta):
    """Takes tracked frames one by one, gives refined frames back.

    Args:
        tar_head (:obj:`TARHead`): The refinement head.
        window (int): Frames W seen by one refinement.
    """

    def __init__(self, tar_head: TARHead, window: int) -> None:
        self.tar_head = tar_head
        self.window = window

    @abstractmethod
    def push(self, frame: FrameTracks) -> List[FrameTracks]:
        """Add a tracked frame; return the frames finished by it."""

    @abstractmethod
    def flush(self) -> List[FrameTracks]:
        """End the video; return the frames still waiting."""

    @abstractmethod
    def discard(self, ids: Sequence[int]) -> None:
        """Forget tracklets that the tracker judged noise."""

    @abstractmethod
    def merge(self, ids: Mapping[int, int]) -> None:
        """Make one of tracklets that turned out to be one.

        Args:
            ids (Mapping[int, int]): See :class:`TrackMerges`.
        """

    @abstractmethod
    def state_dict(self) -> dict:
        """State between two frames: tensors, numbers, lists and strings."""

    @abstractmethod
    def load_state_dict(self, state: dict, device: torch.device) -> None:
        """Continue from the state of a refiner of the same kind and window.

        Args:
            state (dict): What :meth:`state_dict` returned.
            device (torch.device): Device of the frames to come.
        """


def check_refinement(mode: str, window: int, has_head: bool = True) -> None:
    """Raise ValueError if :func:`build_refiner` cannot take the arguments.

    Args:
        mode (str): 'online' or 'offline'.
        window (int): Frames W; 0 refines nothing.
        has_head (bool): The model has a :class:`TARHead`. Defaults to True.
    """
    if mode not in MODES:
        raise ValueError(f'mode must be one of {MODES}, got {mode!r}')
    if not isinstance(window, int) or window < 0:
        raise ValueError(f'window must be a non-negative int, got {window!r}')
    if window > 0 and not has_head:
        raise ValueError(f'window must be 0 without tar_head, got {window}')


def build_refiner(tar_head: Optional[TARHead],
                  mode: str,
                  window: int,
                  delay: int = 0) -> BaseRefiner:
    """An empty refiner for a new video.

    Args:
        tar_head (:obj:`TARHead`, optional): Not needed for ``window=0``.
        mode (str): 'online' or 'offline'.
        window (int): Frames W; 0 refines nothing.
        delay (int): Frames after which the tracker has settled what is one
            tracklet; offline refinement waits for it. Defaults to 0.

    Returns:
        :obj:`BaseRefiner`: The refiner.
    """
    if window == 0:
        return PassThroughRefiner(tar_head, window)
    if mode == 'offline':
        return OfflineRefiner(tar_head, window, delay)
    return OnlineRefiner(tar_head, window)


class PassThroughRefiner(BaseRefiner):
    """No refinement, ``window=0``: frame-level results as they are."""

    def push(self, frame: FrameTracks) -> List[FrameTracks]:
        """See :meth:`BaseRefiner.push`."""
        return [frame]

    def flush(self) -> List[FrameTracks]:
        """See :meth:`BaseRefiner.flush`."""
        return []

    def discard(self, ids: Sequence[int]) -> None:
        """See :meth:`BaseRefiner.discard`."""

    def merge(self, ids: Mapping[int, int]) -> None:
        """See :meth:`BaseRefiner.merge`."""

    def state_dict(self) -> dict:
        """See :meth:`BaseRefiner.state_dict`."""
        return {}

    def load_state_dict(self, state: dict, device: torch.device) -> None:
        """See :meth:`BaseRefiner.load_state_dict`."""


class OnlineRefiner(BaseRefiner):
    """Refines the current frame from the past, and writes it back.

    Every live tracklet is emitted, also where the frame model missed it: the
    recovery of the paper's Figure 1. Nothing depends on later frames.
    """

    def __init__(self, tar_head: TARHead, window: int) -> None:
        super().__init__(tar_head, window)
        self.memory = TrackletMemory(window)

    def push(self, frame: FrameTracks) -> List[FrameTracks]:
        """See :meth:`BaseRefiner.push`."""
        self.memory.push(frame)
        if len(self.memory) == 0:
            return [frame]
        embeds, frame_inds, detected, padding = self.memory.batch()
        refined = self.tar_head.refine(embeds, frame_inds, detected,
                                       padding)[:, -1]
        self.memory.write_back(refined)  # Eq. (4) reads refined past frames
        return [
            FrameTracks(frame.frame_id, frame.meta, self.memory.ids, refined,
                        self.memory.current_boxes(), detected[:, -1],
                        frame.mask_features, _find_meetings(detected))
        ]

    def flush(self) -> List[FrameTracks]:
        """See :meth:`BaseRefiner.flush`."""
        return []

    def discard(self, ids: Sequence[int]) -> None:
        """See :meth:`BaseRefiner.discard`."""
        self.memory.discard(ids)

    def merge(self, ids: Mapping[int, int]) -> None:
        """See :meth:`BaseRefiner.merge`."""
        self.memory.merge(ids)

    def state_dict(self) -> dict:
        """See :meth:`BaseRefiner.state_dict`."""
        return dict(memory=self.memory.state_dict())

    def load_state_dict(self, state: dict, device: torch.device) -> None:
        """See :meth:`BaseRefiner.load_state_dict`."""
        self.memory.load_state_dict(state['memory'], device)


class OfflineRefiner(BaseRefiner):
    """Refines consecutive clips of W frames as soon as one is complete.

    A tracklet with a detection anywhere in the clip is emitted in all its
    frames. The last clip of a video may be shorter.

    Args:
        tar_head (:obj:`TARHead`): The refinement head.
        window (int): Frames W of a clip.
        delay (int): Frames that must have come after a clip. Defaults to 0.
    """

    def __init__(self, tar_head: TARHead, window: int, delay: int = 0) -> None:
        super().__init__(tar_head, window)
        self.delay = delay
        self._clip: List[FrameTracks] = []

    def push(self, frame: FrameTracks) -> List[FrameTracks]:
        """See :meth:`BaseRefiner.push`."""
        self._clip.append(frame)
        if len(self._clip) < self.window + self.delay:
            return []
        return self._refine_clip()

    def flush(self) -> List[FrameTracks]:
        """See :meth:`BaseRefiner.flush`."""
        frames = []
        while self._clip:
            frames += self._refine_clip()
        return frames

    def _refine_clip(self) -> List[FrameTracks]:
        """Take the oldest W frames, or what there is, and refine them."""
        clip, self._clip = (self._clip[:self.window], self._clip[self.window:])
        ids = sorted({i for frame in clip for i in frame.ids})
        if not ids:
            return clip
        row_of = {track_id: row for row, track_id in enumerate(ids)}
        dims = clip[0].embeds.shape[-1]
        embeds = clip[0].embeds.new_zeros(len(ids), len(clip), dims)
        boxes = embeds.new_zeros(len(ids), len(clip), 4)
        detected = torch.zeros(
            embeds.shape[:2], dtype=torch.bool, device=embeds.device)
        for t, frame in enumerate(clip):
            rows = [row_of[track_id] for track_id in frame.ids]
            embeds[rows, t] = frame.embeds
            boxes[rows, t] = frame.boxes
            detected[rows, t] = True
        frame_inds = torch.tensor([frame.frame_id for frame in clip],
                                  device=embeds.device).expand(len(ids), -1)
        refined = self.tar_head.refine(embeds, frame_inds, detected)
        boxes = interpolate_boxes(boxes, detected, frame_inds)
        met = _find_meetings(detected)
        return [
            FrameTracks(frame.frame_id, frame.meta, ids, refined[:, t],
                        boxes[:, t], detected[:, t], frame.mask_features, met)
            for t, frame in enumerate(clip)
        ]

    def discard(self, ids: Sequence[int]) -> None:
        """See :meth:`BaseRefiner.discard`."""
        self._clip = [frame.without(ids) for frame in self._clip]

    def merge(self, ids: Mapping[int, int]) -> None:
        """See :meth:`BaseRefiner.merge`."""
        self._clip = [frame.renamed(ids) for frame in self._clip]

    def state_dict(self) -> dict:
        """See :meth:`BaseRefiner.state_dict`."""
        return dict(clip=[dict(vars(frame)) for frame in self._clip])

    def load_state_dict(self, state: dict, device: torch.device) -> None:
        """See :meth:`BaseRefiner.load_state_dict`."""
        self._clip = [
            FrameTracks(**frame).to(device) for frame in state['clip']
        ]


def _find_meetings(detected: Tensor) -> Tensor:
    """Which tracklets of a window (N, W) share a frame, has shape (N, N)."""
    return (detected[:, None] & detected[None]).any(-1)
