# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Paths and addresses through one set of functions."""
import functools
import http.server
import sys
import threading

import fsspec
import pytest

from refinevis_mm import storage
from refinevis_mm.storage import StorageError
from tests.s3_server import s3_bucket


@pytest.fixture
def memory():
    """An empty ``memory://box``."""
    fs = fsspec.filesystem('memory')
    yield 'memory://box'
    if fs.exists('/box'):
        fs.rm('/box', recursive=True)


@pytest.fixture
def s3(monkeypatch):
    """A bucket of an S3 server on loopback."""
    with s3_bucket(monkeypatch) as address:
        yield address


@pytest.fixture(params=[
    'path', 'memory',
    pytest.param('s3', marks=[pytest.mark.fleet, pytest.mark.slow])
])
def root(request, tmp_path):
    """A folder of this machine or of a storage."""
    if request.param == 'path':
        return str(tmp_path / 'box')
    return request.getfixturevalue(request.param)


def test_files_come_back(root, tmp_path):
    names = {'a/1.bin': b'one', 'a/b/2.bin': b'', '3.bin': b'3' * 100_000}
    for name, content in names.items():
        storage.write_bytes(storage.join(root, name), content)
    assert storage.list_files(root) == {
        '3.bin': 100_000,
        'a/1.bin': 3,
        'a/b/2.bin': 0
    }
    assert storage.list_files(storage.join(root, 'a')) == {
        '1.bin': 3,
        'b/2.bin': 0
    }
    paths = [storage.join(root, name) for name in names]
    assert [storage.read_bytes(path) for path in paths] == list(names.values())
    absent = storage.join(root, 'absent')
    assert storage.read_many([*paths,
                              absent]) == dict(zip(paths, names.values()))
    assert storage.read_many(paths[:1]) == {paths[0]: b'one'}
    assert storage.read_many([absent]) == {}
    storage.write_bytes(paths[0], b'new')
    assert storage.read_bytes(paths[0]) == b'new'
    storage.remove(storage.join(root, 'a'))
    storage.remove(absent)
    assert list(storage.list_files(root)) == ['3.bin']
    assert storage.list_files(absent) == {}


@pytest.mark.parametrize('kind', [
    'memory',
    pytest.param('s3', marks=[pytest.mark.fleet, pytest.mark.slow])
])
def test_files_are_fetched_and_sent(kind, request, tmp_path):
    root = request.getfixturevalue(kind)
    (tmp_path / 'here').write_bytes(b'content')
    storage.send_file(tmp_path / 'here', f'{root}/there')
    storage.fetch_file(f'{root}/there', tmp_path / 'new/again')
    assert (tmp_path / 'new/again').read_bytes() == b'content'
    with pytest.raises(FileNotFoundError, match=f'"{root}/absent" does not'):
        storage.fetch_file(f'{root}/absent', tmp_path / 'none')
    with pytest.raises(FileNotFoundError, match='does not exist'):
        storage.read_bytes(f'{root}/absent')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['here', 'new']
    storage.write_bytes(f'{root}/x/1.mp4', b'')
    assert storage.list_folder(f'{root}/*/*.mp4') == [f'{root}/x/1.mp4']


@pytest.mark.fleet
def test_http(tmp_path):
    pytest.importorskip('aiohttp')
    (tmp_path / 'clip.mp4').write_bytes(b'clip')
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f'http://127.0.0.1:{server.server_port}'
        assert storage.read_bytes(f'{root}/clip.mp4') == b'clip'
        storage.fetch_file(f'{root}/clip.mp4', tmp_path / 'copy')
        assert (tmp_path / 'copy').read_bytes() == b'clip'
        with pytest.raises(FileNotFoundError, match='does not exist'):
            storage.read_bytes(f'{root}/absent.mp4')
        with pytest.raises(OSError):
            storage.write_bytes(f'{root}/new', b'')
        server.shutdown()
    with pytest.raises(StorageError, match='does not answer: Cannot connect'):
        storage.read_bytes(f'{root}/clip.mp4')


@pytest.mark.fleet
@pytest.mark.slow
def test_an_s3_server_that_is_gone(s3, monkeypatch):
    import s3fs
    monkeypatch.setenv('AWS_ENDPOINT_URL', 'http://127.0.0.1:9')
    monkeypatch.setenv('AWS_MAX_ATTEMPTS', '1')
    s3fs.S3FileSystem.clear_instance_cache()
    monkeypatch.setattr(s3fs.S3FileSystem, 'retries', 1)
    with pytest.raises(StorageError, match=f'storage of "{s3}/a" does not'):
        storage.read_bytes(f'{s3}/a')


def test_what_no_package_knows():
    with pytest.raises(ValueError, match='"nosuch://box/a": .*nosuch'):
        storage.read_bytes('nosuch://box/a')


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gcsfs', None)
    with pytest.raises(ImportError, match='needs a package: .*gcsfs'):
        storage.read_bytes('gs://box/a')


def test_what_is_an_address():
    assert storage.is_address('s3://box/a')
    assert not storage.is_address('C:/a') and not storage.is_address('/a//b')
    assert storage.in_this_process('memory://box')
    assert storage.join('s3://box/', 'a', 'b/c') == 's3://box/a/b/c'
