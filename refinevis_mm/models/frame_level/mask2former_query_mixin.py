# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Query states out of mmdet's Mask2Former heads, and predictions on them."""
from typing import List, Optional, Tuple

import torch
from mmengine.structures import InstanceData
from torch import Tensor


class Mask2FormerQueryMixin:
    """Makes a Mask2Former head of mmdet show its query states.

    To be put before :class:`Mask2FormerHead` or :class:`Mask2FormerTrackHead`
    in the list of bases. The object embedding is the query state *before*
    ``transformer_decoder.post_norm``: class and mask branch start with that
    LayerNorm, so they can be shared by TAR (RefineVIS Sec. 4.1, Table 7).
    """

    def forward_states(self,
                       feats: Tuple[Tensor]) -> Tuple[List[Tensor], Tensor]:
        """Run the network.

        Args:
            feats (tuple[Tensor]): Maps of the backbone, fine to coarse, each
                (B, C_i, h_i, w_i).

        Returns:
            tuple: Query states before ``post_norm``, the initial ones and
            those of L layers, each (B, Q, C), and mask features
            (B, ..., C_mask, h, w).
        """
        states, mask_features = super().forward(feats, None)
        return states, mask_features[-1]

    def _forward_head(self, decoder_out: Tensor, mask_feature: Tensor,
                      attn_mask_target_size: Tuple[int, int]) -> tuple:
        """Attention mask of the next layer, with what predictions are of.

        ``forward`` of the parent lists what comes in the first two places:
        here states and mask features instead of class and mask logits, which
        are made from them where they are wanted. The masks of all layers are
        the bulk of the memory at test, and only those of the last are read.

        Args:
            decoder_out (Tensor): Query states, has shape (B, Q, C).
            mask_feature (Tensor): Per-pixel features, has shape
                (B, ..., C, h, w).
            attn_mask_target_size (tuple[int]): Height and width of the next
                layer's keys.

        Returns:
            tuple[Tensor]: ``decoder_out``, ``mask_feature`` and the attention
            mask.
        """
        attn_mask = super()._forward_head(decoder_out, mask_feature,
                                          attn_mask_target_size)[-1]
        return decoder_out, mask_feature, attn_mask

    def classify(self, embeds: Tensor) -> Tensor:
        """Class logits of embeddings, the last for "no object".

        Args:
            embeds (Tensor): Query states, has shape (..., C).

        Returns:
            Tensor: Has shape (..., K + 1).
        """
        return self.cls_embed(self.transformer_decoder.post_norm(embeds))

    def class_scores(self, embeds: Tensor) -> Tensor:
        """Class probabilities of embeddings, softmax with "no object".

        Args:
            embeds (Tensor): Query states, has shape (..., C).

        Returns:
            Tensor: In [0, 1], has shape (..., K): of things, where the head
            knows stuff, too.
        """
        scores = self.classify(embeds).softmax(-1)
        return scores[..., :getattr(self, 'num_things_classes', -1)]

    def mask_kernels(self, embeds: Tensor) -> Tensor:
        """What is multiplied with mask features to give mask logits.

        Args:
            embeds (Tensor): Query states, has shape (..., C).

        Returns:
            Tensor: Has shape (..., C_mask).
        """
        return self.mask_embed(self.transformer_decoder.post_norm(embeds))

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """See :meth:`FrameModel.segment`; boxes are not needed."""
        return torch.einsum('bqc,bchw->bqhw', self.mask_kernels(embeds),
                            mask_features)

    @torch.no_grad()
    def match(self, cls_logits: Tensor, mask_logits: Tensor,
              targets: InstanceData) -> Tuple[Tensor, Tensor]:
        """Match queries one-to-one with the head's own assigner.

        Args:
            cls_logits (Tensor): Of an image or clip, has shape (Q, K + 1).
            mask_logits (Tensor): Has shape (Q, ..., h, w).
            targets (:obj:`InstanceData`): ``labels`` (n, ) and ``masks``
                (n, ..., H, W).

        Returns:
            tuple[Tensor]: Matched queries (p, ) and the instance of each.
        """
        *_, sampling = self._get_targets_single(cls_logits, mask_logits,
                                                targets, {})
        return sampling.pos_inds, sampling.pos_assigned_gt_inds
