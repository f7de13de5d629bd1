# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The tools killed at random moments, on full and on read-only disks.

    PYTHONPATH=. python tests/fault_runs.py WORK_DIR --kills 5 --seed 0
    sudo env PYTHONPATH=. python tests/fault_runs.py WORK_DIR --disks

Each tool runs once undisturbed. Then it is killed (SIGKILL, with all its
processes) and started again until the kills are used up and it comes to its
end. Whatever has its final name at any of these moments must be equal, byte
by byte, to what the undisturbed run has written, and so must all of it at
the end; checkpoints are compared by their weights. ``--disks`` lets each tool
write to a disk of a part of the size it needs and to a read-only one, which
needs the right to mount: it must end with one line and leave nothing that is
not whole.
"""
import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence, Tuple

import torch
from mmengine.config import Config

import refinevis_mm  # noqa: F401  makes mmdet importable on mmcv-lite

ROOT = Path(__file__).resolve().parents[1]
SMALL = 'configs/refinevis/refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py'
WEIGHTS = str(ROOT / 'checkpoints/refinevis_mobilenet-v2_occluded-shapes.pth')
SPLITS = ('--split', 'train:2:0', '--split', 'valid:3:7', '--frames', '12',
          '12', '--size', '96', '128')
# what grows while a run goes on: its logs, and what --resume reads
GROWING = re.compile(r'\d{8}_\d{6}/|.*\.log$|.*\.py$|last_checkpoint$|'
                     r'unfinished_test/|(.*/)?[^/]*\.partial(/|$)')


class Job(NamedTuple):
    """A tool with its arguments; ``{out}`` is where it writes."""

    args: Sequence[str]
    again: Sequence[str] = ()  # of the second and later runs


def jobs(work: Path) -> Dict[str, Job]:
    """The tools that write something, on inputs made by :func:`prepare`."""
    shapes = str(work / 'shapes')
    frames, valid = f'{shapes}/valid/JPEGImages', f'{shapes}/valid.json'
    video = str(sorted(Path(frames).iterdir())[0])
    tools = 'dataset_converters/'
    return {
        'train':
        Job([
            'train.py', f'{work}/train.py', '--work-dir', '{out}', '--resume'
        ]),
        'test':
        Job([
            'test.py', f'{work}/test.py', WEIGHTS, '--work-dir', '{out}',
            '--resume', '--cfg-options',
            'test_evaluator.outfile_prefix={out}/results'
        ]),
        'video':
        Job([
            'video_demo.py', video,
            str(ROOT / SMALL), WEIGHTS, '--out-dir', '{out}', '--outputs',
            'overlay', 'timeline', 'masks', 'results', 'csv', 'coco',
            '--checkpoint-every', '2'
        ], ['--resume']),
        'fleet':
        Job([
            'fleet.py', f'{frames}/*',
            str(ROOT / SMALL), WEIGHTS, '--out', '{out}', '--engine', 'local',
            '--max-workers', '2', '--outputs', 'results', 'csv',
            '--checkpoint-every', '2'
        ]),
        'report':
        Job([
            'visualization/report.py', video,
            str(ROOT / SMALL), WEIGHTS, '--out', '{out}/report.html',
            '--checkpoint-every', '2'
        ], ['--resume']),
        'make_occluded_shapes':
        Job([f'{tools}make_occluded_shapes.py', '{out}/shapes', *SPLITS]),
        'compose_clips':
        Job([
            f'{tools}compose_clips.py', valid, frames, '{out}/composed',
            '--number', '6', '--objects', '1', '2'
        ]),
        'images_to_youtubevis':
        Job([
            f'{tools}images_to_youtubevis.py', frames, f'{work}/coco.json',
            '{out}/valid.json', '--video', 'folder'
        ]),
        'publish_checkpoint':
        Job([
            'model_converters/publish_checkpoint.py', WEIGHTS,
            '{out}/published.pth', '--half'
        ]),
    }


def prepare(work: Path) -> None:
    """Make the inputs of the tools, in folders of their own."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / 'shapes').exists():
        check(
            run(
                Job([
                    'dataset_converters/make_occluded_shapes.py',
                    '{out}/shapes', *SPLITS
                ]), work))
    cfg = Config.fromfile(str(ROOT / SMALL))
    for loader in (cfg.train_dataloader, cfg.val_dataloader,
                   cfg.test_dataloader):
        loader.dataset.data_root = f'{work}/shapes/'
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = f'{work}/shapes/valid.json'
    cfg.load_from = WEIGHTS
    cfg.dump(str(work / 'test.py'))
    cfg.train_dataloader.batch_size = 1
    cfg.train_cfg.update(max_iters=6, val_interval=100)
    cfg.default_hooks.checkpoint.update(
        interval=1, save_best=None, max_keep_ckpts=-1)
    cfg.model.frame_model.backbone.init_cfg = None
    cfg.dump(str(work / 'train.py'))
    results = json_of_first_frames(work / 'shapes/valid.json')
    (work / 'coco.json').write_text(results)


def json_of_first_frames(ann_file: Path) -> str:
    """The annotations of the first frame of each video, in COCO's form."""
    data = json.loads(ann_file.read_text())
    images = [
        dict(
            id=video['id'],
            file_name=video['file_names'][0],
            width=video['width'],
            height=video['height']) for video in data['videos']
    ]
    annotations = [
        dict(
            id=ann['id'],
            image_id=ann['video_id'],
            instance_id=ann['id'],
            category_id=ann['category_id'],
            iscrowd=0,
            area=ann['areas'][0],
            bbox=ann['bboxes'][0],
            segmentation=ann['segmentations'][0])
        for ann in data['annotations'] if ann['segmentations'][0]
    ]
    return json.dumps(
        dict(
            images=images,
            annotations=annotations,
            categories=data['categories']))


