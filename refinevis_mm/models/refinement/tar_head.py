# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Temporal Attention Refinement (TAR), paper Sec. 3.4."""
from typing import Dict, List, Optional

import torch
from mmdet.utils import ConfigType, OptMultiConfig, reduce_mean
from mmengine.model import BaseModule, ModuleList
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import TrackletBatch
from ..frame_level.frame_model import FrameModel
from ..frame_level.matching import one_hot
from ..layers.mask_point_loss import MaskPointLoss
from ..layers.temporal_attention import (TemporalAttentionLayer,
                                         frame_position_encoding)


@MODELS.register_module()
class TARHead(BaseModule):
    """Refines embeddings inside a tracklet; Eq. (4) and Eq. (5).

    At initialisation the layer returns ``LN(LN(x))``, and since the shared
    heads start with a LayerNorm, refined predictions equal frame predictions.

    Args:
        embed_dims (int): Width C. Defaults to 256.
        num_layers (int): Layers of attention and FFN. Defaults to 1.
        num_heads (int): Attention heads. Defaults to 8.
        feedforward_channels (int): FFN width. Defaults to 1024.
        drop_prob (float): Training only: probability of replacing the
            embedding of a detected frame by zeros, as if the frame model had
            missed the object. Defaults to 0.
        loss_cls (dict): Class loss.
        loss_mask (dict): Arguments of :class:`MaskPointLoss`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``drop_prob`` is not in [0, 1).
    """

    def __init__(self,
                 loss_cls: ConfigType,
                 loss_mask: ConfigType,
                 embed_dims: int = 256,
                 num_layers: int = 1,
                 num_heads: int = 8,
                 feedforward_channels: int = 1024,
                 drop_prob: float = 0.0,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if not 0 <= drop_prob < 1:
            raise ValueError(f'drop_prob must be in [0, 1), got {drop_prob}')
        self.drop_prob = drop_prob
        self.layers = ModuleList([
            TemporalAttentionLayer(
                self_attn_cfg=dict(
                    embed_dims=embed_dims, num_heads=num_heads, dropout=0.0),
                ffn_cfg=dict(
                    embed_dims=embed_dims,
                    feedforward_channels=feedforward_channels,
                    num_fcs=2,
                    ffn_drop=0.0,
                    act_cfg=dict(type='ReLU', inplace=True)))
            for _ in range(num_layers)
        ])
        self.loss_cls = MODELS.build(loss_cls)
        self.mask_point_loss = MaskPointLoss(**loss_mask)

    def refine(self,
               embeds: Tensor,
               frame_inds: Tensor,
               padding_mask: Optional[Tensor] = None) -> Tensor:
        """Eq. (4): attention inside each tracklet, then FFN.

        Args:
            embeds (Tensor): Embeddings of N tracklets, zero rows where the
                object was missed, has shape (N, W, C).
            frame_inds (Tensor): Absolute frame positions, has shape (N, W).
            padding_mask (Tensor, optional): Bool, True where a tracklet has
                no entry at all, has shape (N, W). At least one entry of each
                row must be False.

        Returns:
            Tensor: Refined embeddings, has shape (N, W, C).
        """
        pos = frame_position_encoding(frame_inds, embeds.shape[-1]).to(embeds)
        for layer in self.layers:
            embeds = layer(embeds, pos, padding_mask)  # Eq. (4)
        return embeds

    def loss(self, tracklets: TrackletBatch, heads: FrameModel,
             mask_features: Tensor) -> Dict[str, Tensor]:
        """Refine training tracklets and compute Eq. (5) over all frames.

        Args:
            tracklets (:obj:`TrackletBatch`): N tracklets with targets.
            heads (:obj:`FrameModel`): Owner of the shared ``classify`` and
                ``segment``.
            mask_features (Tensor): Per-pixel features, has shape
                (bs * T, C, h, w).

        Returns:
            dict[str, Tensor]: ``loss_refine_{cls,mask,dice}``.
        """
        refined = self.refine(
            self._drop_frames(tracklets.embeds), tracklets.frame_inds)
        mask_logits = self._segment(refined, tracklets, heads, mask_features)
        return self.loss_by_feat(
            heads.classify(refined), mask_logits, tracklets)

    def loss_by_feat(self, cls_logits: Tensor, mask_logits: Tensor,
                     tracklets: TrackletBatch) -> Dict[str, Tensor]:
        """Eq. (5): class and mask loss; the assignment is the tracklet.

        Where a tracked object is not visible its class is not supervised and
        its mask is empty. Background tracklets have no mask loss.

        Args:
            cls_logits (Tensor): Class logits, has shape (N, T, K).
            mask_logits (Tensor): Mask logits of the positive tracklets, has
                shape (P, T, h, w).
            tracklets (:obj:`TrackletBatch`): Targets.

        Returns:
            dict[str, Tensor]: ``loss_refine_{cls,mask,dice}``.
        """
        num_frames, num_classes = cls_logits.shape[1:]
        avg_factor = reduce_mean(
            tracklets.present.sum().to(cls_logits)).clamp(min=1)
        weight = cls_logits.new_ones(cls_logits.shape[:2])
        weight[:tracklets.num_positives] = tracklets.present.to(weight)
        losses = dict(
            loss_refine_cls=self.loss_cls(
                cls_logits.flatten(0, 1),
                one_hot(tracklets.labels, num_classes).repeat_interleave(
                    num_frames, 0),
                weight.flatten(),
                avg_factor=avg_factor))
        mask_losses = self.mask_point_loss(
            mask_logits.flatten(0, 1), tracklets.masks.flatten(0, 1),
            avg_factor)
        losses['loss_refine_mask'] = mask_losses['loss_mask']
        losses['loss_refine_dice'] = mask_losses['loss_dice']
        return losses

    def _drop_frames(self, embeds: Tensor) -> Tensor:
        """Zero frames at random, never the last one left of a tracklet."""
        if not self.training or self.drop_prob == 0:
            return embeds
        real = embeds.detach().abs().sum(-1) > 0
        keep = torch.rand(real.shape, device=embeds.device) >= self.drop_prob
        all_gone = ~(keep & real).any(1, keepdim=True)
        return embeds * (keep | all_gone)[..., None]

    @staticmethod
    def _segment(refined: Tensor, tracklets: TrackletBatch, heads: FrameModel,
                 mask_features: Tensor) -> Tensor:
        """Mask logits (P, T, h, w) of the positive tracklets."""
        num_frames = refined.shape[1]
        clip_inds = tracklets.clip_inds[:tracklets.num_positives]
        logits: List[Tensor] = []
        for clip, feats in enumerate(mask_features.split(num_frames)):
            rows = (clip_inds == clip).nonzero().flatten()
            # (T, n, h, w): a frame's masks come from its own features
            masks = heads.segment(refined[rows].transpose(0, 1), feats,
                                  tracklets.boxes[rows].transpose(0, 1))
            logits.append(masks.transpose(0, 1))
        return torch.cat(logits)
