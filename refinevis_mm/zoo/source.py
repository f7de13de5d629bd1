# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Files on servers, and what servers answer in their place."""
import os
import re
import string
from http.client import HTTPException
from typing import Any, Iterator, Mapping, Optional, Tuple
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import HTTPRedirectHandler, Request, build_opener

from .part_file import DownloadError

CHUNK = 1 << 18  # bytes
TIMEOUT = 30.  # seconds without an answer
PARTIAL_CONTENT, LOGIN, RANGE_REFUSED = 206, (401, 403), 416  # HTTP
HUB = 'https://huggingface.co'


def resolve_address(address: str) -> str:
    """Turn an address of the zoo into one that servers know.

    Args:
        address (str): https://, http://, file:// or hf://owner/repo/file;
            the last is looked for at ``HF_ENDPOINT``, by default
            https://huggingface.co.

    Returns:
        str: The address with https://, http:// or file://.

    Raises:
        ValueError: If it is none of these.
    """
    on_hub = re.fullmatch(r'hf://([^/]+/[^/]+)/(.+)', address)
    if on_hub:
        endpoint = os.environ.get('HF_ENDPOINT') or HUB
        repo, file = on_hub.groups()
        return f'{endpoint.rstrip("/")}/{repo}/resolve/main/{file}'
    if not address.startswith(('https://', 'http://', 'file://')):
        raise ValueError('address must begin with https://, http:// or '
                         f'file://, or be hf://owner/repo/file, got {address}')
    return address


def content_range(
        headers: Mapping[str, str]) -> Tuple[Optional[int], Optional[int]]:
    """Read the header ``Content-Range``.

    Args:
        headers (Mapping): Headers of an answer.

    Returns:
        tuple: Place of the first byte and length of the whole file, None
        where they are not stated.
    """
    found = re.fullmatch(r'bytes (?:(\d+)-\d+|\*)/(?:(\d+)|\*)',
                         headers.get('Content-Range', ''))
    first, total = found.groups() if found else (None, None)
    return (None if first is None else int(first),
            None if total is None else int(total))


class _KeepToken(HTTPRedirectHandler):
    """Follows redirects; a token goes on to the same host and scheme only."""

    def redirect_request(self, req: Request, *args: Any) -> Optional[Request]:
        """Make the request for the new address."""
        request = super().redirect_request(req, *args)
        token = req.unredirected_hdrs.get('Authorization')
        if token and request and (request.type, request.host) == (req.type,
                                                                  req.host):
            request.add_unredirected_header('Authorization', token)
        return request


class Source:
    """A file on a server.

    Args:
        address (str): See :func:`resolve_address`.

    Raises:
        ValueError: If it is no address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._url = resolve_address(address)

    def open(self, headers: Mapping[str, str], target: str) -> Any:
        """Ask for the file.

        Args:
            headers (Mapping): More headers of the request.
            target (str): Path where the file belongs, for the message.

        Returns:
            The answer: readable, with ``headers`` and ``status``; 416 if
            there is nothing in the range that was asked for.

        Raises:
            DownloadError: If the server cannot be reached, refuses, or
                answers with a web page.
        """
        request = Request(
            quote(self._url, safe=string.punctuation),
            headers={
                'User-Agent': 'refinevis_mm',
                'Accept-Encoding': 'identity',
                **headers
            })
        if self.address.startswith('hf://') and os.environ.get('HF_TOKEN'):
            request.add_unredirected_header(
                'Authorization', f'Bearer {os.environ["HF_TOKEN"]}')
        try:
            answer = build_opener(_KeepToken).open(request, timeout=TIMEOUT)
        except HTTPError as error:
            if error.code == RANGE_REFUSED and 'Range' in headers:
                return error  # an answer as well
            error.close()
            raise self._refusal(error) from error
        except (HTTPException, OSError) as error:
            reason = str(getattr(error, 'reason', error)).split('\n')[0]
            raise DownloadError(
                f'cannot reach {self.address} ({reason}); download it '
                f'elsewhere and put it at {target}') from error
        if answer.headers.get_content_type() == 'text/html':
            answer.close()
            raise self._web_page()
        return answer

    def chunks(self, answer: Any, first: int,
               total: Optional[int]) -> Iterator[bytes]:
        """Read an answer.

        Args:
            answer: From :meth:`open`.
            first (int): Place of its first byte in the file.
            total (int, optional): Length of the whole file, None if unknown.

        Yields:
            bytes: The next ones.

        Raises:
            DownloadError: If they end too early or too late, or are a web
                page.
        """
        have = first
        while chunk := self._read(answer, have):
            if not have and chunk.lstrip().startswith(b'<'):
                raise self._web_page()
            have += len(chunk)
            if total is not None and have > total:
                raise DownloadError(f'{self.address} must have {total} bytes, '
                                    'but the server sends more')
            yield chunk
        if total is not None and have < total:
            raise self._broken_off(have, 'the connection was closed')

    def _read(self, answer: Any, have: int) -> bytes:
        """Read the next bytes."""
        try:
            return answer.read(CHUNK)
        except (HTTPException, OSError) as error:
            raise self._broken_off(have, str(error)) from error

    def _broken_off(self, have: int, reason: str) -> DownloadError:
        """The answer ended too early."""
        return DownloadError(
            f'{self.address} broke off after {have / 1e6:.1f} MB ({reason}); '
            'call again to go on from there')

    def _web_page(self) -> DownloadError:
        """The answer is a login page or the like."""
        return DownloadError(
            f'{self.address} must be a file of weights, but the server '
            'answers with a web page, maybe a login')

    def _refusal(self, error: HTTPError) -> DownloadError:
        """The answer is an HTTP error."""
        hint = ''
        if error.code in LOGIN:
            hint = '; it needs a login'
            if self.address.startswith('hf://'):
                hint += ': set HF_TOKEN'
        reason = str(error.reason).split('\n')[0]
        return DownloadError(f'{self.address} cannot be fetched: the server '
                             f'answers HTTP {error.code} ({reason}){hint}')
