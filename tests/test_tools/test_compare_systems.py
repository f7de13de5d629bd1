# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import os
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from refinevis_mm.datasets.occluded_shapes import CLASSES
from refinevis_mm.registry import MODELS
from refinevis_mm.utils import trainings
from refinevis_mm.utils.trainings import Trainings
from tests.tool_module import load_tool

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    """The command line tool as a module."""
    return load_tool('analysis_tools/compare_systems.py')


def row_of(category_id, **others):
    """An object or result of video 9, of two frames."""
    mask = np.zeros((128, 192), np.uint8, order='F')
    mask[20:60, 30:70] = 1
    rle = mask_utils.encode(mask)
    rle['counts'] = rle['counts'].decode()
    return dict(
        video_id=9,
        category_id=category_id,
        score=0.7,
        segmentations=[rle, rle],
        **others)


class FakeRunner:
    """Stands for tools/train.py and tools/test.py; remembers the commands."""

    def __init__(self):
        self.trained, self.tested, self.trackers = [], [], []

    def __call__(self, command, log, root):
        name, config = Path(command[1]).name, command[2]
        cfg = Config.fromfile(config, import_custom_modules=False)
        work_dir = Path(command[command.index('--work-dir') + 1])
        if name == 'train.py':
            start = cfg.load_from
            assert start is None or 'work' not in start or Path(start).exists()
            self.trained.append(work_dir.parent.name.rpartition('-')[0])
            last = f'iter_{cfg.train_cfg.max_iters}.pth'
            (work_dir / last).touch()
            (work_dir / 'last_checkpoint').write_text(last)
            return
        self.tested.append(
            (work_dir.parent.parent.name.rpartition('-')[0], work_dir.name))
        assert cfg.test_evaluator.tracking
        self.trackers.append(cfg.model.get('tracker', {}).get('type'))
        numbers = {
            f'vis/{metric}': 0.4 + 0.02 * cfg.randomness.seed
            for metric in ('AP', 'AP50', 'AP75', 'AR1', 'AR10', 'hota', 'assa')
        }
        rows = [row_of(category_id=1)]
        Path(f'{cfg.test_evaluator.outfile_prefix}.json').write_text(
            json.dumps(rows))
        (work_dir / 'time').mkdir()
        (work_dir / 'time' / 'time.json').write_text(
            json.dumps({
                **numbers, 'vis/id_switches': 10
            }))


@pytest.fixture
def call(tool, tmp_path, monkeypatch):
    """Run the tool in an empty folder, with a fake runner."""
    fake = FakeRunner()
    monkeypatch.setattr(trainings, 'execute', fake)
    monkeypatch.chdir(tmp_path)

    def call(*args):
        monkeypatch.setattr(sys, 'argv', ['compare_systems.py', *args])
        tool.main()
        return fake

    return call


@pytest.fixture(scope='module')
def phases(tool):
    """Configs of the phases of all systems, by name of the system."""
    runs = Trainings('tools', str(ROOT / 'configs'), 'work')
    return {
        system.name:
        [training.cfg for training in tool.get_phases(runs, system, 0)]
        for system in tool.SYSTEMS
    }


def test_equal_conditions(phases):
    """Frames, their size, backbone and data of all systems."""
    for name, cfgs in phases.items():
        num_frames = 0
        for cfg in cfgs:
            loader = cfg.train_dataloader
            clip = 1 + loader.dataset.pipeline[0].num_ref_imgs
            num_frames += cfg.train_cfg.max_iters * loader.batch_size * clip
            model = cfg.model.to_dict()
            text = json.dumps(model)
            assert text.count('"MobileNetV2"') == 1
            assert 'ResNet' not in text
            assert cfg.image_size == (192, 128)
            assert loader.dataset.ann_file == 'train.json'
            assert cfg.test_dataloader.dataset.ann_file == 'valid.json'
            assert cfg.env_cfg.dist_cfg.backend == 'gloo'
        # TAR comes on top of a whole system
        more = 4000 if name.endswith('+ TAR') else 0
        assert num_frames == 24000 + more, name


