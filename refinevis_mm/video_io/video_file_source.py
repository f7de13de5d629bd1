# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames of a video file."""
import logging
import os.path as osp
from functools import partial
from typing import Iterator, List, Optional, Tuple

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
        OSError: If it cannot be opened.
        ValueError: If the file is no video, has no frame, or begins with
            frames that cannot be decoded: those before the first key frame
            of a part that was cut out of a video. Iterating raises it where
            the file is damaged or ends before its last frame.
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
            self.regular = self._constant_fps is not None or \
                _has_constant_rate(stream)
            self.num_frames = _num_frames(container)
            counted = stream.frames > 0
            num_lost, self._first_pts = _find_first_frame(container)
        if num_lost is None:
            raise ValueError(f'video "{self.name}" has no readable frame')
        if num_lost:
            _DamageReport(self).report(
                'cannot be decoded from its start: its first frames '
                f'({num_lost}) have no key frame before them or are damaged')
            self.num_frames = self.num_frames - num_lost if counted else 0
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
        first = self._first_pts
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
                    num_expected += _has_picture(packet) and (
                        first is None or packet.pts is None
                        or packet.pts >= first)
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
        self.report(f'is damaged or cut off at frame {index}' +
                    (f' of {total}' if total else ''))

    def report(self, damage: str) -> None:
        """Report what is wrong."""
        message = f'video "{self.source.name}" {damage}'
        if not self.source.allow_damaged:
            raise ValueError(f'{message}; use --allow-damaged to take the '
                             'frames that can be read')
        if not self._warned:
            print_log(message, logger='current', level=logging.WARNING)
        self._warned = True


def _has_constant_rate(stream: av.VideoStream) -> bool:
    """Whether all frames follow the frame rate in the header.

    Browsers give the ticks of their clock as the rate, and of a rate that
    varies the header has a guess.

    Args:
        stream (av.VideoStream): The video.

    Returns:
        bool: True if so, as far as the header tells.
    """
    rate = stream.average_rate
    return bool(rate) and rate == stream.base_rate and (
        stream.frames > 0 or rate * stream.time_base < 1)


def _num_frames(container: av.container.InputContainer) -> int:
    """Read the number of frames from the header of a video.

    Args:
        container (av.container.InputContainer): The video.

    Returns:
        int: Frames, without those that an edit list cuts off; estimated
        where the header has duration and rate only, 0 if unknown.
    """
    stream = container.streams.best('video')
    if container.format.name.startswith('mov') and stream.frames:
        return sum(not entry.flags & DISCARDED
                   for entry in stream.index_entries)
    if stream.frames or not _has_constant_rate(stream):
        return stream.frames
    return round(_duration(container) * stream.average_rate)


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


def _has_picture(packet: av.Packet) -> bool:
    """Whether a frame to show must come of a packet."""
    return packet.size > MAX_TINY and not packet.is_discard


def _find_first_frame(
    container: av.container.InputContainer
) -> Tuple[Optional[int], Optional[int]]:
    """Look for the first frame that can be decoded.

    Args:
        container (av.container.InputContainer): The video.

    Returns:
        tuple[int | None, int | None]: Number of frames before it, None if
        none can be decoded; and its time in ticks, None without times.
    """
    packets = container.demux(container.streams.best('video'))
    starts: List[int] = []
    found, first = False, None
    # frames before it in time may come behind it in the file
    while not found or (first is not None and max(starts, default=0) <= first):
        try:
            packet = next(packets)
            if _has_picture(packet) and packet.pts is not None:
                starts.append(packet.pts)
            frames = [] if found else packet.decode()
        except StopIteration:
            break
        except av.error.InvalidDataError:
            continue
        except (av.FFmpegError, OSError):
            break
        if frames:
            found, first = True, frames[0].pts
    if not found:
        return None, None
    if first is None:
        return 0, None
    return sum(start < first for start in starts), first
