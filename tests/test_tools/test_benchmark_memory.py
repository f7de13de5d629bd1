# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""tools/analysis_tools/benchmark_memory.py: what it measures and reports."""
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.tiny_files import write_model_files
from tests.tool_module import load_tool

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'analysis_tools' / 'benchmark_memory.py'


@pytest.fixture(scope='module')
def tool():
    """The command line tool as a module."""
    return load_tool('analysis_tools/benchmark_memory.py')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.mark.slow
def test_both_modes_in_processes_of_their_own(files, tmp_path):
    done = subprocess.run([
        sys.executable, TOOL, files[0], '--checkpoint', files[1], '--frames',
        '20', '--shape', '48', '64', '--record', '--out', 'm.json', '--plot',
        'm.png'
    ],
                          cwd=tmp_path,
                          env={
                              **os.environ, 'OMP_NUM_THREADS': '1',
                              'PYTHONPATH': str(ROOT)
                          },
                          check=True,
                          capture_output=True,
                          text=True)
    curves = json.loads((tmp_path / 'm.json').read_text())
    assert list(curves) == ['online', 'offline']
    for samples in curves.values():
        assert [row['frames'] for row in samples] == list(range(1, 21))
        peaks = [row['peak'] for row in samples]
        assert peaks == sorted(peaks) and peaks[0] > 50
        assert samples[-1]['ids'] > 0
    assert cv2.imread(str(tmp_path / 'm.png')) is not None
    assert 'peak, 2 frames' in done.stdout and 'offline' in done.stdout


def test_random_weights_get_tracks(tool, files):
    args = tool.parse_args(
        [files[0], '--frames', '10', '--shape', '48', '64', '--tracks', '3'])
    samples = tool.measure(args, 'online')
    assert samples[-1]['frames'] == 10 and samples[-1]['ids'] >= 1


def test_growth_in_the_table(tool):
    rows = [(100, 80., 3, 1.), (200, 100., 5, 2.), (1800, 102., 40, 20.),
            (2000, 103., 46, 23.)]
    samples = [
        dict(zip(('frames', 'peak', 'ids', 'seconds'), row)) for row in rows
    ]
    table = tool.summarise(dict(online=samples), 2000)
    cells = [cell.strip() for cell in table.splitlines()[3].split('|')[1:-1]]
    assert cells == [
        'online', '100 MiB', '103 MiB', '+3.0 %', '10.0', '15.0', '5', '6'
    ]


def test_video_moves_and_does_not_repeat(tool):
    frames = list(tool.moving_rectangles(50, 48, 64))
    assert frames[0].shape == (48, 64, 3) and frames[0].dtype == np.uint8
    assert len({frame.tobytes() for frame in frames}) > 40


def test_too_few_frames(tool, files, capsys):
    with pytest.raises(SystemExit):
        tool.parse_args([files[0], '--frames', '9'])
    assert '--frames must be at least 10, got 9' in capsys.readouterr().err


def test_no_such_device(tool):
    args = tool.parse_args(['c.py', '--device', 'abacus'])
    with pytest.raises(ValueError, match='device "abacus" is not one of'):
        tool.build_model(args, 'online')