def test_own_start_is_the_shared_phase(tool, phases):
    """The configs alone, trained with their default work dirs, are a chain."""
    for system in tool.SYSTEMS:
        pairs = zip(system.phases, phases[system.name], system.phases[1:])
        for first, parent, second in pairs:
            cfg = Config.fromfile(
                str(ROOT / 'configs' / tool.config_of(second)),
                import_custom_modules=False)
            assert cfg.load_from == (f'work_dirs/{first}_occluded-shapes/'
                                     f'iter_{parent.train_cfg.max_iters}.pth')


def test_run_shares_first_phases(tool, call, capsys):
    fake = call('--run', '--seeds', '0', '1', '--systems', 'MinVIS', 'VITA')
    names = ('mask2former', 'minvis', 'vita')
    stems = [stem.partition('_')[0] for stem in fake.trained]
    assert sorted(stems) == sorted(names * 2)
    assert [name for _, name in fake.tested] == [
        *['online'] * 2, *['online-tracker-of-RefineVIS'] * 2, *['offline'] * 2
    ]
    assert fake.trackers == [
        *['refinevis_mm.QueryMatcher'] * 2,
        *['refinevis_mm.StitchingTracker'] * 2, None, None
    ]
    table = capsys.readouterr().out
    row, = (line for line in table.splitlines() if 'VITA' in line)
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    # seeds 0 and 1: 40 and 42
    assert cells[:3] == ['VITA', 'offline', '41.0 ± 1.4']
    assert cells[9:12] == ['10.0 ± 0.0', '2', '-']
    # nothing is repeated
    again = call('--run', '--seeds', '0', '1', '--systems', 'VITA')
    assert len(again.trained) == 6 and len(again.tested) == 6


def test_results_of_one_training(tool, call, capsys):
    fake = call('--run', '--systems', 'RefineVIS', '--json', 'table.json')
    assert len(fake.trained) == 2
    assert [name for _, name in fake.tested
            ] == ['W0', 'online', 'offline', 'W0-tracker-of-IDOL']
    assert fake.trackers == [
        *['refinevis_mm.StitchingTracker'] * 3,
        'refinevis_mm.ContrastiveTracker'
    ]
    lines = json.loads(Path('table.json').read_text())
    assert [line['result'] for line in lines
            ] == ['W = 0', 'online', 'offline', 'W = 0, tracker of IDOL']
    call('--seeds', '0', '5', '--systems', 'RefineVIS', 'IDOL')
    printed = capsys.readouterr()
    assert '1 of 2' in printed.out and '0 of 2' in printed.out
    assert len(printed.err.split('missing: ')) == 1 + 4 + 2 * 2


def test_costs(tool, call, monkeypatch, capsys):
    call('--run', '--systems', 'VITA')
    measured = []

    def run(command, **_):
        measured.append(command[command.index('--child') + 1:])
        length = int(measured[-1][2])
        cost = dict(params=4.5e6, fps=1200 / length, mib=400 + length)
        return Result(0, f'noise\n{json.dumps(cost)}\n')

    monkeypatch.setattr(tool.subprocess, 'run', run)
    call('--measure', '--systems', 'VITA')
    call('--systems', 'VITA')
    row = capsys.readouterr().out.splitlines()[-4]
    assert [cell.strip() for cell in row.strip('|').split('|')][-5:] == \
        ['4.5', '20.0', '4.0', '460', '700']
    assert [command[2] for command in measured] == ['60', '300']
    assert all(os.path.exists(path) for path in measured[0][:2])


