# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results of a video in a file that grows as the frames come."""
import json
import os
import os.path as osp
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from refinevis_mm.files import PathLike, whole_file
from refinevis_mm.structures import (VIEWS, FrameInstances, FrameResult,
                                     class_name)

Run = Tuple[int, int, str]  # first frame, end (exclusive), state

FORMAT = 1
APPLICATION_ID = 0x52564953  # 'RVIS'; SQLite keeps both in the file's header
STATES = ('detected', 'recovered', 'missed')  # stored as their position
DETECTED, RECOVERED, MISSED = range(3)

# `row` counts up, so it keeps the order of the instances in a frame and that
# in which tracks appear. `by_track` holds all that a summary of the tracks
# needs, so that one is made without reading masks.
SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE state (key INTEGER PRIMARY KEY, content BLOB NOT NULL);
CREATE TABLE frames (frame_id INTEGER PRIMARY KEY, time REAL NOT NULL);
CREATE TABLE origins (
    frame_id INTEGER PRIMARY KEY, number INTEGER NOT NULL, name TEXT);
CREATE TABLE instances (
    row INTEGER PRIMARY KEY, view INTEGER NOT NULL, frame_id INTEGER NOT NULL,
    track_id INTEGER NOT NULL, state INTEGER NOT NULL, label INTEGER NOT NULL,
    score REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL, x2 REAL NOT NULL,
    y2 REAL NOT NULL, counts TEXT, cls_scores BLOB NOT NULL);
