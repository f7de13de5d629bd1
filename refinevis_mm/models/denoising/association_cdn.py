# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Association loss of RefineVIS on contrastive denoising queries."""
from typing import Dict, List

import torch
from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets, DnQueries
from ..association import ContrastiveHead
from ..association.contrastive_loss import pair_loss


@MODELS.register_module()
class AssociationCDN(BaseModule):
    """Contrastive loss, Eq. (3), between denoising queries of two frames.

    The noised queries of one object in the key frame and in a reference
    frame are a pair known without any matching (RefineVIS Sec. 3.5). For
    the anchor ``v``, the positive query of slot ``s`` in any group of the
    key frame, with ``P`` = positive and ``N`` = negative queries::

        slot of the reference frame    P     N
        s                              k+    ignored
        another instance               k-    k-
        empty                          ignored

    All G groups of the reference frame take part. An object without another
    one beside it in the reference frame has no negative and is no anchor.
    Works for denoising without negative queries, too.

    Args:
        loss_weight (float): Factor of the head's ``assoc_weight``. Defaults
            to 1.0.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``loss_weight`` is negative.
    """

    def __init__(self,
                 loss_weight: float = 1.0,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if loss_weight < 0:
            raise ValueError(f'loss_weight must be >= 0, got {loss_weight}')
        self.loss_weight = loss_weight

    def loss(self, assoc_embeds: Tensor, dn_queries: DnQueries,
             targets: List[ClipTargets],
             head: ContrastiveHead) -> Dict[str, Tensor]:
        """Loss of a batch of clips.

        Args:
            assoc_embeds (Tensor): Association embeddings of the denoising
                queries, not normalised, has shape (bs * T, D, E).
            dn_queries (:obj:`DnQueries`): Layout of these queries.
            targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips;
                frame 0 is the key frame, all others are references.
            head (:obj:`ContrastiveHead`): Made the embeddings; its
                ``assoc_weight`` applies here as well.

        Returns:
            dict[str, Tensor]: Weighted scalar ``loss_assoc_cdn``, the mean
            over anchors and reference frames; 0 with zero gradients when no
            clip has two objects to tell apart.

        Raises:
            ValueError: If the embeddings do not fit the layout.
        """
        rows, num_queries = len(dn_queries.valid), dn_queries.num_queries
        if assoc_embeds.dim() != 3 or (rows,
                                       num_queries) != assoc_embeds.shape[:2]:
            raise ValueError(
                f'assoc_embeds must be ({rows}, {num_queries}, E) as the '
                f'denoising queries, got {tuple(assoc_embeds.shape)}')
        clips = (len(targets), len(targets[0].frame_inds))
        valid = dn_queries.valid.unflatten(0, clips)  # (bs, T, S)
        present = valid[:, 1:]
        anchors = valid[:, :1] & present & (present.sum(-1, True) > 1)
        # dot products of not normalised embeddings overflow in half precision
        embeds = assoc_embeds.float()
        if num_queries == 0 or not anchors.any():
            return dict(loss_assoc_cdn=embeds.sum() * 0)
        embeds = embeds.unflatten(0, clips).unflatten(
            2, (dn_queries.num_groups, dn_queries.num_signs, -1))
        with torch.autocast(embeds.device.type, enabled=False):
            loss = _contrast_slots(embeds, present, anchors).mean()
        return dict(loss_assoc_cdn=head.assoc_weight * self.loss_weight * loss)


def _contrast_slots(embeds: Tensor, present: Tensor,
                    anchors: Tensor) -> Tensor:
    """Eq. (3) of every anchor, with groups and signs reduced at once.

    Args:
        embeds (Tensor): Has shape (bs, T, G, num_signs, S, E).
        present (Tensor): Bool, slots of the reference frames that are not
            empty, has shape (bs, T - 1, S).
        anchors (Tensor): Bool, slots that are anchors against a reference
            frame, n in number, has shape (bs, T - 1, S).

    Returns:
        Tensor: Has shape (n, G).
    """
    clips, refs, slots = anchors.nonzero(as_tuple=True)
    rows = torch.arange(len(slots), device=slots.device)
    sims = torch.einsum('bgse,btde->btsgd', embeds[:, 0, :, 0],
                        embeds[:, 1:].flatten(2, 4))
    sims = sims[anchors].unflatten(2, embeds.shape[2:5])
    pos_lse = (-sims[rows, :, :, 0, slots]).logsumexp(-1)  # (n, G)
    others = present[clips, refs]
    others[rows, slots] = False
    slot_lse = sims.logsumexp((2, 3))  # positives and negatives, (n, G, S)
    neg_lse = slot_lse.masked_fill(~others[:, None], -torch.inf).logsumexp(-1)
    return pair_loss(pos_lse, neg_lse)
