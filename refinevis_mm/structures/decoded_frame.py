# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the model says of one frame, decoded to full-size masks."""
from dataclasses import dataclass, field
from typing import List

from torch import Tensor


@dataclass
class DecodedFrame:
    """Instances of one frame, before they are encoded.

    Attributes:
        frame_id (int): Position of the frame in its video.
        ids (list[int]): Tracklet ids, N of them.
        cls_scores (Tensor): Class probabilities, has shape (N, K).
        real (Tensor): Bool, False where the frame model missed the object
            and refinement recovered it, has shape (N, ).
        scored (Tensor): Bool, whether ``cls_scores`` count in the mean of
            the tracklet, has shape (N, ).
        masks (Tensor): Bool masks at the original size, empty where nothing
            of a missed object is recovered, has shape (N, ori_h, ori_w).
        discarded_ids (list[int]): Tracklets the tracker judged noise since
            the last result: drop what earlier frames said of them before
            adding this frame. An id may come back later.
    """

    frame_id: int
    ids: List[int]
    cls_scores: Tensor
    real: Tensor
    scored: Tensor
    masks: Tensor
    discarded_ids: List[int] = field(default_factory=list)
