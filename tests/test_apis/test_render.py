# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import io
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch

from refinevis_mm.apis import init_model
from refinevis_mm.apis.outputs import DEFAULT_OUTPUTS, OUTPUTS
from refinevis_mm.apis.render import RenderStopped, record_video, render_video
from refinevis_mm.apis.session import Session
from refinevis_mm.compat.checkpoints import CheckpointError
from refinevis_mm.recording import VideoRecording
from refinevis_mm.video_io import (ImageFilesSource, IterableSource,
                                   TimedFrame, open_source)
from refinevis_mm.vis_json import check_results
from refinevis_mm.visualization import RefinementStrips
from tests.tiny_files import CLASSES, random_frames, write_model_files

ROOT = str(Path(__file__).resolve().parents[2])
NUM_FRAMES, WINDOW = 11, 4
TIMES = [0.1 * k + 0.03 * (k % 2) for k in range(NUM_FRAMES)]  # uneven
DEFAULT_FILES = [OUTPUTS[name].file for name in DEFAULT_OUTPUTS]
# Files that must be the same byte by byte after a resumed run.
SAME_BYTES = ('before_after.png', 'timeline.png', 'results.json', 'tracks.csv')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def model(files):
    return init_model(*files)


@pytest.fixture
def session(model):
    """Make a session for a mode and a window."""

    def make(mode='online', window=WINDOW):
        model.mode, model.window = mode, window
        return Session(model)

    return make


def video(num=NUM_FRAMES):
    frames = random_frames(NUM_FRAMES)[:num]
    return IterableSource(
        [TimedFrame(image, time) for image, time in zip(frames, TIMES)])


class LiveVideo(IterableSource):
    """Frames that say they are a camera's."""

    live = True


def live_video():
    return LiveVideo(iter(random_frames(NUM_FRAMES)))


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def times_of(path):
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def at(num_frames, action):
    """An ``on_frame`` that acts when so many frames are finished."""
    count = itertools.count(1)
    return lambda: action() if next(count) == num_frames else None


def fail():
    raise OSError('unplugged')


def interrupt():
    signal.raise_signal(signal.SIGINT)


def assert_same_files(out_dir, other):
    assert names_in(out_dir) == names_in(other)
    for name in SAME_BYTES:
        assert (out_dir / name).read_bytes() == (other /
                                                 name).read_bytes(), name
    overlays = [
        times_of(folder / 'overlay.mp4') for folder in (out_dir, other)
    ]
    assert overlays[0] == overlays[1]
    with VideoRecording.open(out_dir / 'recording.sqlite') as first, \
            VideoRecording.open(other / 'recording.sqlite') as second:
        assert first.times() == second.times()


@pytest.fixture(scope='module')
def whole(model, tmp_path_factory):
    """Folders of runs in one piece, by mode."""
    folders = {}
    for mode in ('online', 'offline'):
        model.mode, model.window = mode, WINDOW
        folders[mode] = tmp_path_factory.mktemp(mode)
        render_video(Session(model), video(), folders[mode], score_thr=0.05)
    return folders


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_files_and_results(session, tmp_path, mode):
    out_dir, ticks = tmp_path / 'out', []
    rendered = render_video(
        session(mode),
        video(),
        out_dir,
        score_thr=0.05,
        on_start=ticks.append,
        on_frame=lambda: ticks.append(len(ticks)))
    assert rendered.files == [str(out_dir / name) for name in DEFAULT_FILES]
    assert names_in(out_dir) == sorted(DEFAULT_FILES)
    assert ticks == list(range(NUM_FRAMES + 1))
    assert rendered.num_frames == rendered.num_rendered == NUM_FRAMES

    np.testing.assert_allclose(
        times_of(out_dir / 'overlay.mp4'), TIMES, atol=2e-5)
    rows = json.loads((out_dir / 'results.json').read_text())
    videos = [dict(id=1, length=NUM_FRAMES, height=60, width=80)]
    categories = [dict(id=k + 1, name=n) for k, n in enumerate(CLASSES)]
    check_results(dict(videos=videos, categories=categories), rows)
    with VideoRecording.open(out_dir / 'recording.sqlite') as recording:
        tracklets = list(recording.tracklets(cls_thr=0.05))
        assert recording.view == mode and recording.num_frames == NUM_FRAMES
        for (_, _, instances), frame in zip(recording.frames(),
                                            session(mode).stream(video())):
            shared = set(instances.ids)  # noise is discarded later
            assert instances.masks == [
                mask for track_id, mask in zip(frame.ids, frame.masks)
                if track_id in shared
            ]
    assert rows == [
        dict(
            video_id=1,
            category_id=row['label'] + 1,
            score=row['score'],
            segmentations=row['segmentations']) for row in tracklets
    ]
    ids = {row['instances_id'] for row in tracklets}
    assert rendered.num_tracks == len(ids) > 0


