# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames of an address: RTSP, HTTP and others."""
import time
from functools import partial
from typing import Iterator, Optional

import av

from .av_container import TIMEOUT, gave_up, hide_password, open_container
from .frame_converter import FrameConverter
from .frame_source import DEFAULT_FPS, LazyFrame, LazyFrames
from .live_source import LiveSource


class StreamSource(LiveSource):
    """Frames of a network stream: RTSP, HTTP, UDP and what FFmpeg knows.

    Times are those of the stream. Frames that arrive damaged are left out.

    Args:
        url (str): The address. A password in it is shown nowhere.
        timeout (float): Seconds to wait for the connection and for a frame.
            Defaults to 10.
        container (av.container.InputContainer, optional): The stream, if it
            is open already. Defaults to None.

    Raises:
        OSError: If the connection cannot be opened.
        ValueError: If the address holds no video.
    """

    def __init__(
            self,
            url: str,
            timeout: float = TIMEOUT,
            container: Optional[av.container.InputContainer] = None) -> None:
        name = hide_password(url)
        if container is None:
            container = open_container(url, name, (timeout, timeout))
        self._container = container
        stream = container.streams.best('video')
        super().__init__(
            name, dict(input=name),
            float(stream.average_rate or stream.guessed_rate or DEFAULT_FPS),
            timeout)

    def receive(self) -> LazyFrames:
        """See :meth:`LiveSource.receive`."""
        converter = FrameConverter(self.fps)
        with self._container as container:
            index = 0
            for packet in self._packets(container):
                for frame in _decode(packet):
                    yield LazyFrame(index, converter.time(frame),
                                    partial(converter.image, frame))
                    index += 1

    def _packets(
            self,
            container: av.container.InputContainer) -> Iterator[av.Packet]:
        """Read the packets; an OSError gives the reason of a break."""
        reason, error = 'the other side closed it', None
        last = time.monotonic()
        try:
            for packet in container.demux(container.streams.best('video')):
                yield packet
                last = time.monotonic()
        except av.FFmpegError as raised:
            reason, error = raised.strerror, raised
        if gave_up(error, last, self.timeout):
            reason = f'no frame for {self.timeout:g} s'
        raise OSError(reason)


def _decode(packet: av.Packet) -> Iterator[av.VideoFrame]:
    """Decode a packet; damaged ones give no frame."""
    try:
        frames = packet.decode()
    except av.error.InvalidDataError:
        return
    yield from (frame for frame in frames if not frame.is_corrupt)
