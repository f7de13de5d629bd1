# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Memory, time and tracklets of a long stream: do they depend on its length?

Streams a made-up video of moving rectangles through a session, of two modes
each in a process of its own, and records the memory of the process. Refinement
and tracking need tracklets, so with random weights the thresholds of the
tracker are set to the score that about ``--tracks`` queries of the first
frame reach. The model sees the frames at their own size.

The closing table compares the peak after a tenth of the frames with the peak
at the end, and the time of a frame and the new tracklets of the first tenth
with those of the last. All come from one run: the first tenth is the shorter
video.

Example:
    python tools/analysis_tools/benchmark_memory.py CONFIG --frames 2000 \
        --shape 192 320 --out memory.json
    python tools/analysis_tools/benchmark_memory.py CONFIG --record
"""
import argparse
import json
import os
import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.utils import ProgressBar
from terminaltables import AsciiTable

from refinevis_mm.apis import Session, init_model
from refinevis_mm.apis.inference import check_device
from refinevis_mm.files import write_text
from refinevis_mm.models.refinevis import RefineVIS
from refinevis_mm.recording import VideoRecording
from refinevis_mm.registry import MODELS
from refinevis_mm.utils import one_line_errors

MIB = 2**20
FPS = 25.
NUM_OBJECTS = 6


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Peak memory of a long stream')
    parser.add_argument('config', help='config file path')
    parser.add_argument(
        '--checkpoint', help='weights; random ones if not given')
    parser.add_argument(
        '--frames', type=int, default=2000, help='length; default: 2000')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=('H', 'W'),
        help='height and width of the frames in pixels; default: 480 640')
    parser.add_argument(
        '--modes',
        nargs='+',
        choices=['online', 'offline'],
        default=['online', 'offline'],
        help='default: both')
    parser.add_argument(
        '--tracks',
        type=int,
        default=10,
        help='queries above the thresholds of the tracker in the first frame, '
        'with random weights; default: 10')
    parser.add_argument(
        '--record',
        action='store_true',
        help='keep the results in a recording, as video_demo.py does')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...; default: cpu')
    parser.add_argument(
        '--threads', type=int, help='threads of PyTorch; default: its own')
    parser.add_argument('--out', help='JSON file for all samples')
    parser.add_argument('--plot', help='picture of the curves, .png or .svg')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    args = parser.parse_args(argv)
    if args.frames < 10:
        parser.error(f'--frames must be at least 10, got {args.frames}')
    return args


def moving_rectangles(num: int, height: int,
                      width: int) -> Iterator[np.ndarray]:
    """A video that never repeats itself exactly.

    Args:
        num (int): Frames.
        height (int): Pixels.
        width (int): Pixels.

    Yields:
        np.ndarray: Has shape (height, width, 3), uint8, BGR.
    """
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 120, width)[None, :, None]
    background = np.broadcast_to(ramp, (height, width, 3)).astype(np.uint8)
    colors = rng.integers(0, 256, (NUM_OBJECTS, 3))
    speed = rng.uniform(-0.02, 0.02, (NUM_OBJECTS, 2))
    start = rng.uniform(0, 1, (NUM_OBJECTS, 2))
    for t in range(num):
        image = background.copy()
        for color, (y, x) in zip(colors, (start + t * speed) % 1.2 - 0.1):
            top, left = int(y * height), int(x * width)
            image[max(top, 0):max(top + height // 5, 0),
                  max(left, 0):max(left + width // 6, 0)] = color
        yield image


def build_model(args: argparse.Namespace, mode: str) -> RefineVIS:
    """The model of the config in one mode; ValueError for a bad device."""
    device = check_device(args.device)
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(dict(args.cfg_options or {}, **{'model.mode': mode}))
    cfg.pop('test_dataloader', None)  # its pipeline would resize the frames
    if args.checkpoint is not None:
        return init_model(cfg, args.checkpoint, args.device)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device).eval()
    model.cfg, model.classes = cfg, []
    _lower_thresholds(model, args)
    return model


@torch.no_grad()
def _lower_thresholds(model: RefineVIS, args: argparse.Namespace) -> None:
    """Let some queries of a model with random weights be tracked."""
    image = next(moving_rectangles(1, *args.shape))
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    frame = model.frame_model.forward_frames(pixels.to(args.device))
    scores = model.frame_model.class_scores(frame.embeds)[0].amax(-1)
    tracks = min(args.tracks, len(scores))
    threshold = float(scores.topk(tracks).values[-1]) - 1e-6
    for name in ('select_score_thr', 'init_score_thr', 'new_score_thr'):
        setattr(model.tracker, name, max(threshold, 0.))


def measure(args: argparse.Namespace, mode: str) -> List[dict]:
    """Stream the video.

    Args:
        args (Namespace): The command line.
        mode (str): 'online' or 'offline'.

    Returns:
        list[dict]: Samples with ``frames``, ``peak`` and ``now`` (MiB),
        ``ids`` (highest tracklet id so far, plus 1) and ``seconds``.
    """
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    session = Session(build_model(args, mode))
    progress = ProgressBar(args.frames, file=sys.stderr)
    every, start = max(args.frames // 40, 1), time.perf_counter()
    samples, highest = [], -1
    with tempfile.TemporaryDirectory() as folder:
        recording = VideoRecording.create(
            Path(folder, 'recording.sqlite'), session.model.classes,
            tuple(args.shape), FPS, session.views, session.view,
            {}) if args.record else None
        stream = session.stream(moving_rectangles(args.frames, *args.shape))
        for frame in stream:
            if recording is not None:
                recording.add(frame)
            highest = max([highest, *frame.ids])
            progress.update()
            done = frame.frame_id + 1
            if done % every == 0 or done in tenths(args.frames):
                samples.append(
                    dict(
                        frames=done,
                        peak=peak_memory(args.device),
                        now=resident_memory(),
                        ids=highest + 1,
                        seconds=time.perf_counter() - start))
        if recording is not None:
            recording.close()
    print(file=sys.stderr)
    return samples


def peak_memory(device: str) -> float:
    """Highest memory so far in MiB: of the GPU, else of the process."""
    if torch.device(device).type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / MIB
    unit = 1 if sys.platform == 'darwin' else 1024  # bytes, KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / MIB


def resident_memory() -> Optional[float]:
    """Memory of the process now in MiB; None where /proc is missing."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf('SC_PAGE_SIZE') / MIB


