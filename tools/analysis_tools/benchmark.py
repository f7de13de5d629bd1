# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Time the stages of a model, and measure its peak memory.

The input is random. What is timed does not depend on what it shows, except
for association and refinement, whose cost grows with the number of tracked
objects: mind the line "tracklets". Thresholds of the tracker near 0, given
with --cfg-options, make tracklets of noise. --tracklets gives refinement as
many as a video has, all over the window, one of them missed in each frame in
turn, and compares with no refinement (W = 0) of the same frames.

Example:
    python tools/analysis_tools/benchmark.py CONFIG --shape 480 640 --threads 2
    python tools/analysis_tools/benchmark.py CONFIG --tracklets 5
    python tools/analysis_tools/benchmark.py CONFIG --train --shape 512 512
"""
import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections import defaultdict
from typing import Any, Callable, Dict, List, Optional

import torch
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from terminaltables import AsciiTable
from torch import Tensor, nn

import refinevis_mm
from refinevis_mm.apis.inference import check_device
from refinevis_mm.compat.checkpoints import load_checkpoint_strict
from refinevis_mm.models.layers.ms_deform_attn import (BACKEND_ENV, BACKENDS,
                                                       select_backend)
from refinevis_mm.models.refinement import BaseRefiner, build_refiner
from refinevis_mm.models.refinevis import RefineVIS
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import DecodedFrame, FrameTracks
from refinevis_mm.utils import one_line_errors

# (stage, module, method) of every part that a model may have. The time of a
# part that runs inside another one counts for the inner one alone.
STAGES = (
    ('backbone', 'frame_model.backbone', 'forward'),
    ('encoder', 'frame_model.neck', 'forward'),
    ('encoder', 'frame_model.encoder', 'forward'),
    ('encoder', 'frame_model.pixel_decoder', 'forward'),
    ('query selection', 'frame_model', 'select_queries'),
    ('query selection', 'frame_model', 'init_anchors'),
    ('decoder', 'frame_model.decoder', 'forward'),
    ('heads and post-processing', 'frame_model', 'classify'),
    ('heads and post-processing', 'frame_model', 'segment'),
    ('heads and post-processing', '', '_predict_single'),
    ('heads and post-processing', '', 'decode'),
    ('association', 'association_head', 'forward'),
    ('association', '', 'associate'),
    ('association', '', '_loss_association'),
    ('TAR', 'tar_head', 'loss'),
    ('matching and losses', 'frame_model', 'match'),
    ('matching and losses', 'frame_model', 'loss_frames'),
)
OTHER, TOTAL = 'other', 'total'
MIB = 2**20
# Frames of a training clip.
CLIP_LENGTH = 2


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Time the stages of a model and measure its peak memory')
    parser.add_argument('config', help='config file path')
    parser.add_argument(
        '--checkpoint', help='weights; random ones if not given')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=('H', 'W'),
        help='height and width of the input in pixels; default: 480 640')
    parser.add_argument(
        '--threads', type=int, help='threads of PyTorch; default: its own')
    parser.add_argument(
        '--backend',
        choices=list(BACKENDS),
        help='backend of deformable attention; default: the automatic choice')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...; default: cpu')
    parser.add_argument(
        '--repeats',
        type=int,
        default=10,
        help='runs that are timed; default: 10')
    parser.add_argument(
        '--warmup', type=int, default=2, help='runs before them; default: 2')
    parser.add_argument(
        '--train',
        action='store_true',
        help='time training steps (forward, backward, AdamW) instead of '
        'inference')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=1,
        help='images or clips of a training step; default: 1')
    parser.add_argument(
        '--objects',
        type=int,
        default=10,
        help='ground-truth objects of a training image; default: 10')
    parser.add_argument(
        '--tracklets',
        type=int,
        help='inference: tracklets in the full window of refinement; '
        'default: those that the tracker finds in the noise')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of a table')
    args = parser.parse_args(argv)
    for name in ('repeats', 'batch_size', 'threads', 'objects', 'tracklets'):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, '
                         f'got {value}')
    if args.train and args.tracklets:
        parser.error('--tracklets is for inference, got --train')
    if min(args.shape) < 32:
        parser.error(f'--shape must be at least 32 x 32, got {args.shape}')
    return args


class StageTimer:
    """Measures the time spent in the stages of a model.

    Args:
        device (torch.device): Where the model runs; a GPU is waited for at
            every stage's begin and end.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_cuda = device.type == 'cuda'
        self.device = device
        self.times: Dict[str, float] = defaultdict(float)
        self._inner: List[float] = []  # seconds in stages inside of this one

    def now(self) -> float:
        """Seconds, after everything asked for is done."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def timed(self, stage: str, function: Callable) -> Callable:
        """A function that adds its own time to a stage."""

        def wrapped(*args, **kwargs) -> Any:
            self._inner.append(0.0)
            start = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                elapsed = self.now() - start
                self.times[stage] += elapsed - self._inner.pop()
                if self._inner:
                    self._inner[-1] += elapsed

        return wrapped

    def watch(self, model: nn.Module) -> None:
        """Time every part of ``STAGES`` that a model has."""
        modules = dict(model.named_modules())
        for stage, path, method in STAGES:
            owner = modules.get(path)
            if hasattr(owner, method):
                setattr(owner, method, self.timed(stage,
                                                  getattr(owner, method)))

    def measure(self, run: Callable[[], None]) -> Dict[str, float]:
        """Seconds of each stage of one run, and their total."""
        self.times.clear()
        self.timed(OTHER, run)()
        return dict(self.times, **{TOTAL: sum(self.times.values())})


def build_model(args: argparse.Namespace) -> nn.Module:
    """Build the model of a config, with a checkpoint's or random weights.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        nn.Module: On the chosen device.

    Raises:
        OSError: If a file is missing.
        ValueError: If the config has no model or the model no frame model.
        CheckpointError: If the checkpoint does not fit.
    """
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    if cfg.get('model') is None:
        raise ValueError(f'config "{args.config}" must have a "model"')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    _drop_pretrained(cfg.model)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    if not hasattr(model, 'frame_model'):
        raise ValueError('the model must have a frame_model, got '
                         f'{type(model).__name__}')
    if args.checkpoint:
        load_checkpoint_strict(model, args.checkpoint)
    else:
        model.init_weights()
    return model.to(args.device).train(args.train)


def _drop_pretrained(cfg: Any) -> None:
    """Remove what would be downloaded for the initialisation."""
    if isinstance(cfg, dict):
        if (cfg.get('init_cfg') or {}).get('type') == 'Pretrained':
            cfg['init_cfg'] = None
        for value in cfg.values():
            _drop_pretrained(value)


def random_image_sample(args: argparse.Namespace, frame_id: int = 0) -> Any:
    """Data sample of one image with random objects.

    Args:
        args (argparse.Namespace): The command line.
        frame_id (int): Position in its video. Defaults to 0.

    Returns:
        :obj:`DetDataSample`: With ``gt_instances`` in training.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    height, width = args.shape
    shape = (height, width)
    sample = DetDataSample(
        metainfo=dict(
            frame_id=frame_id,
            video_id=0,
            video_length=sys.maxsize,
            img_shape=shape,
            ori_shape=shape,
            batch_input_shape=shape))
    if args.train:
        size = torch.tensor([width, height], dtype=torch.float32)
        corner = torch.rand(args.objects, 2) * 0.5
        extent = 0.2 + 0.3 * torch.rand(args.objects, 2)
        boxes = torch.cat([corner * size, (corner + extent) * size], 1)
        masks = torch.zeros(args.objects, height, width, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.long()):
            mask[top:bottom, left:right] = 1
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.zeros(args.objects, dtype=torch.long),
            masks=BitmapMasks(masks.numpy(), height, width),
            instances_ids=torch.arange(args.objects))
    return sample


