# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import math
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from refinevis_mm.utils.trainings import (Training, Trainings, digest,
                                          digest_of_test, execute, format_cell,
                                          read_result, shorten_schedule,
                                          summarize, write_test_config)

ROOT = Path(__file__).parents[2]
METRICS = ('AP', 'AR1', 'id_switches')


def test_mean_and_deviation_by_hand():
    results = [dict.fromkeys(METRICS, ap) for ap in (0.40, 0.42, 0.47)]
    for result in results:
        result['AR1'] = -1.0  # no object counts
    summary = summarize(results, METRICS)
    assert summary['AP']['mean'] == pytest.approx(43)
    # deviations -3, -1, 4: sqrt((9 + 1 + 16) / 2)
    assert summary['AP']['std'] == pytest.approx(math.sqrt(13))
    assert summary['AR1'] == dict(mean=None, std=None)
    assert summarize(results[:1], METRICS)['AP']['std'] is None
    assert summarize([], METRICS)['AP'] == dict(mean=None, std=None)
    assert format_cell(**summary['AP']) == '43.0 ± 3.6'
    assert format_cell(43.04) == '43.0'
    assert format_cell(None) == '-'


def test_failed_command(tmp_path):
    log = tmp_path / 'log.txt'
    script = 'import sys; print("why"); sys.exit(3)'
    with pytest.raises(ValueError, match='exit code 3, see .*log.txt'):
        execute([sys.executable, '-c', script], str(log), 'root')
    assert log.read_text() == 'why\n'


def test_shortened_schedule():
    cfg = Config.fromfile(
        str(ROOT / 'configs' / '_base_' / 'schedules' / 'schedule_vis_13k.py'))
    shorten_schedule(cfg, 1300)
    assert cfg.train_cfg.max_iters == 1300
    assert cfg.param_scheduler.milestones == [1000]
    cfg = Config.fromfile(
        str(ROOT / 'configs' / '_base_' / 'schedules' / 'schedule_small.py'))
    shorten_schedule(cfg, 100)  # of 5,000, with a warm-up of 100
    ends = [(part.begin, part.end) for part in cfg.param_scheduler]
    assert ends == [(0, 2), (2, 100)]
    shorten_schedule(cfg, 10)  # a warm-up of less than an iteration
    ends = [(part.begin, part.end) for part in cfg.param_scheduler]
    assert ends == [(0, 1), (0, 10)]


def test_settings_of_a_test(tmp_path):
    """Another tracker is another test of the same training."""
    cfg = Config(
        dict(
            model=dict(window=3, tracker=dict(type='One', thr=0.5)),
            randomness=dict(seed=0)))
    (tmp_path / 'seed0').mkdir()
    training = Training(cfg, str(tmp_path / 'seed0'))
    options = {
        'model.window': 0,
        'model.tracker': dict(_delete_=True, type='Other', length=2)
    }
    path = write_test_config(training, 'W0', options)
    assert path == str(tmp_path / 'seed0' / 'W0.py')
    found = Config.fromfile(path)
    assert found.model.to_dict() == dict(
        window=0, tracker=dict(type='Other', length=2))
    assert cfg.model.tracker.type == 'One'
    assert digest(found) == digest(cfg)


def test_a_result_of_another_tracker_does_not_count(tmp_path):
    cfg = Config(dict(model=dict(tracker=dict(type='One', thr=0.5))))
    training = Training(cfg, str(tmp_path))
    tested = digest_of_test(training, {'test_evaluator.tracking': True})
    path = tmp_path / 'online.json'
    path.write_text(
        json.dumps({
            'vis/AP': 0.4,
            'vis/AR1': 0.5,
            'vis/id_switches': 7,
            'tested_model': tested
        }))
    numbers = dict(AP=0.4, AR1=0.5, id_switches=7)
    assert read_result(str(path), METRICS, tested) == numbers
    cfg.model.tracker.thr = 0.6
    other = digest_of_test(training, {})
    assert other != tested
    assert read_result(str(path), METRICS, other) is None
    assert digest_of_test(training, {'model.tracker.thr': 0.5}) == tested


def write_config(folder, name='one', lr=0.1):
    path = folder / f'{name}.py'
    path.write_text(f"""
model = dict(type='Any', window=10)
train_cfg = dict(max_iters=20)
optim_wrapper = dict(optimizer=dict(lr={lr}))
param_scheduler = dict(milestones=[10])
randomness = dict(seed=0)
load_from = 'elsewhere.pth'
""")
    return path.name


def test_chain_of_trainings(tmp_path):
    """A second phase starts from the first one of its seed."""
    runs = Trainings('tools', str(tmp_path), 'work')
    first, second = (write_config(tmp_path, name) for name in ('one', 'two'))
    alone = runs.get(second, 3)
    assert alone.cfg.load_from == 'elsewhere.pth'
    assert alone.cfg.randomness.seed == 3
    start = runs.get(first, 3)
    after = runs.get(second, 3, start)
    assert after.cfg.load_from == f'{start.folder}/iter_20.pth'
    # that is another training, of which a seed is one
    assert Path(after.folder).parent != Path(alone.folder).parent
    again = runs.get(second, 4, runs.get(first, 4))
    assert Path(again.folder).parent == Path(after.folder).parent
    # and another one after another first phase
    start = runs.get(write_config(tmp_path, 'three', lr=0.2), 3)
    other = runs.get(second, 3, start)
    assert Path(other.folder).parent != Path(after.folder).parent


def test_settings_at_test_are_one_training(tmp_path):
    name = write_config(tmp_path)
    one, other, longer = (
        Trainings('tools', str(tmp_path), 'work', **options).get(name, 0)
        for options in ({}, dict(cfg_options={'model.window': 0}),
                        dict(max_iters=40)))
    assert one.folder == other.folder != longer.folder
    assert longer.cfg.param_scheduler.milestones == [20]
    assert longer.checkpoint == f'{longer.folder}/iter_40.pth'


def test_counts_are_no_fractions(tmp_path):
    path = tmp_path / 'offline.json'
    assert read_result(str(path), METRICS) is None
    stats = {'vis/AP': 0.5, 'vis/AR1': -1., 'vis/id_switches': 37}
    path.write_text(json.dumps(stats))
    numbers = read_result(str(path), METRICS)
    assert numbers == dict(AP=0.5, AR1=-1., id_switches=37.)
    assert summarize([numbers], METRICS)['id_switches']['mean'] == 37
    path.write_text(json.dumps(dict(stats, **{'vis/AP': 37})))
    with pytest.raises(ValueError, match='must hold the numbers of a test'):
        read_result(str(path), METRICS)
