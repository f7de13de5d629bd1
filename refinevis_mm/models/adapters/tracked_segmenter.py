# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Any segmenter of images, followed through a video."""
from typing import Dict, Union

import torch
import torch.nn.functional as F
from mmdet.structures import TrackSampleList
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
from mmdet.utils import ConfigType, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import DecodedFrame
from ..association.tracker import Tracker, build_tracker
from ..base_vis_model import BaseVISModel
from ..frame_level.maskdino import masks_to_boxes
from .segmenters import Segmenter


@MODELS.register_module()
class TrackedSegmenter(BaseVISModel):
    """Follows the masks of a segmenter that has no object embeddings.

    Its masks and scores are taken as they are; a tracker gives them
    identities. There is nothing to refine: ``window`` is 0.

    Args:
        segmenter (dict | :obj:`Segmenter`): :class:`MMDetSegmenter`, or an
            object that has the methods of :class:`Segmenter`.
        tracker (dict): :class:`StreamingTracker`, or another
            :class:`Tracker` that needs no association embeddings.
        mode (str): As in :class:`BaseVISModel`; without refinement there is
            no difference. Defaults to 'online'.
        window (int): Must be 0. Defaults to 0.
        cls_thr (float): Least mean class score of a reported (tracklet,
            class) pair. Defaults to 0.05.
        data_preprocessor (dict, optional): :class:`TrackDataPreprocessor`
            that gives the segmenter its images.

    Raises:
        ValueError: If ``window`` is not 0, or ``mode`` or a part not allowed.
    """

    def __init__(self,
                 segmenter: Union[ConfigType, Segmenter],
                 tracker: ConfigType,
                 mode: str = 'online',
                 window: int = 0,
                 cls_thr: float = 0.05,
                 data_preprocessor: OptConfigType = None) -> None:
        super().__init__(
            mode, window, cls_thr, data_preprocessor=data_preprocessor)
        if window != 0:
            raise ValueError('window must be 0: a segmenter without object '
                             f'embeddings has nothing to refine, got {window}')
        if isinstance(segmenter, dict):
            segmenter = MODELS.build(segmenter)
        self.segmenter: Segmenter = segmenter
        self.tracker = build_tracker(tracker)

    def loss(self, inputs: Tensor, data_samples: TrackSampleList,
             **kwargs) -> Dict[str, Tensor]:
        """There is nothing to train.

        Raises:
            ValueError: Always; the segmenter is trained on images.
        """
        raise ValueError('a TrackedSegmenter cannot be trained: train its '
                         'segmenter on images')

    def track(self, image: Tensor, meta: dict,
              tracker: Tracker) -> DecodedFrame:
        """See :meth:`BaseVISModel.track`.

        Raises:
            ValueError: If the segmenter gives masks of another size, labels
                of no class, or scores outside of [0, 1].
        """
        found = self.segmenter.segment(image, meta)
        check_segments(found, meta['ori_shape'], self.segmenter.num_classes)
        masks, scores = found.masks, found.scores.float()
        cls_scores = F.one_hot(found.labels.long(),
                               self.segmenter.num_classes) * scores[:, None]
        boxes = normalised_boxes(found)
        inds = tracker.select(cls_scores, boxes)
        detections = InstanceData(
            scores=scores[inds],
            cls_scores=cls_scores[inds],
            labels=found.labels[inds],
            boxes=boxes[inds],
            masks=masks[inds])
        if 'embeds' in found:
            detections.assoc_embeds = found.embeds[inds]
        tracked = tracker.track(detections, meta['frame_id'])
        detected = torch.ones_like(tracked.scores, dtype=torch.bool)
        return DecodedFrame(
            frame_id=meta['frame_id'],
            ids=tracked.instances_id.tolist(),
            cls_scores=tracked.cls_scores,
            detected=detected,
            scored=detected,
            masks=tracked.masks)

    def decode(self,
               tracks: DecodedFrame,
               refined: bool = True) -> DecodedFrame:
        """See :meth:`BaseVISModel.decode`; the masks are there already."""
        return tracks


def normalised_boxes(found: InstanceData) -> Tensor:
    """Boxes of the objects of a frame.

    Args:
        found (:obj:`InstanceData`): As :meth:`Segmenter.segment` gives it.

    Returns:
        Tensor: Normalised (cx, cy, w, h), those of the masks where there are
        no others, 0 for empty masks, has shape (n, 4).
    """
    height, width = found.masks.shape[1:]
    if 'boxes' in found:
        boxes = bbox_xyxy_to_cxcywh(found.boxes.float())
        return boxes / boxes.new_tensor([width, height, width, height])
    if len(found.masks) == 0:
        return found.scores.new_zeros(0, 4).float()
    boxes, empty = masks_to_boxes(found.masks)
    return boxes.masked_fill(empty[..., None], 0)


def check_segments(found: InstanceData, size: tuple, num_classes: int) -> None:
    """Check what a segmenter says of a frame.

    Args:
        found (:obj:`InstanceData`): As :meth:`Segmenter.segment` gives it.
        size (tuple[int]): Height and width of the frame.
        num_classes (int): Number of classes K.

    Raises:
        ValueError: If a field has another shape, a label is of no class, or a
            score does not lie in [0, 1].
    """
    masks, scores, labels = found.masks, found.scores, found.labels
    wanted = (len(scores), *size[:2])
    if masks.shape != wanted:
        raise ValueError(f'masks must have shape (n, height, width) {wanted}, '
                         f'got {tuple(masks.shape)}')
    if scores.dim() != 1 or labels.dim() != 1:
        raise ValueError('scores and labels must have shape (n, ), got '
                         f'{tuple(scores.shape)} and {tuple(labels.shape)}')
    if 'boxes' in found and found.boxes.shape != (len(scores), 4):
        raise ValueError(f'boxes must have shape (n, 4) {(len(scores), 4)}, '
                         f'got {tuple(found.boxes.shape)}')
    if 'embeds' in found and found.embeds.dim() != 2:
        raise ValueError('embeds must have shape (n, E), got '
                         f'{tuple(found.embeds.shape)}')
    if not ((scores >= 0) & (scores <= 1)).all():  # NaN, too
        bad = scores[~((scores >= 0) & (scores <= 1))][0]
        raise ValueError(f'scores must lie in [0, 1], got {float(bad):g}')
    if labels.dtype.is_floating_point:
        raise ValueError(f'labels must be whole numbers, got {labels.dtype}')
    if len(labels) and not 0 <= int(labels.min()) <= int(
            labels.max()) < num_classes:
        raise ValueError(f'labels must lie in [0, {num_classes}), got '
                         f'{int(labels.min())} to {int(labels.max())}')
