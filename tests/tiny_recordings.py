# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Small streams of results for the tests of recordings."""
import json
import multiprocessing
import runpy
import signal
import sys
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np
import torch

from refinevis_mm.recording import VideoRecording
from refinevis_mm.structures import (DecodedFrame, FrameInstances, FrameResult,
                                     RunningScores, TrackMerges, VideoResult)

CLASSES = ['cat', 'dog', 'owl']
SIZE = (6, 8)  # height, width


class ResultStream:
    """Makes the frames of one video and keeps them as ``VideoResult`` does.

    Args:
        views (Sequence[str]): Views of every frame, the last is the main one.
        size (tuple[int, int]): Height and width of the frames.
    """

    def __init__(self,
                 views: Sequence[str] = ('frame_level', 'online'),
                 size=SIZE) -> None:
        self.views, self.size = list(views), size
        self.num_frames = 0
        self.expected = {view: VideoResult() for view in views}
        self._running = {view: RunningScores() for view in views}

    def frame(self,
              rows: Dict[str, List[tuple]],
              discarded: Sequence[int] = (),
              time: Optional[float] = None,
              merged: Optional[Dict[int, int]] = None) -> FrameResult:
        """Make the next frame.

        Args:
            rows (dict[str, list[tuple]]): By view: (id, class scores,
                detected, mask of shape ``size`` or None).
            discarded (Sequence[int]): Ids judged noise.
            time (float, optional): Defaults to None, 10 frames a second.
            merged (dict[int, int], optional): Ids that continue older ones.
        """
        views = {}
        for view in self.views:
            self.expected[view].discard(discarded)
            self._running[view].discard(discarded)
        merges = self.merge(merged or {})
        for view in self.views:
            decoded = self._decode(rows.get(view, []))
            result, running = self.expected[view], self._running[view]
            result.add_frame(decoded.frame_id, decoded.ids, decoded.cls_scores,
                             decoded.scored, decoded.masks)
            views[view] = FrameInstances.from_decoded(decoded, running,
                                                      CLASSES)
        image = np.zeros((*self.size, 3), np.uint8)
        time = self.num_frames / 10 if time is None else time
        self.num_frames += 1
        return FrameResult(self.num_frames - 1, time, image, views,
                           self.views[-1], list(discarded), merges)

    def merge(self, merged: Dict[int, int]) -> TrackMerges:
        """Let ids continue older ones."""
        for view in self.views:
            self.expected[view].merge(merged)
            self._running[view].merge(merged)
        return TrackMerges(
            merged, {
                view: {
                    i: running.mean(i)
                    for i in set(merged.values()) if i in running
                }
                for view, running in self._running.items()
            })

    def _decode(self, rows: List[tuple]) -> DecodedFrame:
        """One view of the next frame, as the model has it."""
        masks = torch.zeros(len(rows), *self.size, dtype=torch.bool)
        for position, (_, _, _, mask) in enumerate(rows):
            if mask is not None:
                masks[position] = torch.as_tensor(mask)
        detected = torch.tensor([row[2] for row in rows], dtype=torch.bool)
        scores = [row[1] for row in rows]
        return DecodedFrame(
            self.num_frames, [row[0] for row in rows],
            torch.tensor(scores).reshape(len(rows), len(CLASSES)), detected,
            detected, masks)


def create(path, views=('frame_level', 'online'), size=SIZE, **settings):
    """An empty recording of a stream."""
    return VideoRecording.create(path, CLASSES, size, 10., views, views[-1],
                                 settings)


def box(left: int, top: int = 0, side: int = 2, size=SIZE) -> np.ndarray:
    """A mask with one square."""
    mask = np.zeros(size, bool)
    mask[top:top + side, left:left + side] = True
    return mask


def random_frames(stream: ResultStream,
                  num: int,
                  seed: int,
                  num_ids: int = 7) -> Iterator[FrameResult]:
    """Frames with ids that come, go, are discarded and come back."""
    rng = np.random.default_rng(seed)
    for _ in range(num):
        rows = {}
        for view in stream.views:
            ids = rng.permutation(num_ids)[:rng.integers(0, num_ids)]
            rows[view] = [(int(track_id), rng.random(3).tolist(),
                           bool(rng.random() < 0.7), rng.random(stream.size)
                           < rng.choice([0., 0.3])) for track_id in ids]
        discarded = rng.permutation(num_ids)[:rng.integers(0, 3)]
        yield stream.frame(rows,
                           [int(i)
                            for i in discarded] if rng.random() < 0.3 else [])


def merging_frames(stream: ResultStream, num: int,
                   seed: int) -> Iterator[FrameResult]:
    """Frames whose ids come one after the other, and turn out to be two."""
    rng = np.random.default_rng(seed)
    roots: Dict[int, int] = {}
    for frame_id in range(num):
        youngest = frame_id // 3
        merged = {}
        if youngest > 1 and rng.random() < 0.4:
            merged = {youngest: roots.get(youngest - 2, youngest - 2)}
            if youngest in roots:
                merged = {}
            roots.update(merged)
        ids = {roots.get(i, i) for i in range(max(0, youngest - 2), youngest)}
        ids.add(roots.get(youngest, youngest))
        rows = {
            view: [(i, rng.random(3).tolist(), bool(rng.random() < 0.7),
                    rng.random(stream.size) < rng.choice([0., 0.3]))
                   for i in sorted(ids)]
            for view in stream.views
        }
        yield stream.frame(rows, merged=merged)


def convert(monkeypatch, tool: str, *args) -> dict:
    """Run a data set converter; returns the file, its last argument."""
    script = Path(__file__).parents[1] / 'tools' / 'dataset_converters' / tool
    monkeypatch.setattr(sys, 'argv', [tool, *map(str, args)])
    runpy.run_path(f'{script}.py', run_name='__main__')
    return json.loads(Path(args[-1]).read_text())


class _Stopping(VideoRecording):
    """Gives the first track and the first frame, tells it, and waits."""

    def tracklets(self, *args, **kwargs):
        return self._stop(super().tracklets(*args, **kwargs))

    def frames(self, *args, **kwargs):
        return self._stop(super().frames(*args, **kwargs))

    def _stop(self, items):
        yield next(items)
        self.pipe.send('half')
        signal.pause()


def kill_half(folder: Path, write: Callable[[VideoRecording], None]) -> None:
    """SIGKILL a process that writes a file of a recording, half-way.

    Args:
        folder (Path): For the recording; ``out`` is made in it.
        write (Callable): Writes the file into ``folder / 'out'``.
    """
    with create(folder / 'killed.sqlite') as recording:
        for frame in random_frames(ResultStream(), 20, 0):
            recording.add(frame)
        recording.finish()
    (folder / 'out').mkdir()

    def run(pipe) -> None:
        recording = _Stopping(folder / 'killed.sqlite')
        recording.pipe = pipe
        write(recording)

    context = multiprocessing.get_context('fork')
    pipe, child_pipe = context.Pipe()
    child = context.Process(target=run, args=(child_pipe, ))
    child.start()
    try:
        assert pipe.poll(20) and pipe.recv() == 'half'
        assert len(list((folder / 'out').iterdir())) == 1  # it has begun
    finally:
        child.kill()
        child.join()
