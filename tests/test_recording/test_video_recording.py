# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import multiprocessing
import random
import resource
import signal
import sqlite3
import struct
import time
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from refinevis_mm.recording import VideoRecording
from tests.tiny_recordings import (CLASSES, SIZE, ResultStream, box, create,
                                   merging_frames, random_frames)

VIEWS = ('frame_level', 'online', 'offline')


def same_instances(a, b):
    """Whether two FrameInstances are equal in every bit and type."""
    a, b = dict(vars(a)), dict(vars(b))
    for name in ('cls_scores', 'boxes'):
        first, second = a.pop(name), b.pop(name)
        if first.dtype != second.dtype or not np.array_equal(first, second):
            return False
    return a == b


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'recording.sqlite'


@pytest.mark.parametrize('seed', range(6))
def test_tracklets_are_those_of_video_result(path, seed):
    """Also with discards, ids that come back, and after reopening."""
    stream = ResultStream(VIEWS)
    with create(path, VIEWS) as recording:
        for frame in random_frames(stream, 40, seed):
            recording.add(frame)
            for view in VIEWS:
                assert list(recording.tracklets(
                    view)) == stream.expected[view].tracklets()
        recording.finish()
    with VideoRecording.open(path) as recording:
        for view in VIEWS:
            assert list(recording.tracklets(
                view, 0.5)) == stream.expected[view].tracklets(0.5) != []
            assert list(recording.tracklets(
                view, 0., 2)) == stream.expected[view].tracklets(0., 2) != []
        assert list(
            recording.tracklets()) == stream.expected['offline'].tracklets()


@pytest.mark.parametrize('seed', range(4))
def test_merged_tracks_are_those_of_video_result(path, seed):
    """With those that the end of the video tells, and after reopening."""
    stream = ResultStream(VIEWS)
    with create(path, VIEWS) as recording:
        num_merges = 0
        for frame in merging_frames(stream, 40, seed):
            recording.add(frame)
            num_merges += len(frame.merged_ids)
            for view in VIEWS:
                assert list(recording.tracklets(
                    view)) == stream.expected[view].tracklets()
        assert num_merges > 2
        tracks = recording.tracks()
        recording.merge(stream.merge({tracks[-1].id: tracks[0].id}))
        recording.finish()
    with VideoRecording.open(path) as recording:
        assert len(recording.tracks()) == len(tracks) - 1
        for view in VIEWS:
            assert list(recording.tracklets(
                view)) == stream.expected[view].tracklets() != []


def test_frames_come_back_as_they_were(path):
    stream = ResultStream()
    frames = [
        replace(frame, discarded_ids=[])
        for frame in random_frames(stream, 30, 0)
    ]
    with create(path) as recording:
        for frame in frames:
            recording.add(frame)
        assert recording.num_frames == 30
        assert recording.times() == [frame.time for frame in frames]
        for view in stream.views:
            read = list(recording.frames(view))
            assert [row[:2] for row in read] == [(frame.frame_id, frame.time)
                                                 for frame in frames]
            for (_, _, instances), frame in zip(read, frames):
                assert same_instances(instances, frame.views[view])
        assert same_instances(recording.frame(7), frames[7].instances)


def hand_made(path):
    """Id 5: detected, recovered twice, missed, gone, detected; its class
    changes. Id 2: in frames 1 and 2. Id 9 never has a mask."""
    stream = ResultStream(['online'])
    recording = create(path, ['online'], run='x')
    cat, dog, none = [0.5, 0.25, 0.], [0., 0.75, 0.25], [0., 0., 0.]
    for rows in [
        [(5, cat, True, box(0)), (9, cat, False, None)],
        [(2, dog, True, box(4)), (5, cat, False, box(1))],
        [(5, cat, False, box(2)), (2, none, True, None)],
        [(5, cat, False, None)],
        [],
        [(5, dog, True, box(4, 3))],
    ]:
        recording.add(stream.frame(dict(online=rows)))
    return recording


