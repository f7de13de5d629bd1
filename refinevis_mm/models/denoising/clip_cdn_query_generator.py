# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Contrastive denoising queries whose slots are aligned over a clip."""
from typing import List

import torch
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy, bbox_xyxy_to_cxcywh
from mmdet.utils import OptMultiConfig
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets, DnQueries, collate_slots
from .base_dn_query_generator import BaseDnQueryGenerator


@MODELS.register_module()
class ClipCdnQueryGenerator(BaseDnQueryGenerator):
    """DINO's contrastive denoising (CDN) for the frames of a clip.

    As in `DINO <https://arxiv.org/abs/2203.03605>`_ every ground truth gets
    one positive query (corner noise below half the box size) and one
    negative query (corner noise between half and the full size) per group.
    Slot ``s`` of every group is the same instance in all frames of a clip,
    while noise is drawn independently per frame and group (RefineVIS
    Sec. 3.5); an instance absent in a frame leaves its slots empty there.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Width of the queries. Defaults to 256.
        num_dn_pairs (int): Positive-negative pairs per frame, shared out over
            groups, of which there is at least one. Defaults to 100.
        label_noise_scale (float): Twice the probability of replacing a
            label by a random class. Defaults to 0.5.
        box_noise_scale (float): Scale of the corner noise relative to half
            the box size. Defaults to 1.0.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``num_dn_pairs`` is not positive.
    """

    def __init__(self,
                 num_classes: int,
                 embed_dims: int = 256,
                 num_dn_pairs: int = 100,
                 label_noise_scale: float = 0.5,
                 box_noise_scale: float = 1.0,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(num_classes, embed_dims, label_noise_scale,
                         box_noise_scale, init_cfg)
        if num_dn_pairs < 1:
            raise ValueError(
                f'num_dn_pairs must be positive, got {num_dn_pairs}')
        self.num_dn_pairs = num_dn_pairs

    def forward(self, targets: List[ClipTargets]) -> DnQueries:
        """See :meth:`BaseDnQueryGenerator.forward`."""
        labels, boxes, valid = collate_slots(targets)
        num_slots = valid.shape[1]
        num_groups = max(1, self.num_dn_pairs // max(num_slots, 1))
        # One row per frame, group, sign and slot: sign 0 positive, 1 negative
        shape = (len(valid), num_groups, 2, num_slots)
        labels = labels[:, None, None].expand(shape)
        boxes = boxes[:, None, None].expand(*shape, 4)
        query_valid = valid[:, None, None].expand(shape)
        content = self.label_embedding(self._noise_labels(labels))
        content = content * query_valid[..., None]
        boxes = torch.where(query_valid[..., None], self._noise_boxes(boxes),
                            boxes.new_tensor(0.5))
        return DnQueries(
            content.flatten(1, 3), boxes.flatten(1, 3), valid, num_groups)

    def _noise_labels(self, labels: Tensor) -> Tensor:
        """Replace labels by random classes with half the noise scale."""
        flip = torch.rand(
            labels.shape, device=labels.device) < self.label_noise_scale * 0.5
        random = torch.randint_like(labels, self.num_classes)
        return torch.where(flip, random, labels)

    def _noise_boxes(self, boxes: Tensor) -> Tensor:
        """Move the corners of boxes.

        Args:
            boxes (Tensor): Normalised (cx, cy, w, h), has shape
                (B, G, 2, S, 4); index 1 of the third dimension is negative.

        Returns:
            Tensor: Noised boxes in [0, 1], same shape and layout.
        """
        half_size = boxes[..., 2:] / 2
        corner_scale = torch.cat([half_size, half_size], -1)
        amount = torch.rand_like(boxes)
        amount[:, :, 1] += 1.0  # negatives lie between half and full size
        sign = torch.randint_like(boxes, 2) * 2 - 1
        corners = bbox_cxcywh_to_xyxy(boxes)
        corners = corners + amount * sign * corner_scale * self.box_noise_scale
        return bbox_xyxy_to_cxcywh(corners.clamp(0.0, 1.0))
