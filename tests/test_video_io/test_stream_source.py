# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import socket
import sys
import threading
import time

import numpy as np
import pytest

from refinevis_mm.video_io import StreamSource, VideoFileSource, open_source
from tests.test_video_io.servers import (Camera, http_camera, http_file,
                                         rtsp_camera, silent_server,
                                         transport_stream)
from tests.test_video_io.videos import gray, times, values, write_video

NUM_FRAMES = 40


@pytest.fixture(scope='module')
def chunks():
    return transport_stream(NUM_FRAMES)


@pytest.fixture
def warnings(monkeypatch):
    """What the sources log."""
    messages = []
    monkeypatch.setattr(sys.modules['refinevis_mm.video_io.live_source'],
                        'print_log', lambda text, **_: messages.append(text))
    return messages


def wait_until(condition):
    for _ in range(3000):
        if condition():
            return
        time.sleep(.01)
    raise AssertionError('waited 30 s')


def assert_no_thread(source):
    assert source.name not in [thread.name for thread in threading.enumerate()]


@pytest.mark.parametrize('serve, scheme, reason', [
    (http_camera, 'http', 'Input/output error'),
    (rtsp_camera, 'rtsp', 'the other side closed it'),
])
def test_a_slow_reader_gets_the_newest_frame(chunks, warnings, serve, scheme,
                                             reason):
    """Frames are 50 ms apart; 30 come, then the last ten."""
    camera = Camera(chunks, pause_at=30)
    with serve(camera) as address:
        source = open_source(f'{scheme}://user:secret@{address}/cam')
        assert source.name == f'{scheme}://{address}/cam'
        assert source.settings == dict(input=source.name)
        assert (source.live, source.num_frames) == (True, 0)
        # the last two are complete when the next ones begin
        wait_until(lambda: source.num_dropped == 27)
        frames = source.scan()
        first = next(frames)
        assert (first.index, first.time) == (27, pytest.approx(27 * .05))
        assert first.load().mean() == pytest.approx(5 * 27, abs=4)
        camera.go_on.set()
        later = [frame.index for frame in frames]
    assert later[-1] >= NUM_FRAMES - 2  # RTSP loses an open last packet
    assert 1 + len(later) + source.num_dropped == later[-1] + 1
    assert warnings == [
        f'{source.name} ended after {1 + len(later)} frames: {reason}'
    ]
    assert_no_thread(source)


def test_a_fast_reader_misses_little(chunks, warnings):
    camera = Camera(chunks, hold=False)
    write_slowly = camera.send
    camera.send = lambda write: write_slowly(lambda chunk:
                                             (write(chunk), time.sleep(.01)))
    with http_camera(camera) as address:
        frames = list(open_source(f'http://{address}/cam'))
    found = times(frames)
    assert (np.diff(found) > 0).all()
    # values and times belong together
    assert values(frames) == pytest.approx([5 * 20 * value for value in found],
                                           abs=5)


def test_end_stops_and_closes(chunks):
    camera = Camera(chunks, pause_at=30)
    with http_camera(camera) as address:
        clip = open_source(f'http://{address}/cam', end=.01)
        wait_until(lambda: clip.num_dropped > 5)
        camera.go_on.set()
        with pytest.raises(ValueError, match='no frame between start 0 and'):
            list(clip)  # the newest frame is later than that
        assert_no_thread(clip)
        with pytest.raises(ValueError, match='is live and can be read once'):
            list(clip)
        with pytest.raises(ValueError, match='is live: it has no earlier fr'):
            clip.frames_from(3)


def test_close_does_not_wait_for_a_silent_stream(chunks):
    camera = Camera(chunks, hold=True)
    with http_camera(camera) as address:
        source = StreamSource(f'http://{address}/cam', timeout=60.)
        start = time.monotonic()
        source.close()
        assert time.monotonic() - start < 30
    wait_until(lambda: not source._thread.is_alive())  # the server has gone


def test_stalled_stream_ends(chunks, warnings):
    camera = Camera(chunks, hold=True)
    with http_camera(camera) as address:
        source = StreamSource(f'http://{address}/cam', timeout=.5)
        start = time.monotonic()
        frames = list(source)
        assert time.monotonic() - start < 30
    assert frames
    (message, ) = warnings
    assert message == (f'{source.name} ended after {len(frames)} frames: no '
                       'frame for 0.5 s')
    assert_no_thread(source)


@pytest.mark.parametrize('scheme', ['http', 'rtsp'])
def test_no_answer(scheme):
    with silent_server() as address:
        start = time.monotonic()
        with pytest.raises(OSError, match='cam" cannot be opened: no answer'):
            StreamSource(f'{scheme}://{address}/cam', timeout=.3)
        assert time.monotonic() - start < 30


def test_nothing_sent():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    with pytest.raises(OSError, match='cannot be opened: no answer for 0.3 s'):
        StreamSource(f'udp://127.0.0.1:{port}', timeout=.3)


def test_refused_connections():
    with http_file(b'<html>this is no video</html>' * 50) as address:
        with pytest.raises(OSError, match='absent" cannot be opened: .*404'):
            open_source(f'http://{address}/absent')
        with pytest.raises(ValueError, match='page" cannot be read as a vid'):
            open_source(f'http://{address}/page')
    for scheme in ('http', 'rtsp'):
        with pytest.raises(OSError, match='opened: Connection refused') as got:
            open_source(f'{scheme}://user:secret@{address}/cam')
        assert 'secret' not in str(got.value)


def test_fps_is_refused(chunks):
    with http_camera(Camera(chunks)) as address:
        with pytest.raises(ValueError, match='fps cannot be given for http'):
            open_source(f'http://{address}/cam', fps=5)


def test_file_at_an_address_is_not_live(tmp_path):
    path = tmp_path / 'v.mp4'
    write_video(path, [gray(20 * k) for k in range(6)], fps=5)
    content = path.read_bytes()
    with http_file(content) as address:
        source = open_source(f'http://me:secret@{address}/v.mp4')
        assert isinstance(source, VideoFileSource)
        assert source.name == f'http://{address}/v.mp4'
        assert (source.live, source.num_frames, source.fps) == (False, 6, 5.)
        for _ in range(2):
            assert values(source) == pytest.approx(range(0, 120, 20), abs=4)
        assert times(source.frames_from(4)) == [.8, 1.]
