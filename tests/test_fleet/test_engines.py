# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The same results from all engines, whoever is killed."""
import functools
import http.server
import io
import shutil
import sys
import threading
from dataclasses import replace

import av
import fsspec
import pytest

from refinevis_mm.apis import VISInferencer
from refinevis_mm.fleet import (FleetFolder, FleetProgress, LocalEngine,
                                RayEngine, SerialEngine, prepare_settings,
                                read_units, run_fleet)
from refinevis_mm.storage import (StorageError, list_files, read_bytes,
                                  send_file)
from tests.docs_checkout import write_video
from tests.s3_server import s3_bucket
from tests.tiny_fleet import (PLAIN_OUTPUTS, KillingEngine, differences,
                              tiny_settings, write_clips)

NUM_CLIPS = 4


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A model, clips, a file that is no video, and the serial results."""
    root = tmp_path_factory.mktemp('fleet')
    write_clips(root / 'clips', NUM_CLIPS)
    (root / 'clips/broken.mp4').write_bytes(b'no video')
    settings = tiny_settings(root, root / 'serial')
    run(root, settings, SerialEngine(settings))
    return root


class Breaks(SerialEngine):
    """Ends the process, or nearly so, after the fifth frame of all."""

    def assign(self, worker, unit):
        run, left = self._worker.run, iter(range(4))

        def breaking(unit, on_frame):
            return run(unit, lambda: next(left, None) is None and sys.exit(1))

        self._worker.run = breaking
        super().assign(worker, unit)


def run(root, settings, engine):
    return run_fleet(
        read_units(f'{root}/clips/*'),
        settings,
        lambda: engine,
        progress=FleetProgress(io.StringIO()))


def test_serial_results_are_those_of_one_video_at_a_time(root, tmp_path):
    inferencer = VISInferencer(str(root / 'tiny.py'), str(root / 'tiny.pth'))
    for name in ('clip000', 'clip003'):
        inferencer.render(
            str(root / 'clips' / name),
            str(tmp_path / name),
            outputs=PLAIN_OUTPUTS)
        assert differences(tmp_path / name,
                           root / 'serial/videos' / name) == ['video.json']


def test_a_killed_worker_is_followed_at_its_checkpoint(root, tmp_path):
    settings = tiny_settings(root, tmp_path)
    with pytest.raises(SystemExit):
        run(root, settings, Breaks(settings))
    assert (tmp_path / 'videos/clip000/.partial').exists()
    assert run(root, settings, SerialEngine(settings)).num_frames == (
        6 + 7 + 8 + 9 - 4)  # four frames were in the checkpoint
    assert differences(tmp_path, root / 'serial') == []


@pytest.fixture
def box(root):
    """``memory://box``, with the clips in ``in``."""
    fs = fsspec.filesystem('memory')
    for path in (root / 'clips').rglob('*'):
        if path.is_file():
            name = path.relative_to(root / 'clips')
            fs.pipe_file(f'/box/in/{name}', path.read_bytes())
    yield 'memory://box'
    fs.rm('/box', recursive=True)


def frame_times(file):
    with av.open(file) as container:
        return [frame.time for frame in container.decode(video=0)]


def sums(data):
    """Lines of a list of hashes, those of mp4 files without the hash."""
    return [
        line.split()[1] if line.endswith('.mp4') else line
        for line in data.decode().splitlines()
    ]


# the overlay of a video grows in segments, which a checkpoint needs too
@pytest.mark.parametrize('outputs, kept', [
    (PLAIN_OUTPUTS, {'clip000/recording.sqlite'}),
    (('overlay', 'csv'), {
        'clip000/overlay-000000.mp4', 'clip000/overlay-000001.mp4',
        'clip000/recording.sqlite'
    }),
])
def test_a_storage_holds_checkpoints_too(outputs, kept, root, box, tmp_path):
    """No disk is shared: results and checkpoints lie behind an address."""
    whole = tiny_settings(root, tmp_path, outputs=outputs)
    run(root, whole, SerialEngine(whole))
    settings = tiny_settings(root, f'{box}/out', outputs=outputs)

    def run_once(engine):
        return run_fleet(
            read_units(f'{box}/in/*'),
            settings,
            lambda: engine,
            progress=FleetProgress(io.StringIO()))

    with pytest.raises(SystemExit):
        run_once(Breaks(settings))
    assert set(list_files(f'{box}/out/unfinished')) == kept
    summary = run_once(SerialEngine(settings))
    assert summary.num_frames == 6 + 7 + 8 + 9 - 4
    assert f'{box}/in/broken.mp4" cannot be read as a video' in (
        summary.failures[0]['reason'])
    assert list_files(f'{box}/out/unfinished') == {}
    for name in list_files(tmp_path / 'videos'):
        ours, theirs = tmp_path / 'videos' / name, f'{box}/out/videos/{name}'
        if name.endswith('.mp4'):  # libx264 may choose other bytes
            assert frame_times(io.BytesIO(read_bytes(theirs))) == frame_times(
                str(ours))
        elif not name.endswith('video.json'):  # it names the input
            assert read_bytes(theirs) == ours.read_bytes()
    assert sums(read_bytes(f'{box}/out/SHA256SUMS')) == sums(
        (tmp_path / 'SHA256SUMS').read_bytes())
    assert run_once(SerialEngine(settings)).num_skipped == NUM_CLIPS


