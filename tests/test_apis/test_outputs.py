# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The table of outputs: every entry goes on, and a new one is one entry."""
import argparse
import filecmp

import numpy as np
import pytest

from refinevis_mm.apis import VISInferencer, init_model, outputs
from refinevis_mm.apis.command_line import add_render_arguments
from refinevis_mm.apis.outputs import (DEFAULT_OUTPUTS, OUTPUTS, Output,
                                       views_for)
from refinevis_mm.apis.render import render_video
from refinevis_mm.apis.session import Session
from refinevis_mm.recording import VideoRecording
from refinevis_mm.video_io import IterableSource, open_source
from refinevis_mm.visualization import select_video
from tests.tiny_detectors import CLASSES, TRACKER, find_squares, squares
from tests.tiny_files import random_frames, write_model_files
from tests.tiny_recordings import ResultStream, box

NUM_FRAMES = 7


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return init_model(*write_model_files(tmp_path_factory.mktemp('model')))


def video():
    return IterableSource(random_frames(NUM_FRAMES))


def fail_at(num_frames):
    """An ``on_frame`` that fails when so many frames are finished."""
    count = iter(range(num_frames - 1))

    def on_frame():
        if next(count, None) is None:
            raise OSError('unplugged')

    return on_frame


def render_in_parts(session, out_dir, **options):
    """Render with an error after 5 frames, and go on."""
    with pytest.raises(OSError, match='unplugged'):
        render_video(
            session,
            video(),
            out_dir,
            checkpoint_every=2,
            on_frame=fail_at(5),
            **options)
    assert [path.name for path in out_dir.iterdir()] == ['.partial']
    made = render_video(session, video(), out_dir, resume=True, **options)
    assert made.num_rendered == NUM_FRAMES - 4
    return made


def assert_same(name, path, other):
    """Two files or folders of one output say the same."""
    if path.is_dir():
        names = [child.name for child in path.iterdir()]
        assert len(names) == {'masks': NUM_FRAMES, 'cvat': 2}[name]
        assert filecmp.cmpfiles(path, other, names, False)[0] == names
    elif name == 'overlay':
        times = [[frame.time for frame in open_source(str(file))]
                 for file in (path, other)]
        assert times[0] == times[1] and len(times[0]) == NUM_FRAMES
    elif name == 'recording':
        recordings = [VideoRecording.open(file) for file in (path, other)]
        assert recordings[0].tracks() and str(
            recordings[0].track_states()) == str(recordings[1].track_states())
        for recording in recordings:
            recording.close()
    else:
        assert path.read_bytes() == other.read_bytes()


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=pytest.mark.fleet if output.check else ())
    for name, output in OUTPUTS.items()
])
def test_each_goes_on(model, tmp_path, name):
    if OUTPUTS[name].check is not None:
        pytest.importorskip('pyarrow')
    session = Session(model, views_for([name], model))
    options = dict(outputs=[name], score_thr=0.05)
    made = render_video(session, video(), tmp_path / 'whole', **options)
    file = OUTPUTS[name].file
    assert made.files == [str(tmp_path / 'whole' / file)]
    made = render_in_parts(session, tmp_path / 'parts', **options)
    assert made.files == [str(tmp_path / 'parts' / file)]
    assert_same(name, tmp_path / 'whole' / file, tmp_path / 'parts' / file)


class Counter:
    """A drawing that counts frames."""

    def __init__(self):
        self.num_frames, self.closed = 0, False

    def add(self, frame):
        assert frame.frame_id == self.num_frames
        self.num_frames += 1

    def merge(self, merges):
        """Frames are not counted by track."""

    def state_dict(self):
        return dict(num=self.num_frames)

    def load_state_dict(self, state):
        self.num_frames = state['num']

    def close(self):
        self.closed = True


def test_a_new_output_is_one_entry(model, tmp_path, monkeypatch):
    counters = []

    def draw(job):
        counters.append(Counter())
        return counters[-1]

    def make(recording, path, job):
        with open(path, 'w') as file:
            file.write(f'{recording.num_frames} {counters[-1].num_frames} '
                       f'{job.score_thr}')

    monkeypatch.setitem(OUTPUTS, 'count',
                        Output('count', 'count.txt', make, draw))
    parser = argparse.ArgumentParser()
    add_render_arguments(parser)
    args = parser.parse_args(['--out-dir', 'out', '--outputs', 'count'])
    assert args.outputs == ['count']
    assert 'count (count.txt)' in ' '.join(parser.format_help().split())
    made = render_in_parts(Session(model), tmp_path, outputs=['count'])
    assert made.files == [str(tmp_path / 'count.txt')]
    assert (tmp_path / 'count.txt').read_text() == '7 7 0.3'
    assert [counter.closed for counter in counters] == [True, True]


