# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The serving example, by a real HTTP client and a real browser."""
import contextlib
import io
import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
import torch

from refinevis_mm.apis import VISInferencer
from tests import docs_markdown
from tests.browser import open_chromium
from tests.docs_checkout import write_video
from tests.tiny_files import random_frames, write_model_files
from tests.tool_module import load_tool

pytestmark = pytest.mark.zoo

ROOT = Path(__file__).parents[2]
FACTS = ('frame_id', 'time', 'ids', 'classes', 'scores', 'detected', 'masks',
         'discarded_ids', 'merged_ids')


@pytest.fixture(scope='module')
def serve():
    pytest.importorskip('fastapi')
    return load_tool('../demo/serve.py')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module', params=['online', 'offline'])
def inferencer(request, files):
    return VISInferencer(*files, mode=request.param)


@contextlib.contextmanager
def running(serve, inferencer):
    """A server on a free port of this computer; yields its address."""
    uvicorn = pytest.importorskip('uvicorn')
    config = uvicorn.Config(
        serve.create_app(inferencer),
        port=0,
        log_level='warning',
        timeout_graceful_shutdown=1,
        log_config=None)  # its own closes the log files of others
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f'http://127.0.0.1:{port}'
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def address(serve, inferencer):
    with running(serve, inferencer) as url:
        yield url


def png(image):
    return cv2.imencode('.png', image)[1].tobytes()


def expected(results):
    """What a client gets of results."""
    return [{
        name: getattr(frame, name)
        for name in FACTS
    } for frame in results]


def post(url, image, code=200):
    answer = requests.post(url, png(image), timeout=60)
    assert answer.status_code == code, answer.text
    return answer.json()


def test_two_cameras(address, inferencer):
    """Each has the results of a session of its own."""
    urls = [f'{address}/cameras/{name}' for name in ('left', 'right')]
    videos = [random_frames(6, seed=seed) for seed in (0, 1)]
    sessions = [inferencer.session() for _ in urls]
    for url in urls:
        assert requests.put(url, timeout=60).status_code == 200
    names = requests.get(f'{address}/cameras', timeout=60).json()
    assert names == ['left', 'right']
    num_results = 0
    for images in zip(*videos):
        for url, session, image in zip(urls, sessions, images):
            results = session.step(image)
            assert post(url, image) == expected(results)
            num_results += sum(map(len, (frame.ids for frame in results)))
    for url, session in zip(urls, sessions):
        answer = requests.delete(url, timeout=60)
        assert answer.json() == dict(
            results=expected(session.flush()), merged_ids={})
    assert num_results > 0
    assert requests.get(f'{address}/cameras', timeout=60).json() == []
    assert requests.get(urls[0], timeout=60).status_code == 404


def test_side_by_side(address, inferencer):
    """Cameras that send at the same time do not mix."""

    def send(seed):
        url = f'{address}/cameras/cam_{seed}'
        requests.put(url, timeout=60)
        return [post(url, image) for image in random_frames(8, seed=seed)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(send, range(4)))
    for seed, results in enumerate(found):
        session = inferencer.session()
        assert results == [
            expected(session.step(image))
            for image in random_frames(8, seed=seed)
        ]


def test_state_goes_on(address, inferencer):
    """Under another name, as if nothing had been in between."""
    images = random_frames(7)
    session = inferencer.session()
    whole = [expected(session.step(image)) for image in images]
    first, second = (f'{address}/cameras/{name}' for name in 'ab')
    requests.put(first, timeout=60)
    parts = [post(first, image) for image in images[:3]]
    state = requests.get(f'{first}/state', timeout=60).content
    requests.delete(first, timeout=60)
    answer = requests.put(second, state, timeout=60)
    assert answer.status_code == 200, answer.text
    parts += [post(second, image) for image in images[3:]]
    assert parts == whole


def test_what_is_refused(address, serve, monkeypatch):
    url = f'{address}/cameras/a'
    images = random_frames(3)
    assert 'no camera' in post(url, images[0], 404)['detail']
    assert requests.get(f'{url}/state', timeout=60).status_code == 404
    assert requests.delete(url, timeout=60).status_code == 404
    requests.put(url, timeout=60)
    assert 'already' in requests.put(url, timeout=60).json()['detail']
    for name in ('<b>', 'a.b', 'a%2Fb', '..%2F'):
        answer = requests.put(f'{address}/cameras/{name}', timeout=60)
        assert answer.status_code in (403, 404, 405)
    session = post(url, images[0])
    answer = requests.post(url, b'no image', timeout=60)
    assert answer.status_code == 400
    assert answer.json() == dict(detail='not an image')
    assert 'must be 80 x 60' in post(url, images[1][:30], 400)['detail']
    assert isinstance(session, list) and post(url, images[1]) is not None
    for state in (b'no state', b'PK\x03\x04', pickled()):
        answer = requests.put(f'{address}/cameras/b', state, timeout=60)
        assert answer.status_code == 400
        assert '\n' not in answer.json()['detail']
    assert requests.get(f'{address}/cameras', timeout=60).json() == ['a']
    monkeypatch.setattr(serve, 'MAX_CAMERAS', 1)
    assert requests.put(f'{address}/cameras/c', timeout=60).status_code == 403


