# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""mmdet's Mask2Former head as the head of a frame model."""
from typing import Dict, List, Tuple

import torch
from mmcv.ops import point_sample
from mmdet.models.dense_heads import Mask2FormerHead as _MMDetMask2FormerHead
from mmdet.structures import SampleList
from mmdet.utils import InstanceList, reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (FrameOutput, FrameTargets, LayerOutput,
                                     QueryMatch)
from ..layers.mask_point_loss import MaskPointLoss
from .mask2former_query_mixin import Mask2FormerQueryMixin
from .matching import check_finite, match_queries


@MODELS.register_module()
class Mask2FormerHead(Mask2FormerQueryMixin, _MMDetMask2FormerHead):
    """mmdet's :class:`Mask2FormerHead` with the states of its queries.

    Pixel decoder, transformer decoder, class and mask branch are mmdet's, and
    so are the arguments and the keys of weights. Matching is
    mmdet's, too; the losses are but for a divisor (:meth:`loss_by_match`).
    Both may be of clips.

    Args:
        *args: See mmdet's :class:`Mask2FormerHead`.
        **kwargs: The same.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        if self.train_cfg:
            self.loss_points = MaskPointLoss(
                self.num_points,
                self.oversample_ratio,
                self.importance_sample_ratio,
                mask_weight=self.loss_mask.loss_weight,
                dice_weight=self.loss_dice.loss_weight)

    def forward(
            self, x: Tuple[Tensor], batch_data_samples: SampleList
    ) -> Tuple[List[Tensor], List[Tensor]]:
        """See mmdet's :class:`Mask2FormerHead`."""
        states, mask_features = self.forward_states(x)
        return [self.classify(state) for state in states
                ], [self.segment(state, mask_features) for state in states]

    def loss_frames(self, output: FrameOutput,
                    targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """Eq. (2) for the initial queries and every decoder layer.

        The box losses are missing: the model predicts masks only.

        Args:
            output (:obj:`FrameOutput`): Training output of n frames.
            targets (list[:obj:`FrameTargets`]): Ground truth of the n frames.

        Returns:
            dict[str, Tensor]: ``{prefix}loss_{cls,mask,dice}`` of each
            prediction set; the prefix ``d0.`` is of the initial queries.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        return self.loss_sets(output.layers, [
            multiply_masks(layer, output.mask_features)
            for layer in output.layers
        ], [as_instances(target) for target in targets])[0]

    def match_frames(self, layer: LayerOutput, mask_features: Tensor,
                     targets: List[FrameTargets]) -> List[QueryMatch]:
        """Match the predictions of one layer to ground truth.

        Args:
            layer (:obj:`LayerOutput`): Predictions of n frames.
            mask_features (Tensor): Has shape (n, C_mask, h, w).
            targets (list[:obj:`FrameTargets`]): Ground truth of the n frames.

        Returns:
            list[:obj:`QueryMatch`]: Matched queries of each frame.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        check_finite(layer)
        return self.match_masks(layer.cls_logits,
                                multiply_masks(layer, mask_features),
                                [as_instances(target) for target in targets])

    def loss_sets(
        self, layers: List[LayerOutput], mask_logits: List[Tensor],
        targets: InstanceList
    ) -> Tuple[Dict[str, Tensor], List[List[QueryMatch]]]:
        """Match and train prediction sets of images or clips.

        An image is a clip of T = 1 frame.

        Args:
            layers (list[:obj:`LayerOutput`]): Prediction sets of N clips.
            mask_logits (list[Tensor]): Those of each set, has shape
                (N, Q, T, h, w).
            targets (list[:obj:`InstanceData`]): Ground truth of N clips,
                ``labels`` (n, ) and bool ``masks`` (n, T, H, W).

        Returns:
            tuple: ``{prefix}loss_{cls,mask,dice}`` of each set, and the N
            matches of each set that they were computed with.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        losses, matches = {}, []
        for layer, logits in zip(layers, mask_logits):
            check_finite(layer)
            matched = self.match_masks(layer.cls_logits, logits, targets)
            values = self.loss_by_match(layer.cls_logits, logits, targets,
                                        matched)
            losses.update({
                layer.prefix + name: value
                for name, value in values.items()
            })
            matches.append(matched)
        return losses, matches

    @torch.no_grad()
    def match_masks(self, cls_logits: Tensor, mask_logits: Tensor,
                    targets: InstanceList) -> List[QueryMatch]:
        """Match queries one-to-one to objects of images or clips.

        Masks are compared on random points, the same in all frames of a clip
        and for all queries and objects.

        Args:
            cls_logits (Tensor): Has shape (N, Q, K + 1).
            mask_logits (Tensor): Has shape (N, Q, T, h, w).
            targets (list[:obj:`InstanceData`]): See :meth:`loss_sets`.

        Returns:
            list[:obj:`QueryMatch`]: N matches. Where there are more objects
            than queries, some objects have none.
        """
        matches = []
        for logits, masks, target in zip(cls_logits, mask_logits, targets):
            points = torch.rand((1, self.num_points, 2),
                                device=cls_logits.device)
            matches.append(
                match_queries(
                    self.assigner,
                    InstanceData(
                        scores=logits, masks=sample_clips(masks, points)),
                    InstanceData(
                        labels=target.labels,
                        masks=sample_clips(target.masks, points))))
        return matches

    def loss_by_match(self, cls_logits: Tensor, mask_logits: Tensor,
                      targets: InstanceList,
                      matches: List[QueryMatch]) -> Dict[str, Tensor]:
        """Losses of one prediction set of images or clips.

        NOTE: The mask losses are divided by the number of objects, as
        officially; mmdet counts an image without objects as one object. In
        half precision its divisor overflows from 6 objects on.

        Args:
            cls_logits (Tensor): Has shape (N, Q, K + 1).
            mask_logits (Tensor): Has shape (N, Q, T, h, w).
            targets (list[:obj:`InstanceData`]): See :meth:`loss_sets`.
            matches (list[:obj:`QueryMatch`]): Of the N clips.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_mask`` and ``loss_dice``.
        """
        cls_logits = cls_logits.float()
        gt_inds = torch.stack([match.gt_inds for match in matches])
        matched = gt_inds >= 0
        labels = torch.full_like(gt_inds, self.num_classes)
        labels[matched] = torch.cat([
            target.labels[inds[inds >= 0]]
            for target, inds in zip(targets, gt_inds)
        ])
        labels = labels.flatten()
        class_weight = cls_logits.new_tensor(self.class_weight)
        loss_cls = self.loss_cls(
            cls_logits.flatten(0, 1),
            labels,
            torch.ones_like(labels),
            avg_factor=class_weight[labels].sum())
        num_objects = reduce_mean(
            cls_logits.new_tensor([sum(len(target) for target in targets)]))
        gt_masks = torch.cat([
            target.masks[inds[inds >= 0]]
            for target, inds in zip(targets, gt_inds)
        ])
        return dict(
            loss_cls=loss_cls,
            **self.loss_points(mask_logits[matched], gt_masks,
                               num_objects.clamp(min=1)))


def multiply_masks(layer: LayerOutput, mask_features: Tensor) -> Tensor:
    """Mask logits of a prediction set of images, as clips of a frame.

    Args:
        layer (:obj:`LayerOutput`): Predictions for N images.
        mask_features (Tensor): Has shape (N, C_mask, h, w).

    Returns:
        Tensor: Has shape (N, Q, 1, h, w).
    """
    return torch.einsum('bqc,bchw->bqhw', layer.mask_embeds,
                        mask_features)[:, :, None]


def sample_clips(masks: Tensor, points: Tensor) -> Tensor:
    """Values of masks on points, the same in all frames.

    Args:
        masks (Tensor): Logits or bool, has shape (n, T, h, w).
        points (Tensor): (x, y) in [0, 1], has shape (1, P, 2).

    Returns:
        Tensor: Has shape (n, T * P).
    """
    if len(masks) == 0:
        return points.new_zeros(0, masks.shape[1] * points.shape[1])
    return point_sample(masks.float(), points.expand(len(masks), -1,
                                                     -1)).flatten(1)


def as_instances(target: FrameTargets) -> InstanceData:
    """Ground truth of a frame as that of a clip of a frame."""
    return InstanceData(labels=target.labels, masks=target.masks[:, None])
