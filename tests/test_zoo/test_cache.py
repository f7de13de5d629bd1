# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import dataclasses
import hashlib
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from refinevis_mm.zoo import (DownloadError, cache, cache_folder, download,
                              fetch_address, fetch_weights, find_entry,
                              list_entries)
from refinevis_mm.zoo.entry import SHIPPED

ROOT = Path(__file__).parents[2]
CONTENT = b'PK weights'
SHIPPED_ENTRIES = [
    entry for entry in list_entries() if entry.address == SHIPPED
]


@pytest.fixture
def entry(tmp_path):
    """An entry whose file lies elsewhere on this machine."""
    source = tmp_path / 'server' / 'weights.pth'
    source.parent.mkdir()
    source.write_bytes(CONTENT)
    return dataclasses.replace(
        find_entry('mask2former-r50_coco'),
        address=source.as_uri(),
        file_name='weights.pth',
        sha256=hashlib.sha256(CONTENT).hexdigest()[:8])


def no_hashing(path):
    pytest.fail(f'{path} is hashed')


def test_cache_folder(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.delenv('REFINEVIS_MM_CACHE', raising=False)
    assert cache_folder() == '/home/me/.cache/refinevis_mm'
    monkeypatch.setenv('XDG_CACHE_HOME', '/caches')
    assert cache_folder() == '/caches/refinevis_mm'
    monkeypatch.setenv('REFINEVIS_MM_CACHE', '~/weights')
    assert cache_folder() == '/home/me/weights'


def test_fetched_once(entry, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('REFINEVIS_MM_CACHE', str(tmp_path / 'cache'))
    path = fetch_weights(entry)
    assert path == str(tmp_path / 'cache' / 'weights.pth')
    assert Path(path).read_bytes() == CONTENT
    capsys.readouterr()
    # from then on it is neither fetched nor hashed
    shutil.rmtree(tmp_path / 'server')
    monkeypatch.setattr(download, 'file_sha256', no_hashing)
    assert fetch_weights(entry) == path
    assert capsys.readouterr().err == ''
    # another folder for once
    with pytest.raises(DownloadError, match='cannot reach'):
        fetch_weights(entry, str(tmp_path / 'other'))


def test_file_that_was_put_there(entry, tmp_path, monkeypatch, capsys):
    shutil.move(tmp_path / 'server' / 'weights.pth', tmp_path)
    assert fetch_weights(entry, str(tmp_path)) == str(tmp_path / 'weights.pth')
    assert capsys.readouterr().err == ''
    monkeypatch.setattr(download, 'file_sha256', no_hashing)
    fetch_weights(entry, str(tmp_path))


def test_own_file_is_used_and_kept(entry, tmp_path, monkeypatch, capsys):
    own = tmp_path / 'weights.pth'
    own.write_bytes(b'fine-tuned')
    with monkeypatch.context() as patch:
        for _ in range(2):
            assert fetch_weights(entry, str(tmp_path)) == str(own)
            said = capsys.readouterr().err
            assert said.count('\n') == 1
            assert f'{own} is not the published file' in said
            assert '"mask2former-r50_coco"' in said
            patch.setattr(download, 'file_sha256', no_hashing)
    assert own.read_bytes() == b'fine-tuned'
    # a change is noticed
    own.write_bytes(CONTENT)
    fetch_weights(entry, str(tmp_path))
    assert capsys.readouterr().err == ''


def test_cache_that_cannot_be_written(entry, tmp_path, capsys):
    shutil.move(tmp_path / 'server' / 'weights.pth', tmp_path)
    (tmp_path / 'weights.pth.sha256').mkdir()  # cannot be written by root
    fetch_weights(entry, str(tmp_path))
    assert capsys.readouterr().err == ''


@pytest.mark.parametrize('note', ['', 'no hash', '\xe4'])
def test_damaged_note_of_the_hash(note, entry, tmp_path, capsys):
    shutil.move(tmp_path / 'server' / 'weights.pth', tmp_path)
    (tmp_path / 'weights.pth.sha256').write_text(note)
    fetch_weights(entry, str(tmp_path))
    assert capsys.readouterr().err == ''


def test_unknown_hash_is_not_computed(entry, tmp_path, monkeypatch):
    shutil.move(tmp_path / 'server' / 'weights.pth', tmp_path)
    monkeypatch.setattr(download, 'file_sha256', no_hashing)
    fetch_weights(dataclasses.replace(entry, sha256=''), str(tmp_path))


@pytest.mark.parametrize('entry', SHIPPED_ENTRIES, ids=lambda item: item.name)
def test_shipped_files(entry, capsys):
    path = fetch_weights(entry)
    content = Path(path).read_bytes()
    assert hashlib.sha256(content).hexdigest() == entry.sha256
    assert len(content) == entry.num_bytes
    assert capsys.readouterr().err == ''


def test_shipped_file_of_an_installed_package(tmp_path, monkeypatch, capsys):
    folders = (str(tmp_path / 'wheel'), str(tmp_path / 'checkout'))
    monkeypatch.setattr(cache, '_SHIPPED_FOLDERS', folders)
    entry = SHIPPED_ENTRIES[0]
    with pytest.raises(FileNotFoundError, match='source repository only'):
        fetch_weights(entry)
    (tmp_path / 'wheel').mkdir()
    (tmp_path / 'wheel' / entry.file_name).write_bytes(b'pointer')
    assert fetch_weights(entry) == str(tmp_path / 'wheel' / entry.file_name)
    assert 'is not the published file' in capsys.readouterr().err


def test_weights_of_another_package(monkeypatch):
    from refinevis_mm.models.frame_level import rfdetr_package
    monkeypatch.setattr(rfdetr_package, 'fetch_weights',
                        lambda size: f'/cache/{size}.pt')
    for size in rfdetr_package.SIZES:
        entry = find_entry(f'rfdetr-seg-{size}_coco')
        assert fetch_weights(entry) == f'/cache/{size}.pt'


@pytest.mark.skipif(
    find_spec('rfdetr') is not None, reason='rfdetr is installed')
def test_a_missing_package_is_named():
    with pytest.raises(ImportError, match=r'pip install "refinevis_mm\[rfde'):
        fetch_weights(find_entry('rfdetr-seg-nano_coco'))


def test_addresses_have_a_place_of_their_own(tmp_path):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'b').mkdir()
    contents = {}
    for folder in 'ab':
        file = tmp_path / folder / 'weights.pth'
        file.write_bytes(folder.encode() * 9)
        contents[file.as_uri()] = folder.encode() * 9
    cache = tmp_path / 'cache'
    paths = [fetch_address(address, str(cache)) for address in contents]
    assert len(set(paths)) == 2
    for path, content in zip(paths, contents.values()):
        assert path.endswith('-weights.pth')
        assert Path(path).read_bytes() == content
    (tmp_path / 'a' / 'weights.pth').unlink()  # it is fetched once
    assert fetch_address(next(iter(contents)), str(cache)) == paths[0]
    named = tmp_path / 'x-01234567.pth'
    named.write_bytes(b'another hash')
    with pytest.raises(DownloadError, match='must begin with 01234567'):
        fetch_address(named.as_uri(), str(cache))
    with pytest.raises(ValueError):
        fetch_address('gopher://host/a.pth', str(cache))


def test_nothing_heavy_is_imported():
    code = ('import sys, refinevis_mm; before = set(sys.modules); '
            'from refinevis_mm.zoo import fetch_weights, find_entry; '
            'fetch_weights(find_entry("refinevis-small_occluded-shapes")); '
            'print(*sorted(set(sys.modules) - before), sep="\\n")')
    done = subprocess.run([sys.executable, '-c', code],
                          cwd=ROOT,
                          env=dict(os.environ, PYTHONWARNINGS='ignore'),
                          capture_output=True,
                          text=True,
                          check=True)
    packages = {name.split('.')[0] for name in done.stdout.split()}
    assert packages == {'refinevis_mm'}