def pickled():
    """A file of ``torch.save`` that is no state."""
    buffer = io.BytesIO()
    torch.save(dict(format=4, views=['online']), buffer)
    return buffer.getvalue()


def test_body_limits(address, serve, monkeypatch):
    """A body without end is refused as soon as it is too long."""
    monkeypatch.setattr(serve, 'MAX_BYTES', dict(POST=1000, PUT=2000))
    url = f'{address}/cameras/a'
    requests.put(url, timeout=60)
    host, port = address.removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=60) as client:
        client.sendall(b'POST /cameras/a HTTP/1.1\r\nHost: a\r\n'
                       b'Transfer-Encoding: chunked\r\n\r\n'
                       b'400\r\n' + b'x' * 0x400 + b'\r\n')
        answer = client.makefile('rb').readline()  # more was to come
    assert answer.startswith(b'HTTP/1.1 413')
    answer = requests.put(f'{address}/cameras/b', b'x' * 2001, timeout=60)
    assert answer.status_code == 413
    assert requests.get(f'{address}/cameras', timeout=60).json() == ['a']


def test_stream_of_pictures(address, inferencer):
    """Parts of a multipart answer are JPEG files of the frame's size."""
    url = f'{address}/cameras/a'
    requests.put(url, timeout=60)
    answer = requests.get(url, stream=True, timeout=60)
    assert answer.headers['content-type'] == \
        'multipart/x-mixed-replace; boundary=frame'
    for image in random_frames(4):
        post(url, image)
    data = b''
    for chunk in answer.iter_content(None):
        data += chunk
        if data.count(b'--frame\r\n') == 3:
            requests.delete(url, timeout=60)  # which ends the stream
    head, jpeg = data.split(b'--frame\r\n')[1].split(b'\r\n\r\n', 1)
    assert head == b'Content-Type: image/jpeg'
    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[0] % 60 == 0 and image.shape[1] % 80 == 0


PIXELS = '''const image = document.getElementById(arguments[0]);
if (!image || !image.naturalWidth) return null;
const canvas = document.createElement('canvas');
[canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
const context = canvas.getContext('2d');
context.drawImage(image, 0, 0);
const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
return [...data].reduce((sum, value) => sum + value, 0) / data.length;'''


def wait_for(find, seconds=20):
    """Ask until there is an answer."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = find()
        if found:
            return found
        time.sleep(0.1)
    pytest.fail('it did not happen')


@pytest.mark.slow
def test_page_in_a_browser(serve, files, tmp_path):
    """It shows new cameras, new pictures, and forgets closed cameras."""
    inferencer = VISInferencer(*files, mode='online')
    dark, light = (np.full((60, 80, 3), grey, np.uint8) for grey in (10, 240))
    with running(serve, inferencer) as address, \
            open_chromium(tmp_path) as browser:
        browser.get_log('browser')
        browser.get(address)
        url = f'{address}/cameras/street'
        requests.put(url, timeout=60)
        post(url, dark)

        def brightness():
            return browser.execute_script(PIXELS, 'street')

        first = wait_for(brightness)
        post(url, light)
        wait_for(lambda: brightness() > first + 20)
        requests.put(f'{address}/cameras/park', timeout=60)
        images = wait_for(lambda: browser.execute_script(
            'return document.images.length == 2'))
        assert images
        requests.delete(url, timeout=60)
        wait_for(lambda: browser.execute_script(
            'return document.images.length == 1 && '
            'document.images[0].id == "park"'))
        errors = [
            entry['message'] for entry in browser.get_log('browser')
            if entry['level'] == 'SEVERE' and 'favicon' not in entry['message']
        ]
        assert errors == []


@pytest.mark.slow
def test_commands_of_the_page(serve, tmp_path):
    """docs/serving.md: the server and its client in processes of their own."""
    page = ROOT / 'docs' / 'serving.md'
    client, = (block for block in docs_markdown.blocks(page) if block.file)
    (tmp_path / 'send_video.py').write_text(client.text)
    write_video(tmp_path / 'street.mp4')
    commands = [
        block.text.split() for block in docs_markdown.blocks(page)
        if block.text.startswith('python ')
    ]
    assert [command[1] for command in commands
            ] == ['demo/serve.py', 'my_project/send_video.py']
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    words = [word.replace('8000', port) for word in commands[0][1:]]
    env = dict(os.environ, PYTHONPATH=str(ROOT))
    log = tmp_path / 'server.log'
    with open(log, 'w') as file:
        server = subprocess.Popen([sys.executable, *words],
                                  cwd=ROOT,
                                  env=env,
                                  stdout=file,
                                  stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: 'Uvicorn running' in log.read_text(), 60)
        url = commands[1][2].replace('8000', port)
        done = subprocess.run(
            [sys.executable, 'send_video.py', url, 'street.mp4'],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60)
        assert done.returncode == 0, done.stderr
        assert re.findall(r'^(\d+) \[', done.stdout,
                          re.MULTILINE) == list('012345')
    finally:
        server.terminate()
        server.wait(20)