class Workload:
    """What is repeated: a frame, an image or a training step.

    Args:
        model (nn.Module): :class:`RefineVIS` or a detector.
        args (argparse.Namespace): The command line.
        timer (:obj:`StageTimer`): Told of backward pass and optimiser.
    """

    def __init__(self, model: nn.Module, args: argparse.Namespace,
                 timer: StageTimer) -> None:
        self.model = model
        self.args = args
        self.is_video = isinstance(model, RefineVIS)
        self.num_frames = 0
        self.num_tracklets: Optional[int] = None
        self._timer = timer
        if self.is_video:
            self._tracker = model.init_tracker()
            self._refiner = build_refiner(model.tar_head, model.mode,
                                          model.window)
        self._refine = timer.timed('TAR', self._run_refine)
        self._tracks: Optional[FrameTracks] = None  # of the last frame
        self._refine_seconds = 0.0  # of the last frame
        if args.train:
            params = [p for p in model.parameters() if p.requires_grad]
            self._optimizer = torch.optim.AdamW(params, lr=1e-6)
            self._backward = timer.timed('backward', self._run_backward)
            self._update = timer.timed('optimiser', self._run_update)

    def __call__(self) -> None:
        """Run once."""
        if self.args.train:
            self._train()
        else:
            with torch.inference_mode():
                self._infer()

    @torch.inference_mode()
    def fill_window(self) -> None:
        """Let refinement remember the frames before the first one."""
        self._infer()
        for _ in range(self.model.window - 1):
            self.num_frames += 1
            self._refiner.push(self._replace_tracks(self._tracks))

    @torch.inference_mode()
    def added_by_tar(self) -> float:
        """Seconds that the last frame took more than with ``window=0``.

        Refinement and decoding of the same tracklets are run again without
        TAR, right after it, when all they read has just been read.
        """
        window, self.model.window = self.model.window, 0
        refiner = build_refiner(None, self.model.mode, 0)
        start = self._timer.now()
        self._refine(self._tracks, refiner)
        seconds = self._timer.now() - start
        self.model.window = window
        return self._refine_seconds - seconds

    def _images(self, *sizes: int) -> Tensor:
        """Random normalised images."""
        images = torch.randn(*sizes, 3, *self.args.shape)
        return images.to(self.args.device)

    def _infer(self) -> None:
        """One image, or the next frame of a video."""
        sample = random_image_sample(self.args, self.num_frames)
        if not self.is_video:
            self.model.predict(self._images(1), [sample])
            return
        tracks = self.model.track(self._images(), sample.metainfo,
                                  self._tracker)
        if self.args.tracklets:
            tracks = self._replace_tracks(tracks)
        self.num_frames += 1
        self._tracks, start = tracks, self._timer.now()
        results = self._refine(tracks, self._refiner)
        self._refine_seconds = self._timer.now() - start
        if self.args.tracklets:
            self.num_tracklets = self.args.tracklets
        elif results:
            self.num_tracklets = len(results[-1].ids)

    def _run_refine(self, tracks: FrameTracks,
                    refiner: BaseRefiner) -> List[DecodedFrame]:
        """Third stage: the frames that are finished by a tracked one."""
        return [self.model.decode(done) for done in refiner.push(tracks)]

    def _replace_tracks(self, tracks: FrameTracks) -> FrameTracks:
        """As many random tracklets as asked for, but one that is missed."""
        number = self.args.tracklets
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

    def _train(self) -> None:
        """One training step."""
        batch_size = self.args.batch_size
        if self.is_video:
            images = self._images(batch_size, CLIP_LENGTH)
            samples = [self._random_clip() for _ in range(batch_size)]
        else:
            images = self._images(batch_size)
            samples = [
                random_image_sample(self.args) for _ in range(batch_size)
            ]
        losses = self.model.loss(images, samples)
        self._backward(sum(losses.values()))
        self._update()

    def _random_clip(self) -> Any:
        """Data sample of a clip with random objects."""
        from mmdet.structures import TrackDataSample

        clip = TrackDataSample()
        clip.video_data_samples = [
            random_image_sample(self.args, t) for t in range(CLIP_LENGTH)
        ]
        return clip

    @staticmethod
    def _run_backward(loss: Tensor) -> None:
        """Gradients of a loss."""
        loss.backward()

    def _run_update(self) -> None:
        """Change the weights."""
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


