# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Class, box and mask head of MaskDINO with its losses."""
from typing import Dict, Iterator, List, Optional, Tuple

import torch
from mmcv.ops import point_sample
from mmdet.models.layers import MLP
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, OptMultiConfig, reduce_mean
from mmengine.model import bias_init_with_prob
from mmengine.structures import InstanceData
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (DnQueries, FrameOutput, FrameTargets,
                                     LayerOutput, QueryMatch)
from ..layers.mask_point_loss import MaskPointLoss, average_sets
from .base_frame_head import (BaseFrameHead, assigned_rows, join_frames,
                              name_losses)
from .matching import check_finite, count_matched, lies_in_region, match_sets

# Values of masks on points that are matched at a time, 16 MiB: one set of the
# published models (300 queries, 12544 points), all sets of the small ones.
MATCH_VALUES = 2**22


@MODELS.register_module()
class MaskDINOHead(BaseFrameHead):
    """One set of branches for every prediction set, and Eq. (2).

    The branches are shared by the encoder proposals, the initial queries,
    all decoder layers and, through the frame model, by TAR. Unmatched queries
    whose mask lies in an ignored region are no background: they have no class
    loss.

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
            computed, shared by all queries of an image in all prediction
            sets. Defaults to 12544.
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
                 cls_prior: Optional[float] = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(num_classes, assigner, loss_cls, loss_bbox, loss_iou,
                         init_cfg)
        self.num_match_points = num_match_points
        self.cls_prior = cls_prior
        self.fc_cls = nn.Linear(embed_dims, num_classes)
        self.fc_reg = MLP(embed_dims, embed_dims, 4, 3)
        self.fc_mask = MLP(embed_dims, embed_dims, mask_dims, 3)
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
        gts, first = join_frames(targets)
        matches = self.match(output.layers, output.mask_features, targets)
        num_gts, *avg_factors = self._count(targets, matches)
        assigned = [assigned_rows(match, first) for match in matches]
        # queries on what nobody labelled are not background
        weights = [
            torch.stack([~frame.ignored for frame in match]).float()
            for match in matches
        ]
        if output.dn_layers:
            rows, weight = self._dn_targets(output.dn_queries, targets, first)
            num_dn = len(output.dn_layers)
            assigned += [rows] * num_dn
            weights += [weight] * num_dn
            avg_factors += [num_gts * max(output.dn_queries.num_groups, 1)
                            ] * num_dn
        layers = output.layers + output.dn_layers
        avg_factor = torch.stack(avg_factors)
        parts = self.loss_detections(gts, layers, assigned, avg_factor,
                                     weights)
        masks, num_masks = _matched_masks(layers, assigned,
                                          output.mask_features)
        rows = torch.cat([rows[rows >= 0] for rows in assigned])
        mask_losses = self.mask_point_loss.by_mask(masks, gts.masks, rows,
                                                   num_masks)
        parts.update({
            name: average_sets(losses, num_masks, avg_factor)
            for name, losses in mask_losses.items()
        })
        return name_losses(layers, parts)

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
    def match(self, layers: List[LayerOutput], mask_features: Tensor,
              targets: List[FrameTargets]) -> List[List[QueryMatch]]:
        """Match prediction sets to ground truth.

        Args:
            layers (list[:obj:`LayerOutput`]): Prediction sets of n frames.
            mask_features (Tensor): Has shape (n, mask_dims, h, w).
            targets (list[:obj:`FrameTargets`]): Ground truth of the n frames.

        Returns:
            list[list[:obj:`QueryMatch`]]: For each set the matched queries of
            each frame.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        for layer in layers:
            check_finite(layer)
        by_frame = [
            self._match_frame(i, layers, mask_features[i], target)
            for i, target in enumerate(targets)
        ]
        return [list(frames) for frames in zip(*by_frame)]

    def _match_frame(self, i: int, layers: List[LayerOutput],
                     mask_features: Tensor,
                     target: FrameTargets) -> List[QueryMatch]:
        """Match all sets of frame ``i``; masks on random points, in fp32."""
        points = torch.rand((1, self.num_match_points, 2),
                            device=mask_features.device)
        # Sampling is linear: sampled features give sampled logits.
        feats = point_sample(mask_features[None].float(), points)[0]
        ground_truth = InstanceData(
            labels=target.labels,
            bboxes=bbox_cxcywh_to_xyxy(target.boxes),
            masks=point_sample(target.masks[None].float(), points)[0])
        ignored = target.ignored
        if ignored is not None:
            ignored = ignored[None, None].float()
            ignored = point_sample(ignored, points)[0, 0] > 0.5
        matches: List[QueryMatch] = []
        for sets in _few_at_a_time(layers, self.num_match_points):
            logits, boxes, kernels = (
                torch.cat([getattr(layer, name)[i] for layer in sets]).float()
                for name in ('cls_logits', 'boxes', 'mask_embeds'))
            predictions = InstanceData(
                scores=logits,
                bboxes=bbox_cxcywh_to_xyxy(boxes),
                masks=kernels @ feats)
            found = match_sets(self.assigner, predictions, ground_truth,
                               len(sets))
            if ignored is not None:
                inside = lies_in_region(predictions.masks > 0, ignored)
                for match, queries in zip(found, inside.chunk(len(sets))):
                    match.ignore(queries)
            matches += found
        return matches

    def _dn_targets(self, dn_queries: DnQueries, targets: List[FrameTargets],
                    first: Tensor) -> Tuple[Tensor, Tensor]:
        """Ground truth of denoising queries.

        Returns:
            tuple[Tensor]: Row of the joined ground truth or -1 and class
            weight of each query, each (n, D): 0 for empty slots among
            negatives; without negatives 1, as officially they are
            background.
        """
        weight = dn_queries.content.new_full(
            (len(targets), dn_queries.num_queries),
            float(dn_queries.num_signs == 1))
        rows = torch.full(
            weight.shape, -1, dtype=torch.long, device=weight.device)
        for i, target in enumerate(targets):
            positive = dn_queries.query_inds(target.slots, negative=False)
            negative = dn_queries.query_inds(target.slots, negative=True)
            objects = first[i] + torch.arange(
                len(target), device=weight.device)
            rows[i, positive] = objects.repeat(dn_queries.num_groups)
            weight[i, positive] = 1
            weight[i, negative] = 1
        return rows, weight


