# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A fleet is measured, and one on paper is made of the numbers."""
import json
import sys

import pytest

from tests.tiny_files import write_model_files
from tests.tiny_fleet import write_clips
from tests.tool_module import load_tool


def call(monkeypatch, tool, *args):
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    load_tool(f'analysis_tools/{tool}').main()


@pytest.mark.slow
def test_measured_and_simulated(tmp_path, monkeypatch, capsys):
    files = write_model_files(tmp_path)
    write_clips(tmp_path / 'clips', 4)
    call(monkeypatch, 'benchmark_fleet.py', f'{tmp_path}/clips/*', *files,
         '--work-dir', tmp_path / 'work', '--workers', 1, 2, '--outputs',
         'results')
    out = capsys.readouterr().out
    assert '| 1       |' in out and '| 2       |' in out and '1.00' in out
    costs = json.loads((tmp_path / 'work/costs.json').read_text())
    assert len(costs['videos']) == 4 and min(costs['videos']) > 0
    call(monkeypatch, 'simulate_fleet.py', tmp_path / 'work/costs.json',
         '--videos', 50, '--workers', 1, 10)
    assert '| 10      |' in capsys.readouterr().out


def test_the_line_through_videos():
    fit = load_tool('analysis_tools/benchmark_fleet.py').fit
    # 0.1 seconds a frame, and 0.5 besides
    assert fit([(10, 1.5), (20, 2.5), (30, 3.5)]) == pytest.approx((.1, .5))
    frame, video = fit([(10, 2.), (10, 1.)])
    assert frame == pytest.approx(.15) and video != video


def test_simulated_by_hand(tmp_path, monkeypatch, capsys):
    path = tmp_path / 'costs.json'
    path.write_text(json.dumps(dict(start=0., driver=0., videos=[36.])))
    call(monkeypatch, 'simulate_fleet.py', path, '--videos', 100, '--workers',
         1, 100, '--times', 2)
    lines = capsys.readouterr().out.splitlines()
    assert '| 1       | 2.000 | 100.0% ' in lines[3]  # 100 times 72 seconds
    assert '| 100     | 0.020 | 100.0% ' in lines[4]


def test_costs_that_are_none(tmp_path, monkeypatch):
    path = tmp_path / 'costs.json'
    path.write_text('{"start": 1}')
    with pytest.raises(SystemExit, match='lacks \'driver\''):
        call(monkeypatch, 'simulate_fleet.py', path)