def summarise(runs: List[Dict[str, float]]) -> Dict[str, Dict[str, float]]:
    """Median and spread of every stage.

    Args:
        runs (list[dict[str, float]]): Seconds of the stages of each run.

    Returns:
        dict[str, dict[str, float]]: ``median``, ``q1``, ``q3`` and ``min``
        of each stage in milliseconds, in the order of ``STAGES``.
    """
    order = [stage for stage, _, _ in STAGES]
    order += ['backward', 'optimiser', OTHER, TOTAL]
    stages = {}
    for stage in dict.fromkeys(order):
        if any(stage in run for run in runs):
            stages[stage] = quartiles([run.get(stage, 0.0) for run in runs])
    return stages


def quartiles(seconds: List[float]) -> Dict[str, float]:
    """Median and spread of a time.

    Args:
        seconds (list[float]): The time in each run.

    Returns:
        dict[str, float]: ``median``, ``q1``, ``q3`` and ``min`` in
        milliseconds.
    """
    times = [1000 * value for value in seconds]
    q1, median, q3 = times * 3 if len(times) == 1 else \
        statistics.quantiles(times, n=4, method='inclusive')
    return dict(median=median, q1=q1, q3=q3, min=min(times))


def describe_setup(args: argparse.Namespace) -> Dict[str, Any]:
    """What the times depend on."""
    import mmcv
    import mmdet
    import mmengine
    device = torch.device(args.device)
    setup = dict(
        config=args.config,
        mode='training' if args.train else 'inference',
        shape=list(args.shape),
        device=_device_name(device),
        threads=torch.get_num_threads(),
        backend=select_backend(device),
        repeats=args.repeats)
    if args.train:
        setup.update(batch_size=args.batch_size, objects=args.objects)
    setup['versions'] = ', '.join(f'{module.__name__} {module.__version__}'
                                  for module in (torch, mmengine, mmcv, mmdet,
                                                 refinevis_mm))
    return setup


