# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A video as a stream: frames in, tracklets out, for every model of ours."""
import copy
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import List, Optional, Union

from mmdet.models.mot import BaseMOTModel
from mmdet.structures import TrackDataSample, TrackSampleList
from mmdet.utils import OptConfigType, OptMultiConfig
from torch import Tensor

from refinevis_mm.structures import DecodedFrame, FrameTracks, VideoResult
from .association.tracker import Tracker
from .refinement.refiners import BaseRefiner, build_refiner, check_refinement
from .refinement.tar_head import TARHead

# what the first two stages say of a frame
TrackedFrame = Union[FrameTracks, DecodedFrame]


@dataclass
class StreamState:
    """Everything a model remembers of one running video.

    Attributes:
        tracker (:obj:`Tracker`): Association memory.
        refiner (:obj:`BaseRefiner`): Refinement memory.
        discarded_ids (list[int]): Tracklets judged noise that no result has
            reported yet.
    """

    tracker: Tracker
    refiner: BaseRefiner
    discarded_ids: List[int] = field(default_factory=list)


class BaseVISModel(BaseMOTModel):
    """Detects and associates frame by frame, and refines what it found.

    A subclass sets ``tracker`` and implements :meth:`find` and
    :meth:`decode`. Sessions, rendering and tests know no more of a model.

    Args:
        mode (str): 'online' or 'offline' refinement at test. Defaults to
            'online'.
        window (int): Frames W seen by refinement at test; 0 switches it off
            exactly. Defaults to 0.
        cls_thr (float): Least mean class score of a reported (tracklet,
            class) pair. Defaults to 0.05, as IDOL.
        data_preprocessor (dict, optional): :class:`TrackDataPreprocessor`.
        init_cfg (dict, optional): Initialisation config.

    Attributes:
        tracker (:obj:`Tracker`): The pattern of the trackers of streams.
        tar_head (:obj:`TARHead` | None): Refines where ``window`` is not 0.

    Raises:
        ValueError: If ``mode`` or ``window`` is not allowed.
    """

    tracker: Tracker

    def __init__(self,
                 mode: str = 'online',
                 window: int = 0,
                 cls_thr: float = 0.05,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        check_refinement(mode, window)
        self.mode = mode
        self.window = window
        self.cls_thr = cls_thr
        self.tar_head: Optional[TARHead] = None
        # The running video of the frame-by-frame test loop.
        self._state: Optional[StreamState] = None
        self._video_result: Optional[VideoResult] = None

    @abstractmethod
    def find(self, image: Tensor, meta: dict,
             tracker: Tracker) -> TrackedFrame:
        """First two stages for one frame: detect, then associate.

        Args:
            image (Tensor): Normalised, padded frame, has shape (3, H, W).
            meta (dict): ``frame_id``, ``img_shape`` and ``ori_shape``.
            tracker (:obj:`Tracker`): Tracker of the video, updated in place.

        Returns:
            :obj:`FrameTracks` | :obj:`DecodedFrame`: The detections that
            belong to a tracklet.
        """

    @abstractmethod
    def decode(self,
               tracks: TrackedFrame,
               refined: bool = True) -> DecodedFrame:
        """Class scores and full-size masks of a frame's tracklets.

        Args:
            tracks (:obj:`FrameTracks` | :obj:`DecodedFrame`): From
                :meth:`find`, before or after refinement.
            refined (bool): Whether refinement has seen them; otherwise the
                heads of the frame model are used. Defaults to True.

        Returns:
            :obj:`DecodedFrame`: Without discarded ids.
        """

    def predict(self, inputs: Tensor, data_samples: TrackSampleList,
                **kwargs) -> TrackSampleList:
        """Process the next frame(s) of one video.

        State is kept between calls and starts anew at ``frame_id == 0``.
        With the last frame of a video its data sample receives the metainfo
        ``pred_tracklets``, the list made by :meth:`VideoResult.tracklets`.

        Args:
            inputs (Tensor): Frames of one video, has shape (1, T, 3, H, W).
            data_samples (list[:obj:`TrackDataSample`]): One sample; its
                frames have ``frame_id``, ``video_id``, ``video_length``,
                ``img_shape`` and ``ori_shape``.

        Returns:
            list[:obj:`TrackDataSample`]: The given sample, cloned.

        Raises:
            ValueError: If the batch is not one video or a video does not
                start with frame 0.
        """
        if len(data_samples) != 1:
            raise ValueError('a test batch must hold one video, got '
                             f'{len(data_samples)}')
        sample: TrackDataSample = data_samples[0].clone()
        for image, frame_sample in zip(inputs[0], sample):
            meta = frame_sample.metainfo
            if meta['frame_id'] == 0:
                self._state = self.init_stream()
                self._video_result = VideoResult(meta['video_length'])
            elif self._state is None:
                raise ValueError('a video must start with frame_id 0, got '
                                 f"{meta['frame_id']}")
            results = self.step(image, meta, self._state)
            if meta['frame_id'] == meta['video_length'] - 1:
                results = results + self.flush(self._state)
            for result in results:
                self._video_result.discard(result.discarded_ids)
                self._video_result.add_frame(result.frame_id, result.ids,
                                             result.cls_scores, result.scored,
                                             result.masks)
            if meta['frame_id'] == meta['video_length'] - 1:
                sample.set_metainfo(
                    dict(
                        video_id=meta['video_id'],
                        video_length=meta['video_length'],
                        pred_tracklets=self._video_result.tracklets(
                            cls_thr=self.cls_thr)))
                self._state = self._video_result = None
        return [sample]

    def init_stream(self) -> StreamState:
        """Empty state for a new video."""
        tracker = copy.deepcopy(self.tracker)
        tracker.reset()
        refiner = build_refiner(self.tar_head, self.mode, self.window)
        return StreamState(tracker, refiner)

    def step(self, image: Tensor, meta: dict,
             state: StreamState) -> List[DecodedFrame]:
        """Process one frame of a stream.

        Args:
            image (Tensor): Normalised, padded frame, has shape (3, H, W).
            meta (dict): ``frame_id``, ``img_shape`` and ``ori_shape``.
            state (:obj:`StreamState`): State of the video, updated in place.

        Returns:
            list[:obj:`DecodedFrame`]: Frames finished by this one: itself
            online, up to W frames offline.
        """
        return self.refine(self.track(image, meta, state), state)

    def track(self, image: Tensor, meta: dict,
              state: StreamState) -> TrackedFrame:
        """First two stages for one frame, and what the tracker gave up.

        Args:
            image (Tensor): Normalised, padded frame, has shape (3, H, W).
            meta (dict): ``frame_id``, ``img_shape`` and ``ori_shape``.
            state (:obj:`StreamState`): State of the video, updated in place.

        Returns:
            :obj:`FrameTracks` | :obj:`DecodedFrame`: As :meth:`find` gives
            them.
        """
        tracks = self.find(image, meta, state.tracker)
        state.discarded_ids.extend(state.tracker.discarded_ids)
        state.refiner.discard(state.tracker.discarded_ids)
        return tracks

    def refine(self, tracks: TrackedFrame,
               state: StreamState) -> List[DecodedFrame]:
        """Third stage: the frames that are finished by a tracked one.

        Args:
            tracks (:obj:`FrameTracks` | :obj:`DecodedFrame`): From
                :meth:`track`.
            state (:obj:`StreamState`): State of the video, updated in place.

        Returns:
            list[:obj:`DecodedFrame`]: As :meth:`step` returns them.
        """
        return self._report(state.refiner.push(tracks), state)

    def flush(self, state: StreamState) -> List[DecodedFrame]:
        """End a stream: the frames that offline refinement still holds."""
        return self._report(state.refiner.flush(), state)

    def _report(self, frames: List[TrackedFrame],
                state: StreamState) -> List[DecodedFrame]:
        """Decode finished frames; the first carries the discarded ids."""
        results = [self.decode(tracks) for tracks in frames]
        if results:
            results[0].discarded_ids, state.discarded_ids = \
                state.discarded_ids, []
        return results
