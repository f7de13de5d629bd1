# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A file server of the tests, with the faults of real ones."""
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Dict, List, Optional


@dataclass
class Answer:
    """What a path answers.

    Attributes:
        content (bytes): The file.
        status (int): HTTP status of an answer without a range.
        headers (dict[str, str]): More headers, such as ``ETag``.
        ranges (bool): Parts of the file can be asked for.
        length (str): How its end is known: 'header', 'chunks' or 'close'.
        cut (int, optional): The connection is closed after so many bytes of
            the answer.
        wrong_range (bool): A part begins one byte late, and says so.
        may_begin (:obj:`threading.Event`, optional): Awaited before the
            answer.
    """

    content: bytes = b''
    status: int = 200
    headers: Dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    length: str = 'header'
    cut: Optional[int] = None
    wrong_range: bool = False
    may_begin: Optional[threading.Event] = None


class FileServer(ThreadingHTTPServer):
    """Answers GET and keeps the requests.

    Attributes:
        answers (dict[str, Answer]): By path.
        requests (list[dict]): Headers of the requests, the path as ``path``.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.answers: Dict[str, Answer] = {}
        self.requests: List[Dict[str, str]] = []

    def url(self, path: str) -> str:
        """Address of a path."""
        return f'http://127.0.0.1:{self.server_port}{path}'


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers, path=self.path))
        answer = self.server.answers.get(self.path, Answer(status=404))
        if answer.may_begin:
            answer.may_begin.wait(60)
        total = len(answer.content)
        first = self._first(answer)
        if first is not None and first >= total:
            self._begin(416, {'Content-Range': f'bytes */{total}'}, 0)
            return
        status, headers = answer.status, dict(answer.headers)
        if first is not None:
            status, first = 206, first + answer.wrong_range
            headers['Content-Range'] = f'bytes {first}-{total - 1}/{total}'
        self._send(answer, status, headers, answer.content[first or 0:])

    def _first(self, answer):
        """First byte of the range that is asked for and given."""
        found = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        version = self.headers.get('If-Range')
        if not found or not answer.ranges or version not in (
                None, answer.headers.get('ETag'),
                answer.headers.get('Last-Modified')):
            return None
        return int(found.group(1))

    def _begin(self, status, headers, length) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header('Content-Length', str(length))
        self.end_headers()

    def _send(self, answer, status, headers, content) -> None:
        sent = content[:answer.cut]
        if answer.length == 'chunks':
            headers['Transfer-Encoding'] = 'chunked'
            self._begin(status, headers, None)
            for start in range(0, len(sent), 1000):
                chunk = sent[start:start + 1000]
                self.wfile.write(b'%x\r\n%s\r\n' % (len(chunk), chunk))
            if sent == content:
                self.wfile.write(b'0\r\n\r\n')
        else:
            has_length = answer.length == 'header'
            self._begin(status, headers, len(content) if has_length else None)
            self.wfile.write(sent)
        self.close_connection = sent != content or answer.length == 'close'


@contextmanager
def serving():
    """A server that runs.

    Yields:
        :obj:`FileServer`: Without any file.
    """
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05, ))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
