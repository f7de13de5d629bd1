# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""WholeVideoSampler: the frames of videos, each video in one process."""
from typing import Iterator, List, Optional, Tuple

from mmdet.datasets import BaseVideoDataset
from mmengine.dist import get_dist_info
from torch.utils.data import Sampler

from refinevis_mm.evaluation import FinishedVideos
from refinevis_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class WholeVideoSampler(Sampler):
    """Test sampler that gives a video, frame after frame, to one rank.

    Unlike mmdet's ``TrackImgSampler`` it accepts more ranks than videos, some
    of which then test nothing, shares out frames and not videos, and can skip
    videos whose results exist. Those are neither loaded nor given to the
    model; ranks need not agree on what is finished.

    Args:
        dataset (:obj:`BaseVideoDataset`): Videos for testing.
        seed (int, optional): Not used; the Runner gives one to all samplers.
        resume_dir (str, optional): Folder where :class:`VISMetric` leaves
            results. Defaults to None, which skips nothing.
        shard (tuple[int, int], optional): Position, from 0, and number of
            tasks that share the videos out, each with ranks of its own.
            Defaults to None, all videos.

    Raises:
        TypeError: If the data set is no data set of videos.
        ValueError: If the data set is not one for testing, a file of the
            folder is broken, or there is no such share.
    """

    def __init__(self,
                 dataset: BaseVideoDataset,
                 seed: Optional[int] = None,
                 resume_dir: Optional[str] = None,
                 shard: Optional[Tuple[int, int]] = None) -> None:
        if not isinstance(dataset, BaseVideoDataset):
            raise TypeError('dataset must be a BaseVideoDataset, got '
                            f'{type(dataset).__name__}')
        if not dataset.test_mode:
            raise ValueError('WholeVideoSampler gives frames in their order, '
                             'got a data set with test_mode=False')
        index, number = shard or (0, 1)
        if not 0 <= index < number:
            raise ValueError('shard must be (position, number) with 0 <= '
                             f'position < number, got {shard}')
        finished = FinishedVideos(resume_dir).ids() if resume_dir else set()
        rank, world_size = get_dist_info()
        lengths = [
            dataset.get_len_per_video(video) for video in range(len(dataset))
        ]
        own = share_videos(lengths, number)[index]
        parts = share_videos([lengths[video] for video in own], world_size)
        self.frames: List[Tuple[int, int]] = [
            (video, frame) for video in (own[place] for place in parts[rank])
            if not finished
            or dataset.get_data_info(video)['video_id'] not in finished
            for frame in range(lengths[video])
        ]

    def __iter__(self) -> Iterator[Tuple[int, int]]:
        """(video, frame) pairs of this rank."""
        return iter(self.frames)

    def __len__(self) -> int:
        """Frames of this rank."""
        return len(self.frames)


def share_videos(lengths: List[int], world_size: int) -> List[List[int]]:
    """Share videos out: the longest first, to whom has the fewest frames.

    Args:
        lengths (list[int]): Frames of each video.
        world_size (int): Number of ranks.

    Returns:
        list[list[int]]: Videos of each rank, in their order.
    """
    shares: List[List[int]] = [[] for _ in range(world_size)]
    num_frames = [0] * world_size
    for video in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        rank = num_frames.index(min(num_frames))
        shares[rank].append(video)
        num_frames[rank] += lengths[video]
    return [sorted(share) for share in shares]
