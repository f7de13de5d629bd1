# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames of noise through a model of video or a detector."""
import statistics
from typing import Any, Dict, Iterator, List, Optional

import torch
from torch import nn

from refinevis_mm.models import RefineVIS
from refinevis_mm.models.refinement import BaseRefiner, build_refiner
from refinevis_mm.structures import DecodedFrame, FrameTracks
from .medians import quartiles
from .random_input import random_images, random_sample
from .settings import ProfileSettings
from .stage_timer import OTHER, TOTAL, StageTimer
from .workload import Workload


class RandomFrames(Workload):
    """The next frames of a video of noise, or images for a detector.

    Args: See :class:`Workload`.

    Raises:
        ValueError: If there shall be tracklets and the model does not refine
            every frame.
    """

    def __init__(self, model: nn.Module, settings: ProfileSettings,
                 timer: StageTimer) -> None:
        super().__init__(model, settings, timer)
        self.num_units = settings.batch_size or 1
        self.is_video = isinstance(model, RefineVIS)
        self.num_frames = 0
        self.num_tracklets: Optional[int] = None
        self._added: List[float] = []
        self._shares: List[float] = []
        self._refine_seconds = 0.0  # of the last frame
        self._tracks: Optional[FrameTracks] = None  # of the last frame
        if settings.tracklets:
            _check_online(model)
        if self.is_video:
            self._tracker = model.init_tracker()
            self._refiner = build_refiner(model.tar_head, model.mode,
                                          model.window)
            self._refine = timer.timed(OTHER, self._run_refine)
        self.prepare()
        if settings.tracklets:
            self._fill_window()

    def prepare(self) -> None:
        """See :meth:`Workload.prepare`."""
        self._images = random_images(self.settings, self.num_units)

    @torch.inference_mode()
    def __call__(self) -> None:
        """See :meth:`Workload.__call__`."""
        with self.autocast():
            if self.is_video:
                self._stream()
            else:
                samples = [random_sample(self.settings)] * self.num_units
                self.model.predict(self._images, samples)

    def _stream(self) -> None:
        """Find objects in all frames, then follow them one by one."""
        for tracks in self._track():
            if self.settings.tracklets:
                tracks = self._replace_tracks(tracks)
            self.num_frames += 1
            self._tracks, start = tracks, self.timer.now()
            results = self._refine(tracks, self._refiner)
            self._refine_seconds = self.timer.now() - start
            if results:
                self.num_tracklets = len(results[-1].ids)

    def _track(self) -> Iterator[FrameTracks]:
        """First two stages, for a batch of frames with one forward pass."""
        model, number = self.model, self.num_units
        if number == 1:
            yield model.track(self._images[0], self._next_meta(),
                              self._tracker)
            return
        frames = model.frame_model.forward_frames(
            self._images, sizes=[self.settings.shape] * number)
        model.embed(frames)
        for row in torch.arange(number, device=self._images.device):
            yield model.associate(
                frames.select_frames(row[None]), self._next_meta(),
                self._tracker)

    def _next_meta(self) -> dict:
        """Metainfo of the next frame of the video."""
        return random_sample(self.settings, self.num_frames).metainfo

    def _run_refine(self, tracks: FrameTracks,
                    refiner: BaseRefiner) -> List[DecodedFrame]:
        """Third stage: the frames that are finished by a tracked one."""
        return [self.model.decode(done) for done in refiner.push(tracks)]

    @torch.inference_mode()
    def _fill_window(self) -> None:
        """Let refinement remember the frames before the first one."""
        self._stream()
        assert self._tracks is not None
        for _ in range(self.model.window - 1):
            self.num_frames += 1
            self._refiner.push(self._replace_tracks(self._tracks))

    def _replace_tracks(self, tracks: FrameTracks) -> FrameTracks:
        """As many random tracklets as asked for, but one that is missed."""
        number = self.settings.tracklets or 1
        missed = self.num_frames % number if number > 1 else None
        # the tracker's ids count from 0 and may be discarded
        ids = [-1 - i for i in range(number) if i != missed]
        embeds = tracks.embeds
        return FrameTracks(
            frame_id=self.num_frames,
            meta=tracks.meta,
            ids=ids,
            embeds=torch.randn(len(ids), embeds.shape[1]).to(embeds),
            boxes=torch.rand(len(ids), 4).to(embeds),
            detected=torch.ones(
                len(ids), dtype=torch.bool, device=embeds.device),
            mask_features=tracks.mask_features)

    @torch.inference_mode()
    def compare_without_tar(self, times: Dict[str, float]) -> None:
        """Measure what refinement added to the last frame.

        Refinement and decoding of the same tracklets are run again without
        TAR, right after it, when all they read has just been read.

        Args:
            times (dict[str, float]): Seconds of the last frame.
        """
        window, self.model.window = self.model.window, 0
        refiner = build_refiner(None, self.model.mode, 0)
        start = self.timer.now()
        self._refine(self._tracks, refiner)
        seconds = self.timer.now() - start
        self.model.window = window
        self._added.append(self._refine_seconds - seconds)
        self._shares.append(self._added[-1] / (times[TOTAL] - self._added[-1]))

    def facts(self) -> Dict[str, Any]:
        """See :meth:`Workload.facts`."""
        facts: Dict[str, Any] = {}
        if self.is_video:
            number = self.settings.tracklets or self.num_tracklets
            if number is not None:
                facts['tracklets'] = number
        if self._added:
            facts['added_by_tar'] = dict(
                quartiles(self._added),
                share=100 * statistics.median(self._shares))
        return facts


def _check_online(model: nn.Module) -> None:
    """Raise ValueError unless a model refines every frame."""
    mode = getattr(model, 'mode', None)
    window = getattr(model, 'window', 0)
    if mode != 'online' or window == 0:
        raise ValueError('--tracklets needs a video model with mode="online" '
                         f'and window > 0, got mode={mode!r} and '
                         f'window={window}')
