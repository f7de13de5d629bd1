# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Contrastive head: object queries to association embeddings, and losses."""
from typing import Dict

import torch
import torch.nn.functional as F
from mmdet.models.layers.transformer.utils import MLP
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor

from ...registry import MODELS
from .contrastive_loss import (aux_cosine_loss, contrastive_loss,
                               sample_negatives)


@MODELS.register_module()
class ContrastiveHead(BaseModule):
    """MLP from object embeddings to association embeddings, with its losses.

    RefineVIS Sec. 3.3, following `IDOL <https://arxiv.org/abs/2207.10661>`_:
    the embeddings are trained by the contrastive loss of Eq. (3) on raw dot
    products plus IDOL's auxiliary cosine loss, and are compared by
    :func:`bisoftmax_similarity` at test time. They are not normalised.

    Args:
        in_channels (int): Channels of the object embeddings. Defaults to 256.
        feat_channels (int): Channels of the hidden layers. Defaults to 256.
        embed_dims (int): Dimensions of the association embeddings. Defaults
            to 256.
        num_layers (int): Linear layers of the MLP. Defaults to 3, as IDOL.
        assoc_weight (float): Weight of the contrastive loss. Defaults to 2.0,
            as IDOL.
        assoc_aux_weight (float): Weight of the auxiliary cosine loss, 0
            switches it off. Defaults to 3.0, as IDOL.
        num_neg_per_pos (int): Negatives drawn per positive for the auxiliary
            loss. Defaults to 10, as IDOL.
        init_cfg (dict or list[dict], optional): Initialisation config.
            Defaults to None.

    Raises:
        ValueError: If a weight is negative or ``num_neg_per_pos`` below 1.
    """

    def __init__(self,
                 in_channels: int = 256,
                 feat_channels: int = 256,
                 embed_dims: int = 256,
                 num_layers: int = 3,
                 assoc_weight: float = 2.0,
                 assoc_aux_weight: float = 3.0,
                 num_neg_per_pos: int = 10,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if assoc_weight < 0 or assoc_aux_weight < 0:
            raise ValueError('assoc_weight and assoc_aux_weight must be >= 0, '
                             f'got {assoc_weight} and {assoc_aux_weight}')
        if num_neg_per_pos < 1:
            raise ValueError(
                f'num_neg_per_pos must be >= 1, got {num_neg_per_pos}')
        self.embed_dims = embed_dims
        self.assoc_weight = assoc_weight
        self.assoc_aux_weight = assoc_aux_weight
        self.num_neg_per_pos = num_neg_per_pos
        self.mlp = MLP(in_channels, feat_channels, embed_dims, num_layers)

    def forward(self, embeds: Tensor) -> Tensor:
        """Association embeddings of object embeddings.

        Args:
            embeds (Tensor): Last decoder states, has shape
                (..., in_channels).

        Returns:
            Tensor: Association embeddings, has shape (..., embed_dims).
        """
        return self.mlp(embeds)

    def loss(self, key_embeds: Tensor, ref_embeds: Tensor, pos: Tensor,
             neg: Tensor) -> Dict[str, Tensor]:
        """Association losses of anchors against reference embeddings.

        Clips of a batch and several reference frames are concatenated by the
        caller; a pair of different clips is neither positive nor negative.

        Args:
            key_embeds (Tensor): Association embeddings of the anchors, i.e.
                of one key-frame query per object, has shape
                (num_anchors, embed_dims).
            ref_embeds (Tensor): Association embeddings of the reference
                frames' queries, has shape (num_candidates, embed_dims).
            pos (Tensor): Bool, True where the candidate shows the anchor's
                object, has shape (num_anchors, num_candidates).
            neg (Tensor): Bool, True where it does not, has shape
                (num_anchors, num_candidates). Candidates in neither are
                ignored.

        Returns:
            dict[str, Tensor]: Weighted scalars ``loss_assoc`` (Eq. (3), mean
            over anchors with a positive and a negative) and
            ``loss_assoc_aux`` (mean over anchors with any pair). Both are 0
            with finite gradients when there is nothing to compare.

        Raises:
            ValueError: If shapes do not fit, the masks are not bool, or a
                candidate is both positive and negative.
        """
        if key_embeds.dim() != 2 or ref_embeds.dim() != 2 or (
                key_embeds.size(1) != ref_embeds.size(1)):
            raise ValueError(
                'key_embeds and ref_embeds must be 2-D with equal embedding '
                f'dimensions, got {tuple(key_embeds.shape)} and '
                f'{tuple(ref_embeds.shape)}')
        # dot products of not normalised embeddings overflow in half precision
        with torch.autocast(key_embeds.device.type, enabled=False):
            key_embeds, ref_embeds = key_embeds.float(), ref_embeds.float()
            sims = key_embeds @ ref_embeds.t()
            cosines = F.normalize(
                key_embeds, dim=1) @ F.normalize(
                    ref_embeds, dim=1).t()
        loss_assoc = contrastive_loss(sims, pos, neg)
        sampled_neg = sample_negatives(pos, neg, self.num_neg_per_pos)
        loss_aux = aux_cosine_loss(cosines, pos, sampled_neg)
        return dict(
            loss_assoc=self.assoc_weight * loss_assoc,
            loss_assoc_aux=self.assoc_aux_weight * loss_aux)
