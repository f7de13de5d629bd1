# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""tools/video_demo.py: what it writes, what it refuses, how it goes on."""
import importlib.util
import os
import os.path as osp
import re
import resource
import signal
import subprocess
import sys

import cv2
import pytest

from refinevis_mm.apis import command_line
from refinevis_mm.apis.command_line import Progress
from refinevis_mm.video_io import open_source
from tests.tiny_files import random_frames, write_model_files

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
TOOL = osp.join(ROOT, 'tools', 'video_demo.py')
DEFAULT_FILES = ('overlay.mp4', 'before_after.png', 'timeline.png',
                 'results.json', 'tracks.csv', 'recording.sqlite')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


def write_frames(folder, num):
    folder.mkdir()
    for k, frame in enumerate(random_frames(num)):
        cv2.imwrite(str(folder / f'{k}.jpg'), frame)
    return folder


@pytest.fixture
def frames(tmp_path):
    return write_frames(tmp_path / 'frames', 5)


@pytest.fixture
def demo(monkeypatch):
    """Run the tool in this process."""
    spec = importlib.util.spec_from_file_location('video_demo', TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        tool.main()

    return run


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def start(cwd, *args):
    """Run the tool in a process of its own."""
    env = dict(os.environ, PYTHONPATH=ROOT, OMP_NUM_THREADS='1')
    return subprocess.Popen([sys.executable, TOOL, *map(str, args)],
                            cwd=cwd,
                            env=env,
                            stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def wait_for(process, pattern):
    """Read the error stream until it shows something."""
    seen = b''
    while not re.search(pattern, seen):
        byte = process.stderr.read(1)
        assert byte, seen.decode()
        seen += byte


def assert_same_results(out_dir, other):
    assert names_in(out_dir) == names_in(other)
    for name in ('results.json', 'tracks.csv', 'before_after.png'):
        assert (out_dir / name).read_bytes() == (other / name).read_bytes()
    overlays = [open_source(str(d / 'overlay.mp4')) for d in (out_dir, other)]
    assert [frame.time
            for frame in overlays[0]] == [frame.time for frame in overlays[1]]


@pytest.mark.slow
def test_in_a_process_of_its_own(files, frames, tmp_path):
    process = start(tmp_path, frames, *files, '--out-dir', 'out')
    stdout, stderr = (text.decode() for text in process.communicate())
    assert process.returncode == 0, stderr
    lines = stdout.splitlines()
    assert re.fullmatch(
        r'5 frames, \d+\.\d frames/s, \d+ tracks, \d+ of them with a score '
        r'of at least 0\.3', lines[0])
    assert lines[1:] == [osp.join('out', name) for name in DEFAULT_FILES]
    assert all((tmp_path / line).exists() for line in lines[1:])
    assert '5/5' in stderr  # progress bar


@pytest.mark.slow
def test_killed_run_goes_on(demo, files, tmp_path, capsys):
    frames = write_frames(tmp_path / 'frames', 40)
    options = (frames, *files, '--mode', 'offline', '--out-dir')
    demo(*options, tmp_path / 'whole')
    process = start(tmp_path, *options, 'out', '--checkpoint-every', 3)
    wait_for(process, rb'\r\[[> ]*\] 1\d/40')
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert names_in(tmp_path / 'out') == ['.partial']
    capsys.readouterr()
    demo(*options, tmp_path / 'out', '--resume')
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith('40 frames, ')
    assert_same_results(tmp_path / 'out', tmp_path / 'whole')


def test_interrupted_run_goes_on(demo, files, frames, tmp_path, capsys,
                                 monkeypatch):
    options = (frames, *files, '--out-dir', tmp_path / 'out')

    def interrupt(progress):
        progress.num_frames += 1
        if progress.num_frames == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, 'update', interrupt)
        with pytest.raises(SystemExit) as error:
            demo(*options)
    assert error.value.code == 130
    stdout, stderr = capsys.readouterr()
    assert stdout == ''
    assert 'stopped after 3 frames; go on with --resume' in stderr
    assert names_in(tmp_path / 'out') == ['.partial']
    message = refuse_resume(demo, *options, '--score-thr', 0.4)
    assert 'score_thr 0.3, it cannot be resumed with score_thr 0.4' in message
    demo(*options, '--resume')
    stdout, stderr = capsys.readouterr()
    assert stdout.startswith('5 frames, ') and '2/2' in stderr
    assert names_in(tmp_path / 'out') == sorted(DEFAULT_FILES)
    demo(*options, '--resume')
    assert capsys.readouterr().out.startswith('5 frames, complete already, ')


def refuse_resume(demo, *args):
    """The one line with which going on is refused."""
    with pytest.raises(SystemExit) as error:
        demo(*args, '--resume')
    message = str(error.value.code)
    assert message.startswith('error: ') and '\n' not in message
    return message


def test_interrupt_before_the_first_frame(demo, tmp_path, capsys, monkeypatch):

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, 'open_source', interrupt)
    with pytest.raises(SystemExit) as error:
        demo('video', 'config', 'checkpoint', '--out-dir', tmp_path)
    assert error.value.code == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_options_of_the_source(demo, files, frames, tmp_path, capsys):
    demo(frames / '*.jpg', *files, '--out-dir', tmp_path / 'out', '--window',
         0, '--fps', 4, '--start', 1, '--end', '1.1s', '--stride', 2,
         '--max-size', 40)
    assert capsys.readouterr().out.startswith('2 frames, ')
    assert names_in(tmp_path / 'out') == sorted(
        set(DEFAULT_FILES) - {'before_after.png'})  # without refinement
    shown = list(open_source(str(tmp_path / 'out' / 'overlay.mp4')))
    # frames 1 and 3 of 40 x 30 pixels, enlarged 12 times for the labels
    assert [frame.image.shape for frame in shown] == [(360, 480, 3)] * 2
    assert shown[1].time == pytest.approx(0.5)


def test_some_outputs(demo, files, frames, tmp_path, capsys):
    out_dir = tmp_path / 'out'
    options = (frames, *files, '--out-dir', out_dir, '--end', 2, '--outputs')
    demo(*options, 'masks', 'coco')
    assert names_in(out_dir) == ['coco_video.json', 'masks']
    assert capsys.readouterr().out.splitlines()[1:] == [
        str(out_dir / 'coco_video.json'),
        str(out_dir / 'masks')
    ]
    with pytest.raises(SystemExit) as error:
        demo(*options, 'gif')
    assert error.value.code == 2
    assert "invalid choice: 'gif'" in capsys.readouterr().err


def test_progress_of_unknown_length(capsys):
    progress = Progress(0)
    progress.start(5)
    progress.update()
    progress.update()
    assert capsys.readouterr().err == '\r6 frames\r7 frames'


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
    message = refuse(demo, tmp_path, 99, *files)
    assert 'webcam 99' in message
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


def test_config_without_checkpoint(demo, files, frames):
    with pytest.raises(
            SystemExit,
            match='checkpoint must be given with the '
            'config file ".*tiny.py"'):
        demo(frames, files[0], '--out-dir', 'out')


def test_unknown_name(demo, frames):
    with pytest.raises(
            SystemExit,
            match='no weights of the name "mask2forme"'
            '.*mask2former-r50_coco'):
        demo(frames, 'mask2forme', '--out-dir', 'out')


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
    assert 'recording.sqlite\' cannot be written' in message
