# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import os.path as osp
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from refinevis_mm.apis import VISInferencer
from refinevis_mm.recording import VideoRecording
from refinevis_mm.video_io import H264Writer, open_source
from tests.tiny_files import CLASSES, random_frames, write_model_files

NUM_FRAMES = 6


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    files = write_model_files(tmp_path_factory.mktemp('model'))
    return VISInferencer(*files, mode='offline', window=4)


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """The same six frames in all forms; the file is not lossless."""
    folder = tmp_path_factory.mktemp('video')
    frames = random_frames(NUM_FRAMES)
    images = folder / 'images'
    images.mkdir()
    for k, frame in enumerate(frames):
        cv2.imwrite(str(images / f'{k}.png'), frame)
    with H264Writer(folder / 'video.mp4', 5., (80, 60)) as writer:
        for frame in frames:
            writer.write(frame)
    return dict(
        file=str(folder / 'video.mp4'),
        folder=images,
        glob=str(images / '*.png'),
        array=np.stack(frames),
        iterator=lambda: iter(frames),
        source=open_source(str(images)))


def test_options_reach_the_model(inferencer):
    assert inferencer.classes == list(CLASSES)
    assert (inferencer.model.mode, inferencer.model.window) == ('offline', 4)
    session = inferencer.session()
    assert session.views == ('frame_level', 'offline')
    assert inferencer.session(['online']).view == 'online'


@pytest.mark.parametrize(
    'form', ['file', 'folder', 'glob', 'array', 'iterator', 'source'])
def test_any_form_of_a_video(inferencer, videos, form):
    video = videos[form]
    recording = inferencer(video() if callable(video) else video)
    assert isinstance(recording, VideoRecording)
    assert recording.num_frames == NUM_FRAMES and recording.size == (60, 80)
    assert recording.fps == (5. if form == 'file' else 10.)
    assert recording.views == ['frame_level', 'offline']
    if form != 'file':
        frames = inferencer.stream(videos['array'])
        for frame, (frame_id, time, found) in zip(frames, recording.frames()):
            assert (frame.frame_id, frame.time) == (frame_id, time)
            assert frame.ids == found.ids and frame.masks == found.masks


def test_part_of_a_video(inferencer, videos):
    count = []
    recording = inferencer(
        videos['file'],
        views=['online'],
        on_frame=lambda: count.append(1),
        start=1,
        end=6,
        stride=2,
        max_size=40)
    assert len(count) == recording.num_frames == 3
    assert recording.size == (30, 40) and recording.views == ['online']
    assert recording.times() == pytest.approx([0.2, 0.6, 1.0])


def test_temporary_file_goes_with_the_recording(inferencer, videos):
    recording = inferencer(videos['array'])
    path = recording.path
    assert osp.exists(path)
    recording.close()
    del recording
    assert not osp.exists(path)


@pytest.mark.parametrize('video, error', [
    ('absent.mp4', FileNotFoundError),
    ([], ValueError),
    ([np.zeros((4, 4), np.uint8)], ValueError),
])
def test_bad_videos_leave_nothing(inferencer, video, error, monkeypatch,
                                  tmp_path):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    with pytest.raises(error):
        inferencer(video)
    assert not list(tmp_path.iterdir())


def test_render(inferencer, videos, tmp_path):
    video = inferencer.render(
        videos['file'],
        str(tmp_path),
        outputs=['overlay', 'results'],
        end=4,
        score_thr=0.1)
    assert [Path(file).name
            for file in video.files] == ['overlay.mp4', 'results.json']
    assert video.num_frames == open_source(video.files[0]).num_frames == 4
    with pytest.raises(TypeError, match='colour'):
        inferencer.render(videos['file'], str(tmp_path), colour='red')