def test_states_and_summaries_by_hand(path):
    recording = hand_made(path)
    assert list(recording.track_states().items()) == [
        (5, [(0, 1, 'detected'), (1, 3, 'recovered'), (3, 4, 'missed'),
             (5, 6, 'detected')]), (9, [(0, 1, 'missed')]),
        (2, [(1, 3, 'detected')])
    ]
    first, never, second = recording.tracks()
    scores = first.cls_scores.tolist(), second.cls_scores.tolist()
    assert scores == ([0.25, 0.5, 0.125], [0., 0.375, 0.125])
    assert (first.id, first.label, first.name, first.score, first.first,
            first.last, first.num_detected, first.num_recovered,
            first.num_missed) == (5, 1, 'dog', 0.5, 0, 5, 2, 2, 1)
    assert (never.id, never.score, never.first, never.last,
            never.num_missed) == (9, 0., 0, 0, 1)
    assert (second.id, second.label, second.first, second.last) == (2, 1, 1, 2)
    # the first frame still says what it said then
    assert recording.frame(0).classes == ['cat', 'cat']
    assert recording.frame(0).scores == [0.5, 0.]
    assert recording.frame(4).cls_scores.shape == (0, 3)


def test_last_frame_is_the_last_seen_one(path):
    stream = ResultStream(['online'])
    recording = create(path, ['online'])
    score = [0.5, 0., 0.]
    for row in [(0, score, False, None), (0, score, True, box(0)),
                (0, score, False, None)]:
        recording.add(stream.frame(dict(online=[row])))
    track, = recording.tracks()
    assert (track.first, track.last, track.num_missed) == (1, 1, 2)


def test_discarded_ids_leave_all_views(path):
    stream = ResultStream()
    score = [0.5, 0., 0.]
    row, other = (3, score, True, box(0)), (4, score, True, box(4))
    recording = create(path)
    recording.add(stream.frame(dict(frame_level=[row], online=[row, other])))
    recording.add(stream.frame(dict(frame_level=[other]), discarded=[3, 77]))
    assert recording.tracks('frame_level')[0].id == 4
    assert [track.id for track in recording.tracks('online')] == [4]
    assert recording.frame(0, 'frame_level').ids == []
    assert recording.frame(0).ids == [4]
    # the id comes back, in the frame that discards it again
    recording.add(stream.frame(dict(online=[row]), discarded=[3]))
    assert recording.track_states() == {
        4: [(0, 1, 'detected')],
        3: [(2, 3, 'detected')]
    }


def test_facts_and_empty_frames(path):
    stream = ResultStream()
    with create(path, window=5, run=[1, 'a']) as recording:
        assert recording.num_classes == 3 and recording.tracks() == []
        assert list(recording.frames()) == [] and recording.state is None
        for _ in range(3):
            recording.add(stream.frame({}))
        recording.finish()
        recording.finish()
    with VideoRecording.open(str(path)) as recording:
        assert recording.num_frames == 3 and recording.finished
        assert len(list(recording.frames())) == 3
        assert (recording.size, recording.fps) == (SIZE, 10.)
        assert recording.classes == CLASSES
        assert recording.views == ['frame_level', 'online']
        assert recording.view == 'online'
        assert recording.settings == dict(window=5, run=[1, 'a'])
        assert list(recording.tracklets()) == []
        with pytest.raises(ValueError, match='is finished .* got frame 3'):
            recording.add(stream.frame({}))
    assert list(path.parent.iterdir()) == [path]


def test_closing_keeps_the_last_checkpoint(path):
    stream = ResultStream()
    frames = list(random_frames(stream, 6, 0))
    with create(path) as recording:
        for frame in frames[:2]:
            recording.add(frame)
        recording.checkpoint(b'old')
        recording.add(frames[2])
        recording.checkpoint(b'two\0')
        recording.add(frames[3])
    with VideoRecording.open(path) as recording:
        assert recording.num_frames == 3 and recording.state == b'two\0'
        assert not recording.finished
        for frame in frames[3:]:  # it goes on from there
            recording.add(frame)
        assert list(
            recording.tracklets()) == stream.expected['online'].tracklets()


def write_frames(pipe, path, frames, checkpoints):
    """Add frames, with a checkpoint (its state is their number) after some;
    tells each step, and waits in the end to be killed."""
    with create(path, size=frames[0].image.shape[:2]) as recording:
        for number, frame in enumerate(frames, 1):
            recording.add(frame)
            if number in checkpoints:
                recording.checkpoint(b'%d' % number)
            pipe.send(number)
        signal.pause()