CREATE INDEX by_frame ON instances (view, frame_id);
CREATE UNIQUE INDEX by_track ON instances (view, track_id, frame_id, state);
"""


@dataclass
class TrackSummary:
    """A track from its first to its last frame, as one view has it.

    Attributes:
        id (int): Its id.
        label (int): Class of the highest final score.
        name (str): Name of the class.
        score (float): Final score of the label, in [0, 1].
        cls_scores (np.ndarray): Final class scores: the last running means,
            float64, has shape (K, ).
        first (int): First frame in which it was detected or recovered; where
            it never was, the first in which it was missed.
        last (int): Last such frame.
        num_detected (int): Frames in which the frame model detected it.
        num_recovered (int): Frames in which refinement found its mask alone.
        num_missed (int): Frames in which neither did while it was followed;
            they may lie before ``first`` and after ``last``.
    """

    id: int
    label: int
    name: str
    score: float
    cls_scores: np.ndarray
    first: int
    last: int
    num_detected: int
    num_recovered: int
    num_missed: int


class VideoRecording:
    """Results of one video in one SQLite file.

    Frames are written as they come, and read back one frame or one track at
    a time, so the memory depends neither on the length of the video nor on
    its number of masks. Make one with :meth:`create` or :meth:`open`.

    :meth:`checkpoint` and :meth:`finish` commit. Whatever happens between
    two commits (an exception, ``kill -9``, a power cut), the file opens with
    the rows and the state of the last one; frames added later are gone. The
    class leaves SQLite's defaults as they are for this: a rollback journal
    (``PATH-journal``, beside the file while there are rows to commit) and
    ``synchronous=FULL``. Write-ahead logging would be no safer, and does not
    work on network disks. The page cache has its default size of 2 MB;
    once more than that waits for a commit, other processes find the file
    locked until then.

    Example:
        >>> with VideoRecording.open('recording.sqlite') as recording:
        ...     for track in recording.tracks():
        ...         print(track.id, track.name, track.score)

    Args:
        path (str | PathLike): The file, must exist.

    Attributes:
        path (str): The file.
        size (tuple[int, int]): Height and width of the frames in pixels.
        fps (float): Frames per second of the video.
        classes (list[str]): Class names, may be fewer than the labels.
        views (list[str]): Views of every frame.
        view (str): The main view.
        settings (dict): What :meth:`create` was given.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no recording, one of a newer version, or one with
            an unknown view.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        if not osp.isfile(self.path):
            raise FileNotFoundError(
                f"a recording must be a file, but '{self.path}' is none")
        self._db = sqlite3.connect(self.path)
        try:
            facts = self._read_facts()
        except BaseException:
            self._db.close()
            raise
        self.size: Tuple[int, int] = tuple(facts['size'])
        self.fps: float = facts['fps']
        self.classes: List[str] = facts['classes']
        self.views: List[str] = facts['views']
        self.view: str = facts['view']
        self.settings: dict = facts['settings']
        self._num_classes: Optional[int] = facts.get('num_classes')
        self._finished: bool = facts.get('finished', False)
        self._num_frames, = self._one('SELECT COUNT(*) FROM frames')

    @classmethod
    def create(cls, path: PathLike, classes: Sequence[str],
               size: Tuple[int, int], fps: float, views: Sequence[str],
               view: str, settings: dict) -> 'VideoRecording':
        """Start an empty recording.

        Args:
            path (str | PathLike): The file to make.
            classes (Sequence[str]): Class names by label; may be empty.
            size (tuple[int, int]): Height and width of the frames in pixels.
            fps (float): Frames per second.
            views (Sequence[str]): Views of every frame, out of 'frame_level',
                'online' and 'offline'.
            view (str): The main one.
            settings (dict): What a resumed run has to know: numbers, text,
                lists and dicts, as JSON has them.

        Returns:
            :obj:`VideoRecording`: Opened.

        Raises:
            FileExistsError: If ``path`` exists; nothing is overwritten.
            OSError: If the file cannot be written.
            ValueError: If a view is unknown, or ``view`` not among them.
        """
        path = os.fspath(path)
        if osp.lexists(path):
            raise FileExistsError(f"'{path}' exists already")
        _check_views(views, view, path)
        facts = dict(
            size=[int(side) for side in size],
            fps=float(fps),
            classes=list(classes),
            views=list(views),
            view=view,
            settings=settings)
        with _os_errors(path), whole_file(path) as part, closing(
                sqlite3.connect(part)) as db:
            db.executescript(
                f'BEGIN; PRAGMA application_id = {APPLICATION_ID}; '
                f'PRAGMA user_version = {FORMAT}; {SCHEMA}')
            _write_facts(db, facts)
            db.commit()
        return cls(path)

    @classmethod
    def open(cls, path: PathLike) -> 'VideoRecording':
        """Open a recording to read it or to add frames.

        Args:
            path (str | PathLike): The file.

        Returns:
            :obj:`VideoRecording`: As the last commit left it.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no recording, one of a newer version, or one
                with an unknown view.
        """
        return cls(path)

    def close(self) -> None:
        """Close the file; frames added since the last commit are gone."""
        self._db.close()

    def __enter__(self) -> 'VideoRecording':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    # ---------------------------------------------------------------- writing

    def add(self, frame: FrameResult) -> None:
        """Add the next frame, all of its views.

        First the rows that earlier frames hold of ``discarded_ids`` are
        deleted from all views.

        Args:
            frame (:obj:`FrameResult`): The frame. Its ``frame_id`` must be
                :attr:`num_frames`.

        Raises:
            ValueError: If the frame does not fit, see the message; the
                recording is unchanged.
            OSError: If it cannot be written. The recording is closed, and
                opens as of the last commit.
        """
        self._check_frame(frame)
        rows = [
            row for key, view in enumerate(self.views)
            for row in _rows_of(key, frame.frame_id, frame.views[view])
        ]
        with self._writing():
            if self._num_classes is None:
                cls_scores = frame.views[self.view].cls_scores
                self._num_classes = int(cls_scores.shape[1])
                _write_facts(self._db, dict(num_classes=self._num_classes))
            self._db.executemany(
                'DELETE FROM instances WHERE view = ? AND track_id = ?',
                [(key, int(track_id)) for key in range(len(self.views))
                 for track_id in frame.discarded_ids])
            self._db.execute('INSERT INTO frames VALUES (?, ?)',
                             (frame.frame_id, float(frame.time)))
            self._db.executemany(
                'INSERT INTO instances VALUES '
                '(NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', rows)
        self._num_frames += 1

    def add_origin(self,
                   frame_id: int,
                   number: int,
                   name: Optional[str] = None) -> None:
        """Note which frame of the video a frame is.

        It may be noted before the frame is added, as soon as it is read.

        Args:
            frame_id (int): The frame.
            number (int): Its position in the video, from 0; another one than
                ``frame_id`` where frames of the video were left out.
            name (str, optional): Its image file, relative to the folder of
                all frames. Defaults to None, no file of its own.

        Raises:
            OSError: If it cannot be written, see :meth:`add`.
        """
        with self._writing():
            self._db.execute('INSERT OR REPLACE INTO origins VALUES (?, ?, ?)',
                             (frame_id, number, name))

    def checkpoint(self, state: bytes) -> None:
        """Commit the frames added so far and a state, both or none.

        Args:
            state (bytes): What a resumed run needs besides, replaces that of
                the last checkpoint.

        Raises:
            OSError: If it cannot be written, see :meth:`add`.
        """
        with self._writing():
            self._db.execute('INSERT OR REPLACE INTO state VALUES (0, ?)',
                             (state, ))
            self._db.commit()

    def finish(self) -> None:
        """Commit the last frames; the recording takes no more.

        The state of the last checkpoint stays.

        Raises:
            OSError: If it cannot be written, see :meth:`add`.
        """
        with self._writing():
            _write_facts(self._db, dict(finished=True))
            self._db.commit()
        self._finished = True

    # ---------------------------------------------------------------- reading

    @property
    def state(self) -> Optional[bytes]:
        """bytes | None: State of the last checkpoint, None before it."""
        found = self._db.execute('SELECT content FROM state').fetchone()
        return None if found is None else found[0]

    @property
    def finished(self) -> bool:
        """bool: Whether :meth:`finish` was called."""
        return self._finished

    @property
    def num_frames(self) -> int:
        """int: Frames added so far, also those without an instance."""
        return self._num_frames

    @property
    def num_classes(self) -> int:
        """int: K, the number of class scores of an instance; before the
        first frame the number of names."""
        if self._num_classes is None:
            return len(self.classes)
        return self._num_classes

    def times(self) -> List[float]:
        """list[float]: Seconds of each frame since the first."""
        return [
            time for time, in self._db.execute(
                'SELECT time FROM frames ORDER BY frame_id')
        ]

    def origins(self) -> List[Tuple[int, Optional[str]]]:
        """Tell which frames of the video the frames are.

        Returns:
            list[tuple[int, str | None]]: Position in the video and name of
            the image file of each frame, see :meth:`add_origin`; its own
            position and None where nothing was noted.
        """
        found: List[Tuple[int,
                          Optional[str]]] = [(i, None)
                                             for i in range(self._num_frames)]
        known, = self._one(
            "SELECT COUNT(*) FROM sqlite_master WHERE name = 'origins'")
        if known:  # recordings of 0.1.0 have none
            for frame_id, number, name in self._db.execute(
                    'SELECT frame_id, number, name FROM frames '
                    'JOIN origins USING (frame_id)'):
                found[frame_id] = number, name
        return found

    def frame(self,
              frame_id: int,
              view: Optional[str] = None) -> FrameInstances:
        """Instances of a frame.

        Args:
            frame_id (int): In [0, num_frames).
            view (str, optional): Defaults to None, the main view.

        Returns:
            :obj:`FrameInstances`: Equal to what was added; tracks discarded
            later are not in it.

        Raises:
            ValueError: If there is no such frame or view.
        """
        if not 0 <= frame_id < self._num_frames:
            raise ValueError(f'frame_id must lie in [0, {self._num_frames}), '
                             f'got {frame_id}')
        rows = self._db.execute(
            'SELECT track_id, label, score, state, counts, cls_scores, '
            'x1, y1, x2, y2 FROM instances WHERE view = ? AND frame_id = ? '
            'ORDER BY row', (self._key_of(view), int(frame_id))).fetchall()
        ids, labels, scores, states, counts, cls_scores, *sides = (
            zip(*rows) if rows else [()] * 10)
        return FrameInstances(
            size=self.size,
            ids=list(ids),
            labels=list(labels),
            classes=[class_name(self.classes, label) for label in labels],
            scores=list(scores),
            cls_scores=np.frombuffer(b''.join(cls_scores), '<f8').reshape(
                len(rows), self.num_classes).astype(np.float64),
            boxes=np.array(sides, np.float32).T.reshape(len(rows), 4),
            masks=[self._rle(text) for text in counts],
            detected=[state == DETECTED for state in states])

    def frames(
        self,
        view: Optional[str] = None
    ) -> Iterator[Tuple[int, float, FrameInstances]]:
        """Read frame by frame.

        Args:
            view (str, optional): Defaults to None, the main view.

        Yields:
            tuple[int, float, :obj:`FrameInstances`]: Id, seconds since the
            first frame, and the instances, see :meth:`frame`.

        Raises:
            ValueError: If there is no such view.
        """
        self._key_of(view)
        for frame_id, time in self._db.execute(
                'SELECT frame_id, time FROM frames ORDER BY frame_id'):
            yield frame_id, time, self.frame(frame_id, view)

    def tracks(self, view: Optional[str] = None) -> List[TrackSummary]:
        """Summaries of the tracks.

        Args:
            view (str, optional): Defaults to None, the main view.

        Returns:
            list[:obj:`TrackSummary`]: By order of appearance.

        Raises:
            ValueError: If there is no such view.
        """
        rows = self._db.execute(
            'SELECT track_id, cls_scores, first, last, num_detected, '
            'num_recovered, num_missed FROM (SELECT MIN(row) AS appeared, '
            'MAX(row) AS row, '
            'COALESCE(MIN(CASE WHEN state < :missed THEN frame_id END), '
            'MIN(frame_id)) AS first, '
            'COALESCE(MAX(CASE WHEN state < :missed THEN frame_id END), '
            'MAX(frame_id)) AS last, '
            'SUM(state = :detected) AS num_detected, '
            'SUM(state = :recovered) AS num_recovered, '
            'SUM(state = :missed) AS num_missed '
            'FROM instances WHERE view = :view GROUP BY track_id) '
            'JOIN instances USING (row) ORDER BY appeared',
            dict(
                view=self._key_of(view),
                detected=DETECTED,
                recovered=RECOVERED,
                missed=MISSED))
        tracks = []
        for track_id, blob, *numbers in rows:
            scores = np.frombuffer(blob, '<f8').astype(np.float64)
            label = int(scores.argmax())
            tracks.append(
                TrackSummary(track_id, label, class_name(self.classes, label),
                             float(scores[label]), scores, *numbers))
        return tracks

    def tracklets(self,
                  view: Optional[str] = None,
                  cls_thr: float = 0.05) -> Iterator[dict]:
        """Every (track, class) pair whose final score is high enough.

        Args:
            view (str, optional): Defaults to None, the main view.
            cls_thr (float): A pair is kept when its score is greater.
                Defaults to 0.05.

        Yields:
            dict: As :meth:`VideoResult.tracklets` gives them, in the same
            order. The masks of one track are in memory at a time.

        Raises:
            ValueError: If there is no such view.
        """
        key = self._key_of(view)
        for track in self.tracks(view):
            labels = np.flatnonzero(track.cls_scores > cls_thr)
            if not len(labels):
                continue
            segmentations = [None] * self._num_frames
            for frame_id, counts in self._db.execute(
                    'SELECT frame_id, counts FROM instances '
                    'WHERE view = ? AND track_id = ?', (key, track.id)):
                segmentations[frame_id] = self._rle(counts)
            for label in labels:
                yield dict(
                    instances_id=track.id,
                    label=int(label),
                    score=float(track.cls_scores[label]),
                    segmentations=segmentations)

    def track_states(self, view: Optional[str] = None) -> Dict[int, List[Run]]:
        """When each track was detected, recovered and missed.

        Args:
            view (str, optional): Defaults to None, the main view.

        Returns:
            dict[int, list[tuple[int, int, str]]]: By id, in order of
            appearance: runs of frames (first, end exclusive, 'detected' |
            'recovered' | 'missed') in order. Frames outside of the runs are
            those in which the track was not followed.

        Raises:
            ValueError: If there is no such view.
        """
        runs: Dict[int, List[Run]] = {
            track.id: []
            for track in self.tracks(view)
        }
        rows = self._db.execute(
            'SELECT track_id, frame_id, state FROM instances '
            'WHERE view = ? ORDER BY track_id, frame_id',
            (self._key_of(view), ))
        for track_id, frame_id, state in rows:
            track = runs[track_id]
            if track and track[-1][1:] == (frame_id, STATES[state]):
                track[-1] = (track[-1][0], frame_id + 1, STATES[state])
            else:
                track.append((frame_id, frame_id + 1, STATES[state]))
        return runs

    # ---------------------------------------------------------------- helpers

    def _one(self, query: str) -> tuple:
        """The row that a query always has."""
        return self._db.execute(query).fetchone()

    def _read_facts(self) -> dict:
        """What the file says of itself; ValueError if it is not ours."""
        try:
            found, = self._one('PRAGMA application_id')
            version, = self._one('PRAGMA user_version')
        except sqlite3.DatabaseError as error:
            raise ValueError(
                f"'{self.path}' is not a recording ({error})") from None
        if found != APPLICATION_ID:
            raise ValueError(f"'{self.path}' is not a recording")
        if version > FORMAT:
            raise ValueError(
                f"'{self.path}' is a recording of format {version}, but this "
                f'version of refinevis_mm reads up to {FORMAT}')
        facts = {
            name: json.loads(value)
            for name, value in self._db.execute('SELECT * FROM facts')
        }
        _check_views(facts['views'], facts['view'], self.path)
        return facts

    def _key_of(self, view: Optional[str]) -> int:
        """Position of a view; ValueError if there is none."""
        view = self.view if view is None else view
        if view not in self.views:
            raise ValueError(f"view must be one of {self.views}, which "
                             f"'{self.path}' has, got {view!r}")
        return self.views.index(view)

    def _rle(self, counts: Optional[str]) -> Optional[dict]:
        """COCO run-length code of stored counts."""
        if counts is None:
            return None
        return dict(size=list(self.size), counts=counts)

    def _check_frame(self, frame: FrameResult) -> None:
        """Raise ValueError if a frame cannot be added."""
        if self._finished:
            raise ValueError(f"'{self.path}' is finished and takes no more "
                             f'frames, got frame {frame.frame_id}')
        if frame.frame_id != self._num_frames:
            raise ValueError('frames must come in order: expected frame '
                             f'{self._num_frames}, got {frame.frame_id}')
        place = f'frame {frame.frame_id}'
        if set(frame.views) != set(self.views):
            raise ValueError(f'{place} must have the views {self.views}, got '
                             f'{list(frame.views)}')
        num_classes = self._num_classes
        for view, instances in frame.views.items():
            sizes = {tuple(instances.size)}
            sizes.update(tuple(rle['size']) for rle in instances.masks if rle)
            if sizes != {self.size}:
                raise ValueError(
                    f'{place}, {view}: the size (height, width) must be '
                    f'{self.size}, got {sorted(sizes)}')
            if len(set(instances.ids)) < len(instances.ids):
                raise ValueError(f'{place}, {view}: an id may come once per '
                                 f'frame, got {instances.ids}')
            if num_classes is None:
                num_classes = instances.cls_scores.shape[1]
            if instances.cls_scores.shape != (len(instances), num_classes):
                raise ValueError(
                    f'{place}, {view}: cls_scores must have the shape '
                    f'{(len(instances), num_classes)}, got '
                    f'{instances.cls_scores.shape}')

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Close the file and raise OSError if it cannot be written."""
        with _os_errors(self.path):
            try:
                yield
            except sqlite3.Error:
                self.close()
                raise


@contextmanager
def _os_errors(path: str) -> Iterator[None]:
    """Turn SQLite's errors (disk full, locked, read-only) into OSError."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"'{path}' cannot be written: {error}") from error


