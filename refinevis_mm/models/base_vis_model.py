# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A video as a stream: frames in, tracklets out, for every model of ours."""
import copy
from abc import abstractmethod
from typing import Any, List, Optional, Sequence

from mmdet.utils import OptConfigType, OptMultiConfig
from torch import Tensor

from refinevis_mm.structures import DecodedFrame, RunningScores, VideoResult
from .association.tracker import (Tracker, find_delay, find_last_merges,
                                  find_merges)
from .base_video_model import BaseVideoModel
from .refinement.refiners import build_refiner, check_refinement
from .refinement.running_video import RunningVideo, TrackedFrame
from .refinement.tar_head import TARHead


class BaseVISModel(BaseVideoModel):
    """Detects and associates frame by frame, and refines what it found.

    A subclass sets ``tracker`` and implements :meth:`track` and
    :meth:`decode`. Sessions, rendering and tests know no more of a model;
    whoever refines has the refiners.

    Args:
        mode (str): 'online' or 'offline' refinement at test. Defaults to
            'online'.
        window (int): Frames W seen by refinement at test; 0 switches it off
            exactly. Defaults to 0.
        cls_thr (float): Least mean class score of a reported (tracklet,
            class) pair. Defaults to 0.05, as IDOL.
        score_average (str): What is averaged over a tracklet, 'scores' or
            'logits', or 'max', see :class:`RunningScores`. Defaults to
            'scores'.
        max_per_video (int, optional): (tracklet, class) pairs reported of a
            video, those of the highest scores. Defaults to None, all.
        data_preprocessor (dict, optional): :class:`TrackDataPreprocessor`.
        init_cfg (dict, optional): Initialisation config.

    Attributes:
        batched (bool): The first stage can take several frames at a time:
            the model has :meth:`detect` and :meth:`associate`. Defaults to
            False.
        tracker (:obj:`Tracker`): The pattern of the trackers of streams.
        tar_head (:obj:`TARHead` | None): Refines where ``window`` is not 0.

    Raises:
        ValueError: If ``mode``, ``window`` or ``score_average`` is not
            allowed.
    """

    batched = False
    tracker: Tracker

    def __init__(self,
                 mode: str = 'online',
                 window: int = 0,
                 cls_thr: float = 0.05,
                 score_average: str = 'scores',
                 max_per_video: Optional[int] = None,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        check_refinement(mode, window)
        self.mode = mode
        self.window = window
        self.cls_thr = cls_thr
        self.score_average = RunningScores(score_average).average
        self.max_per_video = max_per_video
        self.tar_head: Optional[TARHead] = None
        self._tracker: Optional[Tracker] = None  # of the running video

    @abstractmethod
    def track(self, image: Tensor, meta: dict,
              tracker: Tracker) -> TrackedFrame:
        """First two stages for one frame: detect, then associate.

        Args:
            image (Tensor): Normalised, padded frame, has shape (3, H, W).
            meta (dict): ``frame_id``, ``img_shape``, ``ori_shape`` and, for
                a :class:`Segmenter`, ``scale_factor``.
            tracker (:obj:`Tracker`): Tracker of the video, updated in place;
                its ``discarded_ids`` are what it judged noise by this frame,
                its ``merged_ids`` what it found to be one.

        Returns:
            :obj:`FrameTracks` | :obj:`DecodedFrame`: The detections that
            belong to a tracklet.
        """

    def detect(self, images: Tensor, metas: Sequence[dict]) -> List[Any]:
        """First stage alone, for several frames at once.

        Args:
            images (Tensor): Normalised, padded frames, has shape
                (B, 3, H, W).
            metas (Sequence[dict]): Metainfo of each, see :meth:`track`.

        Returns:
            list: What :meth:`associate` takes of each frame.
        """
        raise NotImplementedError(f'{type(self).__name__} is not batched')

    def associate(self, frame: Any, meta: dict,
                  tracker: Tracker) -> TrackedFrame:
        """Second stage: give the detections of a frame their tracklet ids.

        Args:
            frame: What :meth:`detect` found in it.
            meta (dict): See :meth:`track`, which is both stages.
            tracker (:obj:`Tracker`): See :meth:`track`.

        Returns:
            :obj:`FrameTracks` | :obj:`DecodedFrame`: See :meth:`track`.
        """
        raise NotImplementedError(f'{type(self).__name__} is not batched')

    @abstractmethod
    def decode(self,
               tracks: TrackedFrame,
               refined: bool = True) -> DecodedFrame:
        """Class scores and full-size masks of a frame's tracklets.

        Args:
            tracks (:obj:`FrameTracks` | :obj:`DecodedFrame`): From
                :meth:`track`, before or after refinement.
            refined (bool): Whether refinement has seen them; otherwise the
                heads of the frame model are used. Defaults to True.

        Returns:
            :obj:`DecodedFrame`: The decoded frame.
        """

    def start_video(self, meta: dict) -> RunningVideo:
        """See :meth:`BaseVideoModel.start_video`."""
        self._tracker = self.init_tracker()
        return RunningVideo(
            build_refiner(self.tar_head, self.mode, self.window,
                          find_delay(self._tracker)),
            VideoResult(meta['video_length'], self.score_average))

    def add_frames(self, images: Tensor, metas: List[dict]) -> None:
        """See :meth:`BaseVideoModel.add_frames`."""
        for image, meta in zip(images, metas):
            self._add(self.track(image, meta, self._tracker))

    def add_batch(self, images: Tensor, metas: List[dict]) -> None:
        """See :meth:`BaseVideoModel.add_batch`."""
        if not self.batched:
            return self.add_frames(images, metas)
        for frame, meta in zip(self.detect(images, metas), metas):
            self._add(self.associate(frame, meta, self._tracker))

    def _add(self, tracks: TrackedFrame) -> None:
        """Refine and gather what the last two stages give for a frame."""
        self._video.discard(self._tracker.discarded_ids)
        self._video.merge(find_merges(self._tracker))
        self._video.add(map(self.decode, self._video.refiner.push(tracks)))

    def find_tracklets(self) -> List[dict]:
        """See :meth:`BaseVideoModel.find_tracklets`."""
        self._video.merge(find_last_merges(self._tracker))
        self._video.add(map(self.decode, self._video.refiner.flush()))
        self._tracker = None
        return self._video.result.tracklets(self.cls_thr, self.max_per_video)

    def init_tracker(self) -> Tracker:
        """An empty tracker for a new video."""
        tracker = copy.deepcopy(self.tracker)
        tracker.reset()
        return tracker
