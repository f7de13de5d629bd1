# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Small videos whose frames are known, written by PyAV itself."""
import struct
from fractions import Fraction

import av
import numpy as np


def gray(value, height=48, width=64):
    return np.full((height, width, 3), value, np.uint8)


def noise(num_frames, height=48, width=64):
    """Frames that cannot be compressed well."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (num_frames, height, width, 3), dtype=np.uint8)


def values(frames):
    """Mean grey value of every frame."""
    return [int(round(frame.image.mean())) for frame in frames]


def times(frames):
    return [frame.time for frame in frames]


def write_video(path,
                images,
                ticks=None,
                codec='libx264',
                pix_fmt='yuv420p',
                fps=10,
                **options):
    """Write a video.

    ``ticks`` are the times of the frames in units of 1/1000 s, for AVI files
    in units of 1/fps.
    """
    images = list(images)
    height, width = images[0].shape[:2]
    movflags = {}
    if str(path).endswith('mp4'):
        movflags['movflags'] = 'faststart'
    with av.open(str(path), 'w', options=movflags) as file:
        stream = file.add_stream(codec, rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        unit = Fraction(1, fps if str(path).endswith('avi') else 1000)
        if ticks is not None:
            stream.codec_context.time_base = unit
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format='bgr24')
            if ticks is not None:
                frame.pts, frame.time_base = ticks[index], unit
            file.mux(stream.encode(frame))
        file.mux(stream.encode())


def set_display_matrix(path, a, b, c, d):
    """Write a matrix into the track header of an mp4 file."""
    content = bytearray(path.read_bytes())
    start = content.index(b'tkhd') + 4 + 40
    one = 1 << 16
    content[start:start + 36] = struct.pack('>9i', a * one, b * one, 0,
                                            c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(content)


def set_edit(path, start, length):
    """Let an mp4 file play a part only; both in ticks of their box."""
    content = bytearray(path.read_bytes())
    box = content.index(b'elst')
    content[box + 12:box + 20] = struct.pack('>Ii', length, start)
    path.write_bytes(content)


def cut(path, share):
    """Keep the first part of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:int(len(content) * share)])


def cut_start(path, target, num_packets):
    """Copy a video without its first packets."""
    with av.open(str(path)) as file, av.open(str(target), 'w') as copy:
        source = file.streams.video[0]
        stream = copy.add_stream_from_template(source)
        packets = [packet for packet in file.demux(source) if packet.size]
        for packet in packets[num_packets:]:
            packet.stream = stream
            copy.mux(packet)
