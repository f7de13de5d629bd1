# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""UnfinishedVideoSampler: the frames of the videos still to be tested."""
from typing import Any

from mmdet.datasets.samplers import TrackImgSampler

from refinevis_mm.evaluation import FinishedVideos
from refinevis_mm.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class UnfinishedVideoSampler(TrackImgSampler):
    """Test sampler that skips videos whose results exist.

    Frames of skipped videos are neither loaded nor given to the model. Each
    rank tests the unfinished ones of the videos that :class:`TrackImgSampler`
    gives to it, so ranks need not agree on what is finished.

    Args:
        *args: See :class:`mmdet.datasets.samplers.TrackImgSampler`.
        resume_dir (str): Folder where :class:`VISMetric` leaves results.
        **kwargs: See :class:`mmdet.datasets.samplers.TrackImgSampler`.

    Raises:
        ValueError: If the data set is not one for testing, or a file of the
            folder is broken.
    """

    def __init__(self, *args: Any, resume_dir: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.test_mode:
            raise ValueError('only tests can skip finished videos, got a '
                             'data set with test_mode=False')
        finished = FinishedVideos(resume_dir).ids()
        skipped = {
            index
            for index in {video
                          for video, _ in self.indices[self.rank]}
            if self.dataset.get_data_info(index)['video_id'] in finished
        }
        self.indices[self.rank] = [(video, frame)
                                   for video, frame in self.indices[self.rank]
                                   if video not in skipped]
        self.num_samples = len(self.indices[self.rank])