def kill_when(path, frames, checkpoints, number, delay=0.):
    """SIGKILL a process that writes frames, after so many of them."""
    context = multiprocessing.get_context('fork')
    pipe, child_pipe = context.Pipe()
    child = context.Process(
        target=write_frames, args=(child_pipe, path, frames, checkpoints))
    child.start()
    try:
        while pipe.recv() != number:
            pass
        time.sleep(delay)
    finally:
        child.kill()
        child.join()
    assert child.exitcode == -signal.SIGKILL


def assert_prefix(path, num, seed, size):
    """The file must hold the first frames of a random stream."""
    expected = ResultStream(size=size)
    for _ in random_frames(expected, num, seed):
        pass
    with VideoRecording.open(path) as recording:
        assert recording.num_frames == num == len(recording.times())
        for view in expected.views:
            assert list(recording.tracklets(
                view)) == expected.expected[view].tracklets()
    with sqlite3.connect(path) as database:
        check = database.execute('PRAGMA integrity_check').fetchall()
    assert check == [('ok', )]


def test_killed_right_after_a_checkpoint(path):
    frames = list(random_frames(ResultStream(), 20, 0))
    kill_when(path, frames, {10, 20}, 20)
    assert VideoRecording.open(path).state == b'20'
    assert_prefix(path, 20, 0, SIZE)


def test_killed_with_more_than_the_cache_not_committed(path):
    """Part of the rows, discards too, are in the file when it is killed."""
    size = (160, 160)
    frames = list(random_frames(ResultStream(size=size), 150, 0))
    frames[20:] = [
        replace(
            frame, discarded_ids=list(range(7)) if frame is frames[-1] else [])
        for frame in frames[20:]
    ]
    kill_when(path, frames, {20}, 150)
    journal = Path(f'{path}-journal')
    assert journal.stat().st_size > 0
    assert path.stat().st_size > 3e6
    assert VideoRecording.open(path).state == b'20'
    assert_prefix(path, 20, 0, size)
    assert path.stat().st_size < 1e6 and not journal.exists()


def test_killed_at_any_moment(path):
    """State and rows are those of one checkpoint."""
    frames = list(random_frames(ResultStream(), 250, 3))
    rng = random.Random(0)
    for _ in range(8):
        number = rng.randint(1, 200)
        kill_when(path, frames, range(0, 250, 10), number, rng.random() / 50)
        with VideoRecording.open(path) as recording:
            num = recording.num_frames
            assert recording.state == (b'%d' % num if num else None)
            assert num >= number // 10 * 10
        assert_prefix(path, num, 3, SIZE)
        path.unlink()


# ----------------------------------------------------------------- bad input


def test_other_files_are_refused(path):
    with pytest.raises(FileNotFoundError, match='recording.sqlite'):
        VideoRecording.open(path)
    with pytest.raises(FileNotFoundError):
        VideoRecording.open(path.parent)
    path.write_bytes(b'')
    with pytest.raises(ValueError, match="recording.sqlite' is not a rec"):
        VideoRecording.open(path)
    path.write_bytes(b'no database at all' * 100)
    with pytest.raises(ValueError, match="recording.sqlite' is not a rec"):
        VideoRecording.open(path)
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute('CREATE TABLE frames (frame_id)')
    with pytest.raises(ValueError, match="recording.sqlite' is not a rec"):
        VideoRecording.open(path)
    with pytest.raises(FileExistsError, match="recording.sqlite' exists"):
        create(path)


def small(path):
    """A finished recording of two frames with two tracks."""
    stream = ResultStream(['online'])
    rows = [(3, [0.5, 0.25, 0.], True, box(0)),
            (4, [0.5, 0.25, 0.], False, None)]
    with create(path, ['online']) as recording:
        for index in range(2):
            recording.add_origin(index, index, f'{index}.jpg')
            recording.add(stream.frame(dict(online=rows)))
        recording.checkpoint(b'state')
        recording.finish()


def read_all(path):
    """Everything that a recording tells."""
    with VideoRecording.open(path) as recording:
        return (recording.state, recording.times(), recording.origins(),
                recording.tracks(), list(recording.frames()),
                list(recording.tracklets()), recording.track_states())


