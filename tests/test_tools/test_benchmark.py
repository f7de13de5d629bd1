# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import pytest
import torch
from mmengine.config import Config

from refinevis_mm.profiling import format_report
from refinevis_mm.profiling.building import _drop_pretrained
from refinevis_mm.profiling.random_frames import RandomFrames
from tests.demo_clips import tiny_model_cfg
from tests.tool_module import load_tool

# so that noise makes tracklets
NO_THRESHOLDS = [
    f'model.tracker.{name}=0.0'
    for name in ('select_score_thr', 'init_score_thr', 'new_score_thr')
]


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis_tools/benchmark.py')


@pytest.fixture
def run(tool, tmp_path):
    """Run the tool on the tiny model, as a video model or as a detector."""

    def run_tool(*args, detector=False):
        model = tiny_model_cfg()
        if detector:
            model = dict(
                type='refinevis_mm.FrameModelDetector',
                frame_model=model.frame_model)
        path = str(tmp_path / 'config.py')
        Config(dict(default_scope='mmdet', model=model)).dump(path)
        args = [
            path, '--shape', '64', '96', '--repeats', '3', '--warmup', '1',
            *args
        ]
        return tool.run_benchmark(tool.parse_args(args))

    return run_tool


@pytest.mark.parametrize('detector', [False, True])
def test_inference(run, detector):
    args = ['--backend', 'embedding_bag']
    if not detector:
        args += ['--cfg-options', *NO_THRESHOLDS]
    report = run(*args, detector=detector)
    stages = report['stages']
    expected = {
        'backbone', 'encoder', 'query selection', 'decoder', 'heads',
        'frame model', 'masks', 'mask resizing', 'other', 'total'
    }
    if not detector:
        expected |= {'association', 'refinement'}
        assert report['tracklets'] >= 1
    assert set(stages) == expected
    assert all(
        0 < times['min'] <= times['q1'] <= times['median'] <= times['q3']
        for times in stages.values())
    assert report['setup']['backend'] == 'embedding_bag'
    assert report['memory']['peak_rss_mib'] > 50
    text = format_report(json.loads(json.dumps(report)))
    for word in ('query selection', 'peak_rss', 'quartiles', '64, 96',
                 f'torch {torch.__version__}'):
        assert word in text


def test_tracklets_in_a_full_window(run, monkeypatch):
    """Five of them, one missed in each frame; W = 0 sees the four others."""
    seen = []
    refine = RandomFrames._run_refine

    def spy(self, tracks, refiner):
        results = refine(self, tracks, refiner)
        entries = getattr(refiner, 'memory', None)
        entries = entries and [len(e) for e in entries._entries.values()]
        seen.append((self.model.window, len(tracks.ids), entries))
        return results

    monkeypatch.setattr(RandomFrames, '_run_refine', spy)
    report = run('--tracklets', '5', '--repeats', '1')
    full = (10, 4, [10] * 5)
    # the window is filled without it, but for its first frame; first of the
    # frame whose operations are counted, in the end that of its operators
    assert seen[1] == seen[3] == full
    assert seen[4:] == [full, (0, 4, None), full]
    assert report['tracklets'] == 5
    added = report['added_by_tar']['median']
    total = report['stages']['total']['median']
    assert report['added_by_tar']['share'] == pytest.approx(100 * added /
                                                            (total - added))
    assert 'added by TAR' in format_report(report)


@pytest.mark.parametrize('option', ['model.window=0', 'model.mode=offline'])
def test_tracklets_need_online_refinement(run, option):
    with pytest.raises(ValueError, match='needs a video model with mode="on'):
        run('--tracklets', '5', '--cfg-options', option)
    with pytest.raises(ValueError, match='got mode=None and window=0'):
        run('--tracklets', '5', detector=True)


@pytest.mark.parametrize('detector', [False, True])
def test_training(run, detector):
    report = run(
        '--train', '--objects', '2', '--batch-size', '2', detector=detector)
    stages = report['stages']
    assert {'matching', 'losses', 'backward', 'optimiser'} <= set(stages)
    assert ('refinement' in stages) == (not detector)
    assert stages['backward']['min'] > 0
    assert report['setup']['batch_size'] == 2


def test_pretrained_weights_are_not_fetched():
    cfg = dict(a=[], init_cfg=None, b=dict(init_cfg=dict(type='Pretrained')))
    _drop_pretrained(cfg)
    assert cfg == dict(a=[], init_cfg=None, b=dict(init_cfg=None))


def test_two_settings_are_compared(run, monkeypatch, tool):
    """What the command line says arrives; test_comparison.py runs it."""
    seen = []
    monkeypatch.setattr(tool, 'run_pairs', lambda *args: seen.append(args))
    run('--against', 'threads=1', 'model.window=0', '--operators', '5',
        '--against-checkout', 'elsewhere')
    (settings, *rest), = seen
    assert settings.shape == [64, 96]
    assert rest == [3, 1, {'threads': 1, 'model.window': 0}, 'elsewhere', 5]


@pytest.mark.parametrize('args, message', [
    (['c.py', '--repeats', '0'], '--repeats must be at least 1, got 0'),
    (['c.py', '--shape', '16', '64'], 'at least 32 x 32'),
    (['c.py', '--tracklets', '0'], '--tracklets must be at least 1, got 0'),
    (['c.py', '--tracklets', '2', '--train'], '--tracklets is for frames'),
    (['c.py', '--data'], '--data is for training steps'),
    (['c.py', '--warmup', '-1'], '--warmup must not be negative, got -1'),
    (['c.py', '--backend', 'fast'], "invalid choice: 'fast'"),
])
def test_wrong_arguments(tool, capsys, args, message):
    with pytest.raises(SystemExit) as error:
        tool.parse_args(args)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_no_model(tool, tmp_path):
    path = tmp_path / 'empty.py'
    path.write_text('x = 1')
    with pytest.raises(ValueError, match='must have a "model"'):
        tool.run_benchmark(tool.parse_args([str(path)]))


def test_no_such_device(tool):
    with pytest.raises(ValueError, match='device "abacus" is not one of'):
        tool.run_benchmark(tool.parse_args(['c.py', '--device', 'abacus']))
