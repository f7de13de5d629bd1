# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""An mp4 file that has its name only when it is complete."""
import os
import os.path as osp
import re
from pathlib import Path
from typing import Iterable, Optional

import av

from refinevis_mm.files import PARTIAL, PathLike
from .av_container import local_path

# Times are kept in steps of 1 / TICKS seconds.
TICKS = 90000
# In the comment of a file: time of its first frame in ticks.
START_COMMENT = 'starts at tick {}'


class Mp4File:
    """An mp4 file that has its final name only when it is complete.

    Until then it is called ``<path>.partial``.

    Args:
        path (str | Path): The file.

    Raises:
        OSError: If it cannot be written; :meth:`mux` and :meth:`close` then
            delete it.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = str(path)
        self.num_packets = 0
        self._partial = f'{local_path(path)}{PARTIAL}'
        try:
            Path(self._partial).touch()  # PyAV opens it at the first packet
            self.container = av.open(
                self._partial,
                'w',
                format='mp4',
                options=dict(movflags='faststart'))
        except (av.FFmpegError, OSError) as error:
            raise OSError(f'video "{self.path}" cannot be written: '
                          f'{error.strerror}') from error

    def set_start(self, tick: int) -> None:
        """Note the time of the first frame, before the first packet."""
        self.container.metadata['comment'] = START_COMMENT.format(tick)

    def mux(self, packets: Iterable[av.Packet]) -> None:
        """Append packets."""
        try:
            for packet in packets:
                self.container.mux_one(packet)
                self.num_packets += 1
        except (av.FFmpegError, OSError) as error:
            raise self._broken(error.strerror) from error

    def close(self) -> None:
        """Finish the file, count its packets and give it its name."""
        try:
            self.container.close()
            with av.open(self._partial) as container:
                num_found = sum(packet.size > 0 and not packet.is_corrupt
                                for packet in container.demux(video=0))
        except (av.FFmpegError, OSError) as error:
            raise self._broken(error.strerror) from error
        if num_found != self.num_packets:
            raise self._broken('the disk may be full')
        os.replace(self._partial, self.path)

    def discard(self) -> None:
        """Delete the unfinished file."""
        try:
            self.container.close()
        except (av.FFmpegError, OSError):
            pass  # it is deleted whatever state it is in
        Path(self._partial).unlink(missing_ok=True)

    def _broken(self, reason: Optional[str]) -> OSError:
        """Delete the file and say why it cannot be written."""
        self.discard()
        return OSError(f'video "{osp.basename(self.path)}" could not be '
                       f'written completely: {reason}')


def start_of(container: av.container.InputContainer) -> Optional[int]:
    """Read the time of the first frame that the writer of a file noted.

    Args:
        container (av.container.InputContainer): The file.

    Returns:
        int, optional: Ticks; None for frames without times.
    """
    match = re.fullmatch(
        START_COMMENT.format(r'(-?\d+)'),
        container.metadata.get('comment', ''))
    return int(match[1]) if match else None
