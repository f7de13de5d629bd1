# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import errno
import hashlib
import os
import random
import select
import shutil
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pytest

from refinevis_mm.zoo import DownloadError, part_file, source
from refinevis_mm.zoo.download import download
from tests.test_zoo.servers import Answer, serving

ROOT = Path(__file__).parents[2]
# longer than what is read at once
CONTENT = random.Random(0).randbytes(700_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = {'ETag': '"one"'}
CUT = 300_001


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    for name in list(os.environ):
        if name.lower().endswith('_proxy') or name.startswith('HF_'):
            monkeypatch.delenv(name)


@pytest.fixture
def server():
    with serving() as running:
        yield running


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'cache' / 'model.pth'


def left(path):
    """Files in the folder of a path, without lock files."""
    return sorted(item.name for item in path.parent.iterdir()
                  if item.suffix != '.lock')


def error_of(*args):
    """The line of a download that fails."""
    with pytest.raises(DownloadError) as caught:
        download(*args)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def break_off(server, path, answer, sha256=SHA256):
    """Break a download off and repair the server."""
    answer.cut = CUT
    server.answers['/model.pth'] = answer
    said = error_of(server.url('/model.pth'), str(path), sha256)
    assert 'broke off after 0.3 MB' in said and 'call again' in said
    assert not path.exists()
    assert (path.parent / 'model.pth.part').read_bytes() == CONTENT[:CUT]
    answer.cut = None


@pytest.mark.parametrize('length', ['header', 'chunks', 'close'])
def test_whole_file(length, server, path, capsys):
    server.answers['/model.pth'] = Answer(CONTENT, length=length)
    address = server.url('/model.pth')
    assert download(address, str(path), SHA256[:8], len(CONTENT)) == SHA256
    assert path.read_bytes() == CONTENT
    assert left(path) == ['model.pth']
    assert 'fetching model.pth, 0.7 MB' in capsys.readouterr().err
    # nothing is fetched twice
    assert download(address, str(path), SHA256) == SHA256
    assert len(server.requests) == 1
    assert 'Range' not in server.requests[0]


@pytest.mark.parametrize('headers, version', [
    (ETAG, '"one"'),
    ({
        'ETag': 'W/"one"',
        'Last-Modified': 'Tue, 01 Sep 2026 10:00:00 GMT'
    }, 'Tue, 01 Sep 2026 10:00:00 GMT'),
    ({}, None),
])
def test_goes_on_where_it_broke_off(headers, version, server, path, capsys):
    break_off(server, path, Answer(CONTENT, headers=headers))
    assert download(server.url('/model.pth'), str(path), SHA256) == SHA256
    assert path.read_bytes() == CONTENT
    assert left(path) == ['model.pth']
    assert server.requests[1]['Range'] == f'bytes={CUT}-'
    assert server.requests[1].get('If-Range') == version
    assert 'from 0.3 MB on' in capsys.readouterr().err


def test_breaks_off_again(server, path):
    answer = Answer(CONTENT, headers=ETAG)
    break_off(server, path, answer)
    answer.cut = 1000
    error_of(server.url('/model.pth'), str(path), SHA256)
    part = path.parent / 'model.pth.part'
    assert part.read_bytes() == CONTENT[:CUT + 1000]
    answer.cut = None
    download(server.url('/model.pth'), str(path), SHA256)
    assert server.requests[2]['Range'] == f'bytes={CUT + 1000}-'
    assert path.read_bytes() == CONTENT


def test_chunks_break_off(server, path):
    answer = Answer(CONTENT, length='chunks', cut=CUT, headers=ETAG)
    server.answers['/model.pth'] = answer
    said = error_of(server.url('/model.pth'), str(path), SHA256)
    assert 'broke off' in said
    part = (path.parent / 'model.pth.part').read_bytes()
    assert part and CONTENT.startswith(part)
    answer.cut = None
    download(server.url('/model.pth'), str(path), SHA256)
    assert path.read_bytes() == CONTENT


def test_server_without_ranges_starts_over(server, path):
    break_off(server, path, Answer(CONTENT, headers=ETAG, ranges=False))
    download(server.url('/model.pth'), str(path), SHA256)
    assert 'Range' in server.requests[1]
    assert path.read_bytes() == CONTENT


def test_changed_file_is_not_glued(server, path):
    answer = Answer(CONTENT, headers=ETAG)
    break_off(server, path, answer)
    answer.content = CONTENT[::-1]
    answer.headers = {'ETag': '"two"'}
    sha256 = hashlib.sha256(answer.content).hexdigest()
    assert download(server.url('/model.pth'), str(path), sha256) == sha256
    assert path.read_bytes() == answer.content


def test_changed_file_without_version_is_found_by_its_hash(server, path):
    answer = Answer(CONTENT)
    break_off(server, path, answer)
    answer.content = CONTENT[::-1]
    sha256 = hashlib.sha256(answer.content).hexdigest()
    error_of(server.url('/model.pth'), str(path), sha256)
    assert left(path) == []
    assert download(server.url('/model.pth'), str(path), sha256) == sha256


def test_unknown_version_and_hash_start_over(server, path):
    answer = Answer(CONTENT)
    break_off(server, path, answer, sha256='')
    assert download(server.url('/model.pth'), str(path)) == SHA256
    assert 'Range' not in server.requests[1]
    assert path.read_bytes() == CONTENT


def test_all_had_arrived(server, path):
    path.parent.mkdir()
    part = path.parent / 'model.pth.part'
    part.write_bytes(CONTENT)
    server.answers['/model.pth'] = Answer(CONTENT)
    address = server.url('/model.pth')
    assert download(address, str(path), SHA256) == SHA256
    assert server.requests[0]['Range'] == f'bytes={len(CONTENT)}-'
    # its length is known: no request
    path.rename(part)
    assert download(address, str(path), SHA256, len(CONTENT)) == SHA256
    assert len(server.requests) == 1


def test_more_than_the_file_had_arrived(server, path):
    path.parent.mkdir()
    (path.parent / 'model.pth.part').write_bytes(CONTENT + b'more')
    server.answers['/model.pth'] = Answer(CONTENT)
    assert download(server.url('/model.pth'), str(path), SHA256) == SHA256
    assert path.read_bytes() == CONTENT


def test_wrong_range(server, path):
    break_off(server, path, Answer(CONTENT, wrong_range=True))
    said = error_of(server.url('/model.pth'), str(path), SHA256)
    assert f'bytes from {CUT} on, got those from {CUT + 1}' in said
    assert left(path) == []


def test_wrong_hash(server, path):
    server.answers['/model.pth'] = Answer(CONTENT)
    said = error_of(server.url('/model.pth'), str(path), '0123abcd')
    assert 'must begin with 0123abcd' in said and SHA256 in said
    assert str(path) in said
    assert left(path) == []


def test_wrong_length(server, path):
    server.answers['/model.pth'] = Answer(CONTENT)
    said = error_of(server.url('/model.pth'), str(path), '', 5)
    assert 'must have 5 bytes, got 700000' in said
    assert left(path) == []
    # without a stated length it may go on, for ever perhaps
    for length in ('chunks', 'close'):
        server.answers['/model.pth'] = Answer(CONTENT, length=length)
        said = error_of(server.url('/model.pth'), str(path), '', 5)
        assert 'must have 5 bytes, but the server sends more' in said
    # or the connection seems to end too early
    server.answers['/model.pth'] = Answer(CONTENT, length='close')
    said = error_of(server.url('/model.pth'), str(path), '', 700_001)
    assert 'broke off' in said


@pytest.mark.parametrize('status, reason', [(404, 'HTTP 404 (Not Found)'),
                                            (403, 'it needs a login'),
                                            (503, 'HTTP 503')])
def test_refusals(status, reason, server, path):
    server.answers['/model.pth'] = Answer(b'<html>no</html>', status)
    address = server.url('/model.pth')
    said = error_of(address, str(path), SHA256)
    assert address in said and reason in said
    assert left(path) == []


@pytest.mark.parametrize('answer', [
    Answer(b'log in', headers={'Content-Type': 'text/html; charset=utf-8'}),
    Answer(b'\n <!DOCTYPE html><html>log in</html>'),
    Answer(b'<?xml version="1.0"?><Error/>', length='chunks'),
])
def test_web_page_in_place_of_the_file(answer, server, path):
    server.answers['/model.pth'] = answer
    assert 'web page' in error_of(server.url('/model.pth'), str(path))
    assert not path.exists()
    server.answers['/model.pth'] = Answer(CONTENT)
    assert download(server.url('/model.pth'), str(path)) == SHA256
    assert path.read_bytes() == CONTENT


def test_redirect(server, path):
    server.answers['/old'] = Answer(
        status=302, headers={'Location': '/model.pth'})
    break_off(server, path, Answer(CONTENT, headers=ETAG))
    assert download(server.url('/old'), str(path), SHA256) == SHA256
    # the new address gets the range as well
    assert server.requests[-1]['path'] == '/model.pth'
    assert server.requests[-1]['Range'] == f'bytes={CUT}-'
    assert path.read_bytes() == CONTENT


def test_redirect_loop(server, path):
    server.answers['/old'] = Answer(status=302, headers={'Location': '/old'})
    assert 'infinite loop' in error_of(server.url('/old'), str(path))


def test_file_address(tmp_path, path):
    source = tmp_path / 'my model.pth'
    source.write_bytes(CONTENT)
    assert download(source.as_uri(), str(path), SHA256) == SHA256
    assert path.read_bytes() == CONTENT
    path.unlink()
    source.unlink()
    assert 'cannot reach file://' in error_of(source.as_uri(), str(path))


def test_hub_address(server, path, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', server.url('/'))
    file = '/me/repo/resolve/main/sub/model.pth'
    server.answers[file] = Answer(status=401)
    said = error_of('hf://me/repo/sub/model.pth', str(path), SHA256)
    assert 'HTTP 401' in said and 'set HF_TOKEN' in said
    assert 'Authorization' not in server.requests[0]

    monkeypatch.setenv('HF_TOKEN', 'secret')
    server.answers[file] = Answer(status=307, headers={'Location': '/moved'})
    server.answers['/moved'] = Answer(CONTENT)
    download('hf://me/repo/sub/model.pth', str(path), SHA256)
    assert path.read_bytes() == CONTENT
    assert [item['Authorization'] for item in server.requests[1:]] == \
        ['Bearer secret'] * 2


def test_token_stays_with_its_host(server, path, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', server.url(''))
    monkeypatch.setenv('HF_TOKEN', 'secret')
    with serving() as other:
        other.answers['/model.pth'] = Answer(CONTENT)
        server.answers['/me/repo/resolve/main/model.pth'] = Answer(
            status=302, headers={'Location': other.url('/model.pth')})
        download('hf://me/repo/model.pth', str(path), SHA256)
        assert 'Authorization' not in other.requests[0]
        # only addresses of the hub get it
        download(other.url('/model.pth'), f'{path}2')
        assert 'Authorization' not in other.requests[1]
    assert server.requests[0]['Authorization'] == 'Bearer secret'


def test_a_name_of_other_letters(server, path):
    server.answers['/gr%C3%B6%C3%9Fe%201.pth'] = Answer(CONTENT)
    for name in ('/größe 1.pth', '/gr%C3%B6%C3%9Fe%201.pth'):
        path.unlink(missing_ok=True)
        assert download(server.url(name), str(path), SHA256) == SHA256


@pytest.mark.parametrize(
    'address',
    ['ftp://server/model.pth', 'model.pth', 'hf://me/model.pth', 'shipped'])
def test_other_addresses_are_refused(address, path):
    with pytest.raises(ValueError, match='address must begin with https://'):
        download(address, str(path))
    assert not path.parent.exists()


@pytest.mark.parametrize('host', ['127.0.0.1:1', 'absent.invalid'])
def test_no_network(host, path):
    address = f'http://{host}/model.pth'
    said = error_of(address, str(path), SHA256)
    assert said.startswith(f'cannot reach {address} (')
    assert f'put it at {path}' in said


def test_silent_server(server, path, monkeypatch):
    monkeypatch.setattr(source, 'TIMEOUT', 0.2)
    never = threading.Event()
    server.answers['/model.pth'] = Answer(CONTENT, may_begin=never)
    said = error_of(server.url('/model.pth'), str(path), SHA256)
    never.set()
    assert 'cannot reach' in said and 'timed out' in said


def test_too_little_space(server, path, monkeypatch):
    usage = namedtuple('usage', 'total used free')
    answer = Answer(CONTENT, headers=ETAG)
    break_off(server, path, answer)
    # what has arrived already needs no more room
    missing = len(CONTENT) - CUT
    monkeypatch.setattr(shutil, 'disk_usage',
                        lambda folder: usage(9, 0, missing - 1))
    said = error_of(server.url('/model.pth'), str(path), SHA256)
    assert 'must have room for 0.4 MB' in said and 'REFINEVIS_MM_CACHE' in said
    assert (path.parent / 'model.pth.part').read_bytes() == CONTENT[:CUT]
    monkeypatch.setattr(shutil, 'disk_usage',
                        lambda folder: usage(9, 0, missing))
    download(server.url('/model.pth'), str(path), SHA256)
    assert path.read_bytes() == CONTENT


def test_disk_fills_up(server, path, monkeypatch):

    class FullDisk:
        """Takes a piece of the first chunk."""

        def __init__(self, file):
            self.file = file
            self.left = 1000

        def write(self, data):
            if not self.left:
                raise OSError(errno.ENOSPC, 'No space left on device')
            taken, self.left = self.left, 0
            return self.file.write(data[:taken])

        def close(self):
            self.file.close()

    def open_part(name, *args, **kwargs):
        file = open(name, *args, **kwargs)
        return FullDisk(file) if name.endswith('.part') else file

    server.answers['/model.pth'] = Answer(CONTENT, headers=ETAG)
    with monkeypatch.context() as patch:
        patch.setattr(part_file, 'open', open_part, raising=False)
        said = error_of(server.url('/model.pth'), str(path), SHA256)
    assert f'{path.parent} is full' in said and 'call again' in said
    download(server.url('/model.pth'), str(path), SHA256)
    assert server.requests[1]['Range'] == 'bytes=1000-'
    assert path.read_bytes() == CONTENT


def test_folder_cannot_be_made(server, tmp_path):
    (tmp_path / 'file').write_text('not a folder')
    path = tmp_path / 'file' / 'model.pth'
    said = error_of(server.url('/model.pth'), str(path), SHA256)
    assert 'must be a folder that can be written' in said
    assert 'REFINEVIS_MM_CACHE' in said
    assert not server.requests


REAL_DISKS = '''
import shutil, subprocess, sys
from collections import namedtuple
from refinevis_mm.zoo.download import download
address, small, read_only = sys.argv[1:]
for folder, options in ((small, 'size=64k'), (read_only, 'size=64k,ro')):
    subprocess.run(['mount', '-t', 'tmpfs', '-o', options, 'none', folder],
                   check=True)
usage = shutil.disk_usage
for folder in (small, read_only, small):
    try:
        download(address, folder + '/model.pth')
    except OSError as error:
        print(error)
    # the last time it seems that there is room
    if folder == read_only:
        shutil.disk_usage = lambda folder: usage('/')
'''


def test_real_disks(server, tmp_path):
    folders = [tmp_path / 'small', tmp_path / 'read_only']
    for folder in folders:
        folder.mkdir()
    # mounts that nobody else sees and that end with the process
    unshare = shutil.which('unshare')
    probe = ['mount', '-t', 'tmpfs', 'none', str(folders[0])]
    if not unshare or subprocess.run([unshare, '-m', *probe],
                                     capture_output=True).returncode:
        pytest.skip('no mounts here')
    server.answers['/model.pth'] = Answer(CONTENT)
    done = subprocess.run([
        unshare, '-m', sys.executable, '-c', REAL_DISKS,
        server.url('/model.pth'), *map(str, folders)
    ],
                          cwd=ROOT,
                          capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    full, read_only, filled = done.stdout.splitlines()
    assert 'must have room for 0.7 MB' in full
    assert f'{folders[1]} must be a folder that can be written' in read_only
    assert 'Read-only' in read_only
    assert f'{folders[0]} is full' in filled


@pytest.mark.skipif(
    not hasattr(os, 'geteuid') or os.geteuid() == 0,
    reason='root writes everywhere')
def test_read_only_folder(server, path):
    path.parent.mkdir(mode=0o555)
    server.answers['/model.pth'] = Answer(CONTENT)
    said = error_of(server.url('/model.pth'), str(path), SHA256)
    assert 'must be a folder that can be written' in said


def test_two_processes_at_once(server, path):
    may_begin = threading.Event()
    server.answers['/model.pth'] = Answer(CONTENT, may_begin=may_begin)
    path.parent.mkdir()
    (path.parent / 'model.pth.lock').write_text('left behind')
    command = [
        sys.executable, '-c',
        'import sys; from refinevis_mm.zoo.download import download; '
        'print(download(*sys.argv[1:]))',
        server.url('/model.pth'),
        str(path), SHA256
    ]
    processes = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0) for _ in range(2)
    ]
    # one of them has to wait; the other one has not begun to fetch
    lines = [b'begin']
    while b'waiting for another process' not in lines[-1]:
        ready, _, _ = select.select([item.stderr for item in processes], [],
                                    [], 60)
        lines.append(ready[0].readline())
        assert lines[-1], lines
    may_begin.set()
    said = [process.communicate() for process in processes]
    assert [out.decode().strip() for out, _ in said] == [SHA256] * 2, said
    assert len(server.requests) == 1
    assert path.read_bytes() == CONTENT
    assert left(path) == ['model.pth']
