# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The contract that makes the tracker replaceable."""
from typing import Any, Dict, List, Protocol, runtime_checkable

from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS


@runtime_checkable
class Tracker(Protocol):
    """Gives the detections of a frame their identities.

    It gets tensors, never the model, so the same tracker serves every frame
    model, segmenters that are not ours, and results from a file. A class
    needs not derive from this one. RefineVIS builds it with ``embed_dims``,
    the width of the association embeddings, None without an association
    head; ``copy.deepcopy`` and :meth:`reset` make one per video.

    Attributes:
        live_ids (list[int]): Ids that may still be given, oldest first.
        discarded_ids (list[int]): Ids judged noise by the last
            :meth:`track`: what results say of them so far is to be deleted.
    """

    live_ids: List[int]
    discarded_ids: List[int]

    def reset(self) -> None:
        """Start of a new video, ids from 0."""

    def select(self, cls_scores: Tensor, boxes: Tensor) -> Tensor:
        """Choose the queries of a frame that are detections.

        Args:
            cls_scores (Tensor): Class probabilities in [0, 1], has shape
                (Q, K).
            boxes (Tensor): Normalised (cx, cy, w, h), has shape (Q, 4).

        Returns:
            Tensor: Long query indices, the best score first, has shape
            (M, ).
        """

    def track(self, detections: InstanceData, frame_id: int) -> InstanceData:
        """Associate the detections of the next frame, also if there is none.

        Args:
            detections (:obj:`InstanceData`): By falling score:

                - scores (Tensor): In [0, 1], has shape (M, ).
                - cls_scores (Tensor): Class probabilities, has shape (M, K).
                - labels (Tensor): Best classes, has shape (M, ).
                - boxes (Tensor): Normalised (cx, cy, w, h), has shape
                  (M, 4).
                - masks (Tensor): Bool, one size (h, w) in all frames, has
                  shape (M, h, w).
                - assoc_embeds (Tensor): Association embeddings, has shape
                  (M, E); missing where the detector has none.

                A tracker reads what it needs; further fields stay in the
                rows that it returns.
            frame_id (int): Position of the frame in the video, larger than
                that of the last call.

        Returns:
            :obj:`InstanceData`: The rows that got an identity, with a new
            field ``instances_id`` (long): ids count up from 0 and are never
            given to another object.
        """

    def state_dict(self) -> Dict[str, Any]:
        """Tensors, numbers, lists and strings, fit for ``torch.save``."""

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned.

        Raises:
            ValueError: If it is the state of another tracker. This one is
                unchanged then.
        """


@runtime_checkable
class MergingTracker(Tracker, Protocol):
    """A tracker that finds out later that two tracklets are one.

    Attributes:
        merged_ids (dict[int, int]): What the last :meth:`track` found to be
            one, see :class:`TrackMerges`: what results say of the younger
            tracklet so far is of the older one, whose id it has from now on.
        delay (int): Frames after the first one of a tracklet in which that
            is found out.
    """

    merged_ids: Dict[int, int]
    delay: int

    def finish(self) -> Dict[int, int]:
        """End the video.

        Returns:
            dict[int, int]: As ``merged_ids``, what is found at the end.
        """


def find_merges(tracker: Tracker) -> Dict[int, int]:
    """``merged_ids`` of a :class:`MergingTracker`, none of another one."""
    return tracker.merged_ids if isinstance(tracker, MergingTracker) else {}


def find_last_merges(tracker: Tracker) -> Dict[int, int]:
    """End the video of a :class:`MergingTracker`; nothing of another one."""
    return tracker.finish() if isinstance(tracker, MergingTracker) else {}


def find_delay(tracker: Tracker) -> int:
    """``delay`` of a :class:`MergingTracker`, 0 of another one."""
    return tracker.delay if isinstance(tracker, MergingTracker) else 0


def build_tracker(cfg: ConfigType, **defaults: Any) -> Tracker:
    """Build a tracker and check that it is one.

    Args:
        cfg (dict): Config of the tracker.
        **defaults: Arguments where ``cfg`` has none.

    Returns:
        :obj:`Tracker`: The tracker.

    Raises:
        ValueError: If it lacks a member of :class:`Tracker`, or has some
            members of :class:`MergingTracker` but not all.
    """
    tracker = MODELS.build(cfg, default_args=defaults)
    if not isinstance(tracker, Tracker):
        members = ('live_ids', 'discarded_ids', 'reset', 'select', 'track',
                   'state_dict', 'load_state_dict')
        missing = [name for name in members if not hasattr(tracker, name)]
        raise ValueError(f'a tracker must have {members}, got '
                         f'{type(tracker).__name__} without {missing}')
    merging = ('merged_ids', 'delay', 'finish')
    missing = [name for name in merging if not hasattr(tracker, name)]
    if len(missing) not in (0, len(merging)):
        raise ValueError(f'a tracker that merges must have {merging}, got '
                         f'{type(tracker).__name__} without {missing}')
    return tracker
