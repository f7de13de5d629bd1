# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import gc

import av
import cv2
import numpy as np
import pytest

from refinevis_mm.video_io import VideoFileSource, av_container
from tests.test_video_io.videos import (cut, cut_start, gray, noise,
                                        set_display_matrix, set_edit, times,
                                        values, write_video)

GRAYS = range(0, 120, 20)


@pytest.fixture
def video(tmp_path):
    """Six frames of grey 0, 20, 40 ..., 5 frames per second."""
    path = tmp_path / 'video.mp4'
    write_video(path, [gray(value) for value in GRAYS], fps=5)
    return path


def test_frames_times_and_settings(video):
    source = VideoFileSource(video)
    assert (source.num_frames, source.fps, source.live) == (6, 5., False)
    for _ in range(2):  # can be read again
        assert values(source) == pytest.approx(GRAYS, abs=4)
        assert times(source) == [0., .2, .4, .6, .8, 1.]
    assert source.name == str(video)
    assert source.settings == dict(
        input=str(video),
        num_bytes=video.stat().st_size,
        fps=None,
        allow_damaged=False)


def test_fps_replaces_the_times(video):
    source = VideoFileSource(video, fps=4)
    assert (source.fps, times(source)) == (4, [0., .25, .5, .75, 1., 1.25])


@pytest.mark.parametrize('name, codec, pix_fmt', [
    ('v.mp4', 'mpeg4', 'yuv420p'),
    ('v.mov', 'libx264', 'yuv444p'),
    ('v.webm', 'libvpx', 'yuv420p'),
    ('v.mkv', 'libx264', 'yuv420p'),
    ('v.ts', 'mpeg2video', 'yuv420p'),
    ('v.avi', 'mjpeg', 'yuvj420p'),
    ('v.gif', 'gif', 'gray'),
])
def test_formats(tmp_path, name, codec, pix_fmt):
    path = tmp_path / name
    write_video(
        path, [gray(value) for value in GRAYS],
        codec=codec,
        pix_fmt=pix_fmt,
        fps=25)
    source = VideoFileSource(path)
    assert (source.num_frames, source.fps) == (6, 25.)
    assert values(source) == pytest.approx(GRAYS, abs=4)
    assert times(source) == pytest.approx(np.arange(6) / 25, abs=1e-9)


def test_variable_frame_rate(tmp_path):
    path = tmp_path / 'v.mp4'
    ticks = [0, 40, 140, 141, 500, 1500]
    write_video(path, [gray(value) for value in GRAYS], ticks=ticks)
    assert times(VideoFileSource(path)) == [tick / 1000 for tick in ticks]


def test_first_frame_has_time_zero(tmp_path):
    path = tmp_path / 'v.mkv'
    write_video(path, [gray(0), gray(20)], ticks=[5000, 5250])
    assert times(VideoFileSource(path)) == [0., .25]


def test_file_without_times_and_duration(tmp_path):
    path = tmp_path / 'v.h264'
    write_video(path, [gray(value) for value in GRAYS], fps=20, bf='0', g='2')
    source = VideoFileSource(path)
    assert source.num_frames == 0
    assert values(source) == pytest.approx(GRAYS, abs=4)
    found = np.diff(times(source))
    assert found == pytest.approx([1 / source.fps] * 5)


def test_odd_size(tmp_path):
    path = tmp_path / 'v.avi'
    write_video(path, noise(2, 47, 63), codec='mjpeg', pix_fmt='yuvj444p')
    assert [frame.image.shape
            for frame in VideoFileSource(path)] == [(47, 63, 3)] * 2


@pytest.mark.parametrize(
    'matrix, shape, corner',
    [
        ((1, 0, 0, 1), (48, 64), 'top left'),
        ((0, 1, -1, 0), (64, 48), 'top right'),  # a phone held upright
        ((-1, 0, 0, -1), (48, 64), 'bottom right'),
        ((0, -1, 1, 0), (64, 48), 'bottom left'),
        ((-1, 0, 0, 1), (48, 64), 'top right'),  # mirrored
    ])
def test_rotation(tmp_path, matrix, shape, corner):
    """The stored picture has a red patch of 24 x 16 in its top left."""
    path = tmp_path / 'v.mp4'
    image = gray(40)
    image[:16, :24] = (0, 0, 255)
    write_video(path, [image], qp='5')
    set_display_matrix(path, *matrix)
    (frame, ) = VideoFileSource(path)
    assert frame.image.shape == (*shape, 3)
    red = frame.image[..., 2] > 150
    rows, columns = np.flatnonzero(red.any(1)), np.flatnonzero(red.any(0))
    turned = shape == (64, 48)
    assert (len(rows), len(columns)) == ((24, 16) if turned else (16, 24))
    assert (rows[0] == 0) == ('top' in corner)
    assert (rows[-1] == shape[0] - 1) == ('bottom' in corner)
    assert (columns[0] == 0) == ('left' in corner)
    assert (columns[-1] == shape[1] - 1) == ('right' in corner)