def start(job: Job, out: Path, again: bool = False) -> subprocess.Popen:
    """Start a tool in a process group of its own."""
    args = [*job.args, *(job.again if again else ())]
    args = [arg.replace('{out}', str(out)) for arg in args]
    env = dict(os.environ, PYTHONPATH=str(ROOT), PYTHONWARNINGS='ignore')
    return subprocess.Popen(
        [sys.executable, ROOT / 'tools' / args[0], *args[1:]],
        env=env,
        start_new_session=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True)


def run(job: Job, out: Path, again: bool = False) -> Tuple[int, str]:
    """Run a tool to its end; its exit code and output."""
    process = start(job, out, again)
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def check(result: Tuple[int, str]) -> None:
    """Stop where a run that must succeed has failed."""
    if result[0] != 0:
        sys.exit(result[1][-3000:])


def contents(out: Path) -> Dict[str, str]:
    """A digest of each file of a final name."""
    found = {}
    for path in sorted(out.rglob('*')):
        name = str(path.relative_to(out))
        if path.is_file() and not GROWING.match(name):
            found[name] = digest(path)
    return found


def digest(path: Path) -> str:
    """SHA-256 of a file, of a checkpoint's weights only."""
    sha = hashlib.sha256()
    if path.suffix == '.pth':
        for key, value in torch.load(
                path, map_location='cpu')['state_dict'].items():
            sha.update(key.encode() + value.numpy().tobytes())
    else:
        sha.update(path.read_bytes())
    return sha.hexdigest()


def differences(out: Path, expected: Dict[str, str]) -> List[str]:
    """Files that are broken, or not those of the undisturbed run."""
    try:
        found = contents(out)
    except Exception as error:  # a half checkpoint, whatever torch calls it
        return [f'unreadable: {error}']
    return [name for name in found if expected.get(name) != found[name]]


def killed_runs(name: str, job: Job, work: Path, kills: int,
                rng: random.Random) -> List[str]:
    """Kill a tool at random moments; what was found wrong."""
    expected, seconds = undisturbed(name, job, work)
    out = fresh(work / f'{name}_killed')
    wrong = []
    for number in range(kills):
        process = start(job, out, again=any(out.iterdir()))
        try:
            process.communicate(timeout=rng.uniform(0.3, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        wrong += [f'kill {number}: {d}' for d in differences(out, expected)]
        if name not in ('train', 'test') and contents(out) == expected:
            fresh(out)  # it was through
    code, output = run(job, out, again=any(out.iterdir()))
    if code != 0:
        wrong.append(f'exit {code}: {output.strip().splitlines()[-1:]}')
    wrong += differences(out, expected)
    missing = sorted(set(expected) - set(contents(out)))
    return wrong + [f'missing: {name}' for name in missing]


def undisturbed(name: str, job: Job,
                work: Path) -> Tuple[Dict[str, str], float]:
    """Digests of what a tool writes, and how long it takes."""
    out = fresh(work / f'{name}_whole')
    begin = time.monotonic()
    check(run(job, out))
    return contents(out), time.monotonic() - begin


def fresh(folder: Path) -> Path:
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def disk_runs(name: str, job: Job, work: Path) -> List[str]:
    """Let a tool write to disks that are too small, and a read-only one."""
    whole = work / f'{name}_whole'
    expected = contents(whole) if whole.exists() else undisturbed(
        name, job, work)[0]
    size = sum(p.stat().st_size for p in whole.rglob('*') if p.is_file())
    disk = fresh(work / f'{name}_disk')
    wrong = []
    options = [
        f'size={max(4096, int(size * part))}' for part in (0.05, 0.4, 0.8)
    ] + ['ro']
    for option in options:
        subprocess.run(['mount', '-t', 'tmpfs', '-o', option, 'tmpfs', disk],
                       check=True)
        try:
            code, output = run(job, disk)
            line = (output.strip().splitlines() or [''])[-1]
            if code == 0 and contents(disk) != expected:
                wrong.append(f'{option}: exit 0')
            elif code and 'error: ' not in line:
                wrong.append(f'{option}: {line}')
            wrong += [f'{option}: {d}' for d in differences(disk, expected)]
            print(f'    {option}: {line[:160]}', flush=True)
        finally:
            subprocess.run(['umount', '-l', disk], check=True)
    return wrong


def main() -> None:
    """Run all tools, or those of the command line, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('work', type=Path)
    parser.add_argument('--kills', type=int, default=5)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--disks', action='store_true')
    parser.add_argument('--only', nargs='+')
    args = parser.parse_args()
    work = args.work.absolute()
    prepare(work)
    rng = random.Random(args.seed)
    found = 0
    for name, job in jobs(work).items():
        if args.only and name not in args.only:
            continue
        print(name, flush=True)
        wrong = disk_runs(name, job, work) if args.disks else killed_runs(
            name, job, work, args.kills, rng)
        print(*(f'    WRONG {line}' for line in wrong), sep='\n', flush=True)
        found += len(wrong)
    print(f'{found} findings')
    sys.exit(found > 0)


if __name__ == '__main__':
    main()
