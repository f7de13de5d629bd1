# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Which worker gets which video when workers die, refuse or differ."""
import io
import json
from collections import deque

import pytest

import refinevis_mm
from refinevis_mm.fleet import (Event, FleetFolder, FleetProgress, Kind,
                                VideoReport, VideoUnit, run_fleet)
from refinevis_mm.storage import StorageError


class Settings:
    """What a run needs to know of its settings."""

    outputs = ('csv', )
    checkpoint_every = 5

    def __init__(self, out, **facts):
        self.out = str(out)
        self._facts = dict(model='a', **facts)

    def facts(self):
        return self._facts


class FakeEngine:
    """Does at once what a plan says of each video.

    Args:
        folder: Of the results.
        plan: By video what happens to it the first, second ... time: 'done',
            'dies', 'dies late' (behind a checkpoint), 'bad' or 'lost'; 'done'
            if nothing is said.
        starts: The same by worker, for its starts: 'ready', 'refused', 'dies'
            or a version.
    """

    def __init__(self, folder, max_workers=2, plan=None, starts=None):
        self.folder = folder
        self.max_workers = max_workers
        self.plan = {k: deque(v) for k, v in (plan or {}).items()}
        self.starts = {k: deque(v) for k, v in (starts or {}).items()}
        self.log = []
        self.closed = False
        self._events = []

    def start(self, worker):
        self.log.append(('start', worker))
        kind = (self.starts.get(worker) or deque(['ready'])).popleft()
        self._events.append({
            'ready': (worker, Kind.READY, refinevis_mm.__version__),
            'refused': (worker, Kind.REFUSED, 'no GPU'),
            'dies': (worker, Kind.DIED, 'out of memory')
        }.get(kind, (worker, Kind.READY, kind)))
        if kind == 'refused':  # its process ends
            self._events.append((worker, Kind.DIED, 'exit code 0'))

    def assign(self, worker, unit):
        self.log.append((unit.name, worker))
        what = (self.plan.get(unit.name) or deque(['done'])).popleft()
        if what == 'dies late':
            self._events.append((worker, Kind.FRAMES, 5))
        if what.startswith('dies'):
            self._events.append((worker, Kind.DIED, 'killed'))
            return
        report = VideoReport(None, 'no video', lost=what == 'lost')
        if what == 'done':
            with self.folder.place(unit) as place:
                place.path.mkdir(parents=True, exist_ok=True)
                (place.path / 'tracks.csv').write_text(unit.name)
                record = self.folder.finish(
                    unit, place, ['tracks.csv'],
                    dict(num_frames=5, num_tracks=1, classes=['cat']))
            report = VideoReport(record)
            self._events.append((worker, Kind.FRAMES, 5))
        self._events.append((worker, Kind.DONE, report))

    def wait(self, seconds):
        events, self._events = self._events, []
        assert events, 'nothing would ever happen'
        return [Event(*event) for event in events]

    def close(self):
        self.closed = True


def units(number=5):
    return [
        VideoUnit(f'v{index}', f'/v{index}.mp4') for index in range(number)
    ]


def run(out, number=5, facts=None, **options):
    folder = FleetFolder(str(out))
    engine = FakeEngine(folder, **options)
    said = io.StringIO()
    try:
        summary = run_fleet(
            units(number),
            Settings(out, **(facts or {})),
            lambda: engine,
            progress=FleetProgress(said))
    finally:
        assert engine.closed or not engine.log
    return summary, engine, said.getvalue()


def contents(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in out.rglob('*') if path.is_file()
    }


def test_what_died_does_not_show(tmp_path):
    summary, engine, said = run(
        tmp_path / 'killed', plan=dict(v0=['dies', 'dies'], v3=['dies']))
    assert summary.failures == []
    # v0 goes first to the next one that is free
    assert [name for name, _ in engine.log if name != 'start'].count('v0') == 3
    assert 'v0: killed; another one goes on' in said
    assert run(tmp_path / 'whole')[0].num_frames == 25
    assert contents(tmp_path / 'killed') == contents(tmp_path / 'whole')
    manifest = FleetFolder(str(tmp_path / 'whole')).manifest()
    assert [video['name'] for video in manifest['videos']
            ] == [unit.name for unit in units()]
    sums = (tmp_path / 'whole/SHA256SUMS').read_text().splitlines()
    assert len(sums) == 5 and sums[0].endswith('  videos/v0/tracks.csv')


def test_a_video_that_kills_its_workers(tmp_path):
    summary, engine, _ = run(tmp_path, plan=dict(v2=['dies'] * 9))
    assert [failure['name'] for failure in summary.failures] == ['v2']
    assert summary.failures[0]['reason'] == (
        'killed, the last of 3 that died of this video')
    assert json.loads(
        (tmp_path / 'failures.json').read_text()) == summary.failures
    assert len(FleetFolder(str(tmp_path)).manifest()['videos']) == 4


def test_a_long_video_outlives_its_workers(tmp_path):
    late, early = ['dies late'], ['dies']
    summary, _, _ = run(tmp_path / 'a', plan=dict(v2=late * 9))
    assert summary.failures == []
    plan = early * 2 + late + early * 2
    summary, _, _ = run(tmp_path / 'b', plan=dict(v2=plan))
    assert summary.failures == []
    summary, _, _ = run(tmp_path / 'c', plan=dict(v2=plan + early))
    assert [failure['name'] for failure in summary.failures] == ['v2']