def test_names_and_files_are_different():
    assert all(name == output.name for name, output in OUTPUTS.items())
    assert len({output.file for output in OUTPUTS.values()}) == len(OUTPUTS)
    assert set(DEFAULT_OUTPUTS) < set(OUTPUTS)


def test_views(model, monkeypatch):
    every = ('frame_level', 'online', 'offline')
    assert views_for(['csv', 'report'], model) == every
    assert views_for(['csv'], model) is None
    monkeypatch.setattr(model, 'window', 0)
    assert views_for(['report'], model) is None


def test_report_of_a_function(tmp_path):
    """In Python, of a model without config or checkpoint."""
    inferencer = VISInferencer.from_segmenter(find_squares, CLASSES, **TRACKER)
    video = np.stack(squares(3))
    height, width = video.shape[1:3]
    empty = dict(size=[height, width], counts=[height * width])
    full = dict(size=[height, width], counts=[0, height * width])
    gt = select_video(
        dict(
            videos=[dict(id=1, width=width, height=height, length=3)],
            categories=[dict(id=5, name=CLASSES[0])],
            annotations=[
                dict(
                    id=1,
                    video_id=1,
                    category_id=5,
                    iscrowd=0,
                    areas=[height * width, None, 0],
                    segmentations=[full, None, empty])
            ]))
    options = dict(outputs=['report'], title='A title', ground_truth=gt)
    inferencer.render(video, tmp_path, **options)
    text = (tmp_path / 'report.html').read_text()
    assert '<title>A title</title>' in text and '"Ground truth"' in text
    assert '["Window","none"]' in text and '"Config"' not in text
    for frames, got in ((video[:2], '2 of'), (video[:, 1:], 'at least 1 of')):
        with pytest.raises(ValueError, match=f'it has 3 of .*{got}'):
            inferencer.render(frames, tmp_path / 'no', **options)
        assert list((tmp_path / 'no').iterdir()) == []
    with pytest.raises(ValueError, match='need "report" among the outputs'):
        inferencer.render(video, tmp_path / 'no', outputs=['csv'], title='A')
    with pytest.raises(ValueError, match='must share a class'):
        gt = dict(gt, categories=[dict(id=5, name='no')])
        inferencer.render(
            video, tmp_path / 'no', outputs=['report'], ground_truth=gt)


def drawn_ids(tmp_path, monkeypatch, delay, stop=None):
    """Ids in the frames of an overlay whose tracks turn out to be one."""
    drawn = []

    def draw(image, instances, score_thr):
        drawn.append(instances.ids)
        return image

    monkeypatch.setattr(outputs, 'draw_frame', draw)
    stream, size = ResultStream(size=(32, 48)), (32, 48)
    tracks = [0, 0, 3, 3, 3, 0, 0, 5]
    merges = {4: {3: 0}}  # frame 5 is the first after it
    overlay = make_overlay(tmp_path, delay)
    for frame_id, track in enumerate(tracks):
        row = (track, [0.9, 0., 0.], True, box(4 * track, size=size))
        overlay.add(
            stream.frame(
                dict.fromkeys(stream.views, [row]),
                [5] if frame_id == 0 else [],
                merged=merges.get(frame_id - 1)))
        if frame_id == stop:
            state = overlay.state_dict()
            overlay = make_overlay(tmp_path, delay)
            overlay.load_state_dict(state)
    overlay.merge(stream.merge({5: 0}))
    overlay.state_dict()
    overlay.join(str(tmp_path / 'overlay.mp4'))
    frames = open_source(str(tmp_path / 'overlay.mp4'))
    assert len(list(frames)) == len(tracks)
    return [ids for ids, in drawn]


def make_overlay(folder, delay):
    return outputs._Overlay(folder, 10., 0.3, ['cat', 'dog', 'owl'], delay)


@pytest.mark.parametrize('stop', [None, 2, 5, 7])
def test_frames_are_drawn_once_their_ids_are_settled(tmp_path, monkeypatch,
                                                     stop):
    found = drawn_ids(tmp_path, monkeypatch, 3, stop)
    assert found == [0] * 8


def test_without_delay_frames_are_drawn_at_once(tmp_path, monkeypatch):
    found = drawn_ids(tmp_path, monkeypatch, 0)
    assert found == [0, 0, 3, 3, 3, 0, 0, 5]
