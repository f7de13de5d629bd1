# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Denoising queries of a batch of clips and their layout."""
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class DnQueries:
    """Denoising queries, aligned over the frames of a clip.

    Query ``g * P * S + p * S + s`` belongs to group ``g``, is the positive
    (``p = 0``) or negative (``p = 1``) query of slot ``s``, and slot ``s`` is
    the same instance in every frame of a clip. ``P`` is 2 for contrastive
    denoising and 1 for denoising of positives only; ``D = G * P * S``.

    Attributes:
        content (Tensor): Noised label embeddings, has shape
            (bs * T, D, C). Zero where the slot is empty.
        boxes (Tensor): Noised boxes, normalised (cx, cy, w, h), has shape
            (bs * T, D, 4). 0.5 where the slot is empty.
        valid (Tensor): Bool, whether the instance of a slot is present, has
            shape (bs * T, S).
        num_groups (int): Number of groups G.
        num_signs (int): Queries P of a slot in a group. Defaults to 2.
    """

    content: Tensor
    boxes: Tensor
    valid: Tensor
    num_groups: int
    num_signs: int = 2

    @property
    def num_slots(self) -> int:
        """int: Instance slots S of a group."""
        return self.valid.shape[1]

    @property
    def num_queries(self) -> int:
        """int: Denoising queries of a frame, D."""
        return self.content.shape[1]

    def select_frames(self, inds: Tensor) -> 'DnQueries':
        """Rows ``inds`` (n, ) of the flattened frame dimension."""
        return DnQueries(self.content[inds], self.boxes[inds],
                         self.valid[inds], self.num_groups, self.num_signs)

    def query_inds(self, slots: Tensor, negative: bool) -> Tensor:
        """Queries of some slots in every group.

        Args:
            slots (Tensor): Slot indices, has shape (n, ).
            negative (bool): The negative queries instead of the positive.

        Returns:
            Tensor: Query indices ordered by group, has shape (G * n, ); none
            if there are no negative queries and they are asked for.
        """
        if negative and self.num_signs == 1:
            return slots.new_zeros(0)
        groups = torch.arange(self.num_groups, device=slots.device)
        offset = (self.num_signs * groups + int(negative)) * self.num_slots
        return (offset[:, None] + slots[None]).flatten()

    def attn_mask(self, num_matching_queries: int) -> Tensor:
        """Self-attention mask that keeps denoising from leaking.

        Matching queries cannot see denoising queries and no group can see
        another; denoising queries may see the matching queries::

                      group 0 | group 1 | matching
            group 0      0    |    1    |    0
            group 1      1    |    0    |    0
            matching     1    |    1    |    0        (1: blocked)

        Args:
            num_matching_queries (int): Number of matching queries Q.

        Returns:
            Tensor: Bool, True blocks, has shape
            (D + Q, D + Q).
        """
        num_dn = self.num_queries
        group = torch.full((num_dn + num_matching_queries, ),
                           -1,
                           device=self.content.device)
        group[:num_dn] = torch.arange(
            num_dn, device=group.device) // (
                self.num_signs * self.num_slots)
        is_matching = group == -1
        return (group[:, None] != group[None]) & ~is_matching[None]
