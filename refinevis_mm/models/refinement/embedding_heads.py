# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Class and mask heads on object embeddings."""
from typing import Optional, Protocol, Tuple

import torch
from mmdet.models.layers import MLP
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule, bias_init_with_prob
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameTracks


class InstanceHeads(Protocol):
    """What TAR needs of the heads it shares; every FrameModel has it."""

    def classify(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.classify`."""

    def class_scores(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.class_scores`."""

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """See :meth:`FrameModel.segment`."""


def predict_tracks(tracks: FrameTracks,
                   heads: InstanceHeads) -> Tuple[Tensor, Tensor]:
    """Class scores and masks of a frame's tracklets.

    Args:
        tracks (:obj:`FrameTracks`): N tracklets.
        heads (:obj:`InstanceHeads`): Heads for their embeddings.

    Returns:
        tuple[Tensor]: Class probabilities (N, K) and mask logits (N, h, w).
    """
    masks = heads.segment(tracks.embeds[None], tracks.mask_features[None],
                          tracks.boxes[None])[0]
    return heads.class_scores(tracks.embeds), masks


@MODELS.register_module()
class EmbeddingHeads(BaseModule):
    """Class and mask heads of TAR's own.

    For models without a head on embeddings that TAR could share (paper
    Sec. 4.1 shares them): a LayerNorm, then a linear classifier, and a
    three-layer perceptron whose output is multiplied with the mask features.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Width C of the embeddings. Defaults to 256.
        mask_dims (int): Channels of the mask features. Defaults to 256.
        cls_prior (float): Class probability at the start. Defaults to 0.01.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 num_classes: int,
                 embed_dims: int = 256,
                 mask_dims: int = 256,
                 cls_prior: float = 0.01,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.norm = nn.LayerNorm(embed_dims)
        self.num_classes = num_classes
        self.fc_cls = nn.Linear(embed_dims, num_classes)
        self.fc_mask = MLP(embed_dims, embed_dims, mask_dims, 3)
        nn.init.constant_(self.fc_cls.bias, bias_init_with_prob(cls_prior))

    def classify(self, embeds: Tensor) -> Tensor:
        """Class logits (..., K) of embeddings (..., C)."""
        return self.fc_cls(self.norm(embeds))

    def class_scores(self, embeds: Tensor) -> Tensor:
        """Class probabilities (..., K) of embeddings (..., C)."""
        return self.classify(embeds).sigmoid()

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """Mask logits (B, n, h, w); see :meth:`FrameModel.segment`."""
        mask_embeds = self.fc_mask(self.norm(embeds))
        return torch.einsum('bnc,bchw->bnhw', mask_embeds, mask_features)
