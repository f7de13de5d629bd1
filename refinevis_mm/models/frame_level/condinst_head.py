# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Class, box and mask head of IDOL's frame model with its losses."""
from dataclasses import dataclass
from typing import Dict, List, Optional, Sequence, Tuple, cast

import torch
from mmdet.models.layers import MLP
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, OptMultiConfig, reduce_mean
from mmengine.model import ModuleList, bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (FrameOutput, FrameTargets, LayerOutput,
                                     QueryMatch)
from .base_frame_head import (BaseFrameHead, assigned_rows, join_frames,
                              name_losses, stack_losses)
from .condinst_masks import (CondInstMaskBranch, dynamic_masks,
                             num_dynamic_params, stride_masks)
from .matching import check_finite, count_matched, match_queries

# Logit of an initial box size, 12 % of the image (Deformable DETR).
INIT_SIZE_LOGIT = -2.0


@dataclass
class CondInstLayer(LayerOutput):
    """Predictions of one layer, whose masks are placed by other boxes.

    Attributes:
        mask_boxes (Tensor): Normalised (cx, cy, w, h), has shape
            (bs * T, Q, 4). Its centre is the layer's reference, from which
            ``boxes`` were refined.
    """

    mask_boxes: Tensor

    def select_frames(self, inds: Tensor) -> 'CondInstLayer':
        """Rows ``inds`` (n, ) of the flattened frame dimension."""
        return CondInstLayer(self.prefix, self.cls_logits[inds],
                             self.boxes[inds], self.mask_embeds[inds],
                             self.mask_boxes[inds])


