# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Files behind an address, as ``s3://bucket/clip.mp4``, through fsspec.

Every function takes a path of this machine or an address of any storage that
fsspec knows: ``s3://``, ``gs://``, ``http://``, ``memory://`` and others.
Whatever a storage raises leaves here as one of three errors: FileNotFoundError
and PermissionError, which are about one file, and :class:`StorageError`, which
is about the storage.
"""
import os
import os.path as osp
import re
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Sequence, Tuple

from .files import PathLike, delete, whole_file

ADDRESS = re.compile(r'([A-Za-z][A-Za-z0-9+.-]+)://')
# answers of a web server about one file; with 408 and 429 it is busy
REFUSED = set(range(400, 500)) - {408, 429}


class StorageError(OSError):
    """A storage does not answer, or not as one."""


def is_address(path: PathLike) -> bool:
    """Whether a text is the address of something, not a path.

    Args:
        path (str | PathLike): A path or an address.

    Returns:
        bool: True for what begins as ``scheme://``.
    """
    return ADDRESS.match(os.fspath(path)) is not None


def in_this_process(path: PathLike) -> bool:
    """Whether other processes see nothing of an address.

    Args:
        path (str | PathLike): A path or an address.

    Returns:
        bool: True for ``memory://``.
    """
    return os.fspath(path).startswith('memory://')


def join(root: PathLike, *names: str) -> str:
    """Put names behind a folder or an address.

    Args:
        root (str | PathLike): The folder or address.
        *names (str): Names with ``/`` between their parts.

    Returns:
        str: The longer path or address.
    """
    if is_address(root):
        return '/'.join([os.fspath(root).rstrip('/'), *names])
    return osp.join(root, *names)


def read_bytes(path: PathLike) -> bytes:
    """Read a whole file.

    Args:
        path (str | PathLike): The file.

    Returns:
        bytes: Its content.

    Raises:
        FileNotFoundError: If there is no such file.
        OSError: If it cannot be read; a :class:`StorageError` if its storage
            does not answer.
        ImportError: If a package that knows the storage is not installed.
        ValueError: If no package knows it.
    """
    if not is_address(path):
        with open(path, 'rb') as file:
            return file.read()
    with _told(path):
        fs, place = _open(path)
        return fs.cat_file(place)


def read_many(paths: Sequence[str]) -> Dict[str, bytes]:
    """Read many small files of one storage, several at a time if it can.

    Args:
        paths (Sequence[str]): The files, all paths or all addresses of one
            storage.

    Returns:
        dict[str, bytes]: Content by path; without files that do not exist.

    Raises:
        OSError: See :func:`read_bytes`.
    """
    if not paths or not is_address(paths[0]):
        return {path: read_bytes(path) for path in paths if osp.exists(path)}
    with _told(osp.dirname(paths[0])):
        fs, _ = _open(paths[0])
        places = {fs._strip_protocol(path): path for path in paths}
        found = fs.cat(list(places), on_error='return')
        if isinstance(found, bytes):  # of a single file
            found = {place: found for place in places}
        contents = {}
        for place, path in places.items():
            if isinstance(found[place], bytes):
                contents[path] = found[place]
            elif not isinstance(found[place], FileNotFoundError):
                raise found[place]
        return contents


def write_bytes(path: PathLike, content: bytes) -> None:
    """Write a whole file, which replaces one of its name.

    Args:
        path (str | PathLike): The file.
        content (bytes): Its content.

    Raises:
        OSError: If it cannot be written; see :func:`read_bytes`.
    """
    if not is_address(path):
        with whole_file(path) as part, open(part, 'wb') as file:
            file.write(content)
        return
    with _told(path):
        fs, place = _open(path)
        fs.pipe_file(place, content)


def fetch_file(address: str, path: PathLike) -> None:
    """Copy a file from a storage to this machine, whole.

    Args:
        address (str): The file.
        path (str | PathLike): Its path here.

    Raises:
        OSError: See :func:`read_bytes`; also if ``path`` cannot be written.
    """
    with whole_file(path) as part, _told(address):
        fs, place = _open(address)
        fs.get_file(place, part)


def send_file(path: PathLike, address: str) -> None:
    """Copy a file of this machine to a storage.

    Args:
        path (str | PathLike): The file.
        address (str): Its address there.

    Raises:
        OSError: See :func:`read_bytes`.
    """
    with _told(address):
        fs, place = _open(address)
        fs.put_file(os.fspath(path), place)


def list_files(root: PathLike) -> Dict[str, int]:
    """List what is in a folder and the folders in it.

    Args:
        root (str | PathLike): Folder or address; need not exist.

    Returns:
        dict[str, int]: Bytes of each file by its name relative to the folder,
        with ``/`` between the parts, sorted.

    Raises:
        OSError: See :func:`read_bytes`.
    """
    if not is_address(root):
        return dict(sorted(_local_files(os.fspath(root), '')))
    with _told(root):
        fs, place = _open(root)
        fs.invalidate_cache()
        try:
            found = fs.find(place, detail=True)
        except FileNotFoundError:
            return {}
        start = len(place.rstrip('/')) + 1
        return dict(
            sorted((name[start:], info['size'])
                   for name, info in found.items() if info['type'] == 'file'))


def list_folder(pattern: str) -> List[str]:
    """Find what a pattern of addresses stands for.

    Args:
        pattern (str): An address with ``*``, ``?``, ``[...]`` or ``**``.

    Returns:
        list[str]: Addresses of files and folders, sorted, with the part
        before the first sign as it was given.

    Raises:
        OSError: See :func:`read_bytes`.
    """
    with _told(pattern):
        fs, place = _open(pattern)
        fs.invalidate_cache()
        fixed, start = _fixed(pattern), len(_fixed(place))
        return sorted(fixed + name[start:] for name in fs.glob(place))


def remove(path: PathLike) -> None:
    """Delete a file, or a folder with all that is in it, if there is one.

    Args:
        path (str | PathLike): Path or address.

    Raises:
        OSError: If it cannot be deleted; see :func:`read_bytes`.
    """
    if not is_address(path):
        delete(path)
        return
    with _told(path):
        fs, place = _open(path)
        fs.invalidate_cache()
        if fs.exists(place):
            fs.rm(place, recursive=True)


def _fixed(pattern: str) -> str:
    """The folders of a pattern before its first sign."""
    return re.split(r'[*?[]', pattern)[0].rpartition('/')[0]


def _local_files(folder: str, prefix: str) -> Iterator[Tuple[str, int]]:
    """Names and sizes of the files below a folder of this machine."""
    if not osp.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f'{prefix}{entry.name}'
            if entry.is_dir(follow_symlinks=False):
                yield from _local_files(entry.path, f'{name}/')
            elif entry.is_file():
                yield name, entry.stat().st_size


def _open(address: PathLike) -> Tuple[Any, str]:
    """The file system of an address, and the place in it."""
    from fsspec.core import url_to_fs  # comes with torch
    return url_to_fs(os.fspath(address))


@contextmanager
def _told(address: PathLike) -> Iterator[None]:
    """Let whatever a storage raises name the address, in one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f'"{address}" does not exist') from error
    except PermissionError as error:
        raise PermissionError(f'"{address}" may not be read or written here: '
                              f'{_line(error)}') from error
    except StorageError:
        raise
    except ImportError as error:
        raise ImportError(f'"{address}" needs a package: {_line(error)}; or '
                          'run: pip install "refinevis_mm[fleet]"') from error
    except ValueError as error:
        raise ValueError(f'"{address}": {_line(error)}') from error
    # each storage has exceptions of its own
    except Exception as error:
        if getattr(error, 'status', 0) in REFUSED:
            raise PermissionError(f'"{address}" may not be read or written '
                                  f'here: {_line(error)}') from error
        raise StorageError(f'the storage of "{address}" does not answer: '
                           f'{_line(error)}') from error


def _line(error: BaseException) -> str:
    """The first line of an error, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
