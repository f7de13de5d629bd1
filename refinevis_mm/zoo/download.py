# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A file from an address to its place, whole or not at all.

A transfer that breaks off goes on from there the next time. Only a file that
is complete and has the expected SHA-256 is moved to its place.
"""
import os.path as osp
from contextlib import closing
from typing import Any, Iterator, Optional, Tuple

from refinevis_mm.files import file_sha256
from .lock import one_process
from .part_file import DownloadError, PartFile
from .progress import Progress
from .source import PARTIAL_CONTENT, RANGE_REFUSED, Source, content_range


def download(address: str,
             path: str,
             sha256: str = '',
             num_bytes: Optional[int] = None) -> str:
    """Fetch a file, or the rest of it, and move it into place.

    Of several processes one fetches it, the others wait. A file that is
    there is left as it is.

    Args:
        address (str): https://, http://, file:// or hf://owner/repo/file.
        path (str): Where the file goes; its folder is made.
        sha256 (str): Hex digits that its SHA-256 must begin with. Defaults
            to '', any.
        num_bytes (int, optional): Its length. Defaults to None, any.

    Returns:
        str: Its SHA-256.

    Raises:
        ValueError: If the address is none of these.
        DownloadError: If it cannot be reached, is something else, breaks
            off, does not fit on the disk or has another hash.
    """
    source = Source(address)
    with one_process(path):
        if osp.isfile(path):
            return file_sha256(path)
        part = PartFile(path, trusted=bool(sha256))
        if num_bytes is None or part.size() != num_bytes:
            _transfer(source, part, num_bytes)
        digest = file_sha256(part.path)
        if not digest.startswith(sha256.lower()):
            part.remove()
            raise DownloadError(
                f'SHA-256 of {address} must begin with {sha256}, got '
                f'{digest}; the file was removed. If you trust it, download '
                f'it elsewhere and put it at {path}')
        part.finish()
    return digest


def _transfer(source: Source, part: PartFile,
              num_bytes: Optional[int]) -> None:
    """Fetch what is missing of a file."""
    with closing(source.open(part.range_headers(), part.target)) as answer:
        if answer.status != RANGE_REFUSED:
            _receive(answer, source, part, num_bytes)
            return
        if content_range(answer.headers)[1] == part.size():
            return  # all of it had arrived before
    part.remove()  # longer than the file
    _transfer(source, part, num_bytes)


def _receive(answer: Any, source: Source, part: PartFile,
             num_bytes: Optional[int]) -> None:
    """Keep the bytes of an answer."""
    first, total = _span(answer, source, part)
    if None not in (num_bytes, total) and total != num_bytes:
        raise DownloadError(f'{source.address} must have {num_bytes} bytes, '
                            f'got {total}')
    total = num_bytes if total is None else total
    part.check_space(None if total is None else total - first)
    part.write(_shown(source, answer, first, total), answer.headers, first)


def _span(answer: Any, source: Source,
          part: PartFile) -> Tuple[int, Optional[int]]:
    """First byte of an answer, and length of the whole file if stated."""
    if answer.status != PARTIAL_CONTENT:  # the whole file
        length = answer.headers.get('Content-Length', '')
        return 0, int(length) if length.isdecimal() else None
    first, total = content_range(answer.headers)
    if first != part.size():
        asked = part.size()
        part.remove()
        raise DownloadError(f'{source.address} must answer with the bytes '
                            f'from {asked} on, got those from {first}; call '
                            'again to start over')
    return first, total


def _shown(source: Source, answer: Any, first: int,
           total: Optional[int]) -> Iterator[bytes]:
    """The bytes of an answer, shown while they arrive."""
    have = first
    with closing(Progress(osp.basename(source.address), first,
                          total)) as progress:
        for chunk in source.chunks(answer, first, total):
            have += len(chunk)
            progress.update(have)
            yield chunk
