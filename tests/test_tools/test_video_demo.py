# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""tools/video_demo.py: what it writes, and what it refuses."""
import importlib.util
import os
import os.path as osp
import resource
import subprocess
import sys

import cv2
import pytest

from tests.tiny_files import random_frames, write_model_files

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
TOOL = osp.join(ROOT, 'tools', 'video_demo.py')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / 'frames'
    folder.mkdir()
    for k, frame in enumerate(random_frames(5)):
        cv2.imwrite(str(folder / f'{k}.jpg'), frame)
    return folder


@pytest.fixture
def demo(monkeypatch):
    """Run the tool in this process."""
    spec = importlib.util.spec_from_file_location('video_demo', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        module.main()

    return run


def test_in_a_process_of_its_own(files, frames, tmp_path):
    env = dict(os.environ, PYTHONPATH=ROOT, OMP_NUM_THREADS='1')
    done = subprocess.run([
        sys.executable, TOOL,
        str(frames), *files, '--out-dir', 'out', '--mode', 'offline'
    ],
                          cwd=tmp_path,
                          env=env,
                          capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert '5 frames, ' in lines[0] and 'frames/s' in lines[0]
    assert lines[1:] == [
        osp.join('out', name)
        for name in ('before_after.png', 'overlay.mp4', 'results.json')
    ]
    assert all((tmp_path / line).exists() for line in lines[1:])
    assert '5/5' in done.stderr  # progress bar


def test_window_0_writes_no_picture(demo, files, frames, tmp_path, capsys):
    demo(frames / '*.jpg', *files, '--out-dir', tmp_path / 'out', '--window',
         0, '--fps', 3)
    assert 'before_after' not in capsys.readouterr().out
    assert cv2.VideoCapture(str(tmp_path / 'out/overlay.mp4')).get(
        cv2.CAP_PROP_FPS) == 3


def refuse(demo, tmp_path, *args):
    """The one line a refused run ends with; nothing may be left behind."""
    out_dir = tmp_path / 'out'
    with pytest.raises(SystemExit) as error:
        demo(*args, '--out-dir', out_dir)
    message = str(error.value.code)
    assert message.startswith('error: ') and '\n' not in message
    assert not out_dir.exists() or not list(out_dir.iterdir())
    return message


def test_missing_and_unreadable_video(demo, files, tmp_path):
    for name, content, reason in (('no.mp4', None, 'no.mp4" does not exist'),
                                  ('zero.mp4', b'', 'zero.mp4" is empty'),
                                  ('x.mp4', b'x' * 999, 'read as a video')):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        assert reason in refuse(demo, tmp_path, tmp_path / name, *files)


def test_corrupt_frame_in_the_middle(demo, files, frames, tmp_path):
    (frames / '3.jpg').write_bytes((frames / '3.jpg').read_bytes()[:300])
    assert '3.jpg" cannot be read' in refuse(demo, tmp_path, frames, *files)
    demo(frames, *files, '--out-dir', tmp_path / 'out', '--allow-damaged')
    assert (tmp_path / 'out' / 'overlay.mp4').exists()


def test_config_and_checkpoint(demo, files, frames, tmp_path):
    config, checkpoint = files
    message = refuse(demo, tmp_path, frames, 'no_config.py', checkpoint)
    assert 'no_config.py' in message
    message = refuse(demo, tmp_path, frames, config, 'no.pth')
    assert '"no.pth" does not exist' in message
    (tmp_path / 'bad.pth').write_bytes(b'no weights')
    message = refuse(demo, tmp_path, frames, config, tmp_path / 'bad.pth')
    assert 'bad.pth' in message
    message = refuse(demo, tmp_path, frames, config, checkpoint,
                     '--cfg-options', 'model.association_head.embed_dims=16')
    assert 'association_head' in message and '(16, 32) in the model' in message


def test_config_without_checkpoint(demo, files, frames, capsys):
    with pytest.raises(SystemExit) as error:
        demo(frames, files[0], '--out-dir', 'out')
    assert error.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == ('video_demo.py: error: the following arguments are '
                    'required: checkpoint')


def test_unwritable_out_dir(demo, files, frames, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit) as error:
        demo(frames, *files, '--out-dir', tmp_path / 'file' / 'out')
    assert 'out" cannot be written: Not a directory' in error.value.code


def test_full_disk(demo, files, frames, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10000, hard))
    try:
        message = refuse(demo, tmp_path, frames, *files)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 'disk may be full' in message
