# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import errno
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from refinevis_mm.files import (delete, is_inside, one_run, replace,
                                whole_file, whole_files, whole_folder,
                                write_text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_files_appear_together(tmp_path):
    out_dir = tmp_path / 'new' / 'out'
    with whole_files(str(out_dir)) as folder:
        (folder / 'a.txt').write_text('first')
        assert not (out_dir / 'a.txt').exists()
    assert (out_dir / 'a.txt').read_text() == 'first'
    with pytest.raises(RuntimeError):
        with whole_files(str(out_dir)) as folder:
            (folder / 'a.txt').write_text('half')
            raise RuntimeError
    assert (out_dir / 'a.txt').read_text() == 'first'
    assert names(out_dir) == ['a.txt']


def test_files_and_folders_replace_old_ones(tmp_path):
    (tmp_path / 'masks').mkdir()
    (tmp_path / 'masks' / 'old.png').write_text('old')
    (tmp_path / 'was_file').write_text('old')
    (tmp_path / 'was_folder').mkdir()
    (tmp_path / 'other.txt').write_text('other')
    with whole_files(tmp_path) as folder:
        (folder / 'masks').mkdir()
        (folder / 'masks' / 'new.png').write_text('new')
        (folder / 'was_file').mkdir()
        (folder / 'was_folder').write_text('new')
        (folder / 'v.mp4.partial').write_text('half a video')
    assert names(tmp_path) == ['masks', 'other.txt', 'was_file', 'was_folder']
    assert names(tmp_path / 'masks') == ['new.png']
    assert (tmp_path / 'was_file').is_dir()
    assert (tmp_path / 'was_folder').read_text() == 'new'


def test_below_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='file/out" cannot be written: Not a'):
        with whole_files(str(tmp_path / 'file' / 'out')):
            pass


def test_file_appears_when_the_block_succeeds(tmp_path):
    path = tmp_path / 'new' / 'out.json'
    with whole_file(path) as part:
        with open(part, 'w') as file:
            file.write('all')
        assert not path.exists()
    assert path.read_text() == 'all' and names(path.parent) == ['out.json']
    with pytest.raises(RuntimeError), whole_file(path) as part:
        with open(part, 'w') as file:
            file.write('half')
        raise RuntimeError
    assert path.read_text() == 'all' and names(path.parent) == ['out.json']
    write_text(path, 'caf\u00e9')
    assert path.read_bytes() == b'caf\xc3\xa9'


KILLED = """
import os, signal
from refinevis_mm.files import whole_{0}
with whole_{0}(r'{1}'{2}) as part:
    with open({3}, 'w') as file:
        file.write('half')
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def kill_in_the_middle(kind, path, options, opened):
    code = KILLED.format(kind, path, options, opened)
    done = subprocess.run([sys.executable, '-c', code])
    assert done.returncode == -signal.SIGKILL


def test_killed_in_the_middle(tmp_path):
    file, folder = tmp_path / 'a.txt', tmp_path / 'folder'
    file.write_text('old')
    folder.mkdir()
    (folder / 'old').write_text('old')
    kill_in_the_middle('file', file, '', 'part')
    kill_in_the_middle('folder', folder, ', force=True', "part + '/new'")
    assert file.read_text() == 'old' and names(folder) == ['old']
    left = [name for name in names(tmp_path) if name.endswith('.partial')]
    assert len(left) == 2 and all(name.startswith('.') for name in left)
    # and nobody is in the way of the next one
    write_text(file, 'new')
    assert file.read_text() == 'new'


def test_full_disk_is_one_line_that_names_the_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*/a.txt'$"):
            write_text(path, 'x' * 30000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_text() == 'old' and names(tmp_path) == ['a.txt']


READ_ONLY = """
import os, sys
from refinevis_mm.files import {0}
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    with {0}(r'{1}') as part:
        sys.exit('the block was entered')
except OSError as error:
    print(error)