def _check_views(views: Sequence[str], view: str, path: str) -> None:
    """Raise ValueError if views are unknown or lack the main one."""
    unknown = [name for name in views if name not in VIEWS]
    if unknown:
        raise ValueError(f"'{path}': views must be out of {VIEWS}, got "
                         f'{unknown[0]!r}')
    if view not in views or len(set(views)) < len(views):
        raise ValueError(f"'{path}': views must be different and the main "
                         f'view among them, got {view!r} and {list(views)}')


def _write_facts(db: sqlite3.Connection, facts: dict) -> None:
    """Write what a file says of itself."""
    db.executemany('INSERT OR REPLACE INTO facts VALUES (?, ?)',
                   [(name, json.dumps(value))
                    for name, value in facts.items()])


def _rows_of(key: int, frame_id: int,
             instances: FrameInstances) -> Iterator[tuple]:
    """Rows of the table ``instances``, without the first column."""
    cls_scores = np.asarray(instances.cls_scores, '<f8')
    recovered, missed = instances.recovered, instances.missed
    for position, track_id in enumerate(instances.ids):
        mask = instances.masks[position]
        state = recovered[position] * RECOVERED + missed[position] * MISSED
        yield (key, frame_id, int(track_id), state,
               int(instances.labels[position]),
               float(instances.scores[position]),
               *instances.boxes[position].tolist(), mask
               and mask['counts'], cls_scores[position].tobytes())
