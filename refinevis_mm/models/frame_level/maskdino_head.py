# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Class, box and mask head of MaskDINO with its losses."""
from typing import Dict, List, Optional, Tuple

import torch
from mmcv.ops import point_sample
from mmdet.models.layers import MLP
from mmdet.models.task_modules.assigners import BaseAssigner
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig, reduce_mean
from mmengine.model import BaseModule, bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn

from refinevis_mm.registry import MODELS, TASK_UTILS
from refinevis_mm.structures import (DnQueries, FrameOutput, FrameTargets,
                                     LayerOutput, QueryMatch)
from ..layers.mask_point_loss import MaskPointLoss
from .matching import check_finite, count_matched, match_queries, one_hot

# Prefix of the encoder's prediction set.
ENC_PREFIX = 'enc_'


@MODELS.register_module()
class MaskDINOHead(BaseModule):
    """One set of branches for every prediction set, and Eq. (2).

    The branches are shared by the encoder proposals, the initial queries,
    all decoder layers and, through the frame model, by TAR.

    Args:
        num_classes (int): Number of classes K; sigmoid, no background column.
        embed_dims (int): Width of the queries. Defaults to 256.
        mask_dims (int): Width of the mask features. Defaults to 256.
        assigner (dict): Matcher of queries to ground truth; one-to-many
            matchers set the extra property ``best_query_inds``.
        loss_cls (dict): Class loss.
        loss_bbox (dict): Box L1 loss on normalised (cx, cy, w, h).
        loss_iou (dict): Box IoU loss.
        loss_mask (dict): Arguments of :class:`MaskPointLoss`.
        num_match_points (int): Random points on which mask costs are
            computed, shared by all queries of an image. Defaults to 12544.
        enc_assigner (dict, optional): Matcher of the encoder's prediction
            set; ``assigner`` if None.
        cls_prior (float, optional): Class probability at initialisation, in
            (0, 1), for training without an image-level checkpoint. None
            keeps the default bias, as the official code.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 num_classes: int,
                 assigner: ConfigType,
                 loss_cls: ConfigType,
                 loss_bbox: ConfigType,
                 loss_iou: ConfigType,
                 loss_mask: ConfigType,
                 embed_dims: int = 256,
                 mask_dims: int = 256,
                 num_match_points: int = 12544,
                 enc_assigner: OptConfigType = None,
                 cls_prior: Optional[float] = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.num_match_points = num_match_points
        self.cls_prior = cls_prior
        self.fc_cls = nn.Linear(embed_dims, num_classes)
        self.fc_reg = MLP(embed_dims, embed_dims, 4, 3)
        self.fc_mask = MLP(embed_dims, embed_dims, mask_dims, 3)
        self.assigner = TASK_UTILS.build(assigner)
        self.enc_assigner = self.assigner if enc_assigner is None else \
            TASK_UTILS.build(enc_assigner)
        self.loss_cls = MODELS.build(loss_cls)
        self.loss_bbox = MODELS.build(loss_bbox)
        self.loss_iou = MODELS.build(loss_iou)
        self.mask_point_loss = MaskPointLoss(**loss_mask)

    def init_weights(self) -> None:
        """Boxes start at their anchors, classes at the prior if given."""
        super().init_weights()
        if self.cls_prior is not None:
            nn.init.constant_(self.fc_cls.bias,
                              bias_init_with_prob(self.cls_prior))
        nn.init.zeros_(self.fc_reg.layers[-1].weight)
        nn.init.zeros_(self.fc_reg.layers[-1].bias)

    def forward(self, states: Tensor) -> Tuple[Tensor, Tensor]:
        """Class logits and mask kernels.

        Args:
            states (Tensor): Normalised queries, has shape (..., C).

        Returns:
            tuple[Tensor]: Class logits (..., K) and mask kernels
            (..., mask_dims).
        """
        return self.fc_cls(states), self.fc_mask(states)

    def loss_by_feat(self, output: FrameOutput,
                     targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """Eq. (2) for every prediction set, denoising included.

        Args:
            output (:obj:`FrameOutput`): Training output of n frames.
            targets (list[:obj:`FrameTargets`]): Ground truth of the n frames.

        Returns:
            dict[str, Tensor]: ``{prefix}loss_{cls,bbox,iou,mask,dice}`` of
            each prediction set.
        """
        matches = [
            self.match(layer, output.mask_features, targets)
            for layer in output.layers
        ]
        num_gts, *num_matched = self._count(targets, matches)
        losses = {}
        for layer, match, count in zip(output.layers, matches, num_matched):
            losses.update(
                self._loss_layer(layer, output.mask_features, targets,
                                 [frame.gt_inds for frame in match], count))
        if output.dn_layers:
            assigned, weight = self._dn_targets(output.dn_queries, targets)
            avg_factor = num_gts * max(output.dn_queries.num_groups, 1)
            for layer in output.dn_layers:
                losses.update(
                    self._loss_layer(layer, output.mask_features, targets,
                                     assigned, avg_factor, weight))
        return losses

    @staticmethod
    def _count(targets: List[FrameTargets],
               matches: List[List[QueryMatch]]) -> Tensor:
        """Normalisers, averaged over processes in one call.

        One-to-one matching counts the objects, as MaskDINO; one-to-many
        matching the matched queries, as IDOL.

        Returns:
            Tensor: Objects of the frames, then the count of every prediction
            set, each at least 1, has shape (1 + number of sets, ).
        """
        matched = count_matched(matches)
        num_gts = matched.new_tensor(sum(len(target) for target in targets))
        counts = torch.cat([num_gts[None], matched.clamp(min=num_gts)])
        return reduce_mean(counts.float()).clamp(min=1)

    @torch.no_grad()
    def match(self, layer: LayerOutput, mask_features: Tensor,
              targets: List[FrameTargets]) -> List[QueryMatch]:
        """Match one prediction set to ground truth.

        Args:
            layer (:obj:`LayerOutput`): Predictions of n frames.
            mask_features (Tensor): Has shape (n, mask_dims, h, w).
            targets (list[:obj:`FrameTargets`]): Ground truth of the n frames.

        Returns:
            list[:obj:`QueryMatch`]: Matched queries of each frame.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        check_finite(layer)
        assigner = self.enc_assigner if layer.prefix == ENC_PREFIX else \
            self.assigner
        return [
            self._match_single(assigner, layer.cls_logits[i], layer.boxes[i],
                               layer.mask_embeds[i], mask_features[i], target)
            for i, target in enumerate(targets)
        ]

    def _match_single(self, assigner: BaseAssigner, cls_logits: Tensor,
                      boxes: Tensor, mask_embeds: Tensor,
                      mask_features: Tensor,
                      target: FrameTargets) -> QueryMatch:
        """Match one frame; mask costs on random points, in fp32."""
        points = torch.rand((1, self.num_match_points, 2), device=boxes.device)
        # Sampling is linear: sampled features give sampled logits.
        feats = point_sample(mask_features[None].float(), points)[0]
        gt_points = point_sample(target.masks[None].float(), points)[0]
        predictions = InstanceData(
            scores=cls_logits.float(),
            bboxes=bbox_cxcywh_to_xyxy(boxes.float()),
            masks=mask_embeds.float() @ feats)
        ground_truth = InstanceData(
            labels=target.labels,
            bboxes=bbox_cxcywh_to_xyxy(target.boxes),
            masks=gt_points)
        return match_queries(assigner, predictions, ground_truth)

    def _dn_targets(
            self, dn_queries: DnQueries,
            targets: List[FrameTargets]) -> Tuple[List[Tensor], Tensor]:
        """Ground truth of denoising queries.

        Returns:
            tuple: Ground-truth index of each query or -1, each (D, ),
            and the class weight of each query (n, D): 0 for empty slots
            among negatives; without negatives 1, as officially they are
            background.
        """
        assigned = []
        weight = dn_queries.content.new_full(
            (len(targets), dn_queries.num_queries),
            float(dn_queries.num_signs == 1))
        for i, target in enumerate(targets):
            gt_inds = torch.full((dn_queries.num_queries, ),
                                 -1,
                                 dtype=torch.long,
                                 device=weight.device)
            positive = dn_queries.query_inds(target.slots, negative=False)
            negative = dn_queries.query_inds(target.slots, negative=True)
            gt_inds[positive] = torch.arange(
                len(target),
                device=weight.device).repeat(dn_queries.num_groups)
            weight[i, positive] = 1
            weight[i, negative] = 1
            assigned.append(gt_inds)
        return assigned, weight

    def _loss_layer(self,
                    layer: LayerOutput,
                    mask_features: Tensor,
                    targets: List[FrameTargets],
                    assigned: List[Tensor],
                    avg_factor: Tensor,
                    cls_weight: Tensor = None) -> Dict[str, Tensor]:
        """Class loss on all queries, box and mask loss on matched ones."""
        labels = torch.full(
            layer.cls_logits.shape[:2],
            self.num_classes,
            dtype=torch.long,
            device=layer.cls_logits.device)
        gt_boxes, gt_masks, mask_logits, boxes = [], [], [], []
        for i, (target, gt_inds) in enumerate(zip(targets, assigned)):
            matched = (gt_inds >= 0).nonzero().flatten()
            gt = gt_inds[matched]
            labels[i, matched] = target.labels[gt]
            gt_boxes.append(target.boxes[gt])
            gt_masks.append(target.masks[gt])
            boxes.append(layer.boxes[i, matched])
            mask_logits.append(
                torch.einsum('pc,chw->phw', layer.mask_embeds[i, matched],
                             mask_features[i]))
        boxes, gt_boxes = torch.cat(boxes), torch.cat(gt_boxes)
        losses = dict(
            loss_cls=self.loss_cls(
                layer.cls_logits.flatten(0, 1),
                one_hot(labels, self.num_classes).flatten(0, 1),
                None if cls_weight is None else cls_weight.flatten(),
                avg_factor=avg_factor),
            loss_bbox=self.loss_bbox(boxes, gt_boxes, avg_factor=avg_factor),
            loss_iou=self.loss_iou(
                bbox_cxcywh_to_xyxy(boxes),
                bbox_cxcywh_to_xyxy(gt_boxes),
                avg_factor=avg_factor))
        losses.update(
            self.mask_point_loss(
                torch.cat(mask_logits), torch.cat(gt_masks), avg_factor))
        return {f'{layer.prefix}{key}': loss for key, loss in losses.items()}
