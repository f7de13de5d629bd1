# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Write whole, then move: files and folders are complete or not there.

What is written lies in the same folder until it is complete, under a hidden
name that ends in ``.partial``; a process that is killed leaves no more than
that behind.
"""
import errno
import hashlib
import os
import os.path as osp
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import Iterator, Union

from filelock import FileLock, Timeout  # comes with torch

PARTIAL = '.partial'
LOCK = '.lock'  # see one_run
READ_BYTES = 1 << 22
# What a file system says that has no locks.
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)

PathLike = Union[str, os.PathLike]


@contextmanager
def whole_file(path: PathLike) -> Iterator[str]:
    """Give a new file that gets its name when the block succeeds.

    If the block raises, it is deleted and an old file of that name stays. Of
    a link, the file that it leads to is replaced; a device or a pipe is
    written as it is. Missing folders are made.

    Args:
        path (str | PathLike): The file.

    Yields:
        str: Path of an empty file, beside the final one.

    Raises:
        OSError: If the file cannot be written.
    """
    final = osp.realpath(path)
    if osp.isdir(final):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR),
                                os.fspath(path))
    if osp.exists(final) and not osp.isfile(final):
        yield final
        return
    with _temporary(final) as part:
        try:
            os.makedirs(osp.dirname(final), exist_ok=True)
            open(part, 'xb').close()
            yield part
            os.replace(part, final)
        except OSError as error:
            if error.errno is None or error.filename not in (None, part):
                raise
            raise OSError(error.errno, error.strerror,
                          os.fspath(path)) from error


def write_text(path: PathLike, text: str) -> None:
    """Write a text file in UTF-8, whole.

    Args:
        path (str | PathLike): The file.
        text (str): Its content.

    Raises:
        OSError: If the file cannot be written.
    """
    with whole_file(path) as part, open(part, 'w', encoding='utf-8') as file:
        file.write(text)


@contextmanager
def whole_folder(path: PathLike, force: bool = False) -> Iterator[str]:
    """Give a new folder that gets its name when the block succeeds.

    If the block raises, it is deleted and an old folder stays. Missing
    folders above it are made.

    Args:
        path (str | PathLike): The folder.
        force (bool): Replace what has this name. Defaults to False.

    Yields:
        str: Path of an empty folder, beside the final one.

    Raises:
        FileExistsError: If ``path`` exists and ``force`` is False.
        OSError: If the folder cannot be written.
    """
    refuse_existing(path, force)
    final = osp.abspath(path)
    with _temporary(final) as part:
        os.makedirs(part)
        yield part
        refuse_existing(path, force)  # another process may have been faster
        replace(part, final)


@contextmanager
def whole_files(folder: PathLike) -> Iterator[Path]:
    """Give a place for new files of a folder.

    When the block ends, the files and folders in it are moved to the folder,
    one after the other, and replace old ones of the same names. If it
    raises, and for files called ``*.partial``, nothing is moved.

    Args:
        folder (str | PathLike): The folder; made if it does not exist.

    Yields:
        Path: A temporary folder inside it.

    Raises:
        OSError: If the folder cannot be made or written.
    """
    with _temporary(osp.join(osp.abspath(folder), 'files')) as part:
        try:
            os.makedirs(part)
        except OSError as error:
            raise OSError(f'out-dir "{folder}" cannot be written: '
                          f'{error.strerror}') from error
        yield Path(part)
        for path in sorted(Path(part).iterdir()):
            if path.suffix != PARTIAL:
                replace(path, Path(folder, path.name))


@contextmanager
def one_run(folder: PathLike) -> Iterator[None]:
    """Hold a folder, so that no second run writes to it.

    The lock is the system's, on a file ``.lock`` inside: it ends with its
    process, so a lock file that is left behind means nothing. A file system
    without locks, as some of clusters are, does not stop a run; where
    filelock then takes the file itself for the lock, one that is left by a
    run killed on another machine has to be deleted.

    Args:
        folder (str | PathLike): The folder; made if it does not exist.

    Yields:
        None: While the folder is held.

    Raises:
        OSError: If another run holds it, it cannot be written, or the file is
            a link: what it leads to would be emptied.
    """
    os.makedirs(folder, exist_ok=True)
    path = osp.join(folder, LOCK)
    if osp.islink(path):
        raise OSError(f'"{path}" must not be a link; delete it')
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:
        pass
    except Timeout:
        raise OSError(
            f'"{os.fspath(folder)}" is used by another run') from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
    try:
        yield
    finally:
        lock.release()


def refuse_existing(path: PathLike, force: bool = False) -> None:
    """Say early that a name is taken.

    Args:
        path (str | PathLike): A file or folder that shall be written.
        force (bool): Whether it may be replaced. Defaults to False.

    Raises:
        FileExistsError: If ``path`` exists and ``force`` is False.
    """
    if osp.lexists(path) and not force:
        raise FileExistsError(f"'{path}' exists already, use --force to "
                              'replace it')


def replace(source: PathLike, target: PathLike) -> None:
    """Move a file or folder to a name, whatever has had it.

    A file replaces a file at once. A folder that is replaced lies beside the
    source for a moment, and comes back if the move fails.

    Args:
        source (str | PathLike): What to move.
        target (str | PathLike): Its new name, on the same disk.

    Raises:
        OSError: If it cannot be moved.
    """
    if not _is_folder(target) and not (_is_folder(source)
                                       and osp.lexists(target)):
        os.replace(source, target)
        return
    old = _beside(source)
    os.replace(target, old)
    try:
        os.replace(source, target)
    except OSError:
        os.replace(old, target)
        raise
    delete(old)


def is_inside(name: PathLike) -> bool:
    """Whether the name of a file stays in the folder it is relative to.

    Args:
        name (str | PathLike): A name out of some file.

    Returns:
        bool: False for absolute names, and where a part of it is ``..``.
    """
    path = PurePath(name)
    return not path.anchor and '..' not in path.parts


def delete(path: PathLike) -> None:
    """Delete a file, a link or a folder if there is one.

    Args:
        path (str | PathLike): What to delete.

    Raises:
        OSError: If it cannot be deleted.
    """
    if _is_folder(path):
        shutil.rmtree(path)
    elif osp.lexists(path):
        os.remove(path)


def file_sha256(path: PathLike) -> str:
    """Hash a file.

    Args:
        path (str | PathLike): The file.

    Returns:
        str: Its SHA-256 in hex digits.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _is_folder(path: PathLike) -> bool:
    """Whether there is a folder, not a link to one."""
    return osp.isdir(path) and not osp.islink(path)


@contextmanager
def _temporary(path: PathLike) -> Iterator[str]:
    """A name beside a path; what still has it in the end is deleted."""
    part = _beside(path)
    try:
        yield part
    finally:
        with suppress(OSError):
            delete(part)


def _beside(path: PathLike) -> str:
    """A name that nothing has, in the same folder."""
    folder, name = osp.split(path)
    return osp.join(folder, f'.{name}.{secrets.token_hex(4)}{PARTIAL}')
