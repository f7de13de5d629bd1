# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Denoising tracklets that train temporal refinement."""
from typing import List, Tuple

import torch
from torch import Tensor

from refinevis_mm.registry import TASK_UTILS
from refinevis_mm.structures import (ClipTargets, DnQueries, TrackletBatch,
                                     collate_slots, interpolate_boxes)


@TASK_UTILS.register_module()
class TemporalCDN:
    """Denoising queries of the frames of a clip, grouped into tracklets.

    RefineVIS Sec. 3.5. Slot ``s`` of a group is one object in all frames, so
    its positive queries make a tracklet known without any matching, and its
    negative queries another one::

        tracklet    embeddings, t = 0..T-1    class      mask
        positive    positive queries of s     its label  its ground truth
        negative    negative queries of s     none       empty in all frames

    Frames in which the object is absent hold the zero embedding, as missed
    frames do; an object absent from all frames makes no tracklet.

    Args:
        loss_weight (float): Factor of the losses of these tracklets. Defaults
            to 1.0.
        max_mask_pairs (int): Pairs of a positive and its negative tracklet
            that get mask losses, chosen at random among all of the batch;
            the others have class losses only. Bounds the memory to
            ``2 * max_mask_pairs * T`` masks. Defaults to 100.

    Raises:
        ValueError: If an argument is negative.
    """

    def __init__(self,
                 loss_weight: float = 1.0,
                 max_mask_pairs: int = 100) -> None:
        if loss_weight < 0:
            raise ValueError(f'loss_weight must be >= 0, got {loss_weight}')
        if max_mask_pairs < 0:
            raise ValueError(
                f'max_mask_pairs must be >= 0, got {max_mask_pairs}')
        self.loss_weight = loss_weight
        self.max_mask_pairs = max_mask_pairs

    def tracklets(self, dn_embeds: Tensor, dn_queries: DnQueries,
                  targets: List[ClipTargets],
                  num_classes: int) -> TrackletBatch:
        """Group the denoising queries of a batch.

        Args:
            dn_embeds (Tensor): Object embeddings of the denoising queries,
                has shape (bs * T, D, C).
            dn_queries (:obj:`DnQueries`): Layout of these queries.
            targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips.
            num_classes (int): Number of classes K.

        Returns:
            :obj:`TrackletBatch`: Pairs of a positive tracklet and its
            negative one, those with mask losses first; in both parts clip by
            clip.

        Raises:
            ValueError: If the queries have no negatives or do not fit
                ``dn_embeds``.
        """
        rows, num_queries = dn_queries.boxes.shape[:2]
        if dn_queries.num_signs != 2:
            raise ValueError('temporal denoising needs contrastive queries, '
                             'positive and negative ones '
                             '(ClipCdnQueryGenerator), got positives only')
        if dn_embeds.dim() != 3 or (rows, num_queries) != dn_embeds.shape[:2]:
            raise ValueError(
                f'dn_embeds must be ({rows}, {num_queries}, C) as the '
                f'denoising queries, got {tuple(dn_embeds.shape)}')
        labels, _, valid = collate_slots(targets)
        frame_inds = torch.stack([target.frame_inds for target in targets])
        labels, valid = (table.unflatten(0, frame_inds.shape).transpose(1, 2)
                         for table in (labels, valid))  # (bs, S, T)
        clips, slots = valid.any(2).nonzero(as_tuple=True)  # U objects
        objects, groups, num_masked = self._pairs(
            len(clips), dn_queries.num_groups, clips.device)
        # A pair is two rows: the positive tracklet, then the negative one
        signs = torch.arange(2, device=clips.device).repeat(len(objects))
        objects, groups = (
            inds.repeat_interleave(2) for inds in (objects, groups))
        clip_inds, slot_inds = clips[objects], slots[objects]
        queries = (2 * groups + signs) * dn_queries.num_slots + slot_inds
        frames = torch.arange(rows, device=clips.device).view_as(frame_inds)
        frames, queries = frames[clip_inds], queries[:, None]  # (N, T), (N, 1)
        seen, frame_inds = valid[clip_inds, slot_inds], frame_inds[clip_inds]
        positive = signs == 0
        return TrackletBatch(
            embeds=dn_embeds[frames, queries] * seen[..., None],
            boxes=interpolate_boxes(dn_queries.boxes[frames, queries], seen,
                                    frame_inds),
            frame_inds=frame_inds,
            clip_inds=clip_inds,
            labels=torch.where(positive, labels[clip_inds, slot_inds, 0],
                               num_classes),
            present=seen & positive[:, None],
            masks=torch.cat([
                target.masks[:, slots[clips == clip]].transpose(0, 1)
                for clip, target in enumerate(targets)
            ]),
            mask_inds=torch.where(positive, objects, -1)[:2 * num_masked])

    def _pairs(self, num_objects: int, num_groups: int,
               device: torch.device) -> Tuple[Tensor, Tensor, int]:
        """Object and group of every pair, and the number with mask losses.

        Pairs with mask losses come first; in both parts objects ascend.

        Args:
            num_objects (int): Number of objects U.
            num_groups (int): Number of groups G.
            device (torch.device): Of the indices.

        Returns:
            tuple[Tensor, Tensor, int]: Object and group of each pair, have
            shape (U * G, ), and how many of the pairs have mask losses.
        """
        num_pairs = num_objects * num_groups
        masked = torch.randperm(num_pairs, device=device)[:self.max_mask_pairs]
        chosen = torch.zeros(num_pairs, device=device)
        chosen[masked] = 1
        order = chosen.argsort(descending=True, stable=True)
        return order // num_groups, order % num_groups, len(masked)
