# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RPN head for models that hand it the classes of the objects."""
from typing import Dict, List

from mmdet.models.dense_heads import RPNHead
from mmdet.utils import InstanceList, OptInstanceList
from torch import Tensor

from refinevis_mm.registry import MODELS


@MODELS.register_module()
class ClassAgnosticRPNHead(RPNHead):
    """mmdet's ``RPNHead`` for which every object is an object.

    ``RPNHead`` reads label 0 as "object" and other labels as background. Its
    callers in mmdet set the labels to 0 first, but ``MaskTrackRCNN`` of mmdet
    3.3 does not, so its region proposals learn to leave out all objects but
    those of the first class. The weights are those of ``RPNHead``.
    """

    def loss_by_feat(
        self,
        cls_scores: List[Tensor],
        bbox_preds: List[Tensor],
        batch_gt_instances: InstanceList,
        batch_img_metas: List[dict],
        batch_gt_instances_ignore: OptInstanceList = None
    ) -> Dict[str, List[Tensor]]:
        """See ``RPNHead.loss_by_feat``; labels are read as 0.

        Args:
            cls_scores (list[Tensor]): Objectness of each level.
            bbox_preds (list[Tensor]): Box deltas of each level.
            batch_gt_instances (list[:obj:`InstanceData`]): ``bboxes`` and
                ``labels`` of each image, left as they are.
            batch_img_metas (list[dict]): Metainfo of each image.
            batch_gt_instances_ignore (list[:obj:`InstanceData`], optional):
                Boxes to be ignored.

        Returns:
            dict[str, list[Tensor]]: ``loss_rpn_cls`` and ``loss_rpn_bbox``.
        """
        objects = []
        for gt_instances in batch_gt_instances:
            gt_instances = gt_instances.clone()
            gt_instances.labels = gt_instances.labels.new_zeros(
                len(gt_instances))
            objects.append(gt_instances)
        return super().loss_by_feat(
            cls_scores,
            bbox_preds,
            objects,
            batch_img_metas,
            batch_gt_instances_ignore=batch_gt_instances_ignore)
