# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import numpy as np
import pytest

from refinevis_mm.video_io import read_image, write_image
from tests.test_evaluation.test_tracking_eval import (WIDTH, ground_truth,
                                                      result)
from tests.tool_module import load_tool


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis_tools/explain_identity.py')


@pytest.fixture
def run(tool, monkeypatch):
    """Run the tool with arguments."""

    def run(*args):
        monkeypatch.setattr('sys.argv', ['explain_identity.py', *args])
        tool.main()

    return run


@pytest.fixture
def files(tmp_path):
    """A switch in one video, with its frames."""
    gt = ground_truth([0, 0, 0, 0])
    names = [f'a/{i}.png' for i in range(4)]
    gt['videos'][0]['file_names'] = names
    rows = [result([0, 0, None, None]), result([None, None, 0, 0])]
    (tmp_path / 'a').mkdir()
    for name in names:
        write_image(tmp_path / name, np.zeros((1, WIDTH, 3), np.uint8))
    paths = tmp_path / 'gt.json', tmp_path / 'results.json'
    for path, content in zip(paths, (gt, rows)):
        path.write_text(json.dumps(content))
    return [str(path) for path in paths]


def test_tables(run, files, capsys):
    run(*files)
    lines = capsys.readouterr().out.splitlines()
    event = next(line for line in lines
                 if '| switch ' in line and '1-2' in line)
    assert '+29.29' in event and '| cat ' in event and '0, 1' in event
    oracle = next(line for line in lines if 'association' in line)
    assert oracle.count('100.0') == 5  # AP, AP50, HOTA, DetA, AssA


def test_strips(tool, run, files, tmp_path, capsys):
    out = tmp_path / 'strips'
    run(*files, '--img-prefix', str(tmp_path), '--out-dir', str(out))
    path, = out.iterdir()
    assert path.name == '000_switch.png'
    picture = read_image(str(path))
    assert picture.shape[1] > 4 * tool.PANEL_WIDTH
    assert '1 strips in' in capsys.readouterr().out


def test_other_results(tool, run, files, tmp_path, capsys):
    out = tmp_path / 'strips'
    now = tmp_path / 'now.json'
    now.write_text(json.dumps([result([0, 0, 0, 0])]))
    options = '--img-prefix', str(tmp_path), '--out-dir', str(out)
    run(*files, *options, '--held-by', str(now))
    assert f'1 of 1 switches across which {now} keeps the object:' in \
        capsys.readouterr().out
    picture = read_image(str(out / '000_switch.png'))
    run(*files, *options)
    assert picture.shape[0] > read_image(str(out / '000_switch.png')).shape[0]
    run(*files, '--held-by', files[1])  # the same results
    assert '0 of 0 switches' in capsys.readouterr().out


@pytest.mark.parametrize('options', [['--top', '0'], ['--out-dir', 'a']])
def test_bad_options(run, files, options):
    with pytest.raises(SystemExit) as error:
        run(*files, *options)
    assert error.value.code == 2