def test_failures_are_tried_again_and_nothing_else(tmp_path):
    summary, _, said = run(tmp_path, plan=dict(v1=['bad']))
    assert summary.failures == [
        dict(name='v1', input='/v1.mp4', reason='no video')
    ]
    assert 'v1: no video' in said
    summary, engine, _ = run(tmp_path)
    assert [name for name, _ in engine.log if name != 'start'] == ['v1']
    assert (summary.num_skipped, summary.failures) == (4, [])
    assert json.loads((tmp_path / 'failures.json').read_text()) == []
    summary, engine, _ = run(tmp_path)
    assert engine.log == [] and summary.num_skipped == 5


def test_no_more_workers_than_videos(tmp_path):
    _, engine, _ = run(tmp_path, number=2, max_workers=8)
    assert engine.log.count(('start', 1)) == 1
    assert ('start', 2) not in engine.log


def test_lost_storage_ends_the_run_which_can_be_repeated(tmp_path):
    with pytest.raises(StorageError, match='no video; what is finished stays'):
        run(tmp_path, max_workers=1, plan=dict(v2=['lost']))
    assert not (tmp_path / 'manifest.json').exists()
    summary, engine, _ = run(tmp_path)
    assert summary.num_skipped == 2 and not summary.failures


def test_workers_that_cannot_start(tmp_path):
    refused = {0: ['refused'], 1: ['refused']}
    with pytest.raises(ValueError, match='workers cannot start: no GPU'):
        run(tmp_path, starts=refused)
    with pytest.raises(ValueError, match='cannot start: out of memory'):
        run(tmp_path, starts={0: ['dies'] * 3, 1: ['dies'] * 3})
    # one of them can
    summary, _, said = run(tmp_path, starts={1: ['dies', 'dies', 'refused']})
    assert not summary.failures and 'a worker cannot start: no GPU' in said
    assert summary.num_skipped == 0


def test_workers_of_another_version(tmp_path):
    with pytest.raises(
            ValueError,
            match='all machines must have refinevis_mm .* with 0.0.9'):
        run(tmp_path, starts={0: ['0.0.9']})


def test_a_folder_of_another_model(tmp_path):
    run(tmp_path)
    with pytest.raises(ValueError, match='holds a run with mode nothing, it'):
        run(tmp_path, facts=dict(mode='offline'))
    (tmp_path / 'run.json').unlink()
    with pytest.raises(ValueError, match='it is not known of which model'):
        run(tmp_path)


def test_a_result_of_another_input(tmp_path):
    run(tmp_path)
    other = [VideoUnit('v1', '/elsewhere/v1.mp4')]
    with pytest.raises(ValueError, match="input '/v1.mp4', it cannot be"):
        run_fleet(other, Settings(tmp_path), None)
    other = [VideoUnit('v1', '/v1.mp4', dict(stride=2))]
    with pytest.raises(ValueError, match='holds a run with options'):
        run_fleet(other, Settings(tmp_path), None)


def test_a_result_without_its_files_is_none(tmp_path):
    run(tmp_path)
    (tmp_path / 'videos/v1/tracks.csv').write_text('cut off')
    (tmp_path / 'videos/v2/video.json').unlink()
    _, engine, _ = run(tmp_path)
    assert sorted(name for name, _ in engine.log
                  if name != 'start') == ['v1', 'v2']


def test_a_damaged_record_is_named(tmp_path):
    run(tmp_path)
    (tmp_path / 'videos/v1/video.json').write_text('{}')
    with pytest.raises(ValueError, match='v1/video.json" lacks'):
        run(tmp_path)


def test_a_second_run_is_told(tmp_path):
    with FleetFolder(str(tmp_path)).one_run():
        with pytest.raises(OSError, match='is used by another run'):
            run(tmp_path)


def test_shares_and_a_last_run(tmp_path):
    for index in range(2):
        folder = FleetFolder(str(tmp_path / 'shares'))
        engine = FakeEngine(folder)
        summary = run_fleet(units(), Settings(tmp_path / 'shares'),
                            lambda: engine, (index, 2),
                            FleetProgress(io.StringIO()))
        assert summary.num_videos == (3, 2)[index]
        assert not (tmp_path / 'shares/manifest.json').exists()
    summary, engine, _ = run(tmp_path / 'shares')
    assert engine.log == []
    run(tmp_path / 'whole')
    found = contents(tmp_path / 'shares')
    for index in '12':
        del found[f'.share-{index}-of-2/.lock']
    assert found == contents(tmp_path / 'whole')


def test_progress():
    progress = FleetProgress(io.StringIO())
    progress.start(num_videos=10, num_skipped=2)
    assert progress.line(4,
                         0.) == 'videos 2/10, 4 workers, 0.0 frames/s, ? left'
    progress.add_frames(100)
    for num_frames in (60, None, 20):
        progress.add_video(num_frames)
    # 5 videos of 40 frames, 20 of which are taken, at 10 frames/s
    assert progress.line(4, 10.) == (
        'videos 5/10, 1 failed, 4 workers, 10.0 frames/s, 0:00:18 left')
