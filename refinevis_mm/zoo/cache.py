# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where weights lie on this machine."""
import hashlib
import os
import os.path as osp
import re
import sys
from contextlib import suppress
from typing import Optional
from urllib.parse import urlsplit

from refinevis_mm.files import file_sha256, write_text
from refinevis_mm.storage import fetch_file
from .entry import SHIPPED, ZooEntry
from .part_file import CACHE_ENV

SCHEMES = ('http', 'https', 'file', 'hf')  # whose downloads go on
_PACKAGE = osp.dirname(osp.dirname(osp.abspath(__file__)))
# of a wheel, and of a source checkout
_SHIPPED_FOLDERS = (osp.join(_PACKAGE, '.mim', 'checkpoints'),
                    osp.join(osp.dirname(_PACKAGE), 'checkpoints'))


def cache_folder() -> str:
    """Find the folder of fetched weights.

    Returns:
        str: ``REFINEVIS_MM_CACHE``, else ``refinevis_mm`` in
        ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if os.environ.get(CACHE_ENV):
        return osp.expanduser(os.environ[CACHE_ENV])
    home = os.environ.get('XDG_CACHE_HOME') or osp.expanduser('~/.cache')
    return osp.join(home, 'refinevis_mm')


def weights_path(entry: ZooEntry, cache_dir: Optional[str] = None) -> str:
    """Tell where the file of an entry lies, or will lie.

    Args:
        entry (:obj:`ZooEntry`): The weights.
        cache_dir (str, optional): Folder of fetched weights. Defaults to
            None, :func:`cache_folder`.

    Returns:
        str: Path of a file that may not exist.
    """
    if osp.isabs(entry.address):
        return entry.address
    if entry.address == SHIPPED:
        paths = [osp.join(item, entry.file_name) for item in _SHIPPED_FOLDERS]
        return next(filter(osp.isfile, paths), paths[-1])
    return osp.join(cache_dir or cache_folder(), entry.file_name)


def fetch_weights(entry: ZooEntry, cache_dir: Optional[str] = None) -> str:
    """Give the file of an entry, fetched if it is not there.

    A file that is there but has another hash, or a shipped one of another
    length, is the user's own: it is used, which a line on the error stream
    says, and never overwritten.

    Args:
        entry (:obj:`ZooEntry`): The weights.
        cache_dir (str, optional): Folder of fetched weights; the package
            rfdetr has its own. Defaults to None, :func:`cache_folder`.

    Returns:
        str: Path of the file.

    Raises:
        FileNotFoundError: If it belongs to the source repository or to the
            user and is not there.
        ValueError: If one of the user has another SHA-256 than its entry
            says.
        DownloadError: If it cannot be fetched.
        CheckpointError: If the package rfdetr cannot fetch it.
        ImportError: If that package is needed and not installed.
    """
    if entry.loader == 'rfdetr':  # into a cache of its own
        from refinevis_mm.models.frame_level import rfdetr_package
        size = entry.name.split('_')[0].split('-')[-1]
        return rfdetr_package.fetch_weights(size)
    path = weights_path(entry, cache_dir)
    if entry.address == SHIPPED:
        return _check_shipped(entry, path)
    if osp.isabs(entry.address):
        return _check_in_place(entry, path)
    if not osp.isfile(path):
        _fetch(entry, path)
    elif entry.sha256 and not _known_sha256(path).startswith(entry.sha256):
        if entry.of_user:
            return _check_in_place(entry, path)
        _say_own(entry, path)
    return path


def fetch_address(address: str, cache_dir: Optional[str] = None) -> str:
    """Give the file of an address, fetched if it is not there.

    Args:
        address (str): https://, http://, file:// or hf://owner/repo/file; a
            name as OpenMMLab's, which ends in 8 digits of the SHA-256, is
            checked. Or of another storage that fsspec knows, as s3:// and
            gs://.
        cache_dir (str, optional): Folder of fetched weights. Defaults to
            None, :func:`cache_folder`.

    Returns:
        str: Path of the file, whose name begins with digits of the
        address's SHA-256.

    Raises:
        ValueError: If it is no such address.
        DownloadError: If it cannot be fetched.
        OSError: If another storage does not have it or does not answer.
        ImportError: If a package that knows that storage is not installed.
    """
    name = address_file_name(address)
    path = osp.join(cache_dir or cache_folder(), name)
    if osp.isfile(path):
        return path
    if urlsplit(address).scheme in SCHEMES:
        from .download import download
        known = re.search(r'-([0-9a-f]{8})\.pth$', name)
        download(address, path, known.group(1) if known else '')
    else:
        fetch_file(address, path)
    return path


def address_file_name(address: str) -> str:
    """Name in the cache of the file of an address.

    Args:
        address (str): See :func:`fetch_address`.

    Returns:
        str: Digits of the address's SHA-256, so that files of one name do not
        meet, and the name at the address.
    """
    name = osp.basename(urlsplit(address).path) or 'weights'
    return f'{hashlib.sha256(address.encode()).hexdigest()[:8]}-{name}'


def _check_in_place(entry: ZooEntry, path: str) -> str:
    """Check that a file of the user is there, and the one that is meant."""
    if not osp.isfile(path):
        raise FileNotFoundError(f'weights of "{entry.name}" must be at '
                                f'{path}, but there is no such file')
    if entry.sha256:
        from .download import file_sha256
        digest = file_sha256(path)
        if not digest.startswith(entry.sha256):
            raise ValueError(f'SHA-256 of {path} must begin with '
                             f'{entry.sha256}, as the entry of "{entry.name}" '
                             f'says, got {digest}')
    return path


def _check_shipped(entry: ZooEntry, path: str) -> str:
    """Check that a file of this repository is there."""
    if not osp.isfile(path):
        raise FileNotFoundError(
            f'weights of "{entry.name}" lie in the source repository only, '
            f'as checkpoints/{entry.file_name}; there is no {path}')
    # it came with the package; hashing it at every start would be vain
    if osp.getsize(path) != entry.num_bytes:
        _say_own(entry, path)
    return path


def _say_own(entry: ZooEntry, path: str) -> None:
    """Say that a file is not the published one."""
    print(
        f'{path} is not the published file of "{entry.name}"; it is used as '
        'a file of your own',
        file=sys.stderr)


def _fetch(entry: ZooEntry, path: str) -> None:
    """Fetch a file that is not there."""
    from .download import download
    digest = download(entry.address, path, entry.sha256, entry.num_bytes)
    _remember_sha256(path, digest)


def _known_sha256(path: str) -> str:
    """SHA-256 of a file, computed when it is new or has changed."""
    with suppress(OSError, ValueError):
        with open(f'{path}.sha256', encoding='ascii') as file:
            digest, _, state = file.read().partition(' ')
        if state == _state(path):
            return digest
    digest = file_sha256(path)
    _remember_sha256(path, digest)
    return digest


def _remember_sha256(path: str, digest: str) -> None:
    """Keep the SHA-256 of a file in ``<file>.sha256`` beside it."""
    with suppress(OSError):  # a cache of others; hashed again next time
        write_text(f'{path}.sha256', f'{digest} {_state(path)}')


def _state(path: str) -> str:
    """What changes with the content of a file: its length and time."""
    stat = os.stat(path)
    return f'{stat.st_size} {stat.st_mtime_ns}'
