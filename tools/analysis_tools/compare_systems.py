# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RefineVIS and its rivals on equal data: the paper's Table 1 in small.

Every system is trained on the training videos of OccludedShapes, with the
same backbone, image size and number of frames and with its own published
recipe scaled in the same way, then tested on the validation videos. First
phases are shared where systems have the same frame model. What is finished is
not repeated, so a killed run goes on where it was
(refinevis_mm/utils/trainings.py says what lies where).

Speed and memory are measured in processes of their own on two long videos,
frames of a validation video forward and backward in turn.

Example:
    python tools/analysis_tools/compare_systems.py --run
    python tools/analysis_tools/compare_systems.py --seeds 0 --format markdown
"""
import argparse
import json
import os.path as osp
import re
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import cv2
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from refinevis_mm.compat.checkpoints import load_checkpoint_strict
from refinevis_mm.files import write_text
from refinevis_mm.profiling import peak_memory
from refinevis_mm.registry import MODELS
from refinevis_mm.utils import one_line_errors
from refinevis_mm.utils.trainings import (FORMATS, TESTED_MODEL, Training,
                                          Trainings, add_table_arguments,
                                          check_table_arguments,
                                          digest_of_test, format_cell, report,
                                          summarize, write_test_config)
from refinevis_mm.vis_json import load_json
from refinevis_mm.visualization import select_video, write_results_report

TOOLS = osp.dirname(osp.dirname(osp.abspath(__file__)))
METRICS = ('AP', 'AP50', 'AP75', 'AR1', 'AR10', 'hota', 'assa', 'id_switches')
HEADERS = ('AP', 'AP50', 'AP75', 'AR1', 'AR10', 'HOTA', 'AssA', 'switches')
LENGTHS = (60, 300)  # frames of the videos for speed and memory


class System(NamedTuple):
    """A system of the table.

    Attributes:
        name (str): First cell.
        phases (tuple[str]): What :func:`config_of` takes, each trained from
            the weights of the one before; the last one is tested.
        results (dict[str, dict]): Settings of the model at test, by name of
            the result; ``tracker`` is a phase that has it.
    """

    name: str
    phases: Tuple[str, ...]
    results: Dict[str, dict]


WHOLE_VIDEO = {'offline': {}}
REFINED = {
    'W = 0': dict(window=0),
    'online': dict(mode='online'),
    'offline': dict(mode='offline')
}
MASK2FORMER = 'mask2former_mobilenet-v2_1xb8-1500'
MINVIS = 'minvis_mobilenet-v2_1xb8-1500'
CONDINST = 'idol-frames_mobilenet-v2_1xb8-1500'
IDOL = 'idol_mobilenet-v2_1xb4-1500'
REFINEVIS = 'refinevis-stitching_mobilenet-v2_1xb4-500'
# How much of a difference is the tracker's
FRAME_BY_FRAME = {
    'online': {},
    'online, tracker of RefineVIS': dict(tracker=REFINEVIS)
}
SYSTEMS = (
    System('MaskTrack R-CNN', ('masktrack-rcnn_mobilenet-v2_fpn_1xb4-3k', ),
           {'online': {}}),
    System('Mask2Former-VIS', ('mask2former-vis_mobilenet-v2_1xb4-3k', ),
           WHOLE_VIDEO),
    System('SeqFormer', (CONDINST, 'seqformer_mobilenet-v2_1xb2-1200'),
           WHOLE_VIDEO),
    System('MinVIS', (MASK2FORMER, MINVIS), FRAME_BY_FRAME),
    System('VITA', (MASK2FORMER, 'vita_mobilenet-v2_1xb2-1200'), WHOLE_VIDEO),
    System('IDOL', (CONDINST, IDOL), FRAME_BY_FRAME),
    System('MinVIS + TAR',
           (MASK2FORMER, MINVIS, 'tar-minvis_mobilenet-v2_1xb4-500'), REFINED),
    System('IDOL + TAR', (CONDINST, IDOL, 'tar-idol_mobilenet-v2_1xb4-500'),
           REFINED),
    System(
        'RefineVIS', ('refinevis_mobilenet-v2_1xb4-2500', REFINEVIS),
        dict(REFINED,
             **{'W = 0, tracker of IDOL': dict(window=0, tracker=IDOL)})),
)


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Train, test and compare RefineVIS and its rivals on '
        'OccludedShapes',
        epilog='Exit code 0: there is a table, missing runs are named; 1: '
        'refused, the reason is printed; 2: wrong arguments.')
    names = [system.name for system in SYSTEMS]
    parser.add_argument(
        '--systems',
        nargs='+',
        choices=names,
        default=names,
        help='rows of the table, quoted (default: all)')
    add_table_arguments(parser, TOOLS, 'work_dirs/systems', (0, ))
    parser.add_argument(
        '--measure',
        action='store_true',
        help='also measure speed and memory where it is missing: on a quiet '
        'machine')
    parser.add_argument(
        '--report',
        metavar='FILE',
        help='also write an HTML file that shows a validation video, a view '
        'for each result of the first seed')
    parser.add_argument(
        '--video-id',
        type=int,
        help='id of that video (default: the one with the most objects)')
    # of the processes that measure
    parser.add_argument('--child', nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    check_table_arguments(parser, args)
    if args.video_id is not None and args.report is None:
        parser.error('--video-id is for --report')
    return args


def collect(runs: Trainings, args: argparse.Namespace) -> List[dict]:
    """Results of the systems; with ``--run`` missing ones are made.

    Args:
        runs (:obj:`Trainings`): Where they are.
        args (argparse.Namespace): The command line.

    Returns:
        list[dict]: For each system and way of testing ``system``, ``result``,
        ``config``, ``files`` and ``per_seed`` (numbers by seed, None where
        missing), ``summary``, see :func:`summarize`, and ``cost``, see
        :func:`measure`, None where it is not measured.
    """
    lines = []
    for system in SYSTEMS:
        if system.name not in args.systems:
            continue
        phases = [get_phases(runs, system, seed) for seed in args.seeds]
        for result, options in system.results.items():
            settings = model_options(runs, options)
            files, numbers = [], []
            for trainings in phases:
                name = result_name(result)
                folder = osp.join(trainings[-1].folder, name)
                files.append(f'{folder}.json')
                numbers.append(
                    runs.result(
                        trainings, name, {
                            **settings, 'test_evaluator.tracking':
                            True,
                            'test_evaluator.outfile_prefix':
                            osp.join(folder, 'results')
                        }, METRICS, args.run))
            lines.append(
                dict(
                    system=system.name,
                    result=result,
                    config=config_of(system.phases[-1]),
                    files=dict(zip(args.seeds, files)),
                    per_seed=dict(zip(args.seeds, numbers)),
                    summary=summarize([stats for stats in numbers if stats],
                                      METRICS),
                    cost=measure(phases[0][-1], result, settings,
                                 args.measure)))
    return lines


def config_of(phase: str) -> str:
    """Config of a phase, which begins with its name, below the configs."""
    return f'table1/{phase}_occluded-shapes.py'


def get_phases(runs: Trainings, system: System, seed: int) -> List[Training]:
    """The trainings of a system with one seed, in their order."""
    phases: List[Training] = []
    for phase in system.phases:
        phases.append(
            runs.get(config_of(phase), seed, phases[-1] if phases else None))
    return phases


def result_name(result: str) -> str:
    """A result as the name of files, such as W0 or online-tracker-of-X."""
    return '-'.join(re.findall(r'\w+', result.replace(' = ', '')))


def model_options(runs: Trainings, options: dict) -> Dict[str, Any]:
    """Settings of the model as options of a config."""
    found = {f'model.{key}': value for key, value in options.items()}
    if 'tracker' in options:
        other = runs.get(config_of(options['tracker']), 0)
        found['model.tracker'] = dict(other.cfg.model.tracker, _delete_=True)
    return found


def measure(training: Training, result: str, settings: Dict[str, Any],
            run: bool) -> Optional[dict]:
    """Parameters, speed and memory of a trained system.

    Args:
        training (:obj:`Training`): The system.
        result (str): Name of the result.
        settings (dict): Settings of the model, by dotted key.
        run (bool): Measure what is missing.

    Returns:
        dict | None: ``params``, and of each of ``LENGTHS`` the ``fps`` and
        the peak memory ``mib`` of the process; None where it is missing.
    """
    name = result_name(result)
    path = osp.join(training.folder, f'{name}_cost.json')
    model = digest_of_test(training, settings)
    if osp.exists(path):
        costs = load_json(path)
        if costs.get(TESTED_MODEL) == model:
            return costs
    if not run or not osp.exists(training.checkpoint):
        return None
    report(f'measuring {path}')
    config = write_test_config(training, f'{name}_cost', settings)
    costs = {TESTED_MODEL: model}
    for length in LENGTHS:
        found = subprocess.run([
            sys.executable,
            osp.abspath(__file__), '--child', config, training.checkpoint,
            str(length)
        ],
                               stdout=subprocess.PIPE,
                               text=True)
        if found.returncode != 0:
            raise ValueError(f'{path} could not be measured, see above')
        cost = json.loads(found.stdout.splitlines()[-1])
        costs['params'] = cost.pop('params')
        costs[str(length)] = cost
    write_text(path, json.dumps(costs))
    return costs


def long_video(ann_file: str, length: int) -> dict:
    """One video of as many frames as asked for.

    Args:
        ann_file (str): Annotations in YouTube-VIS form.
        length (int): Frames.

    Returns:
        dict: The longest video of the file, forward and backward in turn,
        without annotations.
    """
    content = load_json(ann_file)
    video = max(content['videos'], key=lambda video: len(video['file_names']))
    names = video['file_names']
    there_and_back = cycle([*names, *names[-2:0:-1]])
    video = dict(
        video,
        id=1,
        length=length,
        file_names=list(islice(there_and_back, length)))
    return dict(
        videos=[video], categories=content['categories'], annotations=[])


def run_long_video(config: str, checkpoint: str, length: int) -> dict:
    """Track one long video in this process.

    Args:
        config (str): Config file.
        checkpoint (str): Its weights.
        length (int): Frames.

    Returns:
        dict: ``params``, ``fps`` of the model without loading of frames, and
        ``mib``, the peak memory of the process.
    """
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    MMLogger.get_instance('mmengine').setLevel('ERROR')
    model = MODELS.build(cfg.model).eval()
    load_checkpoint_strict(model, checkpoint)
    loader = cfg.test_dataloader
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'long.json')
        write_text(
            path,
            json.dumps(
                long_video(
                    osp.join(loader.dataset.data_root,
                             loader.dataset.ann_file), length)))
        loader.dataset.update(ann_file=path)
        loader.update(num_workers=0)
        seconds = 0.
        for batch in Runner.build_dataloader(loader):
            start = time.perf_counter()
            with torch.inference_mode():
                model.test_step(batch)
            seconds += time.perf_counter() - start
    return dict(
        params=sum(param.numel() for param in model.parameters()),
        fps=length / seconds,
        mib=peak_memory(torch.device('cpu'))['peak_rss_mib'])


def write_comparison(path: str, runs: Trainings, lines: List[dict], seed: int,
                     video_id: Optional[int]) -> None:
    """Write an HTML file with a view for each result that there is.

    Args:
        path (str): The file.
        runs (:obj:`Trainings`): Where they are.
        lines (list[dict]): From :func:`collect`.
        seed (int): Of the results.
        video_id (int, optional): Of the validation video; None for the one
            with the most objects.

    Raises:
        OSError: If a file is missing or cannot be written.
        ValueError: If there is no such video, or no result.
    """
    dataset = runs.get(config_of(REFINEVIS), 0).cfg.test_dataloader.dataset
    content = load_json(osp.join(dataset.data_root, dataset.ann_file))
    if video_id is None:
        videos = [ann['video_id'] for ann in content['annotations']]
        video_id = max(videos, key=videos.count, default=None)
    gt = select_video(content, video_id)
    results = {}
    for line in lines:
        file = f'{osp.splitext(line["files"][seed])[0]}/results.json'
        if line['per_seed'][seed] is not None:
            results[f'{line["system"]}, {line["result"]}'] = load_json(file)
    images = osp.join(dataset.data_root, dataset.data_prefix.img_path)
    frames = [
        cv2.imread(osp.join(images, name))
        for name in gt['videos'][0]['file_names']
    ]
    write_results_report(path, frames, gt, results,
                         f'Video {video_id} of OccludedShapes',
                         dict(Seed=str(seed)))


def format_table(lines: List[dict], style: str) -> str:
    """The table as text.

    Args:
        lines (list[dict]): From :func:`collect`.
        style (str): One of ``FORMATS``.

    Returns:
        str: The table and its legend.
    """
    cells = [[
        'system', 'result', *HEADERS, 'seeds', 'M params',
        *(f'frames/s, {length}' for length in LENGTHS),
        *(f'MiB, {length}' for length in LENGTHS)
    ]]
    for line in lines:
        done = sum(stats is not None for stats in line['per_seed'].values())
        total = len(line['per_seed'])
        cost = line['cost']
        cells.append([
            line['system'], line['result'],
            *(format_cell(**line['summary'][metric]) for metric in METRICS),
            str(done) if done == total else f'{done} of {total}',
            *(['-'] * (1 + 2 * len(LENGTHS)) if cost is None else [
                f'{cost["params"] / 1e6:.1f}',
                *(f'{cost[str(length)]["fps"]:.1f}'
                  for length in LENGTHS), *(f'{cost[str(length)]["mib"]:.0f}'
                                            for length in LENGTHS)
            ])
        ])
    return (f'{FORMATS[style](cells).table}\n\nmean ± sample standard '
            'deviation over the seeds, in percent but for switches; speed '
            f'and memory of videos of {LENGTHS[0]} and {LENGTHS[1]} frames')


@one_line_errors
def main() -> None:
    """Run, collect and print."""
    args = parse_args()
    if args.child is not None:
        config, checkpoint, length = args.child
        print(json.dumps(run_long_video(config, checkpoint, int(length))))
        return
    runs = Trainings(
        TOOLS,
        args.configs_dir,
        args.work_dir,
        max_iters=args.max_iters,
        cfg_options=args.cfg_options)
    lines = collect(runs, args)
    missing = [
        path for line in lines for seed, path in line['files'].items()
        if line['per_seed'][seed] is None
    ]
    if len(missing) == len(lines) * len(args.seeds):
        raise ValueError(f'{args.work_dir} has no results with these options, '
                         f'the first would be {missing[0]}; --run makes them')
    print(format_table(lines, args.format))
    for path in missing:
        report(f'missing: {path}')
    if args.report is not None:
        write_comparison(args.report, runs, lines, args.seeds[0],
                         args.video_id)
    if args.json is not None:
        write_text(args.json, json.dumps(lines, indent=1))


if __name__ == '__main__':
    main()
