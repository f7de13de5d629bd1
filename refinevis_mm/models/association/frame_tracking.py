# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From the predictions of a frame to detections with identities."""
import torch
from mmengine.structures import InstanceData

from refinevis_mm.structures import FrameOutput
from ..frame_level.frame_model import FrameModel
from .tracker import Tracker


def track_frame(tracker: Tracker, frame: FrameOutput, frame_model: FrameModel,
                frame_id: int) -> InstanceData:
    """Give the detections of a frame their tracklet ids (Sec. 3.3).

    Args:
        tracker (:obj:`Tracker`): Tracker of the video, updated.
        frame (:obj:`FrameOutput`): Output for one frame with association
            embeddings.
        frame_model (:obj:`FrameModel`): Segments the detections.
        frame_id (int): Position of the frame in its video.

    Returns:
        :obj:`InstanceData`: Detections that belong to a tracklet, n in
        number, with ``instances_id`` and ``query_inds`` (n, ) and the fields
        of :meth:`Tracker.track`.
    """
    scores, boxes = frame.cls_logits[0].float().sigmoid(), frame.boxes[0]
    inds = tracker.select(scores, boxes)
    masks = frame_model.segment(frame.embeds[:, inds], frame.mask_features,
                                frame.mask_boxes[:, inds])[0] > 0
    best_scores, labels = scores[inds].max(-1)
    detections = InstanceData(
        scores=best_scores,
        cls_scores=scores[inds],
        labels=labels,
        boxes=boxes[inds].float(),
        masks=masks,
        assoc_embeds=frame.assoc_embeds[0, inds].float(),
        query_inds=inds)
    # half precision cannot count the pixels of a mask
    with torch.autocast(masks.device.type, enabled=False):
        return tracker.track(detections, frame_id)