def tenths(num_frames: int) -> Tuple[int, int, int]:
    """Ends of the first tenth, of the last but one, and of all frames."""
    return num_frames // 10, num_frames - num_frames // 10, num_frames


def summarise(curves: Dict[str, List[dict]], num_frames: int) -> str:
    """Table of the first tenth of the frames and the last."""
    first, before, _ = tenths(num_frames)
    table = [[
        'mode', f'peak, {first} frames', f'peak, {num_frames}', 'growth',
        f'ms a frame, first {first}', 'last', f'tracklets, first {first}',
        'last'
    ]]
    for mode, samples in curves.items():
        at = {row['frames']: row for row in samples}
        growth = 100 * (at[num_frames]['peak'] / at[first]['peak'] - 1)
        rest = {
            key: at[num_frames][key] - at[before][key]
            for key in ('seconds', 'ids')
        }
        table.append([
            mode, f'{at[first]["peak"]:.0f} MiB',
            f'{at[num_frames]["peak"]:.0f} MiB', f'{growth:+.1f} %',
            f'{1000 * at[first]["seconds"] / first:.1f}',
            f'{1000 * rest["seconds"] / first:.1f}', f'{at[first]["ids"]}',
            f'{rest["ids"]}'
        ])
    return AsciiTable(table).table


def plot(curves: Dict[str, List[dict]], path: str) -> None:
    """Draw memory over frames."""
    figure = Figure(figsize=(6.4, 3.2), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for (mode, samples), style in zip(curves.items(), ('-', '--')):
        axes.plot([row['frames'] for row in samples],
                  [row['peak'] for row in samples],
                  style,
                  label=mode)
    axes.set_xlabel('frames')
    axes.set_ylabel('peak memory, MiB')
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)


@one_line_errors
def main() -> None:
    """Measure and report."""
    args = parse_args()
    if len(args.modes) == 1:
        curves = {args.modes[0]: measure(args, args.modes[0])}
    else:  # a process each: its peak never falls
        curves = {}
        for mode in args.modes:
            with ProcessPoolExecutor(1, get_context('spawn')) as pool:
                curves[mode] = pool.submit(measure, args, mode).result()
    if args.out is not None:
        write_text(args.out, json.dumps(curves, indent=1))
    if args.plot is not None:
        plot(curves, args.plot)
    print(summarise(curves, args.frames))


if __name__ == '__main__':
    main()