def _device_name(device: torch.device) -> str:
    """Name of the GPU or of the CPU."""
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    if os.path.exists('/proc/cpuinfo'):
        with open('/proc/cpuinfo') as file:
            for line in file:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> Dict[str, float]:
    """Peak memory of this process in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform != 'darwin':  # KiB there, bytes on macOS
        peak *= 1024
    memory = dict(peak_rss_mib=peak / MIB)
    if device.type == 'cuda':
        memory['peak_cuda_mib'] = torch.cuda.max_memory_allocated(device) / MIB
    return memory


def run_benchmark(args: argparse.Namespace) -> Dict[str, Any]:
    """Build the model, run it and collect the numbers.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict: ``setup``, ``stages`` (milliseconds), ``memory`` (MiB) and, for
        video models at inference, ``tracklets``; with ``--tracklets`` also
        ``added_by_tar``, quartiles in milliseconds and the ``share``, in
        percent, of the frame's time without.

    Raises:
        ValueError: If there is no such device, the config has no model that
            can be timed, or no TAR for ``--tracklets``.
    """
    if args.backend:
        os.environ[BACKEND_ENV] = args.backend
    if args.threads:
        torch.set_num_threads(args.threads)
    device = check_device(args.device)
    model = build_model(args)
    timer = StageTimer(device)
    timer.watch(model)
    workload = Workload(model, args, timer)
    if args.tracklets:
        check_online(model)
        workload.fill_window()
    for _ in range(args.warmup):
        timer.measure(workload)
    runs, added = [], []
    for _ in range(args.repeats):
        runs.append(timer.measure(workload))
        if args.tracklets:
            added.append(workload.added_by_tar())
    report = dict(
        setup=describe_setup(args),
        stages=summarise(runs),
        memory=peak_memory(device))
    if workload.num_tracklets is not None:
        report['tracklets'] = workload.num_tracklets
    if added:
        shares = [
            seconds / (run[TOTAL] - seconds)
            for seconds, run in zip(added, runs)
        ]
        report['added_by_tar'] = dict(
            quartiles(added), share=100 * statistics.median(shares))
    return report


def check_online(model: nn.Module) -> None:
    """Raise ValueError unless a model refines every frame."""
    mode = getattr(model, 'mode', None)
    window = getattr(model, 'window', 0)
    if mode != 'online' or window == 0:
        raise ValueError('--tracklets needs a video model with mode="online" '
                         f'and window > 0, got mode={mode!r} and '
                         f'window={window}')


def format_report(report: Dict[str, Any]) -> str:
    """Text for people.

    Args:
        report (dict): From :func:`run_benchmark`.

    Returns:
        str: Several lines.
    """
    lines = [f'{key}: {value}' for key, value in report['setup'].items()]
    rows = [['stage', 'median ms', 'quartiles ms', 'min ms', 'share']]
    total = report['stages'][TOTAL]['median']
    for stage, times in report['stages'].items():
        rows.append([
            stage, f"{times['median']:.1f}",
            f"{times['q1']:.1f} - {times['q3']:.1f}", f"{times['min']:.1f}",
            f"{100 * times['median'] / total:.1f} %"
        ])
    table = AsciiTable(rows)
    table.justify_columns = {i: 'right' for i in range(1, 5)}
    lines.append(table.table)
    for name, value in report['memory'].items():
        lines.append(f'{name[:-4]}: {value:.0f} MiB')
    if 'tracklets' in report:
        lines.append(f"tracklets: {report['tracklets']}")
    if 'added_by_tar' in report:
        added = report['added_by_tar']
        lines.append(
            'added by TAR, decoding of missed objects included: '
            f"{added['median']:.2f} ms ({added['q1']:.2f} - "
            f"{added['q3']:.2f}), {added['share']:.2f} % of a frame without")
    return '\n'.join(lines)


@one_line_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    report = run_benchmark(args)
    print(json.dumps(report, indent=2) if args.json else format_report(report))


if __name__ == '__main__':
    main()