@pytest.mark.fleet
def test_videos_of_a_web_server(root, tmp_path):
    pytest.importorskip('aiohttp')
    write_video(tmp_path / 'clip.mp4')
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f'http://127.0.0.1:{server.server_port}'
        (tmp_path / 'list.txt').write_text(f'{address}/clip.mp4\n'
                                           f'{address}/absent.mp4\n')
        settings = tiny_settings(root, tmp_path / 'out')
        summary = run_fleet(
            read_units(f'{address}/list.txt'),
            settings,
            lambda: SerialEngine(settings),
            progress=FleetProgress(io.StringIO()))
        server.shutdown()
    assert [item['reason'] for item in summary.failures
            ] == [f'"{address}/absent.mp4" does not exist']
    video, = FleetFolder(settings.out).manifest()['videos']
    assert video['input'] == f'{address}/clip.mp4'
    assert (video['name'], video['num_frames']) == ('clip', 6)


@pytest.mark.fleet
@pytest.mark.slow
def test_processes_share_a_bucket(root, monkeypatch):
    """Inputs, config's weights, checkpoints and results lie in S3."""
    with s3_bucket(monkeypatch) as box:
        for path in root.rglob('*'):
            name = path.relative_to(root)
            if path.is_file() and name.parts[0] in ('clips', 'tiny.pth'):
                send_file(path, f'{box}/in/{name}')
        monkeypatch.setenv('REFINEVIS_MM_CACHE', str(root / 'cache'))
        settings = prepare_settings(
            str(root / 'tiny.py'),
            f'{box}/in/tiny.pth',
            f'{box}/out',
            outputs=PLAIN_OUTPUTS,
            checkpoint_every=2)
        units = read_units(f'{box}/in/clips/*')
        assert len(units) == NUM_CLIPS + 1
        engine = KillingEngine(LocalEngine(settings, 2), kills=2)
        summary = run_fleet(
            units,
            settings,
            lambda: engine,
            progress=FleetProgress(io.StringIO()))
        assert [failure['name'] for failure in summary.failures] == ['broken']
        assert list_files(f'{box}/out/unfinished') == {}
        names = list_files(root / 'serial/videos')
        assert list_files(f'{box}/out/videos').keys() == names.keys()
        for name in names:
            if not name.endswith('video.json'):  # it names the input
                assert read_bytes(f'{box}/out/videos/{name}') == (
                    root / 'serial/videos' / name).read_bytes()
        assert read_bytes(f'{box}/out/SHA256SUMS') == (
            root / 'serial/SHA256SUMS').read_bytes()


def test_lost_storage_is_not_the_fault_of_videos(root, tmp_path, monkeypatch):
    fs = fsspec.filesystem('memory')
    settings = tiny_settings(root, 'memory://lost')
    calls = []

    def put_file(*args, **kwargs):
        calls.append(args)
        if len(calls) > 3:
            raise ConnectionError('no route to host')
        return type(fs).put_file(fs, *args, **kwargs)

    monkeypatch.setattr(fs, 'put_file', put_file, raising=False)
    with pytest.raises(
            StorageError,
            match='the storage of "memory://lost/.*" does not '
            'answer: no route to host; what is finished stays'):
        run(root, settings, SerialEngine(settings))
    monkeypatch.undo()
    summary = run(root, settings, SerialEngine(settings))
    assert len(summary.failures) == 1
    fs.rm('/lost', recursive=True)


def test_a_folder_that_can_no_longer_be_written(root, tmp_path, monkeypatch):
    settings = tiny_settings(root, tmp_path / 'out')
    engine = SerialEngine(settings)

    def gone(unit, on_frame):
        shutil.rmtree(tmp_path / 'out')
        (tmp_path / 'out').write_text('a file in the place of the folder')
        raise OSError('stale file handle')

    start = engine.start

    def start_and_lose(worker):
        start(worker)
        engine._worker._render = gone

    engine.start = start_and_lose
    with pytest.raises(StorageError, match='can no longer be written'):
        run(root, settings, engine)


def test_what_is_memory_of_one_process(root):
    settings = tiny_settings(root, 'memory://out')
    with pytest.raises(ValueError, match='use --engine serial'):
        LocalEngine(settings, 2)


@pytest.mark.slow
def test_a_checkpoint_that_is_another_on_a_machine(root, tmp_path):
    settings = tiny_settings(root, tmp_path / 'out')
    shutil.copytree(root / 'clips', tmp_path / 'clips')
    wrong = replace(settings, sha256='0' * 64)
    with pytest.raises(ValueError, match='must have the SHA-256 0000000000'):
        run(tmp_path, wrong, LocalEngine(wrong, 2))


def test_ray_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(
            ImportError,
            match='needs Ray .* Run: pip install '
            '"refinevis_mm\\[ray\\]", or use --engine local'):
        RayEngine.check()
