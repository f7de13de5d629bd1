# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Temporal Attention Refinement (TAR), paper Sec. 3.4."""
from typing import Dict, List, Optional, Tuple

import torch
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig, reduce_mean
from mmengine.model import BaseModule, ModuleList
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameTracks, TrackletBatch
from ..frame_level.matching import one_hot
from ..layers.mask_point_loss import MaskPointLoss
from ..layers.temporal_attention import (TemporalAttentionLayer,
                                         frame_position_encoding)
from ..layers.transformer_layers import FFNReLU
from .embedding_heads import InstanceHeads, predict_tracks


@MODELS.register_module()
class TARHead(BaseModule):
    """Refines embeddings inside a tracklet; Eq. (4) and Eq. (5).

    At initialisation the layer returns ``LN(LN(x))``: where the heads start
    with a LayerNorm, refined predictions equal frame predictions.

    Args:
        loss_cls (dict): Class loss: a sigmoid loss on K logits, or a softmax
            loss on K + 1 logits.
        loss_mask (dict): Arguments of :class:`MaskPointLoss`.
        embed_dims (int): Width C. Defaults to 256.
        num_layers (int): Layers of attention and FFN. Defaults to 1.
        num_heads (int): Attention heads. Defaults to 8.
        feedforward_channels (int): FFN width. Defaults to 1024.
        pe_placement (str): Where the temporal encoding enters attention:
            'embed' adds it to queries, keys and values as the paper has it,
            'qk' leaves the values bare. Defaults to 'embed'.
        mask_missing (bool): Hide the zero embeddings of missed frames from
            attention. The paper does not. Defaults to False.
        drop_prob (float): Training only: probability of replacing the
            embedding of a detected frame by zeros, as if the frame model had
            missed the object. Defaults to 0.
        recursive_prob (float): Training only: probability of refining a
            batch frame after frame from refined past embeddings, as online
            inference does, instead of all frames at once. Defaults to 0.
        heads (dict, optional): Class and mask heads of its own, such as
            :class:`EmbeddingHeads`. Defaults to None: those of the frame
            model are shared (paper Sec. 4.1).
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``drop_prob`` is not in [0, 1), ``recursive_prob`` not
            in [0, 1], or ``pe_placement`` is not allowed.
    """

    def __init__(self,
                 loss_cls: ConfigType,
                 loss_mask: ConfigType,
                 embed_dims: int = 256,
                 num_layers: int = 1,
                 num_heads: int = 8,
                 feedforward_channels: int = 1024,
                 pe_placement: str = 'embed',
                 mask_missing: bool = False,
                 drop_prob: float = 0.0,
                 recursive_prob: float = 0.0,
                 heads: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if not 0 <= drop_prob < 1:
            raise ValueError(f'drop_prob must be in [0, 1), got {drop_prob}')
        if not 0 <= recursive_prob <= 1:
            raise ValueError(
                f'recursive_prob must be in [0, 1], got {recursive_prob}')
        self.embed_dims = embed_dims
        self.mask_missing = mask_missing
        self.drop_prob = drop_prob
        self.recursive_prob = recursive_prob
        self.layers = ModuleList([
            TemporalAttentionLayer(
                pe_placement=pe_placement,
                self_attn_cfg=dict(
                    embed_dims=embed_dims, num_heads=num_heads, dropout=0.0),
                ffn_cfg=dict(
                    embed_dims=embed_dims,
                    feedforward_channels=feedforward_channels,
                    num_fcs=2,
                    ffn_drop=0.0,
                    act_cfg=dict(type=FFNReLU))) for _ in range(num_layers)
        ])
        self.heads = None if heads is None else MODELS.build(heads)
        self.loss_cls = MODELS.build(loss_cls)
        self.mask_point_loss = MaskPointLoss(**loss_mask)

    def refine(self,
               embeds: Tensor,
               frame_inds: Tensor,
               detected: Optional[Tensor] = None,
               padding_mask: Optional[Tensor] = None) -> Tensor:
        """Eq. (4): attention inside each tracklet, then FFN.

        Args:
            embeds (Tensor): Embeddings of N tracklets, zero rows where the
                object was missed, has shape (N, W, C).
            frame_inds (Tensor): Absolute frame positions, has shape (N, W).
            detected (Tensor, optional): Bool, False where the object was
                missed, has shape (N, W); None for "nowhere missed". Read by
                ``mask_missing`` only.
            padding_mask (Tensor, optional): Bool, True where a tracklet has
                no entry at all, has shape (N, W). At least one entry of each
                row must be False.

        Returns:
            Tensor: Refined embeddings, has shape (N, W, C).

        Raises:
            ValueError: If the shapes do not fit.
        """
        self._check_shapes(embeds, frame_inds, detected, padding_mask)
        embeds = embeds.to(self.layers[0].norms[0].weight)
        pos = frame_position_encoding(frame_inds, embeds.shape[-1]).to(embeds)
        if self.mask_missing and detected is not None:
            # A window of zero rows only has nothing else to look at.
            missing = ~detected & detected.any(1, keepdim=True)
            padding_mask = missing if padding_mask is None else \
                padding_mask | missing
        # Gradients of zero rows would overflow half precision at the start.
        with torch.autocast(embeds.device.type, enabled=False):
            for layer in self.layers:
                embeds = layer(embeds, pos, padding_mask)  # Eq. (4)
        return embeds

    def loss(self,
             tracklets: TrackletBatch,
             mask_features: Tensor,
             shared_heads: Optional[InstanceHeads] = None,
             prefix: str = 'loss_refine') -> Dict[str, Tensor]:
        """Refine training tracklets and compute Eq. (5) over all frames.

        Args:
            tracklets (:obj:`TrackletBatch`): N tracklets with targets.
            mask_features (Tensor): Per-pixel features, has shape
                (bs * T, C', h', w').
            shared_heads (:obj:`InstanceHeads`, optional): Heads of the frame
                model; not needed with heads of its own.
            prefix (str): Start of the names. Defaults to 'loss_refine'.

        Returns:
            dict[str, Tensor]: ``{prefix}_{cls,mask,dice}``. Without any
            tracklet they are 0 with zero gradients for all parameters.

        Raises:
            ValueError: If there are no heads.
        """
        heads = self._select_heads(shared_heads)
        embeds, detected = self._drop_frames(tracklets.embeds,
                                             tracklets.detected)
        recursive = self.training and torch.rand(()) < self.recursive_prob
        refine = self._refine_recursively if recursive else self.refine
        refined = refine(embeds, tracklets.frame_inds, detected)
        mask_logits = self._segment(refined, tracklets, heads, mask_features)
        losses = self.loss_by_feat(
            heads.classify(refined), mask_logits, tracklets)
        return {
            f'{prefix}_{name}': loss + self._no_gradient()
            for name, loss in losses.items()
        }

    def loss_by_feat(self, cls_logits: Tensor, mask_logits: Tensor,
                     tracklets: TrackletBatch) -> Dict[str, Tensor]:
        """Eq. (5): class and mask loss; the assignment is the tracklet.

        Where a tracked object is not visible its class is not supervised and
        its mask is empty.

        Args:
            cls_logits (Tensor): Class logits, has shape (N, T, K), or
                (N, T, K + 1) for a softmax loss.
            mask_logits (Tensor): Mask logits of the first M tracklets, has
                shape (M, T, h, w).
            tracklets (:obj:`TrackletBatch`): Targets.

        Returns:
            dict[str, Tensor]: ``cls``, ``mask`` and ``dice``.
        """
        num_frames = tracklets.present.shape[1]
        inds = tracklets.mask_inds[:, None]
        mask_of_frame = inds * num_frames + torch.arange(
            num_frames, device=inds.device)
        num_masks = tracklets.present[:tracklets.num_masked].sum()
        mask_losses = self.mask_point_loss(
            mask_logits.flatten(0, 1), tracklets.masks.flatten(0, 1),
            reduce_mean(num_masks.to(mask_logits)).clamp(min=1),
            mask_of_frame.masked_fill(inds < 0, -1).flatten())
        return dict(
            cls=self._class_loss(cls_logits, tracklets),
            mask=mask_losses['loss_mask'],
            dice=mask_losses['loss_dice'])

    def predict(
            self,
            tracks: FrameTracks,
            shared_heads: Optional[InstanceHeads] = None
    ) -> Tuple[Tensor, Tensor]:
        """Class scores and masks of refined embeddings.

        Args:
            tracks (:obj:`FrameTracks`): N tracklets of a frame, refined.
            shared_heads (:obj:`InstanceHeads`, optional): As in
                :meth:`loss`.

        Returns:
            tuple[Tensor]: Class probabilities (N, K) and mask logits
            (N, h, w).

        Raises:
            ValueError: If there are no heads.
        """
        return predict_tracks(tracks, self._select_heads(shared_heads))

    def _select_heads(self,
                      shared_heads: Optional[InstanceHeads]) -> InstanceHeads:
        """Heads of its own if there are any, else the shared ones."""
        heads = shared_heads if self.heads is None else self.heads
        if heads is None:
            raise ValueError('TARHead without heads of its own needs '
                             'shared_heads, got None')
        return heads

    def _check_shapes(self, embeds: Tensor, frame_inds: Tensor,
                      detected: Optional[Tensor],
                      padding_mask: Optional[Tensor]) -> None:
        """Raise ValueError if the arguments of refine do not fit."""
        if embeds.dim() != 3 or embeds.shape[-1] != self.embed_dims:
            raise ValueError(f'embeds must be (N, W, {self.embed_dims}), got '
                             f'{tuple(embeds.shape)}')
        for name, value in dict(
                frame_inds=frame_inds,
                detected=detected,
                padding_mask=padding_mask).items():
            if value is not None and value.shape != embeds.shape[:2]:
                raise ValueError(f'{name} must be {tuple(embeds.shape[:2])} '
                                 f'as embeds, got {tuple(value.shape)}')

    def _refine_recursively(self, embeds: Tensor, frame_inds: Tensor,
                            detected: Tensor) -> Tensor:
        """Eq. (4) frame after frame, past detections refined already."""
        order = frame_inds.argsort(1)
        rows = torch.arange(len(embeds), device=embeds.device)[:, None]
        inds, flags = frame_inds[rows, order], detected[rows, order]
        memory: List[Tensor] = []
        refined: List[Tensor] = []
        for t, current in enumerate(embeds[rows, order].unbind(1), 1):
            window = torch.stack([*memory, current], 1)
            out = self.refine(window, inds[:, :t], flags[:, :t])[:, -1]
            refined.append(out)
            memory.append(out * flags[:, t - 1, None])
        return torch.stack(refined, 1)[rows, order.argsort(1)]

    def _drop_frames(self, embeds: Tensor,
                     detected: Tensor) -> Tuple[Tensor, Tensor]:
        """Zero frames at random, never the last one left of a tracklet."""
        if not self.training or self.drop_prob == 0:
            return embeds, detected
        keep = torch.rand(
            detected.shape, device=embeds.device) >= self.drop_prob
        keep |= ~(keep & detected).any(1, keepdim=True)
        return embeds * keep[..., None], detected & keep

    def _class_loss(self, cls_logits: Tensor,
                    tracklets: TrackletBatch) -> Tensor:
        """Class loss where the object is visible, and of background."""
        num_classes = cls_logits.shape[-1] - int(not self.loss_cls.use_sigmoid)
        labels = tracklets.labels[:, None].expand_as(tracklets.present)
        weight = tracklets.present | (labels == num_classes)
        weight, labels = weight.to(cls_logits).flatten(), labels.flatten()
        if self.loss_cls.use_sigmoid:
            num_objects = tracklets.present.sum().to(cls_logits)
            avg_factor = reduce_mean(num_objects).clamp(min=1)
            labels = one_hot(labels, num_classes)
        else:
            class_weight = weight.new_tensor(self.loss_cls.class_weight)
            avg_factor = (class_weight[labels] * weight).sum().clamp(min=1)
        return self.loss_cls(
            cls_logits.flatten(0, 1), labels, weight, avg_factor=avg_factor)

    def _no_gradient(self) -> Tensor:
        """Zero that depends on every parameter, as DDP expects."""
        return sum(param.sum() * 0 for param in self.parameters())

    @staticmethod
    def _segment(refined: Tensor, tracklets: TrackletBatch,
                 heads: InstanceHeads, mask_features: Tensor) -> Tensor:
        """Mask logits (M, T, h, w) of the first M tracklets."""
        num_frames = refined.shape[1]
        clip_inds = tracklets.clip_inds[:tracklets.num_masked]
        logits: List[Tensor] = []
        order: List[Tensor] = []
        for clip, feats in enumerate(mask_features.split(num_frames)):
            rows = (clip_inds == clip).nonzero().flatten()
            # (T, n, h, w): a frame's masks come from its own features
            masks = heads.segment(refined[rows].transpose(0, 1), feats,
                                  tracklets.boxes[rows].transpose(0, 1))
            logits.append(masks.transpose(0, 1))
            order.append(rows)
        return torch.cat(logits)[torch.cat(order).argsort()]
