# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Which query stands for which object in one frame."""
from dataclasses import dataclass

from torch import Tensor


@dataclass
class QueryMatch:
    """Queries of one frame matched to its ground truth.

    One-to-one matching gives every object one query, one-to-many matching
    (OTA) several, of which the cheapest is its best.

    Attributes:
        gt_inds (Tensor): Ground-truth index of each query, -1 for
            background, has shape (Q, ).
        best_query (Tensor): Cheapest matched query of each ground truth, -1
            if it has none, has shape (n, ).
    """

    gt_inds: Tensor
    best_query: Tensor

    @classmethod
    def one_to_one(cls, gt_inds: Tensor, num_gts: int) -> 'QueryMatch':
        """Match in which an object has one query at most.

        Args:
            gt_inds (Tensor): Ground-truth index of each query or -1, has
                shape (Q, ).
            num_gts (int): Number n of ground truths.

        Returns:
            :obj:`QueryMatch`: The match with its inverse.
        """
        best_query = gt_inds.new_full((num_gts, ), -1)
        queries = (gt_inds >= 0).nonzero().flatten()
        best_query[gt_inds[queries]] = queries
        return cls(gt_inds, best_query)
