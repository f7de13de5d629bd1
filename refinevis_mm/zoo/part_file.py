# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What has arrived of a file that is being fetched."""
import errno
import os
import os.path as osp
import shutil
from contextlib import closing, contextmanager, suppress
from typing import Dict, Iterator, Mapping, Optional

CACHE_ENV = 'REFINEVIS_MM_CACHE'
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class DownloadError(OSError):
    """A file that cannot be fetched; the message is one line."""


def write_error(folder: str, error: OSError) -> DownloadError:
    """Say why a folder takes nothing.

    Args:
        folder (str): Folder of fetched weights.
        error (OSError): What the system says.

    Returns:
        :obj:`DownloadError`: With what to do.
    """
    if error.errno in NO_SPACE:
        return DownloadError(
            f'{folder} is full; make room and call again, which goes on from '
            f'there, or set {CACHE_ENV} to another folder')
    return DownloadError(
        f'{folder} must be a folder that can be written, but is not '
        f'({error.strerror or error}); set {CACHE_ENV} to another folder')


class PartFile:
    """The first bytes of a file, in ``<file>.part`` beside its place.

    What tells the version of the file that they belong to from others, its
    ETag or date, lies in ``<file>.part.version``.

    Args:
        path (str): Where the whole file goes.
        trusted (bool): Whether a hash tells in the end if the bytes of
            several transfers belong together.
    """

    def __init__(self, path: str, trusted: bool) -> None:
        self.target = path
        self.path = f'{path}.part'
        self.folder = osp.dirname(osp.abspath(path))
        self.trusted = trusted
        self._version_path = f'{self.path}.version'

    def size(self) -> int:
        """Count the bytes that have arrived.

        Returns:
            int: 0 if there is no file.
        """
        return osp.getsize(self.path) if osp.isfile(self.path) else 0

    def range_headers(self) -> Dict[str, str]:
        """Headers that ask for the bytes that are missing.

        Returns:
            dict[str, str]: ``Range``, and ``If-Range`` where the version is
            known; empty if the file must be fetched from its beginning.
        """
        version = ''
        if osp.isfile(self._version_path):
            with open(self._version_path, encoding='latin-1') as file:
                version = file.read()
        if not self.size() or not (version or self.trusted):
            return {}
        headers = {'Range': f'bytes={self.size()}-'}
        return dict(headers, **{'If-Range': version}) if version else headers

    def check_space(self, num_bytes: Optional[int]) -> None:
        """Check that the disk has room.

        Args:
            num_bytes (int, optional): Bytes that are missing, None if
                unknown.

        Raises:
            DownloadError: If it has less.
        """
        free = shutil.disk_usage(self.folder).free
        if num_bytes is not None and num_bytes > free:
            raise DownloadError(
                f'{self.folder} must have room for {num_bytes / 1e6:.1f} MB, '
                f'but {free / 1e6:.1f} MB are free; make room, or set '
                f'{CACHE_ENV} to another folder')

    def write(self, chunks: Iterator[bytes], headers: Mapping[str, str],
              first: int) -> None:
        """Keep bytes while they arrive.

        Args:
            chunks (Iterator[bytes]): The bytes.
            headers (Mapping): Those of the answer.
            first (int): Place of the first byte in the file; 0 replaces
                what has arrived before.

        Raises:
            DownloadError: If they cannot be written, or ``chunks`` raises
                it; what has been written stays.
        """
        with self._writing():
            part = open(self.path, 'ab' if first else 'wb', buffering=0)
        with closing(part):
            if not first:  # and nothing of another version is left
                self._write_version(headers)
            for chunk in chunks:
                with self._writing():
                    while chunk:
                        chunk = chunk[part.write(chunk):]
            with self._writing():
                os.fsync(part.fileno())

    def _write_version(self, headers: Mapping[str, str]) -> None:
        """Keep the version of the file."""
        version = headers.get('ETag') or ''
        if not version or version.startswith('W/'):  # of no use for parts
            version = headers.get('Last-Modified') or ''
        with self._writing(), open(
                self._version_path, 'w', encoding='latin-1') as file:
            file.write(version)

    def finish(self) -> None:
        """Move the complete file to its place.

        Raises:
            DownloadError: If it cannot be moved.
        """
        with self._writing():
            os.replace(self.path, self.target)
        self.remove()

    def remove(self) -> None:
        """Forget what has arrived."""
        for path in (self.path, self._version_path):
            with suppress(FileNotFoundError):
                os.remove(path)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Say what is wrong where the folder takes nothing."""
        try:
            yield
        except OSError as error:
            raise write_error(self.folder, error) from error