class BaseCondInstHead(BaseFrameHead):
    """Class and box branches of every decoder layer, one mask head for all.

    A query becomes the parameters of three small convolutions which turn the
    shared mask features into its mask
    (`CondInst <https://arxiv.org/abs/2003.05664>`_), as in `IDOL
    <https://arxiv.org/abs/2207.10661>`_. A subclass matches and trains.

    Args:
        num_classes (int): Number of classes K; sigmoid, no background column.
        assigner (dict): Matcher of queries to ground truth; one-to-many
            matchers set the extra property ``best_query_inds``.
        loss_cls (dict): Class loss.
        loss_bbox (dict): Box L1 loss on normalised (cx, cy, w, h).
        loss_iou (dict): Box IoU loss.
        loss_mask (dict): Focal loss on the cells of the masks.
        loss_dice (dict): Dice loss of the masks.
        num_layers (int): Decoder layers L. Defaults to 6.
        embed_dims (int): Width C of the queries. Defaults to 256.
        mask_dims (int): Channels of the mask features. Defaults to 8.
        cls_prior (float): Class probability at initialisation, in (0, 1).
            Defaults to 0.01.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 num_classes: int,
                 assigner: ConfigType,
                 loss_cls: ConfigType,
                 loss_bbox: ConfigType,
                 loss_iou: ConfigType,
                 loss_mask: ConfigType,
                 loss_dice: ConfigType,
                 num_layers: int = 6,
                 embed_dims: int = 256,
                 mask_dims: int = 8,
                 cls_prior: float = 0.01,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(num_classes, assigner, loss_cls, loss_bbox, loss_iou,
                         init_cfg)
        self.cls_prior = cls_prior
        self.fc_cls = ModuleList(
            [nn.Linear(embed_dims, num_classes) for _ in range(num_layers)])
        self.fc_reg = ModuleList(
            [MLP(embed_dims, embed_dims, 4, 3) for _ in range(num_layers)])
        self.controller = MLP(embed_dims, embed_dims,
                              num_dynamic_params(mask_dims), 3)
        self.mask_branch = CondInstMaskBranch(embed_dims, mask_dims)
        self.loss_mask = MODELS.build(loss_mask)
        self.loss_dice = MODELS.build(loss_dice)

    def init_weights(self) -> None:
        """Classes start at the prior, boxes small at their points."""
        super().init_weights()
        for fc_cls, fc_reg in zip(self.fc_cls, self.fc_reg):
            nn.init.constant_(fc_cls.bias, bias_init_with_prob(self.cls_prior))
            nn.init.zeros_(fc_reg.layers[-1].weight)
            nn.init.zeros_(fc_reg.layers[-1].bias)
        nn.init.constant_(self.fc_reg[0].layers[-1].bias[2:], INIT_SIZE_LOGIT)
        for layer in self.controller.layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, states: List[Tensor]) -> Tuple[List[Tensor], ...]:
        """Class logits and mask parameters of all layers.

        Args:
            states (list[Tensor]): States of the L layers, each (B, Q, C).

        Returns:
            tuple[list[Tensor]]: For each layer the class logits (B, Q, K) and
            the parameters of the dynamic convolutions
            (B, Q, num_dynamic_params).
        """
        cls_logits = [fc(state) for fc, state in zip(self.fc_cls, states)]
        return cls_logits, [self.controller(state) for state in states]

    def compare_masks(self, mask_logits: Tensor, gt_masks: Tensor,
                      avg_factor: Tensor) -> Dict[str, Tensor]:
        """Mask losses of matched queries.

        Args:
            mask_logits (Tensor): Has shape (P, cells).
            gt_masks (Tensor): Bool, has shape (P, cells).
            avg_factor (Tensor): Normaliser.

        Returns:
            dict[str, Tensor]: ``loss_mask``, the mean over cells, and
            ``loss_dice``.
        """
        gt_masks = gt_masks.to(mask_logits)
        num_cells = mask_logits.shape[1]
        return dict(
            loss_mask=self.loss_mask(
                mask_logits, gt_masks, avg_factor=avg_factor * num_cells),
            loss_dice=self.loss_dice(
                mask_logits, gt_masks, avg_factor=avg_factor))


@MODELS.register_module()
class CondInstHead(BaseCondInstHead):
    """The head of IDOL: frames are matched and trained one by one.

    Args: See :class:`BaseCondInstHead`.
    """

    def loss_by_feat(self, output: FrameOutput,
                     targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """Eq. (2) for every decoder layer.

        Every loss is divided by the matched queries of its layer, averaged
        over processes, at least 1.

        Args:
            output (:obj:`FrameOutput`): Training output of n frames.
            targets (list[:obj:`FrameTargets`]): Ground truth of the n frames.

        Returns:
            dict[str, Tensor]: ``{prefix}loss_{cls,bbox,iou,mask,dice}`` of
            each layer.
        """
        gts, first = join_frames(targets)
        shares = output.picture_shares
        layers = cast(List[CondInstLayer], output.layers)
        matches = [self.match(layer, targets, shares) for layer in layers]
        counts = reduce_mean(count_matched(matches).float()).clamp(min=1)
        assigned = [assigned_rows(match, first) for match in matches]
        parts = self.loss_detections(
            gts, layers, assigned, counts, shares=shares)
        parts.update(
            stack_losses([
                self._loss_masks(layer, output.mask_features, rows, gts.masks,
                                 count)
                for layer, rows, count in zip(layers, assigned, counts)
            ]))
        return name_losses(layers, parts)

    @torch.no_grad()
    def match(self,
              layer: CondInstLayer,
              targets: List[FrameTargets],
              shares: Optional[Tensor] = None) -> List[QueryMatch]:
        """Match the predictions of one layer to ground truth.

        Args:
            layer (:obj:`CondInstLayer`): Predictions of n frames.
            targets (list[:obj:`FrameTargets`]): Ground truth of the n frames.
            shares (Tensor, optional): ``picture_shares`` of the n frames, has
                shape (n, 2). Defaults to None, all 1.

        Returns:
            list[:obj:`QueryMatch`]: Matched queries of each frame.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        check_finite(layer)
        sizes = [None] * len(targets) if shares is None else shares.tolist()
        return [
            self._match_single(layer.cls_logits[i], layer.boxes[i], target,
                               sizes[i]) for i, target in enumerate(targets)
        ]

    def _match_single(self, cls_logits: Tensor, boxes: Tensor,
                      target: FrameTargets,
                      shares: Optional[Sequence[float]]) -> QueryMatch:
        """Match one frame, in fp32."""
        predictions = InstanceData(
            scores=cls_logits.float(),
            bboxes=bbox_cxcywh_to_xyxy(boxes.float()))
        ground_truth = InstanceData(
            labels=target.labels, bboxes=bbox_cxcywh_to_xyxy(target.boxes))
        return match_queries(self.assigner, predictions, ground_truth, shares)

    def _loss_masks(self, layer: CondInstLayer, mask_features: Tensor,
                    rows: Tensor, gt_masks: Tensor,
                    avg_factor: Tensor) -> Dict[str, Tensor]:
        """Mask losses of the queries whose row in ``gt_masks`` is not -1."""
        mask_logits = []
        for i, matched in enumerate(rows >= 0):
            mask_logits.append(
                dynamic_masks(layer.mask_embeds[i, matched][None],
                              mask_features[i][None],
                              layer.mask_boxes[i, matched][None])[0])
        mask_logits = torch.cat(mask_logits)  # (P, h, w)
        gt_masks = stride_masks(gt_masks, *mask_logits.shape[1:])
        return self.compare_masks(
            mask_logits.flatten(1), gt_masks[rows[rows >= 0]].flatten(1),
            avg_factor)
