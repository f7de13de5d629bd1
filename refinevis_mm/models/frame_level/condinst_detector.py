# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Images by IDOL's frame model, as its models pre-trained on COCO do it."""
from typing import Tuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameOutput
from ..layers.mask_resize import resize_masks
from ..layers.nms import classwise_nms
from .frame_model_detector import MASK_CHUNK, FrameModelDetector, rescale_boxes


@MODELS.register_module()
class CondInstDetector(FrameModelDetector):
    """Detector of images with :class:`DeformableDETRCondInst`.

    Results are those of ``coco_inference`` of `IDOL
    <https://arxiv.org/abs/2207.10661>`_: class-wise NMS of all queries by
    their best class, then the best (query, class) pairs whatever their
    score. Boxes are clipped, and pairs with an empty box dropped. The score
    is that of the class alone.

    Args:
        test_cfg (dict, optional): ``max_per_img``, the number of results of
            an image, and ``nms_iou_thr``, the box IoU in [0, 1] above which
            the worse of two queries is dropped. Defaults to 100 and 0.7, as
            IDOL.
        *args: See :class:`FrameModelDetector`.
        **kwargs: See :class:`FrameModelDetector`.

    Raises:
        ValueError: If ``test_cfg`` is not allowed.
    """

    default_test_cfg = dict(max_per_img=100, nms_iou_thr=0.7)

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        thr = self.test_cfg['nms_iou_thr']
        if not 0 <= thr <= 1:
            raise ValueError(f'nms_iou_thr must lie in [0, 1], got {thr}')

    def select_pairs(self, cls_scores: Tensor,
                     boxes: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Choose the (query, class) pairs of an image.

        Args:
            cls_scores (Tensor): Class probabilities, has shape (Q, K).
            boxes (Tensor): Normalised (cx, cy, w, h), has shape (Q, 4).

        Returns:
            tuple[Tensor]: Falling scores, labels and queries of n pairs, each
            (n, ).
        """
        kept = self.keep_queries(cls_scores, boxes)
        pairs = cls_scores[kept].flatten()
        scores, inds = pairs.topk(min(self.max_per_img, len(pairs)))
        num_classes = cls_scores.shape[1]
        return scores, inds % num_classes, kept[inds // num_classes]

    def keep_queries(self, cls_scores: Tensor, boxes: Tensor) -> Tensor:
        """Queries that class-wise NMS leaves, by falling best score.

        Args:
            cls_scores (Tensor): Class probabilities, has shape (Q, K).
            boxes (Tensor): Normalised (cx, cy, w, h), has shape (Q, 4).

        Returns:
            Tensor: Long, has shape (n, ).
        """
        best, labels = cls_scores.max(1)
        order = best.argsort(descending=True, stable=True)
        return order[classwise_nms(boxes[order], labels[order],
                                   self.test_cfg['nms_iou_thr'])]

    def _predict_single(self, output: FrameOutput, row: int, meta: dict,
                        padded_shape: Tuple[int, int]) -> InstanceData:
        """Results of one image of a batch (official IDOL)."""
        scores, labels, queries = self.select_pairs(
            output.cls_logits[row].float().sigmoid(),
            output.boxes[row].float())
        boxes = rescale_boxes(output.boxes[row, queries], padded_shape, meta)
        height, width = meta['ori_shape'][:2]
        boxes = boxes.clamp(min=0).minimum(
            boxes.new_tensor([width, height, width, height]))
        filled = (boxes[:, 2:] > boxes[:, :2]).all(1)
        # A query may stand for several classes; its mask is made once.
        unique, result_of = torch.unique(queries[filled], return_inverse=True)
        return InstanceData(
            scores=scores[filled],
            labels=labels[filled],
            bboxes=boxes[filled],
            masks=self._masks(output, row, unique, meta)[result_of])

    def _masks(self, output: FrameOutput, row: int, queries: Tensor,
               meta: dict) -> Tensor:
        """Bool masks (n, ori_h, ori_w) of some queries."""
        masks = queries.new_zeros((len(queries), *meta['ori_shape'][:2]),
                                  dtype=torch.bool)
        for start in range(0, len(queries), MASK_CHUNK):
            inds = queries[start:start + MASK_CHUNK]
            logits = self.frame_model.segment(
                output.embeds[row:row + 1, inds],
                output.mask_features[row][None], output.mask_boxes[row:row + 1,
                                                                   inds])
            logits = resize_masks(logits[0].float(), meta, 'nearest')
            masks[start:start + MASK_CHUNK] = logits > 0
        return masks
