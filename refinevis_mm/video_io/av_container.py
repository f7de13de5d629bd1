# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Opening videos with PyAV; its errors in one line."""
import os.path as osp
import time
from typing import Optional, Tuple
from urllib.parse import urlsplit, urlunsplit

import av

from refinevis_mm.files import PathLike
from refinevis_mm.structures import MAX_PIXELS

# Seconds to wait for the network before giving up.
TIMEOUT = 10.


def hide_password(url: str) -> str:
    """Take user and password out of an address.

    Args:
        url (str): The address.

    Returns:
        str: The address for messages and files.
    """
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.split('@')[-1]))


def local_path(path: PathLike) -> str:
    """Name a file so that FFmpeg takes it for no address.

    Args:
        path (str | PathLike): A file; ``12:30.mp4`` is called like something
            at an address of the kind "12".

    Returns:
        str: Its absolute path.
    """
    return osp.abspath(path)


def open_container(
    path: str,
    name: str,
    timeout: Optional[Tuple[float,
                            float]] = None) -> av.container.InputContainer:
    """Open a video file or an address.

    Args:
        path (str): The file or address.
        name (str): Its name for messages; addresses may hold passwords.
        timeout (tuple[float, float], optional): Seconds to wait when opening
            and when reading. Defaults to None, for ever.

    Returns:
        av.container.InputContainer: The container; holds a video stream.

    Raises:
        OSError: If it cannot be opened.
        ValueError: If it is no video, or its frames are too large.
    """
    options = {}
    if osp.exists(path):
        path = local_path(path)
    if path.lower().startswith('rtsp'):
        options['rtsp_flags'] = 'prefer_tcp'
    start = time.monotonic()
    try:
        container = av.open(path, timeout=timeout, options=options)
    except (av.FFmpegError, OSError) as error:
        limit = None if timeout is None else timeout[0]
        late = limit is not None and gave_up(error, start, limit)
        if isinstance(error, av.error.InvalidDataError) and not late:
            raise ValueError(f'"{name}" cannot be read as a video') from error
        reason = f'no answer for {limit:g} s' if late else error.strerror
        raise OSError(f'"{name}" cannot be opened: {reason}') from error
    if not container.streams.video:
        container.close()
        raise ValueError(f'"{name}" cannot be read as a video: it holds no '
                         'pictures')
    for stream in container.streams.video:
        stream.codec_context.options = dict(max_pixels=str(MAX_PIXELS))
        if stream.width * stream.height > MAX_PIXELS:
            container.close()
            raise ValueError(f'"{name}" must have frames of at most '
                             f'{MAX_PIXELS} pixels, got {stream.width} x '
                             f'{stream.height}')
    return container


def gave_up(error: Optional[Exception], start: float, timeout: float) -> bool:
    """Tell whether FFmpeg stopped because it waited too long.

    Some of its protocols then give another reason, or just end.

    Args:
        error (Exception, optional): What PyAV raised.
        start (float): ``time.monotonic()`` when the waiting began.
        timeout (float): Seconds to wait.

    Returns:
        bool: True if so.
    """
    waited = time.monotonic() - start
    return isinstance(error, av.error.ExitError) or waited >= .95 * timeout
