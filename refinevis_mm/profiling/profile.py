# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One model and one workload, ready to be measured again and again."""
import os
from contextlib import AbstractContextManager, ExitStack, contextmanager
from types import TracebackType
from typing import Any, Dict, Iterator, List, Optional

import torch
from torch import nn

import refinevis_mm
from refinevis_mm.apis.backends import choose_backend
from refinevis_mm.apis.inference import check_device
from refinevis_mm.models.layers.ms_deform_attn import (BACKEND_ENV,
                                                       select_backend)
from .arithmetic import FlopCounter, matmul_rate
from .building import build_model, compiled
from .machine import LoadMeter, device_name, peak_memory
from .medians import spread, summarise
from .operators import count_operators
from .random_frames import RandomFrames
from .settings import DTYPES, ProfileSettings
from .stage_timer import TOTAL, StageTimer
from .stages import watch_functions, watch_model
from .training_steps import DataTrainingSteps, TrainingSteps
from .video_frames import VideoFrames
from .workload import Workload


class Profile(AbstractContextManager):
    """Measures one workload; a context that leaves no traces.

    Args:
        settings (:obj:`ProfileSettings`): What is measured.
        model (nn.Module, optional): The model of these settings where it has
            been built before. A runtime changes it for good. Defaults to
            None.

    Attributes:
        model (nn.Module): The model.
        runs (list[dict[str, float]]): Seconds of the stages of a frame or
            training step, in each measured run.

    Raises:
        OSError: If a file is missing.
        ValueError: If there is no such device, the config has no model that
            can be measured in this way, or settings do not go together.
        CheckpointError: If the checkpoint does not fit.
        ImportError: If a package is missing.
    """

    def __init__(self,
                 settings: ProfileSettings,
                 model: Optional[nn.Module] = None) -> None:
        settings.check()
        self.settings = settings
        self.device = check_device(settings.device)
        self.runs: List[Dict[str, float]] = []
        self._rates: List[float] = []
        self._load = LoadMeter()
        with ExitStack() as stack:
            stack.callback(torch.set_num_threads, torch.get_num_threads())
            if settings.threads:
                torch.set_num_threads(settings.threads)
            if settings.backend:
                stack.enter_context(
                    _environment(BACKEND_ENV, settings.backend))
            self.model = build_model(settings) if model is None else model
            if self.device.type == 'cuda':
                torch.cuda.reset_peak_memory_stats(self.device)
            # before another runtime hides the operations
            self._flops = self._count_flops() if settings.stages else {}
            if settings.runtime:
                choose_backend(self.model, settings.runtime, settings.graphs,
                               settings.threads)
            if settings.compile:
                stack.enter_context(compiled(self.model))
            self._timer = stack.enter_context(StageTimer(self.device))
            self._workload = self._start(self._timer, settings.compile)
            self._stack = stack.pop_all()

    def __exit__(self, kind: Optional[type], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._stack.close()

    def _start(self, timer: StageTimer, compiled: bool = False) -> Workload:
        """Watch the model and prepare what is run."""
        settings = self.settings
        if settings.stages:
            watch_model(timer, self.model, compiled)
            watch_functions(timer)
        if settings.video is not None:
            return VideoFrames(self.model, settings, timer)
        if settings.data:
            return DataTrainingSteps(self.model, settings, timer)
        if settings.train:
            return TrainingSteps(self.model, settings, timer)
        return RandomFrames(self.model, settings, timer)

    def _count_flops(self) -> Dict[str, float]:
        """Operations of a frame or step by stage, and the total."""
        with StageTimer(self.device) as timer:
            workload = self._start(timer)
            workload.prepare()
            counts = FlopCounter().count(timer, workload.sample)
        return {
            stage: count / workload.num_sampled
            for stage, count in counts.items()
        }

    def measure(self, keep: bool = True) -> Dict[str, float]:
        """Run once.

        Args:
            keep (bool): Whether it counts, or warms up. Defaults to True.

        Returns:
            dict[str, float]: Seconds of the stages of a frame or step.
        """
        self._workload.prepare()
        with self._load if keep else ExitStack():
            times = self._timer.measure(self._workload)
        if keep and isinstance(self._workload,
                               RandomFrames) and self.settings.tracklets:
            self._workload.compare_without_tar(times)
        number = self._workload.num_units
        times = {stage: seconds / number for stage, seconds in times.items()}
        if keep:
            self.runs.append(times)
            self._rates.append(matmul_rate(self.device, self._dtype))
        return times

    @property
    def _dtype(self) -> Optional[torch.dtype]:
        """Type in which products are computed, None for float32."""
        return DTYPES.get(self.settings.dtype or '')

    def report(self, top: int = 0) -> Dict[str, Any]:
        """Everything that was measured.

        Args:
            top (int): Operators to name. Defaults to 0.

        Returns:
            dict: ``setup``; ``unit``, 'frame' or 'training step';
            ``stages``, milliseconds of a unit (:func:`summarise`);
            ``memory`` in MiB; ``load``; with ``stages`` also
            ``arithmetic`` (``gflop`` by stage, ``gflops_per_second`` of a
            matrix product, ``floor_ms`` and its ``share`` of the time in
            percent) and ``operators`` (:func:`count_operators`); and what
            the workload adds.
        """
        report: Dict[str, Any] = dict(
            setup=self._describe_setup(),
            unit=self._workload.unit,
            stages=summarise(self.runs),
            memory=peak_memory(self.device),
            load=dict(
                others=self._load.others,
                cores=self._load.num_cores,
                text=self._load.describe()))
        rate = spread(self._rates)
        report['gflops_per_second'] = {
            name: value / 1e9
            for name, value in rate.items()
        }
        report.update(self._workload.facts())
        if self._flops:
            floor = 1000 * self._flops[TOTAL] / rate['median']
            report['arithmetic'] = dict(
                gflop={
                    stage: flops / 1e9
                    for stage, flops in self._flops.items() if flops
                },
                floor_ms=floor,
                share=100 * floor / report['stages'][TOTAL]['median'])
            self._workload.prepare()
            report['operators'] = count_operators(self._timer,
                                                  self._workload.sample,
                                                  self._workload.num_sampled,
                                                  top)
        return report

    def _describe_setup(self) -> Dict[str, Any]:
        """What the times depend on."""
        import mmcv
        import mmdet
        import mmengine
        settings = self.settings
        setup: Dict[str, Any] = dict(
            config=settings.config,
            weights=self.model.weights or 'random',
            mode='training' if settings.train else 'inference')
        if settings.video is not None:
            setup.update(video=settings.video, outputs=settings.outputs)
        elif settings.data:
            setup['data'] = self.model.cfg.train_dataloader.dataset.type
        else:
            setup['shape'] = list(settings.shape)
        setup.update(
            device=device_name(self.device),
            threads=torch.get_num_threads(),
            backend=select_backend(self.device),
            repeats=len(self.runs))
        for name in ('runtime', 'dtype', 'compile', 'batch_size',
                     'cfg_options'):
            if getattr(settings, name):
                setup[name] = getattr(settings, name)
        if settings.train and not settings.data:
            setup.update(
                batch_size=settings.batch_size or 1, objects=settings.objects)
        setup['versions'] = ', '.join(f'{module.__name__} {module.__version__}'
                                      for module in (torch, mmengine, mmcv,
                                                     mmdet, refinevis_mm))
        return setup


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for a while, for all threads."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
