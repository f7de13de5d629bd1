# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""tools/fleet.py, and video_demo.py --shard: what they print and refuse."""
import json
import os
import os.path as osp
import re
import signal
import subprocess
import sys

import pytest

from tests.tiny_files import write_model_files
from tests.tiny_fleet import differences, write_clips
from tests.tool_module import TOOLS, load_tool

PLAIN = ('--outputs', 'results', 'csv')


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A model, clips and a file that is no video."""
    root = tmp_path_factory.mktemp('fleet')
    write_model_files(root)
    write_clips(root / 'clips', 3)
    (root / 'clips/broken.mp4').write_bytes(b'no video')
    return root


@pytest.fixture
def fleet(root, monkeypatch, capsys):
    """Run a tool in this process; exit code, output and errors."""

    def run(*args, tool='fleet.py', inputs='clips/*'):
        monkeypatch.chdir(root)
        monkeypatch.setattr(
            sys, 'argv',
            [tool, inputs, 'tiny.py', 'tiny.pth', *map(str, args)])
        code = 0
        try:
            load_tool(tool).main()
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


def test_a_fleet_and_a_second_run(fleet, root, tmp_path):
    options = ('--out', tmp_path, '--engine', 'serial', *PLAIN)
    code, out, err = fleet(*options)
    assert code == 3
    assert re.fullmatch(
        r'4 videos: 0 were finished before, 1 failed, \d+\.\d frames/s\n'
        f'{tmp_path}\n', out)
    assert 'broken: "' in err and 'cannot be read as a video' in err
    code, out, _ = fleet(*options)
    assert code == 3
    assert out.startswith('4 videos: 3 were finished before, 1 failed\n')
    code, out, _ = fleet(*options, inputs='clips/clip*')
    assert code == 0
    assert out.startswith('3 videos: 3 were finished before, 0 failed\n')
    sums = subprocess.run(['sha256sum', '--check', '--quiet', 'SHA256SUMS'],
                          cwd=tmp_path,
                          check=False)
    assert sums.returncode == 0


def test_shares_of_many_videos(fleet, tmp_path):
    options = ('--out-dir', tmp_path / 'shares', *PLAIN)
    codes = [
        fleet(*options, '--shard', f'{index}/2', tool='video_demo.py')[0]
        for index in (1, 2)
    ]
    assert codes == [3, 0]  # broken, clip001; clip000, clip002
    names = sorted(
        path.name for path in (tmp_path / 'shares/videos').iterdir())
    assert names == ['clip000', 'clip001', 'clip002']
    # the files of all videos are made by a fleet that finds them finished
    code, out, _ = fleet('--engine', 'serial', '--out', tmp_path / 'shares',
                         *PLAIN)
    assert '3 were finished before' in out
    fleet('--engine', 'serial', '--out', tmp_path / 'whole', *PLAIN)
    assert differences(tmp_path / 'shares', tmp_path / 'whole') == [
        '.share-1-of-2/.lock', '.share-2-of-2/.lock'
    ]


@pytest.mark.parametrize('args, reason', [
    (('--engine', 'local', '--max-workers', '0'),
     'max_workers must be positive, got 0'),
    (('--engine', 'local', '--device', 'cuda:77'), 'device "cuda:77" was'),
    (('--engine', 'serial', '--outputs', 'csv', '--window', '-1'), 'window'),
])
def test_refusals_are_one_line(args, reason, fleet, tmp_path):
    code, _, err = fleet('--out', tmp_path, *args,
                         *(() if '--outputs' in args else PLAIN))
    assert isinstance(code, str) and code.startswith('error: ')
    assert reason in code and '\n' not in code


def test_ray_is_not_installed(fleet, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    code, _, _ = fleet('--out', tmp_path / 'out')
    assert code.startswith('error: the engine ray needs Ray')
    assert 'or use --engine local' in code and '\n' not in code
    assert not (tmp_path / 'out').exists()


def test_pyarrow_is_not_installed(fleet, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    code, _, _ = fleet('--out', tmp_path / 'out', '--engine', 'serial')
    assert 'Parquet tables need pyarrow' in code
    assert not (tmp_path / 'out').exists()


def test_another_model_in_the_folder(fleet, root, tmp_path):
    options = ('--out', tmp_path, '--engine', 'serial', *PLAIN)
    fleet(*options)
    before = sorted(tmp_path.rglob('*'))
    code, _, _ = fleet(*options, '--mode', 'offline')
    assert re.search(
        "holds a run with model.mode .*'online'.* cannot be resumed with "
        "model.mode 'offline'", code)
    assert sorted(tmp_path.rglob('*')) == before


def test_a_manifest_with_an_unknown_option(fleet, root, tmp_path):
    (tmp_path / 'clips.json').write_text(
        json.dumps([dict(input='a.mp4', strid=2)]))
    code, _, _ = fleet(
        '--out',
        tmp_path / 'out',
        '--engine',
        'serial',
        inputs=str(tmp_path / 'clips.json'))
    assert 'has the unknown option "strid"; there are input, name' in code


def test_options_that_exclude_each_other(fleet, tmp_path):
    code, _, err = fleet('--out', tmp_path, '--engine', 'local',
                         '--num-gpus-per-worker', '1')
    assert code == 2 and 'need --engine ray' in err
    code, _, err = fleet(
        '--out-dir',
        tmp_path,
        '--shard',
        '1/2',
        '--title',
        'all',
        tool='video_demo.py')
    assert code == 2 and '--shard for many' in err


@pytest.mark.slow
def test_sigterm_keeps_checkpoints(root, tmp_path):
    write_clips(tmp_path / 'clips', 2, num_frames=200)
    command = [
        sys.executable, TOOLS / 'fleet.py', tmp_path / 'clips/*',
        root / 'tiny.py', root / 'tiny.pth', '--out', tmp_path / 'out',
        '--engine', 'local', '--max-workers', '2', '--checkpoint-every', '20',
        *PLAIN
    ]
    env = dict(os.environ, PYTHONPATH=osp.dirname(TOOLS), OMP_NUM_THREADS='1')
    process = subprocess.Popen(
        list(map(str, command)),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True)
    partial = tmp_path / 'out/videos/clip000/.partial/recording.sqlite'
    while not partial.exists() and process.poll() is None:
        pass
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.endswith('stopped; what is finished stays, run again to go '
                        'on\n')
    assert partial.exists()  # the checkpoint of the worker's last words
    done = subprocess.run(
        list(map(str, command)), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'out/manifest.json').exists()