"""


@pytest.mark.parametrize('function, line', [
    ('whole_file', "[Errno 13] Permission denied: '{}'"),
    ('whole_folder', '[Errno 13] Permission denied: '),
    ('whole_files', 'out-dir "{}" cannot be written: Permission denied'),
])
def test_read_only_folder(function, line):
    with tempfile.TemporaryDirectory() as above:
        os.chmod(above, 0o755)  # another user must come up to the folder
        folder = Path(above, 'folder')
        folder.mkdir(mode=0o555)
        path = folder if function == 'whole_files' else folder / 'out'
        done = subprocess.run(
            [sys.executable, '-c',
             READ_ONLY.format(function, path)],
            capture_output=True,
            text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(line.format(path))
    assert done.stdout.count('\n') == 1


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        write_text(tmp_path, 'text')
    assert names(tmp_path) == []


def test_other_errors_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent'):
        with whole_file(tmp_path / 'a.txt'):
            open(tmp_path / 'absent')
    assert names(tmp_path) == []


def test_permissions_are_those_of_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / 'a.txt', '')
        with whole_folder(tmp_path / 'folder'):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / 'a.txt').stat().st_mode & 0o777 == 0o640
    assert (tmp_path / 'folder').stat().st_mode & 0o777 == 0o750


def test_links_and_devices(tmp_path):
    (tmp_path / 'there').mkdir()
    (tmp_path / 'link.txt').symlink_to(tmp_path / 'there' / 'a.txt')
    write_text(tmp_path / 'link.txt', 'new')
    assert (tmp_path / 'link.txt').is_symlink()
    assert (tmp_path / 'there' / 'a.txt').read_text() == 'new'
    (tmp_path / 'link').symlink_to(tmp_path / 'there')
    with whole_folder(tmp_path / 'link', force=True):
        pass
    assert not (tmp_path / 'link').is_symlink()
    assert names(tmp_path / 'there') == ['a.txt']
    write_text(os.devnull, 'gone')
    assert not os.path.isfile(os.devnull)


def test_folder_is_replaced_whole(tmp_path):
    out = tmp_path / 'a' / 'out'
    with pytest.raises(RuntimeError), whole_folder(out) as work:
        write_text(f'{work}/half', '')
        raise RuntimeError
    assert names(tmp_path / 'a') == []
    with whole_folder(str(out)) as work:
        write_text(f'{work}/one', '')
        assert not out.exists()
    with pytest.raises(FileExistsError, match='--force'):
        with whole_folder(out):
            pass
    with pytest.raises(RuntimeError), whole_folder(out, force=True):
        raise RuntimeError
    assert names(out) == ['one']
    with whole_folder(out, force=True) as work:
        write_text(f'{work}/two', '')
    assert names(out) == ['two'] and names(tmp_path / 'a') == ['out']


def test_a_failed_move_brings_the_old_folder_back(tmp_path):
    (tmp_path / 'old').mkdir()
    with pytest.raises(FileNotFoundError):
        replace(tmp_path / 'absent', tmp_path / 'old')
    assert names(tmp_path) == ['old']


def test_delete(tmp_path):
    (tmp_path / 'folder' / 'more').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'folder')
    (tmp_path / 'broken').symlink_to(tmp_path / 'absent')
    for name in ('link', 'broken', 'nothing'):
        delete(tmp_path / name)
    assert names(tmp_path) == ['folder']
    delete(tmp_path / 'folder')
    assert names(tmp_path) == []


HOLD = """
import sys
from refinevis_mm.files import one_run
with one_run(r'{}'):
    print('held', flush=True)
    sys.stdin.read()
"""


def test_a_second_run_is_told(tmp_path):
    folder = tmp_path / 'new'
    first = subprocess.Popen(
        [sys.executable, '-c', HOLD.format(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True)
    assert first.stdout.readline() == 'held\n'
    with pytest.raises(OSError, match='new" is used by another run'):
        with one_run(folder):
            pass
    first.kill()
    first.wait()
    with one_run(folder):  # the lock has gone with its process
        assert names(folder) == ['.lock']


@pytest.mark.filterwarnings('ignore:flock not supported')
@pytest.mark.parametrize('code',
                         [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path, monkeypatch, code):

    def no_flock(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr('fcntl.flock', no_flock)
    with one_run(tmp_path):
        pass


def test_a_disk_that_fails_is_no_file_system_without_locks(
        tmp_path, monkeypatch):

    def broken(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr('fcntl.flock', broken)
    with pytest.raises(OSError, match='Input/output error'):
        with one_run(tmp_path):
            pass


def test_whoever_is_second_does_not_replace_a_folder(tmp_path):
    path = tmp_path / 'a'
    with pytest.raises(FileExistsError, match='exists already'):
        with whole_folder(path) as part:
            (Path(part) / 'second').touch()
            path.mkdir()  # by another process meanwhile
            (path / 'first').touch()
    assert names(path) == ['first'] and names(tmp_path) == ['a']


@pytest.mark.parametrize('name, inside', [
    ('a.jpg', True),
    ('a/b.jpg', True),
    ('a/..b/c..jpg', True),
    ('', True),
    ('../a.jpg', False),
    ('a/../../b.jpg', False),
    ('/a.jpg', False),
    ('..', False),
])
def test_names_that_lead_out_of_a_folder(name, inside):
    assert is_inside(name) == inside
