# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import threading
import time

import cv2
import numpy as np
import pytest

from refinevis_mm.video_io import WebcamSource, open_source
from tests.test_video_io.videos import gray, values


class FakeCamera:
    """Gives six frames, one after each permission, then none."""

    def __init__(self, index):
        self.index = index
        self.num_read = 0
        self.released = False
        self.permitted = threading.Semaphore(0)
        FakeCamera.last = self

    def isOpened(self):
        return self.index == 0

    def get(self, key):
        assert key == cv2.CAP_PROP_FPS
        return 25.

    def read(self):
        self.permitted.acquire()
        self.num_read += 1
        if self.num_read > 6:
            return False, None
        return True, gray(20 * self.num_read)

    def release(self):
        self.released = True


@pytest.fixture(autouse=True)
def fake(monkeypatch):
    monkeypatch.setattr(cv2, 'VideoCapture', FakeCamera)


@pytest.mark.parametrize('video', [0, '0'])
def test_frames(video):
    source = open_source(video)
    assert (source.name, source.fps, source.live) == ('webcam 0', 25., True)
    assert source.settings == dict(input=0)
    camera = FakeCamera.last
    frames = iter(source)
    camera.permitted.release()
    first = next(frames)
    assert (first.time, int(first.image.mean())) == (0., 20)
    for _ in range(3):  # three frames while the model works
        camera.permitted.release()
    while camera.num_read < 4 or source.num_dropped < 2:
        time.sleep(.001)
    second = next(frames)
    assert int(second.image.mean()) == 80  # the newest
    assert second.time > 0
    assert source.num_dropped == 2
    for _ in range(3):
        camera.permitted.release()
    rest = values(frames)  # the camera is pulled out after frame 6
    assert rest[-1] == 120
    assert camera.released


def test_a_camera_that_hangs_ends():
    source = WebcamSource(0, timeout=.2)
    start = time.monotonic()
    with pytest.raises(
            OSError, match='webcam 0 sent no frame: no frame for 0.2 s'):
        list(source)
    assert time.monotonic() - start < 20
    FakeCamera.last.permitted.release()
    source.close()


def test_error_of_the_reader_is_not_hidden(monkeypatch):

    def read(camera):
        raise MemoryError('no memory')

    monkeypatch.setattr(FakeCamera, 'read', read)
    with pytest.raises(MemoryError, match='no memory'):
        list(open_source(0))


def test_refused_cameras(monkeypatch):
    with pytest.raises(OSError, match='webcam 7 cannot be opened: it does'):
        open_source(7)
    assert FakeCamera.last.released
    with pytest.raises(ValueError, match='must be 0 or more, got -1'):
        open_source(-1)
    with pytest.raises(ValueError, match='fps cannot be given for webcam 0'):
        open_source(0, fps=5)


def test_a_real_absent_camera_prints_nothing(monkeypatch, capfd):
    monkeypatch.undo()
    with pytest.raises(OSError, match='webcam 97 cannot be opened'):
        open_source(97)
    assert capfd.readouterr() == ('', '')


def test_clip_of_a_webcam():
    clip = open_source('0', end=2, max_size=32)
    camera = FakeCamera.last
    frames = iter(clip)
    camera.permitted.release()
    assert next(frames).image.shape == (24, 32, 3)
    camera.permitted.release(9)
    assert len(list(frames)) <= 1
    assert camera.released
    np.testing.assert_equal(clip.num_frames, 2)
