# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Denoising queries of MaskDINO: noised ground truth, positives only."""
from typing import List

import torch
from mmdet.utils import OptMultiConfig
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets, DnQueries, collate_slots
from .base_dn_query_generator import BaseDnQueryGenerator


@MODELS.register_module()
class MaskDINODnQueryGenerator(BaseDnQueryGenerator):
    """Denoising as in `MaskDINO <https://arxiv.org/abs/2206.02777>`_.

    Every object gives one query per group: its label, replaced at random,
    and its box, moved and resized at random. There are no negative queries,
    so the extensions of RefineVIS (Sec. 3.5) need
    :class:`ClipCdnQueryGenerator` instead.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Width of the queries. Defaults to 256.
        num_dn_queries (int): Queries per frame, shared out over groups; a
            clip with more objects than this switches denoising off for its
            batch. Defaults to 100.
        label_noise_scale (float): Twice the probability of replacing a
            label by a random class. Defaults to 0.4.
        box_noise_scale (float): Largest shift relative to half the box size
            and largest change relative to the size. Defaults to 0.4.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``num_dn_queries`` is not positive.
    """

    def __init__(self,
                 num_classes: int,
                 embed_dims: int = 256,
                 num_dn_queries: int = 100,
                 label_noise_scale: float = 0.4,
                 box_noise_scale: float = 0.4,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(num_classes, embed_dims, label_noise_scale,
                         box_noise_scale, init_cfg)
        if num_dn_queries < 1:
            raise ValueError(
                f'num_dn_queries must be positive, got {num_dn_queries}')
        self.num_dn_queries = num_dn_queries

    def forward(self, targets: List[ClipTargets]) -> DnQueries:
        """See :meth:`BaseDnQueryGenerator.forward`."""
        labels, boxes, valid = collate_slots(targets)
        num_frames, num_slots = valid.shape
        num_groups = self.num_dn_queries // max(num_slots, 1)
        # All objects of the batch, once per group.
        rows, slots = valid.nonzero(as_tuple=True)
        group = torch.arange(
            num_groups, device=rows.device).repeat_interleave(len(rows))
        queries = group * num_slots + slots.repeat(num_groups)
        frames = rows.repeat(num_groups)
        noised_labels = self._noise_labels(labels[rows,
                                                  slots].repeat(num_groups))
        noised_boxes = self._noise_boxes(boxes[rows,
                                               slots].repeat(num_groups, 1))
        embeds = self.label_embedding(noised_labels)
        shape = (num_frames, num_groups * num_slots)
        content = embeds.new_zeros(*shape, embeds.shape[-1])
        content = content.index_put((frames, queries), embeds)
        dn_boxes = boxes.new_full((*shape, 4), 0.5)
        dn_boxes[frames, queries] = noised_boxes
        return DnQueries(content, dn_boxes, valid, num_groups, num_signs=1)

    def _noise_labels(self, labels: Tensor) -> Tensor:
        """Replace labels (n, ) by random classes with half the scale."""
        flip = torch.rand_like(
            labels, dtype=torch.float) < self.label_noise_scale * 0.5
        noised = labels.clone()
        noised[flip] = torch.randint_like(labels[flip], 0, self.num_classes)
        return noised

    def _noise_boxes(self, boxes: Tensor) -> Tensor:
        """Move and resize normalised (cx, cy, w, h) boxes (n, 4)."""
        size = boxes[:, 2:]
        reach = torch.cat([size / 2, size], -1) * self.box_noise_scale
        noise = torch.rand_like(boxes) * 2 - 1
        return (boxes + noise * reach).clamp(0.0, 1.0)
