# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One process at a time for a file."""
import os
import os.path as osp
import sys
from contextlib import contextmanager
from typing import Iterator

from filelock import FileLock, Timeout  # comes with torch

from .part_file import write_error


@contextmanager
def one_process(path: str) -> Iterator[None]:
    """Wait until no other process holds a file, then hold it.

    The lock is the system's, on ``<file>.lock``: it ends with its process, so
    a lock file that is left behind means nothing.

    Args:
        path (str): The file; its folder is made.

    Yields:
        None: While the file is held.

    Raises:
        DownloadError: If the folder cannot be written.
    """
    folder = osp.dirname(osp.abspath(path))
    lock = FileLock(f'{path}.lock')
    try:
        os.makedirs(folder, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print(
                f'waiting for another process that fetches {path}',
                file=sys.stderr)
            lock.acquire()
    except OSError as error:
        raise write_error(folder, error) from error
    try:
        yield
    finally:
        lock.release()