def test_trimmed_by_an_edit_list(tmp_path):
    """Phones trim videos so: frames 12 to 16 of 20 are left."""
    path = tmp_path / 'v.mp4'
    write_video(path, [gray(12 * k) for k in range(20)], g='5', bf='0')
    with av.open(str(path)) as file:
        frame = file.streams.video[0].duration // 20
        starts = [packet.pos for packet in file.demux(video=0)]
    set_edit(path, 12 * frame, 500)
    source = VideoFileSource(path)
    assert source.num_frames == 5
    assert values(source) == pytest.approx(range(144, 204, 12), abs=4)
    assert times(source) == pytest.approx([0, .1, .2, .3, .4])
    path.write_bytes(path.read_bytes()[:starts[14]])
    with pytest.raises(ValueError, match='cut off at frame 2 of 5'):
        list(VideoFileSource(path))


@pytest.mark.parametrize('name, content, reason', [
    ('empty.mp4', b'', 'is empty'),
    ('text.mp4', b'this is no video' * 50, 'cannot be read as a video'),
])
def test_refused_files(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as error:
        VideoFileSource(path)
    assert '\n' not in str(error.value)


def test_sound_only(tmp_path):
    path = tmp_path / 'sound.mp4'
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('aac', rate=16000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format='fltp', layout='mono')
        frame.sample_rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode())
    with pytest.raises(ValueError, match='it holds no pictures'):
        VideoFileSource(path)


@pytest.mark.parametrize('name, codec, pix_fmt', [
    ('v.mp4', 'libx264', 'yuv420p'),
    ('v.avi', 'mjpeg', 'yuvj420p'),
    ('v.mkv', 'libx264', 'yuv420p'),
])
def test_video_that_ends_early(tmp_path, name, codec, pix_fmt):
    path = tmp_path / name
    write_video(path, noise(30), codec=codec, pix_fmt=pix_fmt)
    cut(path, .5)
    source = VideoFileSource(path)
    with pytest.raises(ValueError, match=r'cut off at frame 1\d of 30'):
        list(source)
    frames = list(VideoFileSource(path, allow_damaged=True))
    assert 5 < len(frames) < 17
    assert times(frames) == pytest.approx(np.arange(len(frames)) / 10)


@pytest.mark.parametrize('name, codec, pix_fmt, num_left', [
    ('v.avi', 'mjpeg', 'yuvj420p', 8),
    ('v.avi', 'mpeg4', 'yuv420p', 8),
    ('v.mkv', 'libx264', 'yuv420p', 8),
    ('v.mp4', 'libx264', 'yuv420p', 9),
])
def test_damage_in_the_middle(tmp_path, name, codec, pix_fmt, num_left):
    """The data of frame 4 is lost; FFmpeg repairs it only in the mp4."""
    path = tmp_path / name
    options = dict(bf='0') if codec == 'libx264' else {}
    write_video(path, noise(9), codec=codec, pix_fmt=pix_fmt, **options)
    with av.open(str(path)) as file:
        packet = list(file.demux(video=0))[4]
    content = bytearray(path.read_bytes())
    content[packet.pos + 8:packet.pos + packet.size] = bytes(packet.size - 8)
    path.write_bytes(content)
    with pytest.raises(ValueError, match='damaged or cut off at frame 4 of 9'):
        list(VideoFileSource(path))
    frames = list(VideoFileSource(path, allow_damaged=True))
    assert len(frames) == num_left
    assert times(frames)[-1] == pytest.approx(.8)


def test_avi_with_repeated_frames(tmp_path):
    """AVI files hold an empty packet for a frame that repeats the last."""
    path = tmp_path / 'v.avi'
    write_video(
        path, [gray(20 * k) for k in range(4)],
        ticks=[0, 1, 4, 5],
        codec='mjpeg',
        pix_fmt='yuvj420p',
        fps=10)
    source = VideoFileSource(path)
    assert values(source) == pytest.approx([0, 20, 40, 60], abs=4)
    assert times(source) == pytest.approx([0, .1, .4, .5])


def test_frames_from_does_not_convert_skipped_frames(video, monkeypatch):
    converted = []
    original = VideoFileSource.scan

    def scan(source):
        for frame in original(source):
            yield frame._replace(load=lambda frame=frame: (converted.append(
                frame.index), frame.load())[1])

    monkeypatch.setattr(VideoFileSource, 'scan', scan)
    source = VideoFileSource(video)
    later = list(source.frames_from(4))
    assert values(later) == pytest.approx([80, 100], abs=4)
    assert times(later) == [.8, 1.]
    assert converted == [4, 5]
    with pytest.raises(ValueError, match='index must not be negative, got -1'):
        source.frames_from(-1)


