# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the model says of one frame, decoded to full-size masks."""
from dataclasses import dataclass
from typing import List

from torch import Tensor


@dataclass
class DecodedFrame:
    """Instances of one frame, before they are encoded.

    Attributes:
        frame_id (int): Position of the frame in its video.
        ids (list[int]): Tracklet ids, N of them.
        cls_scores (Tensor): Class probabilities, has shape (N, K).
        detected (Tensor): Bool, False where the frame model missed the
            object; refinement may have recovered its mask, has shape (N, ).
        scored (Tensor): Bool, whether ``cls_scores`` count in the mean of
            the tracklet, has shape (N, ).
        masks (Tensor): Bool masks at the original size, empty where nothing
            of a missed object is recovered, has shape (N, ori_h, ori_w).
    """

    frame_id: int
    ids: List[int]
    cls_scores: Tensor
    detected: Tensor
    scored: Tensor
    masks: Tensor
