# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""VideoBatchSampler: batches of frames of one video."""
from itertools import groupby
from typing import Iterator, List, Tuple

from torch.utils.data import BatchSampler

from refinevis_mm.registry import DATA_SAMPLERS
from .whole_video_sampler import WholeVideoSampler


@DATA_SAMPLERS.register_module()
class VideoBatchSampler(BatchSampler):
    """Consecutive frames, of which no batch has those of two videos.

    For testing with a ``batch_size`` above 1: the first stage of a model sees
    the frames of a batch together, the others one after the other.

    Args:
        sampler (:obj:`WholeVideoSampler`): Gives the frames in their order.
        batch_size (int): Most frames of a batch; the last one of a video may
            have fewer.

    Raises:
        TypeError: If the sampler is another one.
    """

    def __init__(self, sampler: WholeVideoSampler, batch_size: int) -> None:
        if not isinstance(sampler, WholeVideoSampler):
            raise TypeError('VideoBatchSampler needs WholeVideoSampler, got '
                            f'{type(sampler).__name__}')
        super().__init__(sampler, batch_size, drop_last=False)
        self.batches: List[List[Tuple[int, int]]] = []
        for _, group in groupby(sampler.frames, lambda frame: frame[0]):
            frames = list(group)
            self.batches += [
                frames[start:start + batch_size]
                for start in range(0, len(frames), batch_size)
            ]

    def __iter__(self) -> Iterator[List[Tuple[int, int]]]:
        """Batches of (video, frame) pairs of this rank."""
        return iter(self.batches)

    def __len__(self) -> int:
        """Batches of this rank."""
        return len(self.batches)