def test_report_of_a_video(tool, call, tmp_path):
    folder = tmp_path / 'data/occluded_shapes'
    (folder / 'valid/JPEGImages').mkdir(parents=True)
    names = ['0.png', '1.png']
    for name in names:
        cv2.imwrite(
            str(folder / 'valid/JPEGImages' / name),
            np.zeros((128, 192, 3), np.uint8))
    videos = [
        dict(id=i, width=192, height=128, length=2, file_names=names)
        for i in (8, 9)
    ]
    annotations = [row_of(1, id=1, iscrowd=0, areas=[1600, 1600])]
    (folder / 'valid.json').write_text(
        json.dumps(
            dict(
                videos=videos,
                annotations=annotations,
                categories=[dict(id=1, name='disc')])))
    call('--run', '--systems', 'VITA', 'IDOL', '--report', 'report.html')
    page = Path('report.html').read_text()
    report = re.search(r'id="report">(.*?)</script>', page).group(1)
    views = json.loads(report)['views']
    assert [view['name'] for view in views] == [
        'VITA, offline', 'IDOL, online', 'IDOL, online, tracker of RefineVIS',
        'Ground truth'
    ]
    assert [len(view['tracks']) for view in views] == [1] * 4
    assert views[0]['metrics']['AP'] == pytest.approx(1)
    with pytest.raises(SystemExit, match='8 .* has no annotations'):
        call('--report', 'other.html', '--video-id', '8')


class Result:
    """Of a process."""

    def __init__(self, returncode, stdout):
        self.returncode, self.stdout = returncode, stdout


def test_long_video(tool, tmp_path):
    path = tmp_path / 'valid.json'
    videos = [
        dict(id=4, length=2, file_names=['x', 'y']),
        dict(id=7, length=3, file_names=['a', 'b', 'c'], height=5, width=6)
    ]
    path.write_text(json.dumps(dict(videos=videos, categories=['one'])))
    content = tool.long_video(str(path), 8)
    assert content == dict(
        videos=[
            dict(
                id=1, length=8, file_names=list('abcbabcb'), height=5, width=6)
        ],
        categories=['one'],
        annotations=[])


def test_speed_and_memory_of_a_long_video(tool, tmp_path):
    """MinVIS with random weights takes every frame of the video once."""
    name = tool.config_of(tool.SYSTEMS[3].phases[-1])
    cfg = Config.fromfile(str(ROOT / 'configs' / name))
    cfg.model.frame_model.backbone.init_cfg = None
    cfg.test_dataloader.dataset.update(data_root=f'{tmp_path}/')
    cfg.dump(str(tmp_path / 'config.py'))
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    folder = tmp_path / 'valid/JPEGImages'
    folder.mkdir(parents=True)
    for frame in range(3):
        cv2.imwrite(
            str(folder / f'{frame}.jpg'), np.full((128, 192, 3), 80, np.uint8))
    video = dict(
        id=9,
        width=192,
        height=128,
        length=3,
        file_names=[f'{frame}.jpg' for frame in range(3)])
    (tmp_path / 'valid.json').write_text(
        json.dumps(
            dict(
                videos=[video],
                annotations=[],
                categories=[
                    dict(id=1 + i, name=name) for i, name in enumerate(CLASSES)
                ])))
    cost = tool.run_long_video(
        str(tmp_path / 'config.py'), str(tmp_path / 'weights.pth'), 7)
    assert cost['params'] == sum(p.numel() for p in model.parameters())
    assert cost['fps'] > 0 and cost['mib'] > 50


@pytest.mark.parametrize('args, code, reason', [
    (['--systems', 'SAM'], 2, 'invalid choice'),
    (['--seeds', '1', '1'], 2, '--seeds must differ'),
    (['--max-iters', '0'], 2, '--max-iters must be at least 1'),
    (['--systems', 'SeqFormer'
      ], 'error: work_dirs/systems has no results', ''),
])
def test_wrong_arguments(args, code, reason, call, capsys):
    with pytest.raises(SystemExit) as stop:
        call(*args)
    assert str(stop.value.code).startswith(str(code))
    assert reason in capsys.readouterr().err