def test_recording_is_that_of_the_stream(session, tmp_path):
    ticks = []
    recording = record_video(
        session('offline'), video(), tmp_path / 'r.sqlite',
        lambda: ticks.append(1))
    with recording:
        assert recording.finished and len(ticks) == NUM_FRAMES
        assert recording.views == ['frame_level', 'offline']
        frames = list(session('offline').stream(video()))
        assert recording.frame(NUM_FRAMES - 1).ids == frames[-1].ids
    with pytest.raises(ValueError, match='needs at least one frame'):
        record_video(session(), IterableSource([]), tmp_path / 'none.sqlite')


def test_all_outputs(session, tmp_path):
    plain = [name for name, output in OUTPUTS.items() if not output.check]
    rendered = render_video(session(), video(3), tmp_path, outputs=plain)
    assert rendered.files == [
        str(tmp_path / OUTPUTS[name].file) for name in plain
    ]
    assert names_in(tmp_path / 'masks') == [f'{k:06d}.png' for k in range(3)]
    images = json.loads((tmp_path / 'coco_video.json').read_text())['images']
    assert len(images) == 3
    # a second run replaces the folder of masks
    render_video(session(), video(2), tmp_path, outputs=['masks'])
    assert len(names_in(tmp_path / 'masks')) == 2
    # and takes away the recording, which would be that of another run
    assert 'recording.sqlite' not in names_in(tmp_path)


@pytest.mark.parametrize('outputs, reason', [([], 'got none'),
                                             (['csv', 'gif'], "got 'gif'")])
def test_outputs_must_be_known(session, tmp_path, outputs, reason):
    with pytest.raises(ValueError, match=f'outputs must be out of.*{reason}'):
        render_video(session(), video(), tmp_path / 'out', outputs=outputs)
    assert not (tmp_path / 'out').exists()


def test_no_picture_without_refinement(session, tmp_path):
    render_video(session(window=0), video(2), tmp_path)
    assert names_in(tmp_path) == sorted(
        set(DEFAULT_FILES) - {'before_after.png'})