def test_size_that_changes_is_scaled_to_the_first(tmp_path):
    """Two MPEG-TS files one after the other are a valid MPEG-TS file."""
    path = tmp_path / 'v.ts'
    content = b''
    for height, width in ((48, 64), (96, 128)):
        write_video(
            path, [gray(100, height, width)] * 3, codec='mpeg2video', bf='0')
        content += path.read_bytes()
    path.write_bytes(content)
    source = VideoFileSource(path, allow_damaged=True)
    assert {frame.image.shape for frame in source} == {(48, 64, 3)}
    assert (np.diff(times(source)) > 0).all()


@pytest.mark.parametrize('name', ['v.mp4', 'v.mkv', 'v.ts'])
@pytest.mark.parametrize('num_b_frames', ['0', '2'])
def test_start_without_key_frame(tmp_path, monkeypatch, name, num_b_frames):
    """Key frames are 0, 5, 10: of frames 2 to 14 the first 3 are lost."""
    whole, path = tmp_path / 'whole.mkv', tmp_path / name
    options = dict(bf=num_b_frames, g='5', sc_threshold='0')
    write_video(whole, [gray(16 * k) for k in range(15)], **options)
    cut_start(whole, path, 2)
    with pytest.raises(ValueError, match=r'first frames \(3\) .*allow-damage'):
        VideoFileSource(path)  # before a model is loaded
    said = []
    monkeypatch.setattr(f'{VideoFileSource.__module__}.print_log',
                        lambda text, **_: said.append(text))
    source = VideoFileSource(path, allow_damaged=True)
    assert values(source) == pytest.approx(range(80, 240, 16), abs=4)
    assert times(source) == pytest.approx(np.arange(10) / 10)
    assert source.num_frames == (10 if name == 'v.mp4' else 0)
    assert len(said) == 1 and 'first frames (3)' in said[0]


def test_frames_in_front_of_the_first_key_frame(tmp_path):
    """Those of an open group follow it in the file and are lost, too."""
    whole, path = tmp_path / 'whole.mkv', tmp_path / 'v.ts'
    options = dict(
        codec='mpeg2video', g='6', bf='2', flags='-cgop', sc_threshold='1e9')
    write_video(whole, noise(15), **options)
    with av.open(str(whole)) as file:
        packets = [packet for packet in file.demux(video=0) if packet.size]
    key = [k for k, packet in enumerate(packets) if packet.is_keyframe][1]
    lost = sum(packet.pts < packets[key].pts for packet in packets[key:])
    assert lost == 2
    cut_start(whole, path, key)
    with pytest.raises(ValueError, match=r'its first frames \(2\) have no'):
        VideoFileSource(path)
    assert len(list(VideoFileSource(
        path, allow_damaged=True))) == len(packets) - key - lost


@pytest.mark.parametrize('name, codec', [('v.webm', 'libvpx'),
                                         ('v.mkv', 'libx264')])
def test_rate_of_a_clock_is_no_number_of_frames(tmp_path, name, codec):
    """Browsers write 1000 frames a second into the header."""
    path = tmp_path / name
    ticks = [33 * k for k in range(6)]
    write_video(
        path, [gray(value) for value in GRAYS], ticks, codec=codec, fps=1000)
    source = VideoFileSource(path)
    assert (source.num_frames, source.regular) == (0, False)
    assert times(source) == [tick / 1000 for tick in ticks]


def test_other_fps_do_not_change_the_number(tmp_path):
    path = tmp_path / 'v.mkv'
    write_video(path, [gray(value) for value in GRAYS], fps=5)
    assert [
        VideoFileSource(path, fps=fps).num_frames for fps in (None, 1, 5, 50)
    ] == [6] * 4


def test_equal_to_opencv(tmp_path):
    path = tmp_path / 'v.mp4'
    write_video(path, noise(4), qp='20')
    reader = cv2.VideoCapture(str(path))
    for frame in VideoFileSource(path):
        expected = reader.read()[1].astype(int)
        assert np.abs(frame.image - expected).mean() < 1


def test_frames_are_freed_at_once(video):
    """Not only by the garbage collector: 4K frames would fill the memory."""
    gc.collect()
    gc.disable()
    try:
        count = len(list(VideoFileSource(video)))
        kept = [
            thing for thing in gc.get_objects() if type(thing) is av.VideoFrame
        ]
    finally:
        gc.enable()
    assert count == 6
    assert len(kept) <= 1  # the first one, for its display matrix


def test_ffmpeg_is_silent(tmp_path, capfd):
    path = tmp_path / 'v.mp4'
    write_video(path, noise(30))
    cut(path, .5)
    capfd.readouterr()
    list(VideoFileSource(path, allow_damaged=True))
    captured = capfd.readouterr()
    for line in (captured.out + captured.err).splitlines():
        assert 'WARNING - video' in line and 'damaged or cut off' in line


def test_too_large_frames_are_refused(tmp_path, monkeypatch):
    path = tmp_path / 'v.mp4'
    write_video(path, noise(2))
    monkeypatch.setattr(av_container, 'MAX_PIXELS', 3000)
    with pytest.raises(ValueError, match='at most 3000 pixels, got 64 x 48'):
        VideoFileSource(path)