def test_a_journal_that_names_a_file_is_refused(path):
    """SQLite deletes the file that a journal names."""
    small(path)
    other = path.parent / 'precious.txt'
    other.write_text('not to be deleted')
    hot = path.with_name('hot.sqlite')
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute('PRAGMA cache_size = 1')
        db.execute('BEGIN')
        db.executemany('INSERT INTO facts VALUES (?, ?)',
                       [(f'{i}', 'x' * 999) for i in range(99)])
        for end in ('', '-journal'):
            copy = Path(f'{hot}{end}')
            copy.write_bytes(Path(f'{path}{end}').read_bytes())
    name = str(other).encode()
    page = (2**30 // 4096 + 1).to_bytes(4, 'big')
    numbers = struct.pack('>II', len(name), sum(name))
    with open(f'{hot}-journal', 'ab') as file:
        file.write(page + name + numbers + bytes.fromhex('d9d505f920a163d7'))
    with pytest.raises(ValueError, match='names another file'):
        VideoRecording.open(hot)
    assert other.exists()


@pytest.mark.parametrize('change, match', [
    ('DROP TABLE frames; CREATE VIEW frames AS WITH RECURSIVE n(frame_id) AS '
     '(SELECT 0 UNION ALL SELECT frame_id + 1 FROM n) '
     'SELECT frame_id, 0.0 AS time FROM n', 'tables of a recording only'),
    ("PRAGMA writable_schema = 1; UPDATE sqlite_master SET name = "
     "CAST(name AS BLOB) WHERE name = 'frames'", 'tables of a recording only'),
    ('CREATE TRIGGER t AFTER INSERT ON origins BEGIN DELETE FROM facts; END',
     'tables of a recording only'),
    ("UPDATE facts SET value = '[1000000, 1000000]' WHERE name = 'size'",
     'of at most 268435456 pixels'),
    ("UPDATE facts SET value = '[6]' WHERE name = 'size'", 'height and width'),
    ("UPDATE facts SET value = '\"dog\"' WHERE name = 'classes'",
     'classes of facts of .* must be list'),
    ("UPDATE facts SET value = 'Infinity' WHERE name = 'fps'", 'got inf'),
    ("UPDATE facts SET value = '{' WHERE name = 'settings'", 'is no JSON'),
    (f"UPDATE facts SET value = '{'[' * 10**5}' WHERE name = 'settings'",
     'is no JSON'),
    ("DELETE FROM facts WHERE name = 'fps'", "lacks 'fps'"),
    ('UPDATE frames SET frame_id = 7 WHERE frame_id = 1',
     '2 frames must be counted from 0, got 0 to 7'),
    ("UPDATE frames SET time = 'soon'", 'times in .* must be float, got str'),
    ('UPDATE frames SET time = 9 - frame_id', 'times in .* must not fall'),
    ("UPDATE origins SET name = '../../secret.jpg'", 'inside a folder'),
    ("UPDATE origins SET name = '/secret.jpg'", 'inside a folder'),
    ("UPDATE origins SET number = 'one'", 'number of .* must be int'),
    ("UPDATE instances SET counts = '11' WHERE track_id = 3",
     'a mask of .* is damaged'),
    ("UPDATE instances SET counts = 'PP' WHERE track_id = 3",
     'a mask of .* is damaged'),
    ("UPDATE instances SET counts = x'00'", 'must be str, got bytes'),
    ("UPDATE instances SET cls_scores = x'00'", '3 finite numbers'),
    (f"UPDATE instances SET cls_scores = x'{'000000000000f87f' * 3}'",
     '3 finite numbers'),
    ('UPDATE instances SET label = 3', 'labels below 3'),
    ('UPDATE instances SET state = 7', 'states must be positions'),
    ('UPDATE instances SET x2 = 9', 'boxes inside of'),
    ('UPDATE instances SET score = 1e999', 'got inf'),
    ("UPDATE instances SET track_id = 'a' WHERE track_id = 3",
     'must be int, got str'),
    ('UPDATE instances SET frame_id = 5 WHERE frame_id = 1',
     'must be of a frame and a state, got 5'),
    ("UPDATE state SET content = 'text'", 'must be bytes, got str'),
])
def test_edited_files_are_refused(path, change, match):
    small(path)
    assert len(read_all(path)[3]) == 2
    with closing(sqlite3.connect(path)) as db:
        db.executescript(change)
        db.commit()
    with pytest.raises(ValueError, match=match) as error:
        read_all(path)
    assert '\n' not in str(error.value)


def test_damaged_pages_are_refused(path):
    """A page that is its own child has rows without end."""
    stream = ResultStream(['online'], size=(160, 160))
    with create(path, ['online'], (160, 160)) as recording:
        for frame in random_frames(stream, 60, 0):
            recording.add(frame)
        recording.finish()
    with closing(sqlite3.connect(path)) as db:
        number, = db.execute("SELECT rootpage FROM sqlite_master "
                             "WHERE name = 'instances'").fetchone()
    data = bytearray(path.read_bytes())
    page = 4096 * (number - 1)
    assert data[page] == 5  # inside of the tree
    first = int.from_bytes(data[page + 12:page + 14], 'big')
    child = data[page + first:page + first + 4]
    for cell in range(int.from_bytes(data[page + 3:page + 5], 'big')):
        at = page + 12 + 2 * cell
        at = page + int.from_bytes(data[at:at + 2], 'big')
        data[at:at + 4] = child
    path.write_bytes(data)
    with pytest.raises(ValueError, match="sqlite' is damaged: "):
        VideoRecording.open(path)


def test_names_without_a_code_are_kept(path):
    """A file that is not called in UTF-8, as Python gives its name."""
    with create(path) as recording:
        recording.add_origin(0, 0, 'caf\udce9.jpg')
        recording.add(ResultStream().frame({}))
        assert recording.origins() == [(0, 'caf\\udce9.jpg')]


@pytest.mark.parametrize('change, match', [
    ('PRAGMA user_version = 7', 'format 7, .* reads up to 1'),
    ("""UPDATE facts SET value = '["online", "sideways"]'
        WHERE name = 'views'""", "got 'sideways'"),
])
def test_other_versions_are_refused(path, change, match):
    create(path).close()
    with sqlite3.connect(path) as database:
        database.execute(change)
    with pytest.raises(ValueError, match=match):
        VideoRecording.open(path)


@pytest.mark.parametrize('views, match', [
    (['upside_down'], "got 'upside_down'"),
    (['online', 'online'], 'must be different'),
])
def test_bad_views(path, views, match):
    with pytest.raises(ValueError, match=match):
        create(path, views)
    with pytest.raises(ValueError, match='the main view among them'):
        VideoRecording.create(path, CLASSES, SIZE, 5., ['online'], 'offline',
                              {})
    assert list(path.parent.iterdir()) == []
    recording = create(path)
    for read in (recording.frames, recording.tracklets):
        with pytest.raises(ValueError, match="got 'offline'"):
            list(read('offline'))
    for read in (recording.tracks, recording.track_states):
        with pytest.raises(ValueError, match="got 'offline'"):
            read('offline')
    with pytest.raises(ValueError, match=r'in \[0, 0\), got 0'):
        recording.frame(0)


def changed(frame, **values):
    """A frame whose main view is different."""
    views = dict(frame.views, online=replace(frame.instances, **values))
    return replace(frame, views=views)


def test_bad_frames_leave_no_trace(path):
    stream = ResultStream()
    recording = create(path)
    row = (4, [0.5, 0.25, 0.], True, box(0))
    first, second = (
        stream.frame(dict(frame_level=[row], online=[row])) for _ in range(2))
    recording.add(first)
    bad = [
        (first, 'expected frame 1, got 0'),
        (replace(second, frame_id=2), 'expected frame 1, got 2'),
        (replace(second, views=dict(online=second.instances)),
         r"frame 1 must have the views .* got \['online'\]"),
        (changed(second, size=(8, 6)), r'must be \(6, 8\), got .*\(8, 6\)'),
        (changed(second, masks=[dict(size=[3, 3], counts='9')]), r'\(3, 3\)'),
        (changed(second, ids=[4, 4]), r'once per frame, got \[4, 4\]'),
        (changed(second, cls_scores=np.zeros(
            (1, 5))), r'\(1, 3\), got \(1, 5'),
    ]
    for frame, match in bad:
        frame = replace(frame, discarded_ids=[4])
        with pytest.raises(ValueError, match=match):
            recording.add(frame)
    recording.add(second)
    assert list(recording.tracklets()) == stream.expected['online'].tracklets()


def test_two_writers_get_an_oserror(path, monkeypatch):
    """The one that comes too late; the file is whole."""
    stream = ResultStream()
    frames = list(random_frames(stream, 2, 0))
    with create(path) as recording:
        other = sqlite3.connect(path)
        other.execute('BEGIN IMMEDIATE')
        recording._db.execute('PRAGMA busy_timeout = 1')
        with pytest.raises(OSError, match="sqlite' cannot be written: data"):
            recording.add(frames[0])
        other.rollback()
    with VideoRecording.open(path) as recording:
        assert recording.num_frames == 0
        recording.add(frames[0])


# -------------------------------------------------------------------- memory


def resident_mb():
    """Memory of this process in MB."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.skipif(
    not Path('/proc/self/statm').exists(), reason='needs /proc')
def test_memory_does_not_grow(path):
    """2,700 frames of 10 tracks more or less, written and read."""
    stream = ResultStream(['online'])
    score = [0.5, 0.25, 0.125]
    frame = stream.frame(
        dict(online=[(i, score, True, box(i % 7)) for i in range(10)]))
    recording = create(path, ['online'])
    used = []
    for frame_id in range(3000):
        recording.add(replace(frame, frame_id=frame_id))
        if frame_id % 300 == 299:
            recording.checkpoint(b'x')
            used.append(resident_mb())
    assert max(used) - used[0] < 3
    assert path.stat().st_size > 2.5e6  # more than the cache holds
    reading = []
    for _ in recording.frames():
        reading.append(resident_mb())
    for tracklet in recording.tracklets():
        assert len(tracklet['segmentations']) == 3000
        reading.append(resident_mb())
    assert max(reading) - reading[0] < 6


def test_origins(path):
    """Noted before a frame comes, kept by commits like the frames."""
    stream = ResultStream()
    with create(path) as recording:
        for k, origin in enumerate([(3, 'a/3.png'), (5, None), (7, 'b.png')]):
            recording.add_origin(k, *origin)
        recording.add(stream.frame({}))
        recording.add(stream.frame({}))
        assert recording.origins() == [(3, 'a/3.png'), (5, None)]
        recording.checkpoint(b'')
        recording.add_origin(3, 9)
    with VideoRecording.open(path) as recording:
        recording.add(stream.frame({}))
        recording.add(stream.frame({}))  # nothing is known of this one
        assert recording.origins() == [(3, 'a/3.png'), (5, None), (7, 'b.png'),
                                       (3, None)]


def test_recording_of_an_older_version(path):
    with create(path) as recording:
        recording.add(ResultStream().frame({}))
        recording.finish()
    with closing(sqlite3.connect(path)) as db:
        db.execute('DROP TABLE origins')
    with VideoRecording.open(path) as recording:
        assert recording.origins() == [(0, None)]


@pytest.mark.parametrize('time', [0.9, float('nan'), float('inf')])
def test_times_must_not_fall(path, time):
    first, second = islice(random_frames(ResultStream(VIEWS), 2, seed=0), 2)
    with create(path, VIEWS) as recording:
        recording.add(replace(first, time=1.))
        with pytest.raises(ValueError, match='must not fall|a finite time'):
            recording.add(replace(second, time=time))
        recording.add(replace(second, time=1.))
        assert recording.times() == [1., 1.]


def test_a_locked_file_is_called_so(path, monkeypatch):
    create(path, VIEWS).close()
    connect = sqlite3.connect
    monkeypatch.setattr('sqlite3.connect',
                        lambda *args, **kwargs: connect(*args, timeout=0))
    with closing(connect(path, isolation_level=None)) as other:
        other.execute('BEGIN EXCLUSIVE')
        with pytest.raises(OSError, match='database is locked'):
            VideoRecording.open(path)


@pytest.mark.parametrize('change', [
    dict(ids=[-1]), dict(labels=[99]),
    dict(boxes=np.float32([[-1, 0, 4, 4]])),
    dict(boxes=np.float32([[0, 0, 4, SIZE[0] + 1]])),
    dict(boxes=np.float32([[0, 0, 4, np.nan]]))
])  # yapf: disable
def test_what_cannot_be_read_again_is_not_taken(path, change):
    stream = ResultStream(['online'])
    frame = stream.frame(dict(online=[(3, [0.1, 0.2, 0.3], True, box(0))]))
    edited = replace(frame.views['online'], **change)
    with create(path, ['online']) as recording:
        with pytest.raises(ValueError, match='boxes inside of'):
            recording.add(replace(frame, views=dict(online=edited)))
        recording.add(frame)
        assert recording.num_frames == 1