def test_score_thr_hides_objects(session, tmp_path):
    render_video(
        session(), video(3), tmp_path, outputs=['overlay'], score_thr=1.1)
    with av.open(str(tmp_path / 'overlay.mp4')) as container:
        for frame, image in zip(container.decode(video=0), random_frames(3)):
            large = cv2.resize(
                image, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
            shown = frame.to_ndarray(format='bgr24').astype(int)
            assert abs(shown - large).mean() < 12


@pytest.mark.parametrize('mode', ['online', 'offline'])
@pytest.mark.parametrize('num', [1, WINDOW - 1])
def test_short_videos(session, tmp_path, mode, num):
    rendered = render_video(session(mode), video(num), tmp_path)
    assert rendered.num_frames == num
    assert len(times_of(tmp_path / 'overlay.mp4')) == num


@pytest.mark.parametrize('resume', [False, True])
def test_no_frame(session, tmp_path, resume):
    with pytest.raises(ValueError, match='needs at least one frame, got none'):
        render_video(session(), IterableSource([]), tmp_path, resume=resume)
    assert names_in(tmp_path) == []


def test_no_detection(session, model, tmp_path, monkeypatch):
    for name in ('init_score_thr', 'obj_score_thr'):
        if hasattr(model.tracker, name):
            monkeypatch.setattr(model.tracker, name, 2.)
    rendered = render_video(session('offline'), video(6), tmp_path)
    assert (rendered.num_tracks, rendered.num_shown) == (0, 0)
    assert json.loads((tmp_path / 'results.json').read_text()) == []
    assert len(times_of(tmp_path / 'overlay.mp4')) == 6


def test_error_before_a_checkpoint_leaves_old_files_alone(session, tmp_path):
    out_dir = tmp_path / 'out'
    out_dir.mkdir()
    (out_dir / 'results.json').write_text('old')
    paths = []
    for k, image in enumerate(random_frames(2)):
        paths.append(str(tmp_path / f'{k}.png'))
        cv2.imwrite(paths[-1], image)
    paths.append(str(tmp_path / 'absent.png'))
    with pytest.raises((OSError, ValueError), match='absent.png'):
        render_video(session(), ImageFilesSource(paths), out_dir)
    assert names_in(out_dir) == ['results.json']
    assert (out_dir / 'results.json').read_text() == 'old'


@pytest.mark.parametrize('mode', ['online', 'offline'])
@pytest.mark.parametrize('stop, every', [(2, 1), (6, 3), (NUM_FRAMES, 4)])
def test_resumed_equals_whole(session, whole, tmp_path, mode, stop, every):

    def run(**kwargs):
        return render_video(
            session(mode),
            video(),
            tmp_path,
            score_thr=0.05,
            checkpoint_every=every,
            **kwargs)

    with pytest.raises(OSError, match='unplugged'):
        run(on_frame=at(stop, fail))
    assert names_in(tmp_path) == ['.partial']
    starts, ticks = [], []
    rendered = run(
        resume=True, on_start=starts.append, on_frame=lambda: ticks.append(1))
    assert rendered.num_frames == NUM_FRAMES
    assert rendered.num_rendered == len(ticks) == NUM_FRAMES - starts[0]
    assert starts[0] < stop
    assert_same_files(tmp_path, whole[mode])


@pytest.mark.parametrize('signum', [signal.SIGINT, signal.SIGTERM])
def test_signal_makes_a_checkpoint(session, whole, tmp_path, signum):
    before = signal.getsignal(signum)
    with pytest.raises(RenderStopped, match='stopped after 5 frames'):
        render_video(
            session(),
            video(),
            tmp_path,
            score_thr=0.05,
            on_frame=at(5, lambda: signal.raise_signal(signum)))
    assert signal.getsignal(signum) is before
    assert names_in(tmp_path) == ['.partial']
    rendered = render_video(
        session(), video(), tmp_path, score_thr=0.05, resume=True)
    assert rendered.num_rendered == NUM_FRAMES - 5
    assert_same_files(tmp_path, whole['online'])


def test_second_interrupt_acts_at_once(session, tmp_path):

    def twice():
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt) as error:
        render_video(session(), video(), tmp_path, on_frame=at(5, twice))
    assert not isinstance(error.value, RenderStopped)
    assert names_in(tmp_path) == []  # there was no checkpoint yet


def test_signal_ends_a_live_source(session, tmp_path):
    rendered = render_video(
        session('offline'), live_video(), tmp_path, on_frame=at(4, interrupt))
    assert NUM_FRAMES > rendered.num_frames >= 4
    assert names_in(tmp_path) == sorted(DEFAULT_FILES)


