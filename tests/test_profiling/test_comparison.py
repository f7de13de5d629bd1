# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Two processes that take turns."""
import json
from pathlib import Path

import pytest

from refinevis_mm.profiling import (WorkerError, WorkerProcess, change,
                                    comparison, format_pairs, run_pairs)

ROOT = Path(__file__).parents[2]


def test_two_settings(tiny):
    """The other one has less to do, and both report what they did."""
    settings = tiny(threads=1)
    result = run_pairs(
        settings, 3, 1, {
            'model.frame_model.decoder.num_layers': 1,
            'backend': 'mmcv_pytorch',
            'checkpoint': None
        })
    first, second = result['reports']
    assert first['setup']['backend'] == 'embedding_bag'
    assert second['setup']['backend'] == 'mmcv_pytorch'
    assert second['setup']['weights'] == 'random'
    assert result['ratio']['pairs'] == 3
    medians = [
        report['stages']['total']['median'] for report in (first, second)
    ]
    assert result['ratio']['median'] == pytest.approx(medians[0] / medians[1])
    text = format_pairs(json.loads(json.dumps(result)), 'another')
    assert 'second: another' in text and 'quartiles of the 3 pairs' in text


def test_turns_change(tiny, monkeypatch):
    """Both meet the same machine: A B, B A, A B."""
    seen = []

    class Fake:

        def __init__(self, checkout=None):
            self.name = checkout or 'ours'

        def __enter__(self):
            return self

        def __exit__(self, *error):
            seen.append(f'end {self.name}')

        def ask(self, do, timeout=None, **options):
            if do == 'measure':
                seen.append((self.name, options.get('keep', True)))
                return dict(total=dict(ours=1., other=2.)[self.name])
            return {}

    monkeypatch.setattr(comparison, 'WorkerProcess', Fake)
    result = run_pairs(tiny(), 3, 1, checkout='other')
    assert seen == [('ours', False), ('other', False), ('ours', True),
                    ('other', True), ('other', True), ('ours', True),
                    ('ours', True), ('other', True), 'end other', 'end ours']
    assert result['ratio']['median'] == 0.5


def write_checkout(folder: Path) -> Path:
    """Another checkout: this one, but for a name of its own."""
    for path in (ROOT / 'refinevis_mm').iterdir():
        if path.name not in ('__init__.py', 'profiling', '__pycache__'):
            (folder / 'refinevis_mm').mkdir(exist_ok=True)
            (folder / 'refinevis_mm' / path.name).symlink_to(path)
    text = (ROOT / 'refinevis_mm' / '__init__.py').read_text()
    (folder / 'refinevis_mm' /
     '__init__.py').write_text(f"{text}\n__version__ = '0.0.0+other'\n")
    return folder


def test_another_checkout(tiny, tmp_path, monkeypatch):
    """Its package is measured, by the code of this one."""
    folder = write_checkout(tmp_path)
    assert not (folder / 'refinevis_mm' / 'profiling').exists()
    monkeypatch.chdir(ROOT)  # which must not win
    with WorkerProcess(str(folder)) as worker:
        worker.ask('open', **vars(tiny()))
        times = worker.ask('measure')
        report = worker.ask('report')
    assert times['backbone'] > 0
    assert 'refinevis_mm 0.0.0+other' in report['setup']['versions']


def test_no_checkout(tmp_path):
    with pytest.raises(FileNotFoundError, match='there is no checkout in'):
        WorkerProcess(str(tmp_path))


def test_errors_come_back(tiny):
    with WorkerProcess() as worker:
        with pytest.raises(WorkerError, match='dtype must be one of') as error:
            worker.ask('open', **dict(vars(tiny()), dtype='int8'))
        assert error.value.kind == 'ValueError'
        worker.ask('open', **vars(tiny(stages=False)))  # and it goes on
        assert set(worker.ask('measure')) == {'other', 'total'}
        with pytest.raises(TimeoutError, match='no answer within 0 s'):
            worker.ask('measure', timeout=0.)


def test_a_process_that_ends(monkeypatch):
    monkeypatch.setattr(comparison, 'LAUNCH', 'import sys; sys.exit(3)')
    with WorkerProcess() as worker, pytest.raises(
            WorkerError, match='ended with code 3'):
        worker.ask('measure')


def test_what_can_differ(tiny):
    settings = tiny(threads=2, cfg_options={'model.mode': 'online'})
    other = change(settings, {'threads': 1, 'model.window': 0})
    assert (settings.threads, other.threads) == (2, 1)
    assert other.cfg_options == {'model.mode': 'online', 'model.window': 0}
    with pytest.raises(ValueError, match="got 'thread'"):
        change(settings, {'thread': 1})