def _few_at_a_time(layers: List[LayerOutput],
                   num_points: int) -> Iterator[List[LayerOutput]]:
    """Prediction sets, all of Q queries, as many as may be matched at once."""
    values = layers[0].cls_logits.shape[1] * num_points
    number = max(MATCH_VALUES // values, 1)
    for start in range(0, len(layers), number):
        yield layers[start:start + number]


def _matched_masks(layers: List[LayerOutput], assigned: List[Tensor],
                   mask_features: Tensor) -> Tuple[Tensor, List[int]]:
    """Mask logits of the matched queries of every prediction set.

    Those of a frame are one product over all sets, so that the gradient of
    its mask features is made once.

    Args:
        layers (list[:obj:`LayerOutput`]): Prediction sets of n frames.
        assigned (list[Tensor]): Negative where a query of the set is not
            matched, each (n, Q).
        mask_features (Tensor): Has shape (n, mask_dims, h, w).

    Returns:
        tuple: (P, h, w), by set, frame and query, and the masks of each set.
    """
    matched = [gt_inds >= 0 for gt_inds in assigned]
    frames = [rows.nonzero()[:, 0] for rows in matched]
    kernels = torch.cat(
        [layer.mask_embeds[rows] for layer, rows in zip(layers, matched)])
    by_frame = torch.cat(frames)
    order = by_frame.argsort(stable=True)
    counts = torch.bincount(by_frame, minlength=len(mask_features)).tolist()
    masks = torch.cat([
        part @ feats for part, feats in zip(kernels[order].split(counts),
                                            mask_features.flatten(2))
    ])
    masks = masks[order.argsort()].unflatten(1, mask_features.shape[-2:])
    return masks, [len(rows) for rows in frames]
