# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames of a video file."""
import logging
import os.path as osp
from functools import partial
from typing import Iterator, Optional, Tuple

import av
from mmengine.logging import print_log

from .av_container import open_container
from .frame_converter import FrameConverter
from .frame_source import (DEFAULT_FPS, FrameSource, LazyFrame, LazyFrames,
                           TimedFrame)

# FFmpeg's AVINDEX_DISCARD_FRAME: an edit list cuts the frame off.
DISCARDED = 2
# Seconds that may be missing where the header holds the duration only.
MAX_MISSING = 1.
# Bytes; MPEG-4 packets of this size may say that nothing changed.
MAX_TINY = 8


class VideoFileSource(FrameSource):
    """Frames of a video file, decoded by FFmpeg through PyAV.

    Times are those of the file, also where its frame rate varies. The
    display matrix of phones is applied.

    Args:
        path (str): The file, or the http address of one.
        fps (float, optional): Frames per second that replace the times of
            the file. Defaults to None.
        allow_damaged (bool): Take the frames that can be decoded, damaged
            ones among them. Defaults to False.
        name (str, optional): Name of the source. Defaults to None, the path.
        timeout (tuple[float, float], optional): Seconds to wait for an
            address when opening and reading. Defaults to None.

    Raises:
        OSError: If an address cannot be opened.
        ValueError: If the file is no video or has no frame. Iterating raises
            it where the file is damaged or ends before its last frame.
    """

    def __init__(self,
                 path: str,
                 fps: Optional[float] = None,
                 allow_damaged: bool = False,
                 name: Optional[str] = None,
                 timeout: Optional[Tuple[float, float]] = None) -> None:
        self.path = str(path)
        self.name = self.path if name is None else name
        self.allow_damaged = allow_damaged
        self.timeout = timeout
        self._constant_fps = fps
        num_bytes = osp.getsize(path) if osp.exists(path) else None
        if num_bytes == 0:
            raise ValueError(f'video "{self.name}" is empty (0 bytes)')
        with open_container(self.path, self.name, timeout) as container:
            stream = container.streams.best('video')
            if fps is None:
                fps = float(stream.average_rate or stream.guessed_rate
                            or DEFAULT_FPS)
            self.fps = fps
            self.num_frames = _num_frames(container, fps)
            if not _has_frame(container):
                raise ValueError(f'video "{self.name}" has no readable frame')
        self.settings = dict(
            input=self.name,
            num_bytes=num_bytes,
            fps=self._constant_fps,
            allow_damaged=allow_damaged)

    def __iter__(self) -> Iterator[TimedFrame]:
        """See :meth:`FrameSource.__iter__`."""
        return self.frames_from(0)

    def scan(self) -> LazyFrames:
        """See :meth:`FrameSource.scan`.

        All frames are decoded; only those loaded are converted.
        """
        converter = FrameConverter(self.fps)
        for index, frame in enumerate(self._decode()):
            time = converter.time(frame)
            if self._constant_fps is not None:
                time = index / self._constant_fps
            yield LazyFrame(index, time, partial(converter.image, frame))

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Decode the frames and report damage."""
        num_packets, num_expected, num_frames, end = 0, 0, 0, 0.
        damage = _DamageReport(self)
        container = open_container(self.path, self.name, self.timeout)
        with container:
            stream = container.streams.best('video')
            stream.thread_type = 'AUTO'
            counted, expected_end = stream.frames > 0, _expected_end(container)
            packets = container.demux()
            while True:
                try:
                    packet = next(packets)
                    end = max(end, _end(packet, container.start_time))
                    if packet.stream is not stream:
                        continue
                    num_expected += (
                        packet.size > MAX_TINY and not packet.is_discard)
                    frames = packet.decode()
                except StopIteration:
                    break
                except av.error.InvalidDataError:
                    damage.at(num_frames)
                    continue
                except (av.FFmpegError, OSError):
                    damage.at(num_packets)
                    return
                if packet.is_corrupt:
                    damage.at(num_packets)
                num_packets += packet.size > 0
                for frame in frames:
                    if frame.is_corrupt:
                        damage.at(num_frames)
                    yield frame
                    num_frames += 1
        if end < expected_end or counted and num_frames < num_expected:
            damage.at(num_frames)


class _DamageReport:
    """Raises at damage, or warns once where damage is allowed.

    Args:
        source (:obj:`VideoFileSource`): The video.
    """

    def __init__(self, source: VideoFileSource) -> None:
        self.source = source
        self._warned = False

    def at(self, index: int) -> None:
        """Report a damaged or missing frame."""
        total = self.source.num_frames
        message = (f'video "{self.source.name}" is damaged or cut off at '
                   f'frame {index}' + (f' of {total}' if total else ''))
        if not self.source.allow_damaged:
            raise ValueError(message)
        if not self._warned:
            print_log(message, logger='current', level=logging.WARNING)
        self._warned = True


def _num_frames(container: av.container.InputContainer, fps: float) -> int:
    """Read the number of frames from the header of a video.

    Args:
        container (av.container.InputContainer): The video.
        fps (float): Its frames per second.

    Returns:
        int: Frames, without those that an edit list cuts off; estimated
        where the header has the duration only, 0 if unknown.
    """
    stream = container.streams.best('video')
    if container.format.name.startswith('mov') and stream.frames:
        return sum(not entry.flags & DISCARDED
                   for entry in stream.index_entries)
    return stream.frames or round(_duration(container) * fps)


def _expected_end(container: av.container.InputContainer) -> float:
    """Give the time before which the last packet of a whole file ends not.

    Args:
        container (av.container.InputContainer): The video.

    Returns:
        float: Seconds from the start of the file.
    """
    stream = container.streams.best('video')
    if container.format.name.startswith('mov') and stream.index_entries:
        last = max(entry.timestamp for entry in stream.index_entries)
        return float((last - (stream.start_time or 0)) * stream.time_base)
    if stream.frames and stream.average_rate:  # AVI, GIF: constant rate
        return float((stream.frames - .5) / stream.average_rate)
    return _duration(container) - MAX_MISSING


def _duration(container: av.container.InputContainer) -> float:
    """Seconds from first to last packet, 0 where unknown."""
    return (container.duration or 0) / av.time_base


def _end(packet: av.Packet, start_time: Optional[int]) -> float:
    """Seconds from the start of the file to the end of a packet."""
    if packet.pts is None:
        return 0.
    end = (packet.pts + (packet.duration or 0)) * packet.time_base
    return float(end) - (start_time or 0) / av.time_base


def _has_frame(container: av.container.InputContainer) -> bool:
    """Tell whether any frame can be decoded."""
    packets = container.demux(container.streams.best('video'))
    while True:
        try:
            if next(packets).decode():
                return True
        except StopIteration:
            return False
        except av.error.InvalidDataError:
            continue
        except (av.FFmpegError, OSError):
            return False
