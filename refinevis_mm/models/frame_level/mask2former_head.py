# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""mmdet's Mask2Former head as the head of a frame model."""
from typing import Dict, List, Tuple

import torch
from mmdet.models.dense_heads import Mask2FormerHead as _MMDetMask2FormerHead
from mmdet.structures import SampleList
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (FrameOutput, FrameTargets, LayerOutput,
                                     QueryMatch)
from .mask2former_query_mixin import Mask2FormerQueryMixin
from .matching import check_finite


@MODELS.register_module()
class Mask2FormerHead(Mask2FormerQueryMixin, _MMDetMask2FormerHead):
    """mmdet's :class:`Mask2FormerHead` with the states of its queries.

    Pixel decoder, transformer decoder, class and mask branch, matching and
    losses are mmdet's, and so are the arguments and the keys of weights.
    """

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
        for layer in output.layers:
            check_finite(layer)
        mask_logits = [
            multiply_masks(layer, output.mask_features)
            for layer in output.layers
        ]
        instances = [as_instances(target) for target in targets]
        return self.loss_by_feat([layer.cls_logits for layer in output.layers],
                                 mask_logits, instances, [{} for _ in targets])

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
        mask_logits = multiply_masks(layer, mask_features).detach()
        matches = []
        for i, target in enumerate(targets):
            queries, instances = self.match(layer.cls_logits[i],
                                            mask_logits[i],
                                            as_instances(target))
            gt_inds = queries.new_full((layer.cls_logits.shape[1], ), -1)
            gt_inds[queries] = instances
            matches.append(QueryMatch.one_to_one(gt_inds, len(target)))
        return matches


def multiply_masks(layer: LayerOutput, mask_features: Tensor) -> Tensor:
    """Mask logits (B, Q, h, w) of the kernels of a prediction set."""
    return torch.einsum('bqc,bchw->bqhw', layer.mask_embeds, mask_features)


def as_instances(target: FrameTargets) -> InstanceData:
    """Ground truth of a frame as mmdet's head reads it."""
    return InstanceData(labels=target.labels, masks=target.masks)
