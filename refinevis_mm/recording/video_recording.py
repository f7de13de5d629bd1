# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results of a video in a file that grows as the frames come."""
import json
import math
import os
import os.path as osp
import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from refinevis_mm.files import PathLike, is_inside, whole_file
from refinevis_mm.structures import (VIEWS, FrameInstances, FrameResult,
                                     TrackMerges, best_pairs, check_form,
                                     class_name)
from .database import make_database, open_database, os_errors, tables_of
from .stored_codes import check_codes, check_size

Run = Tuple[int, int, str]  # first frame, end (exclusive), state

STATES = ('detected', 'recovered', 'missed')  # stored as their position
DETECTED, RECOVERED, MISSED = range(3)

# Form of the facts, and of the rows of a frame; SQLite itself takes anything.
FACTS = dict(
    size=[int],
    fps=float,
    classes=[str],
    views=[str],
    view=str,
    settings=dict,
    num_classes=(None, int),
    finished=bool)
ROWS = dict(
    ids=[int],
    labels=[int],
    scores=[float],
    states=[int],
    counts=[(None, str)],
    cls_scores=[bytes],
    sides=[[float]])


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

    A file may come from anywhere. Its tables and facts are checked when it is
    opened, its rows when they are read.

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
        ValueError: If it is no recording, a damaged one, one of a newer
            version, or one with an unknown view. Reading raises it, too.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = os.fspath(path)
        if not osp.isfile(self.path):
            raise FileNotFoundError(
                f"a recording must be a file, but '{self.path}' is none")
        self._db = open_database(self.path)
        try:
            facts = self._read_facts()
            self._num_frames = self._count_frames()
        except BaseException:
            self._db.close()
            raise
        self.size: Tuple[int, int] = tuple(facts['size'])
        self.fps: float = facts['fps']
        self.classes: List[str] = facts['classes']
        self.views: List[str] = facts['views']
        self.view: str = facts['view']
        self.settings: dict = facts['settings']
        self._num_classes: Optional[int] = facts['num_classes']
        self._finished: bool = facts['finished']

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
        with os_errors(path), whole_file(path) as part, closing(
                make_database(part)) as db:
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
            ValueError: If it is no recording, a damaged one, one of a newer
                version, or one with an unknown view.
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
        deleted from all views, then ``merges`` are carried out.

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
            self._merge(frame.merges)
            self._db.execute('INSERT INTO frames VALUES (?, ?)',
                             (frame.frame_id, float(frame.time)))
            self._db.executemany(
                'INSERT INTO instances VALUES '
                '(NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)', rows)
        self._num_frames += 1

    def merge(self, merges: TrackMerges) -> None:
        """Carry out what the end of the video told of its tracks.

        In a frame of both tracks, what the younger one says stays.

        Args:
            merges (:obj:`TrackMerges`): E.g. ``Session.last_merges``.

        Raises:
            OSError: If it cannot be written, see :meth:`add`.
        """
        with self._writing():
            self._merge(merges)

    def _merge(self, merges: TrackMerges) -> None:
        """Rows of younger tracks become rows of the older ones."""
        keys = range(len(self.views))
        pairs = [(key, int(old), int(new)) for key in keys
                 for old, new in sorted(merges.ids.items())]
        for key, old, new in pairs:
            self._db.execute(
                'DELETE FROM instances WHERE view = ? AND track_id = ? AND '
                'frame_id IN (SELECT frame_id FROM instances WHERE view = ? '
                'AND track_id = ?)', (key, new, key, old))
            self._db.execute(
                'UPDATE instances SET track_id = ? WHERE view = ? AND '
                'track_id = ?', (new, key, old))
        # the scores of a track are those of its last row
        self._db.executemany(
            'UPDATE instances SET label = ?, score = ?, cls_scores = ? WHERE '
            'row = (SELECT MAX(row) FROM instances WHERE view = ? AND '
            'track_id = ?)', [(*_score_columns(scores), key, int(track_id))
                              for key in keys
                              for track_id, scores in merges.cls_scores.get(
                                  self.views[key], {}).items()])

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
        if name is not None:  # it may hold what UTF-8 has no code for
            name = name.encode('utf-8', 'backslashreplace').decode()
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
        found = [
            content for content, in self._rows('SELECT content FROM '
                                               'state')
        ]
        check_form(found, [bytes], f"the state in '{self.path}'")
        return found[0] if found else None

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
        times = [
            time for time, in self._rows(
                'SELECT time FROM frames ORDER BY frame_id')
        ]
        what = f"the times in '{self.path}'"
        check_form(times, [float], what)
        if times != sorted(times):
            raise ValueError(f'{what} must not fall')
        return times

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
        if ('table',
                'origins') in tables_of(self._db):  # not in those of 0.1.0
            for frame_id, number, name in self._rows(
                    'SELECT frame_id, number, name FROM frames '
                    'JOIN origins USING (frame_id)'):
                what = f"the origin of frame {frame_id} in '{self.path}'"
                check_form(
                    dict(number=number, name=name),
                    dict(number=int, name=(None, str)), what)
                if name is not None and not is_inside(name):
                    raise ValueError(f'{what} must be the name of a file '
                                     f'inside a folder, got {name!r}')
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
        rows = self._rows(
            'SELECT track_id, label, score, state, counts, cls_scores, '
            'x1, y1, x2, y2 FROM instances WHERE view = ? AND frame_id = ? '
            'ORDER BY row', (self._key_of(view), int(frame_id)))
        ids, labels, scores, states, counts, cls_scores, *sides = (
            map(list, zip(*rows)) if rows else [[] for _ in range(10)])
        what = f"frame {frame_id} of '{self.path}'"
        check_form(
            dict(
                ids=ids,
                labels=labels,
                scores=scores,
                states=states,
                counts=counts,
                cls_scores=cls_scores,
                sides=sides), ROWS, what)
        masks = [self._rle(text) for text in counts]
        check_codes(masks, self.size, what)
        boxes = np.array(sides, np.float32).T.reshape(len(rows), 4)
        _check_places(ids, labels, boxes, self.size, self.num_classes, what)
        if not set(states) <= set(range(len(STATES))):
            raise ValueError(f'{what} is damaged: its states must be '
                             f'positions in {STATES}')
        return FrameInstances(
            size=self.size,
            ids=ids,
            labels=labels,
            classes=[class_name(self.classes, label) for label in labels],
            scores=scores,
            cls_scores=np.array([
                self._cls_scores(blob) for blob in cls_scores
            ]).reshape(len(rows), self.num_classes),
            boxes=boxes,
            masks=masks,
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
        for frame_id, time in enumerate(self.times()):
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
        rows = self._rows(
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
            check_form([track_id, *numbers], [int],
                       f"a track of '{self.path}'")
            scores = self._cls_scores(blob)
            label = int(scores.argmax())
            tracks.append(
                TrackSummary(track_id, label, class_name(self.classes, label),
                             float(scores[label]), scores, *numbers))
        return tracks

    def tracklets(self,
                  view: Optional[str] = None,
                  cls_thr: float = 0.05,
                  max_per_video: Optional[int] = None) -> Iterator[dict]:
        """Every (track, class) pair whose final score is high enough.

        Args:
            view (str, optional): Defaults to None, the main view.
            cls_thr (float): A pair is kept when its score is greater.
                Defaults to 0.05.
            max_per_video (int, optional): Keep only that many pairs, of the
                highest scores. Defaults to None, which keeps all.

        Yields:
            dict: As :meth:`VideoResult.tracklets` gives them, by order of
            appearance. The masks of one track are in memory at a time.

        Raises:
            ValueError: If there is no such view.
        """
        key = self._key_of(view)
        tracks = self.tracks(view)
        scores = np.array([track.cls_scores for track in tracks])
        kept = best_pairs(
            scores.reshape(len(tracks), self.num_classes), cls_thr,
            max_per_video)
        for row, track in enumerate(tracks):
            labels = np.flatnonzero(kept[row])
            if not len(labels):
                continue
            segmentations = [None] * self._num_frames
            for frame_id, counts in self._rows(
                    'SELECT frame_id, counts FROM instances '
                    'WHERE view = ? AND track_id = ?', (key, track.id)):
                self._check_place(track.id, frame_id)
                segmentations[frame_id] = self._rle(counts)
            check_codes([rle for rle in segmentations if rle], self.size,
                        f"track {track.id} of '{self.path}'")
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
        runs: Dict[int, List[Run]] = {}
        for track in self.tracks(view):
            found = runs[track.id] = []
            for frame_id, state in self._rows(
                    'SELECT frame_id, state FROM instances WHERE view = ? '
                    'AND track_id = ? ORDER BY frame_id',
                (self._key_of(view), track.id)):
                self._check_place(track.id, frame_id, state)
                first = frame_id
                if found and found[-1][1:] == (frame_id, STATES[state]):
                    first = found.pop()[0]
                found.append((first, frame_id + 1, STATES[state]))
        return runs

    # ---------------------------------------------------------------- helpers

    def _rows(self, query: str, values: Any = ()) -> List[tuple]:
        """Rows of the file."""
        with os_errors(self.path, 'read'):
            return self._db.execute(query, values).fetchall()

    def _read_facts(self) -> dict:
        """What the file says of itself; ValueError if it is damaged."""
        facts: Dict[str, Any] = dict(num_classes=None, finished=False)
        for name, value in self._rows('SELECT * FROM facts'):
            try:
                facts[name] = json.loads(value)
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"'{self.path}' is damaged: its {name} is "
                                 f'no JSON ({error})') from None
        what = f"facts of '{self.path}'"
        check_form(facts, FACTS, what)
        check_size(facts['size'], what)
        _check_views(facts['views'], facts['view'], self.path)
        return facts

    def _count_frames(self) -> int:
        """Number of frames; ValueError if they are not 0, 1, 2 and so on."""
        (num, first, last), = self._rows(
            'SELECT COUNT(*), MIN(frame_id), MAX(frame_id) FROM frames')
        if num and (first, last) != (0, num - 1):
            raise ValueError(f"'{self.path}' is damaged: its {num} frames "
                             f'must be counted from 0, got {first} to {last}')
        return num

    def _cls_scores(self, blob: Any) -> np.ndarray:
        """Stored class scores; ValueError if they are none."""
        if isinstance(blob, bytes) and len(blob) == 8 * self.num_classes:
            scores = np.frombuffer(blob, '<f8').astype(np.float64)
            if len(scores) and np.isfinite(scores).all():
                return scores
        raise ValueError(f"'{self.path}' is damaged: class scores must be "
                         f'{self.num_classes} finite numbers')

    def _check_place(self,
                     track_id: Any,
                     frame_id: Any,
                     state: Any = DETECTED) -> None:
        """Raise ValueError unless a row is of a frame of the video."""
        what = f"a row of track {track_id} in '{self.path}'"
        check_form([frame_id, state], [int], what)
        if not 0 <= frame_id < self._num_frames or state not in range(3):
            raise ValueError(f'{what} must be of a frame and a state, got '
                             f'{frame_id} and {state}')

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
        if not math.isfinite(frame.time):
            raise ValueError(f'{place} must have a finite time, got '
                             f'{frame.time}')
        for time, in self._rows('SELECT time FROM frames WHERE frame_id = ?',
                                (frame.frame_id - 1, )):
            if frame.time < time:
                raise ValueError(f'the times of frames must not fall: {place} '
                                 f'has {frame.time} after {time}')
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
            _check_places(instances.ids, instances.labels, instances.boxes,
                          self.size, num_classes, f'{place}, {view}')

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Close the file and raise OSError if it cannot be written."""
        with os_errors(self.path):
            try:
                yield
            except sqlite3.Error:
                self.close()
                raise


def _check_places(ids: Sequence[int], labels: Sequence[int], boxes: np.ndarray,
                  size: Tuple[int, int], num_classes: int, what: str) -> None:
    """Raise ValueError unless rows can be those of objects in a frame."""
    height, width = size
    if (min(ids, default=0) < 0 or not set(labels) <= set(range(num_classes))
            or not ((0 <= boxes) & (boxes <= [width, height] * 2)).all()):
        raise ValueError(f'{what}: ids must not be negative, labels below '
                         f'{num_classes}, and boxes inside of {width} x '
                         f'{height} pixels')


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


def _score_columns(cls_scores: np.ndarray) -> Tuple[int, float, bytes]:
    """Label, score and all scores of an instance from the scores (K, )."""
    label = int(cls_scores.argmax())
    return (label, float(cls_scores[label]), np.asarray(cls_scores,
                                                        '<f8').tobytes())


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
