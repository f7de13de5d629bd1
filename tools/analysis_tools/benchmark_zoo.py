# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Time and memory of the models of the zoo, frame by frame, tracker included.

The weights are random, so nothing is downloaded. What is done with each object
depends on how many a model finds by chance, which the table says: most find
none. Every model runs in a process of its own.

Example:
    python tools/analysis_tools/benchmark_zoo.py mask2former-r50_coco \
        rtmdet-ins-tiny_coco --shape 480 640 --threads 2
"""
import argparse
import resource
import statistics
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import List, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from terminaltables import AsciiTable

from refinevis_mm.apis import Session
from refinevis_mm.apis.inference import check_device, find_config
from refinevis_mm.apis.video_config import as_video_config
from refinevis_mm.registry import MODELS
from refinevis_mm.utils import one_line_errors
from refinevis_mm.zoo import find_entry

MIB = 2**20


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('names', nargs='+', help='names of weights')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(480, 640),
        metavar=('H', 'W'),
        help='height and width of the frames, and of what models see that '
        'have no size of their own; default: 480 640')
    parser.add_argument(
        '--frames', type=int, default=5, help='timed frames; default: 5')
    parser.add_argument(
        '--threads', type=int, default=2, help='threads of torch; default: 2')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...')
    return parser.parse_args()


def build(name: str, shape: Sequence[int], device: str) -> Session:
    """A session of a named model with random weights.

    Args:
        name (str): Name of weights.
        shape (Sequence[int]): Height and width of the frames. Models that
            keep the ratio of a frame see it at this size; RF-DETR and
            RTMDet-Ins have sizes of their own.
        device (str): Where it runs.

    Returns:
        :obj:`Session`: With random weights.

    Raises:
        ValueError: If there is no such name or device.
    """
    found = check_device(device)
    cfg = Config.fromfile(find_config(find_entry(name).config))
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    cfg = as_video_config(cfg)
    steps = list(cfg.test_dataloader.dataset.pipeline)
    while steps:
        step = steps.pop()
        if step['type'] == 'Resize' and step.get('keep_ratio') and \
                step['scale'][0] != step['scale'][1]:
            step['scale'] = (shape[1], shape[0])
        steps += step.get('transforms', [])
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(found).eval()
    model.cfg, model.classes = cfg, []
    return Session(model)


def measure(name: str,
            args: argparse.Namespace) -> Tuple[float, float, float, int]:
    """Run a model.

    Args:
        name (str): Name of weights.
        args (argparse.Namespace): The command line.

    Returns:
        tuple: Median seconds of a frame, peak memory of the process (of the
        GPU where there is one) in MiB, millions of parameters, and objects
        of the last frame.
    """
    warnings.filterwarnings('ignore')
    torch.set_num_threads(args.threads)
    session = build(name, args.shape, args.device)
    frame = np.random.default_rng(0).integers(0, 255, (*args.shape, 3))
    seconds: List[float] = []
    for _ in range(args.frames + 1):
        start = time.perf_counter()
        result, = session.step(frame.astype(np.uint8))
        seconds.append(time.perf_counter() - start)
    unit = 1 if sys.platform == 'darwin' else 1024  # bytes, KiB
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if torch.device(args.device).type == 'cuda':
        peak = torch.cuda.max_memory_allocated(args.device)
    count = sum(value.numel() for value in session.model.parameters())
    return (statistics.median(seconds[1:]), peak / MIB, count / 1e6,
            len(result.ids))


@one_line_errors
def main() -> None:
    """Measure and report."""
    args = parse_args()
    rows = [['name', 'parameters', 's/frame', 'peak memory', 'objects']]
    for name in args.names:
        with ProcessPoolExecutor(1, get_context('spawn')) as pool:
            seconds, peak, count, found = pool.submit(measure, name,
                                                      args).result()
        rows.append([
            name, f'{count:.1f} M', f'{seconds:.2f}', f'{peak:.0f} MiB', found
        ])
        print(f'{name}: {seconds:.2f} s, {peak:.0f} MiB', file=sys.stderr)
    table = AsciiTable(rows)
    table.justify_columns = dict.fromkeys(range(1, 5), 'right')
    print(table.table)


if __name__ == '__main__':
    main()
