# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The embeddings of a track, and the one it is compared by."""
from typing import Dict, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .track_table import TrackTable

MEMORY_TYPES = ('window', 'momentum', 'similarity')


class EmbeddingMemory:
    """What tracks remember of their embeddings, in the values of a table.

    Shapes: M tracks seen in a frame, L length of the window, E embedding
    dimensions.

    Args:
        memory_type (str): What a track is compared by. 'window': mean of its
            last embeddings weighted by score and recency. 'momentum': moving
            average with a fixed rate. 'similarity': moving average whose
            rate is the mean cosine of the new embedding to the window, at
            least 0, the similarity-guided fusion of `CTVIS
            <https://arxiv.org/abs/2307.12616>`_.
        memory_len (int): Embeddings L kept per track, in frames seen.
        recency_weight (bool): Whether 'window' adds j / n to the score weight
            of the j-th of n embeddings, so that the newest gets 1.
        memory_momentum (float): Weight of the new embedding for 'momentum',
            in (0, 1].

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self, memory_type: str, memory_len: int, recency_weight: bool,
                 memory_momentum: float) -> None:
        if memory_type not in MEMORY_TYPES:
            raise ValueError(f'memory_type must be one of {MEMORY_TYPES}, '
                             f'got {memory_type!r}')
        if memory_len < 1:
            raise ValueError(f'memory_len must be >= 1, got {memory_len}')
        if not 0 < memory_momentum <= 1:
            raise ValueError('memory_momentum must lie in (0, 1], got '
                             f'{memory_momentum}')
        self.memory_type = memory_type
        self.memory_len = memory_len
        self.recency_weight = recency_weight
        self.memory_momentum = memory_momentum

    def shapes(self, embed_dims: int) -> Dict[str, Tuple[int, ...]]:
        """Values that a :class:`TrackTable` must have.

        Args:
            embed_dims (int): Dimensions E.

        Returns:
            dict[str, tuple[int]]: ``embeds`` (L, E), the oldest first,
            ``scores`` (L, ) of these detections, and ``memory`` (E, ).
        """
        return dict(
            embeds=(self.memory_len, embed_dims),
            scores=(self.memory_len, ),
            memory=(embed_dims, ))

    def remember(self, table: TrackTable, rows: Tensor, scores: Tensor,
                 embeds: Tensor) -> None:
        """Push embeddings into windows and renew what is compared.

        Args:
            table (:obj:`TrackTable`): Has counted the frame already.
            rows (Tensor): Rows of the tracks seen, on the CPU, has shape
                (M, ).
            scores (Tensor): Scores of their detections, has shape (M, ).
            embeds (Tensor): Their embeddings, has shape (M, E).
        """
        device = embeds.device
        num_seen = table.num_seen[rows].to(device)
        old_lengths = (num_seen - 1).clamp(max=self.memory_len)
        rows = rows.to(device)
        window = table.values['embeds'][rows]
        rate = self._update_rate(window, old_lengths, embeds)

        lengths = num_seen.clamp(max=self.memory_len)
        window_scores = table.values['scores'][rows]
        full = old_lengths == self.memory_len
        window[full] = window[full].roll(-1, dims=1)
        window_scores[full] = window_scores[full].roll(-1, dims=1)
        last = torch.arange(len(rows), device=device), lengths - 1
        window[last], window_scores[last] = embeds, scores
        table.values['embeds'][rows] = window
        table.values['scores'][rows] = window_scores

        memory = table.values['memory']
        if self.memory_type == 'window':
            memory[rows] = self._weighted_mean(window, window_scores, lengths)
        else:
            memory[rows] = memory[rows].lerp(embeds, rate[:, None])

    def _update_rate(self, window: Tensor, lengths: Tensor,
                     embeds: Tensor) -> Tensor:
        """Weight (M, ) of the new embeddings in a moving average."""
        if self.memory_type == 'similarity':
            past = self._order(embeds) <= lengths[:, None]  # (M, L)
            cosines = F.cosine_similarity(window, embeds[:, None], dim=2)
            rate = (cosines * past).sum(1) / lengths.clamp(min=1)
            rate = rate.clamp(min=0)
        else:
            rate = embeds.new_full((len(embeds), ), self.memory_momentum)
        return rate.masked_fill(lengths == 0, 1.)

    def _weighted_mean(self, window: Tensor, scores: Tensor,
                       lengths: Tensor) -> Tensor:
        """Mean (M, E) of windows by score and recency."""
        order = self._order(window)
        weights = scores
        if self.recency_weight:
            weights = weights + order / lengths[:, None]
        weights = weights * (order <= lengths[:, None])
        total = weights.sum(1, keepdim=True).clamp(min=1e-12)
        return (window * weights[..., None]).sum(1) / total

    def _order(self, like: Tensor) -> Tensor:
        """Positions 1 to L of a window, on the device of a tensor."""
        return torch.arange(1, self.memory_len + 1, device=like.device)
