# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Which query stands for which object in one frame."""
from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn.functional as F
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
        ignored (Tensor, optional): Bool, whether a query without object is
            no background either, has shape (Q, ). None for none.
    """

    gt_inds: Tensor
    best_query: Tensor
    ignored: Optional[Tensor] = None

    def __post_init__(self) -> None:
        if self.ignored is None:
            self.ignored = torch.zeros_like(self.gt_inds, dtype=torch.bool)

    @property
    def background(self) -> Tensor:
        """Tensor: Bool, whether a query shows no object, has shape (Q, )."""
        return (self.gt_inds < 0) & ~self.ignored

    def ignore(self, queries: Tensor) -> None:
        """Take queries without object out of the background.

        Args:
            queries (Tensor): Bool, matched ones stay as they are, has shape
                (Q, ).
        """
        self.ignored = (self.gt_inds < 0) & queries

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

    def pad(self, num_queries: int) -> 'QueryMatch':
        """Append queries that are neither an object nor background.

        Args:
            num_queries (int): Queries of the padded match, at least Q.

        Returns:
            :obj:`QueryMatch`: The padded match.
        """
        num = num_queries - len(self.gt_inds)
        return QueryMatch(
            F.pad(self.gt_inds, (0, num), value=-1), self.best_query,
            F.pad(self.ignored, (0, num), value=True))
