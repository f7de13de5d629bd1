# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Small servers of this computer that behave as cameras do."""
import io
import socketserver
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import av

from tests.test_video_io.videos import gray

SDP = ('v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\n'
       'm=video 0 RTP/AVP 33\r\na=control:track1\r\n')


def transport_stream(num_frames, fps=20):
    """MPEG-TS bytes of each frame; frame k has the grey value 5 * k."""
    file = io.BytesIO()
    chunks = []
    with av.open(file, 'w', format='mpegts') as container:
        stream = container.add_stream('libx264', rate=fps)
        stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
        stream.options = dict(tune='zerolatency', g='5')
        for k in range(num_frames):
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(gray(5 * k), format='bgr24')))
            chunks.append(file.getvalue()[sum(map(len, chunks)):])
    return chunks


class Camera:
    """Sends frames to who connects, waiting where the test says so.

    Args:
        chunks (list[bytes]): Data of the frames.
        pause_at (int): Frames to send before waiting for :attr:`go_on`.
        hold (bool): Keep the connection open at the end, without a word.
    """

    def __init__(self, chunks, pause_at=None, hold=False):
        self.chunks = chunks
        self.pause_at = pause_at
        self.hold = hold
        self.go_on = threading.Event()
        self.over = threading.Event()

    def send(self, write):
        """Give all data to a function."""
        for index, chunk in enumerate(self.chunks):
            if index == self.pause_at:
                self.go_on.wait(20)
            write(chunk)
        if self.hold:
            self.over.wait(20)


@contextmanager
def serving(server, camera=None):
    """Run a server; gives the address of its port."""
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(.02, ))
    thread.start()
    try:
        yield f'127.0.0.1:{server.server_address[1]}'
    finally:
        if camera is not None:
            camera.go_on.set()
            camera.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


def http_camera(camera):
    """A server that sends MPEG-TS over HTTP."""

    class Handler(BaseHTTPRequestHandler):

        def do_GET(self):
            self.send_response(200)
            self.send_header('Content-Type', 'video/mp2t')
            self.end_headers()
            try:
                camera.send(self.wfile.write)
            except OSError:
                pass  # the reader has gone

        def log_message(self, *args):
            pass

    return serving(ThreadingHTTPServer(('127.0.0.1', 0), Handler), camera)


def http_file(content):
    """A server of one file that cannot be read from the middle."""

    class Handler(BaseHTTPRequestHandler):

        def do_GET(self):
            if self.path == '/absent':
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header('Content-Length', str(len(content)))
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                pass  # the reader has enough

        def log_message(self, *args):
            pass

    return serving(ThreadingHTTPServer(('127.0.0.1', 0), Handler))


def silent_server():
    """A server that takes connections and never says a word."""
    over = threading.Event()

    class Handler(socketserver.BaseRequestHandler):

        def handle(self):
            over.wait(20)

    camera = Camera([])
    camera.over = over
    return serving(
        socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler), camera)


def rtsp_camera(camera):
    """An RTSP server (RFC 2326) that sends MPEG-TS in RTP over TCP."""

    class Handler(socketserver.StreamRequestHandler):

        def handle(self):
            self.sequence = 0
            while True:
                lines = []
                while (line := self.rfile.readline().strip()):
                    lines.append(line.decode())
                if not lines:
                    return
                method = lines[0].split()[0]
                headers = dict(line.split(': ', 1) for line in lines[1:])
                answer, body = [f'CSeq: {headers["CSeq"]}', 'Session: 1'], ''
                if method == 'DESCRIBE':
                    body = SDP
                    answer += [
                        'Content-Type: application/sdp',
                        f'Content-Length: {len(body)}'
                    ]
                elif method == 'SETUP':
                    answer.append(f'Transport: {headers["Transport"]}')
                self.wfile.write('\r\n'.join(
                    ['RTSP/1.0 200 OK', *answer, '', body]).encode())
                if method == 'PLAY':
                    try:
                        camera.send(self.send_rtp)
                    except OSError:
                        pass  # the reader has gone
                    return

        def send_rtp(self, chunk):
            for start in range(0, len(chunk), 7 * 188):
                payload = chunk[start:start + 7 * 188]
                packet = struct.pack('>BBHII', 0x80, 33, self.sequence, 0, 1)
                packet += payload
                self.wfile.write(b'$\0' + struct.pack('>H', len(packet)) +
                                 packet)
                self.sequence += 1

    return serving(
        socketserver.ThreadingTCPServer(('127.0.0.1', 0), Handler), camera)