def test_killed_live_source_is_finished_as_it_was(session, tmp_path):
    with pytest.raises(OSError):
        render_video(
            session(),
            live_video(),
            tmp_path,
            checkpoint_every=3,
            on_frame=at(7, fail))
    rendered = render_video(session(), live_video(), tmp_path, resume=True)
    assert (rendered.num_frames, rendered.num_rendered) == (6, 0)


KILLED = """
import os, signal, sys
import numpy as np
from refinevis_mm.apis import init_model
from refinevis_mm.apis.render import render_video
from refinevis_mm.apis.session import Session
from refinevis_mm.video_io import IterableSource, TimedFrame

out_dir, stop, data, config, checkpoint = sys.argv[1:]

def on_frame():
    global stop
    stop = int(stop) - 1
    if stop == 0:
        os.kill(os.getpid(), signal.SIGKILL)

data = np.load(data)
model = init_model(config, checkpoint)
model.mode = 'offline'
video = [TimedFrame(*frame) for frame in zip(data['images'], data['times'])]
render_video(Session(model), IterableSource(video), out_dir, score_thr=0.05,
             checkpoint_every=2, on_frame=on_frame)
"""


def test_sigkill_in_another_process(files, session, whole, tmp_path):
    stop = int(np.random.default_rng().integers(3, NUM_FRAMES + 1))
    out_dir, data = tmp_path / 'out', str(tmp_path / 'video.npz')
    np.savez(data, images=random_frames(NUM_FRAMES), times=TIMES)
    done = subprocess.run(
        [sys.executable, '-c', KILLED,
         str(out_dir),
         str(stop), data, *files],
        cwd=ROOT,
        env=dict(os.environ, OMP_NUM_THREADS=str(torch.get_num_threads())),
        capture_output=True,
        text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert names_in(out_dir) == ['.partial'], f'killed at {stop}'
    render_video(
        session('offline'), video(), out_dir, score_thr=0.05, resume=True)
    assert_same_files(out_dir, whole['offline'])


@pytest.fixture
def stopped(session, tmp_path):
    """A folder with a run that was stopped after 5 frames."""
    with pytest.raises(RenderStopped):
        render_video(session(), video(), tmp_path, on_frame=at(5, interrupt))
    return tmp_path


OTHER_SETTINGS = [
    (dict(score_thr=0.4), 'score_thr 0.3, .* with score_thr 0.4'),
    (dict(outputs=['csv', 'overlay']),
     r"drawn \['before_after', 'overlay'\], .* with drawn \['overlay'\]"),
    (dict(settings=dict(name='b')), "name nothing, .* with name 'b'"),
    (dict(source=video(9)), 'num_frames 11, .* with num_frames 9'),
    (dict(mode='offline'), "view 'online', .* with view 'offline'"),
    (dict(window=3), 'window 4, .* with window 3')
]


def test_other_settings_are_refused(session, stopped):
    for change, reason in OTHER_SETTINGS:
        options = dict(dict(mode='online', window=4, source=video()), **change)
        own = session(options.pop('mode'), options.pop('window'))
        with pytest.raises(ValueError, match=f'a run with {reason}'):
            render_video(own, out_dir=stopped, resume=True, **options)
    rendered = render_video(session(), video(), stopped, resume=True)
    assert rendered.num_rendered == NUM_FRAMES - 5  # nothing was lost


def test_other_models_are_refused(files, session, stopped):
    model = init_model(*files)
    with torch.no_grad():  # weights are told by their values
        next(model.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match="weights '[0-9a-f]{16}', .* weights"):
        render_video(Session(model), video(), stopped, resume=True)
    model = init_model(*files, cfg_options={'model.cls_thr': 0.2})
    with pytest.raises(ValueError, match=r'model\.cls_thr .*model\.cls_thr'):
        render_video(Session(model), video(), stopped, resume=True)


def test_without_resume_starts_over(session, stopped):
    rendered = render_video(session(), video(3), stopped)
    assert rendered.num_frames == rendered.num_rendered == 3
    assert names_in(stopped) == sorted(DEFAULT_FILES)


def test_nothing_to_resume(session, tmp_path):
    rendered = render_video(session(), video(3), tmp_path, resume=True)
    assert rendered.num_rendered == 3


def test_complete_run_is_left_alone(session, tmp_path):
    render_video(session(), video(3), tmp_path)
    ages = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    (tmp_path / 'tracks.csv').unlink()
    rendered = render_video(
        session(),
        video(3),
        tmp_path,
        outputs=[*DEFAULT_OUTPUTS, 'coco'],
        resume=True)
    assert (rendered.num_frames, rendered.num_rendered) == (3, 0)
    assert names_in(tmp_path) == sorted([*DEFAULT_FILES, 'coco_video.json'])
    for name in set(ages) - {'tracks.csv'}:
        assert (tmp_path / name).stat().st_mtime_ns == ages[name], name
    with pytest.raises(ValueError, match='num_frames 3, .* num_frames 4'):
        render_video(session(), video(4), tmp_path, resume=True)
    # the overlay cannot be made of the recording
    (tmp_path / 'overlay.mp4').unlink()
    rendered = render_video(session(), video(3), tmp_path, resume=True)
    assert rendered.num_rendered == 3


def test_no_final_name_before_all_files(session, whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(OUTPUTS, 'csv',
                      OUTPUTS['csv']._replace(make=lambda *args: fail()))
        with pytest.raises(OSError, match='unplugged'):
            render_video(session(), video(), tmp_path, score_thr=0.05)
    assert names_in(tmp_path) == ['.partial']
    rendered = render_video(
        session(), video(), tmp_path, score_thr=0.05, resume=True)
    assert rendered.num_rendered == 0
    assert_same_files(tmp_path, whole['online'])


def test_stopped_while_names_are_given(session, whole, tmp_path, monkeypatch):
    render_video(session(), video(2), tmp_path)  # files of another run
    replace, calls = os.replace, []

    def replace_some(source, target):
        if os.path.dirname(target) == str(tmp_path):
            calls.append(target)
            if len(calls) == 3:
                fail()
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, 'replace', replace_some)
        with pytest.raises(OSError, match='unplugged'):
            render_video(session(), video(), tmp_path, score_thr=0.05)
    assert 'recording.sqlite' not in names_in(tmp_path)
    render_video(session(), video(), tmp_path, score_thr=0.05, resume=True)
    assert_same_files(tmp_path, whole['online'])


@pytest.mark.parametrize('name', ['', 'recording.sqlite', 'final/a', '.lock'])
def test_links_in_the_folder_of_a_run_are_refused(session, tmp_path, name):
    """What they lead to was deleted, emptied or written to."""
    precious = tmp_path / 'precious'
    precious.mkdir()
    (precious / 'file').write_text('kept')
    link = tmp_path / 'out' / '.partial' / name
    link.parent.mkdir(parents=True)
    link.symlink_to(precious if not name else precious / 'file')
    with pytest.raises(OSError, match='must not be a link; delete it'):
        render_video(session(), video(2), tmp_path / 'out', resume=True)
    assert (precious / 'file').read_text() == 'kept'
    assert names_in(precious) == ['file']


def failed_run(session, out_dir):
    """A run that failed behind a checkpoint; its recording."""
    with pytest.raises(OSError, match='unplugged'):
        render_video(
            session(),
            video(),
            out_dir,
            checkpoint_every=2,
            on_frame=at(5, fail))
    return out_dir / '.partial' / 'recording.sqlite'


@pytest.mark.parametrize('change, match', [
    (lambda state: b'no checkpoint', 'the checkpoint in .* is damaged'),
    (lambda state: dict(state, drawings={}), "lacks 'before_after'"),
    (lambda state: [state], 'the checkpoint in .* must be dict, got list'),
    (lambda state: dict(
        state, drawings=dict(state['drawings'], overlay=dict(
            num_segments=10**12, view='online', held=[]))),
     'must hold 1000000000000 segments'),
    (lambda state: dict(
        state, drawings=dict(state['drawings'], overlay=dict(
            num_segments=0, view='online', held=[dict(time=0.)]))),
     "the state of the overlay lacks 'image'"),
    (lambda state: dict(
        state, drawings=dict(state['drawings'], before_after={})),
     "the state of the strips lacks 'after'"),
])  # yapf: disable
def test_edited_checkpoints_are_refused(session, tmp_path, change, match):
    path = failed_run(session, tmp_path)
    with VideoRecording.open(path) as recording:
        state = torch.load(io.BytesIO(recording.state), weights_only=True)
        content = change(state)
        if not isinstance(content, bytes):
            buffer = io.BytesIO()
            torch.save(content, buffer)
            content = buffer.getvalue()
        recording.checkpoint(content)
    with pytest.raises((ValueError, CheckpointError), match=match) as error:
        render_video(session(), video(), tmp_path, resume=True)
    assert '\n' not in str(error.value)
    assert names_in(tmp_path) == ['.partial']


def test_outputs_of_a_recording_are_those_of_the_table(session, tmp_path):
    render_video(session(), video(3), tmp_path)
    with closing(sqlite3.connect(tmp_path / 'recording.sqlite')) as db:
        db.execute("UPDATE facts SET value = json_set(value, '$.outputs', "
                   "json('[\"../x\"]')) WHERE name = 'settings'")
        db.commit()
    with pytest.raises(ValueError, match='outputs in .* must be out of'):
        render_video(session(), video(3), tmp_path, resume=True)


def test_captions_are_numbers_of_the_video(session, tmp_path, monkeypatch):
    """Every second frame from the third on."""
    captions = []
    monkeypatch.setattr(RefinementStrips, 'draw',
                        lambda _, numbers: captions.append(numbers))
    source = open_source(
        np.stack(random_frames(NUM_FRAMES)), start=3, stride=2)
    render_video(session(), source, tmp_path)
    assert captions == [[3, 5, 7, 9]]


def test_one_run_at_a_time(session, tmp_path):

    def second_run():
        with pytest.raises(OSError, match='is used by another run'):
            render_video(session(), video(), tmp_path, resume=True)

    rendered = render_video(
        session(), video(4), tmp_path, on_frame=at(2, second_run))
    assert rendered.num_frames == 4
    assert names_in(tmp_path) == sorted(DEFAULT_FILES)


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_outputs_lead_back_to_the_source(session, tmp_path, mode):
    """Every second frame from the third on; the fifth is damaged."""
    folder, out_dir = tmp_path / 'frames', tmp_path / 'out'
    folder.mkdir()
    for k, image in enumerate(random_frames(NUM_FRAMES)):
        cv2.imwrite(str(folder / f'img_{k:03d}.png'), image)
    (folder / 'img_004.png').write_bytes(b'x')

    def run(**options):
        source = open_source(folder, start=2, stride=2, allow_damaged=True)
        return render_video(
            session(mode),
            source,
            out_dir,
            outputs=['coco', 'masks', 'csv', 'recording'],
            score_thr=0.05,
            checkpoint_every=1,
            **options)

    with pytest.raises(OSError, match='unplugged'):
        run(on_frame=at(2, fail))
    run(resume=True)
    numbers = [2, 5, 7, 9]  # the damaged frame does not count for the stride
    names = [f'img_{k:03d}' for k in numbers]
    content = json.loads((out_dir / 'coco_video.json').read_text())
    assert [row['file_name']
            for row in content['images']] == [f'{name}.png' for name in names]
    assert names_in(out_dir / 'masks') == [f'{name}.png' for name in names]
    with VideoRecording.open(out_dir / 'recording.sqlite') as recording:
        assert [number for number, _ in recording.origins()] == numbers
        assert recording.times() == pytest.approx(
            [number / 10 for number in numbers])
