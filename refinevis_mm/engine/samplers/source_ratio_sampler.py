# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Sampling from several data sets at given shares."""
import itertools
from typing import Iterator, List, Optional, Sequence

import torch
from mmengine.dataset import ConcatDataset
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from refinevis_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class SourceRatioSampler(Sampler):
    """Endless sampling from a ``ConcatDataset`` at a share for each part.

    Each index is drawn on its own: first the part, then its next item in a
    random order that starts anew when all items have been seen. The shares
    thus hold for any batch size, one clip per process included, and whatever
    the parts' lengths. Indices are those of the concatenation: mmdet's
    ``TrackImgSampler`` gives (video, frame) pairs, which it cannot resolve.

    Args:
        dataset (:obj:`ConcatDataset`): The data sets.
        source_ratio (Sequence[float]): Share of each part, any scale.
        seed (int, optional): Random seed, the same in all processes. Defaults
            to None, a common random one.

    Raises:
        TypeError: If the data set is no ``ConcatDataset``.
        ValueError: If the shares do not fit the data set.
    """

    def __init__(self,
                 dataset: ConcatDataset,
                 source_ratio: Sequence[float],
                 seed: Optional[int] = None) -> None:
        if not isinstance(dataset, ConcatDataset):
            raise TypeError('dataset must be a ConcatDataset, got '
                            f'{type(dataset).__name__}')
        if len(source_ratio) != len(dataset.datasets):
            raise ValueError('source_ratio must have a share for each of the '
                             f'{len(dataset.datasets)} data sets, got '
                             f'{list(source_ratio)}')
        if min(source_ratio) < 0 or sum(source_ratio) <= 0:
            raise ValueError('source_ratio must not be negative nor 0 in '
                             f'all, got {list(source_ratio)}')
        self.dataset = dataset
        self.source_ratio = torch.tensor(source_ratio, dtype=torch.float64)
        self.seed = sync_random_seed() if seed is None else seed
        self.rank, self.world_size = get_dist_info()

    def _draw(self) -> Iterator[int]:
        """Indices for all processes."""
        generator = torch.Generator().manual_seed(self.seed)
        starts = [0, *self.dataset.cumulative_sizes]
        orders: List[Iterator[int]] = [
            self._orders(len(part), generator)
            for part in self.dataset.datasets
        ]
        while True:
            source = int(
                torch.multinomial(self.source_ratio, 1, generator=generator))
            yield starts[source] + next(orders[source])

    @staticmethod
    def _orders(size: int, generator: torch.Generator) -> Iterator[int]:
        """Endless random orders of a part."""
        while True:
            yield from torch.randperm(size, generator=generator).tolist()

    def __iter__(self) -> Iterator[int]:
        """Indices for this process."""
        return itertools.islice(self._draw(), self.rank, None, self.world_size)

    def __len__(self) -> int:
        """Items of the concatenation."""
        return len(self.dataset)

    def set_epoch(self, epoch: int) -> None:
        """Does nothing: sampling never ends.

        Args:
            epoch (int): Not used.
        """
