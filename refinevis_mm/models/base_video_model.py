# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The test loop of all models: frames of a video come a few at a time."""
from abc import abstractmethod
from typing import Any, List

from mmdet.models.mot import BaseMOTModel
from mmdet.structures import TrackDataSample, TrackSampleList
from mmdet.utils import OptConfigType, OptMultiConfig
from torch import Tensor


class BaseVideoModel(BaseMOTModel):
    """Takes the frames of one video after the other.

    A subclass says what is kept of the running video, what a frame adds to
    it, and what the video's tracklets are when it ends.

    Args:
        data_preprocessor (dict, optional): :class:`TrackDataPreprocessor`.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self._video: Any = None  # what start_video has made

    @abstractmethod
    def start_video(self, meta: dict) -> Any:
        """What is kept of a video, before its first frame.

        Args:
            meta (dict): ``video_length`` and others of the first frame.
        """

    @abstractmethod
    def add_frames(self, images: Tensor, metas: List[dict]) -> None:
        """Take the next frames of the running video.

        Args:
            images (Tensor): Normalised, padded frames, has shape
                (T, 3, H, W).
            metas (list[dict]): Metainfo of each.
        """

    def add_batch(self, images: Tensor, metas: List[dict]) -> None:
        """Take frames that came as a batch; arguments as :meth:`add_frames`.

        A subclass may compute them together.
        """
        self.add_frames(images, metas)

    @abstractmethod
    def find_tracklets(self) -> List[dict]:
        """Tracklets of the running video, all frames of which are there.

        Returns:
            list[dict]: In the form of :meth:`VideoResult.tracklets`.
        """

    def predict(self, inputs: Tensor, data_samples: TrackSampleList,
                **kwargs) -> TrackSampleList:
        """Take the next frame(s) of one video.

        State is kept between calls and starts anew at ``frame_id == 0``.
        With the last frame of a video its data sample receives the metainfo
        ``pred_tracklets``, see :meth:`find_tracklets`.

        Args:
            inputs (Tensor): Frames of one video, has shape (N, T, 3, H, W); a
                batch of N > 1, see :class:`VideoBatchSampler`, has one size.
            data_samples (list[:obj:`TrackDataSample`]): N samples; their
                frames have ``frame_id``, ``video_id``, ``video_length``,
                ``img_shape`` and ``ori_shape``.

        Returns:
            list[:obj:`TrackDataSample`]: The given samples, cloned.

        Raises:
            ValueError: If the batch is not one video in its order, its frames
                differ in size, a video does not start with frame 0, or the
                model cannot take its frames.
        """
        samples: List[TrackDataSample] = [
            sample.clone() for sample in data_samples
        ]
        metas = [frame.metainfo for sample in samples for frame in sample]
        if len(samples) > 1:
            _check_batch(metas, len(samples))
        if metas[0]['frame_id'] == 0:
            self._video = self.start_video(metas[0])
        elif self._video is None:
            raise ValueError('a video must start with frame_id 0, got '
                             f"{metas[0]['frame_id']}")
        add = self.add_frames if len(samples) == 1 else self.add_batch
        add(inputs.flatten(0, 1), metas)
        last = metas[-1]
        if last['frame_id'] == last['video_length'] - 1:
            samples[-1].set_metainfo(
                dict(
                    video_id=last['video_id'],
                    video_length=last['video_length'],
                    pred_tracklets=self.find_tracklets()))
            self._video = None
        return samples


def _check_batch(metas: List[dict], num_samples: int) -> None:
    """Refuse a batch that is no part of a video, or padded unequally."""
    first = metas[0]
    for index, meta in enumerate(metas):
        if (meta['video_id'], meta['frame_id']) != (first['video_id'],
                                                    first['frame_id'] + index):
            raise ValueError('a test batch must hold one video, got '
                             f'{num_samples} samples that do not follow each '
                             'other (VideoBatchSampler makes batches)')
        if meta['img_shape'] != first['img_shape']:
            raise ValueError('frames of a test batch must have one size, got '
                             f"{first['img_shape']} and {meta['img_shape']}")
