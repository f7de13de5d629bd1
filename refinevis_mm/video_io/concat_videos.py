# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Joining videos without encoding them again."""
from pathlib import Path
from typing import Sequence, Tuple, Union

import av

from .av_container import local_path
from .mp4_file import TICKS, Mp4File, start_of


def concat_videos(parts: Sequence[Union[str, Path]],
                  path: Union[str, Path]) -> None:
    """Join files of :class:`H264Writer` without encoding them again.

    The times of their frames are kept: the file shows what one writer would
    have written. Parts without times follow each other at their frame rate.

    Args:
        parts (Sequence[str | Path]): The files, of one size, in order.
        path (str | Path): The new file.

    Raises:
        OSError: If it cannot be written.
        ValueError: If there are no parts, or a part cannot be read, is not
            encoded as the first one or does not begin after the one before.
    """
    if not parts:
        raise ValueError('joining videos needs at least one, got none')
    file = Mp4File(path)
    try:
        _copy_parts(parts, file)
    except BaseException:
        file.discard()
        raise
    file.close()


def _copy_parts(parts: Sequence[Union[str, Path]], file: Mp4File) -> None:
    """Copy the packets of all parts."""
    with _open_part(parts[0]) as first:
        template = first.streams.video[0]
        origin = start_of(first)
        if origin is not None:
            file.set_start(origin)
        stream = file.container.add_stream_from_template(template)
        last, end = -1, 0
        for part in parts:
            with _open_part(part) as container:
                _check_alike(container.streams.video[0], template, part)
                start = start_of(container)
                if (start is None) != (origin is None):
                    raise ValueError(f'part "{part}" must have frame times '
                                     'like the first one, or none like it')
                offset = end if start is None or origin is None else \
                    start - origin
                if offset <= last:
                    raise ValueError(f'part "{part}" must begin after the '
                                     'one before it ends')
                last, end = _copy_packets(container, stream, offset, file)


def _copy_packets(container: av.container.InputContainer,
                  stream: av.VideoStream, offset: int,
                  file: Mp4File) -> Tuple[int, int]:
    """Copy the packets of a part.

    Returns:
        tuple[int, int]: Start and end of its last frame in ticks.
    """
    last, end = offset, offset
    for packet in container.demux(video=0):
        if packet.pts is None:
            continue  # PyAV's sign of the end
        packet.pts = packet.dts = last = packet.pts + offset
        end = last + packet.duration
        packet.stream = stream
        file.mux([packet])
    return last, end


def _open_part(part: Union[str, Path]) -> av.container.InputContainer:
    """Open a part."""
    try:
        return av.open(local_path(part))
    except (av.FFmpegError, OSError) as error:
        raise ValueError(f'part "{part}" cannot be read: '
                         f'{error.strerror}') from error


def _check_alike(stream: av.VideoStream, first: av.VideoStream,
                 part: Union[str, Path]) -> None:
    """Refuse a part that is not encoded as the first one."""
    described, expected = ((one.codec_context.name, one.width, one.height,
                            one.time_base, one.codec_context.extradata)
                           for one in (stream, first))
    if described != expected or stream.time_base.denominator != TICKS:
        raise ValueError(f'part "{part}" must be written by H264Writer with '
                         'the size of the first part')
