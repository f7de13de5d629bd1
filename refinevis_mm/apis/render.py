# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A video run through a model and written as pictures and results."""
import hashlib
import io
import json
import logging
import os
import signal
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, List, Optional, Sequence

import numpy as np
import torch
from mmengine.logging import print_log

from refinevis_mm.compat.checkpoints import read_bytes
from refinevis_mm.models.base_vis_model import BaseVISModel
from refinevis_mm.recording import VideoRecording
from refinevis_mm.structures import (FRAME_LEVEL, FrameResult, best_pairs,
                                     check_form)
from refinevis_mm.video_io import FrameSource, LazyFrame
from refinevis_mm.visualization import categories_of, check_fits, check_origin
from .look_ahead import SeenFrame, look_ahead
from .outputs import DEFAULT_OUTPUTS, OUTPUTS, RECORDING, RenderJob
from .render_folder import RenderFolder
from .render_settings import check_settings, render_settings
from .session import Session

NO_FRAME = 'a video needs at least one frame, got none'


@dataclass
class RenderedVideo:
    """What :func:`render_video` made.

    Attributes:
        files (list[str]): Paths of the files, in the order of the outputs.
        num_frames (int): Frames of the video.
        num_rendered (int): Frames that this run took; fewer where it
            continued another one.
        seconds (float): Time for them and for the files.
        num_tracks (int): Tracks in the results.
        num_shown (int): Those with a final score of at least ``score_thr``.
    """

    files: List[str]
    num_frames: int
    num_rendered: int
    seconds: float
    num_tracks: int
    num_shown: int


class RenderStopped(KeyboardInterrupt):
    """Ctrl-C or SIGTERM stopped :func:`render_video`; it can be resumed."""


def render_video(
        session: Session,
        source: FrameSource,
        out_dir: str,
        outputs: Sequence[str] = DEFAULT_OUTPUTS,
        score_thr: float = 0.3,
        resume: bool = False,
        checkpoint_every: int = 200,
        title: Optional[str] = None,
        ground_truth: Optional[dict] = None,
        settings: Optional[dict] = None,
        on_start: Optional[Callable[[int], None]] = None,
        on_frame: Optional[Callable[[], None]] = None,
        on_checkpoint: Optional[Callable[[Path],
                                         None]] = None) -> RenderedVideo:
    """Find, follow and refine the objects of a video, and show them.

    What can be made is the table ``OUTPUTS`` of
    :mod:`refinevis_mm.apis.outputs`. The files grow in ``out_dir/.partial``
    and get their names when the video has ended. Every ``checkpoint_every``
    frames what there is becomes a checkpoint. A run that was killed, stopped
    or ended by an error goes on from its last checkpoint with ``resume``, and
    its files are the same as those of a run in one piece; without ``resume``
    it starts over. The memory does not depend on the number of frames.

    Ctrl-C and SIGTERM are caught while frames come, in the main thread: they
    end a live source, whose files are then written as usual, and make a
    checkpoint of other sources.

    Args:
        session (:obj:`Session`): The model; reset first.
        source (:obj:`FrameSource`): The video.
        out_dir (str): Folder of the files; other files in it stay, those of
            an earlier run are replaced.
        outputs (Sequence[str]): What to make, names out of ``OUTPUTS``.
            Defaults to all but coco, masks and report.
        score_thr (float): Least running class score of a drawn instance, in
            [0, 1]. Defaults to 0.3.
        resume (bool): Go on from the checkpoint in ``out_dir``. Starts from
            the first frame where there is none. Does nothing where the
            outputs are complete; what is only missing as a file is made of
            the recording. A live source cannot be read on: its files are
            made of what the checkpoint holds. Defaults to False.
        checkpoint_every (int): Frames between checkpoints. Defaults to 200.
        title (str, optional): Heading of the report. Defaults to None, the
            name of the video.
        ground_truth (dict, optional): Annotations of this video, which the
            report shows and evaluates on, see :func:`select_video`. Defaults
            to None.
        settings (dict, optional): Numbers and text of the caller that a
            resumed run must share, besides source, model, views,
            ``score_thr``, drawn outputs, title and ground truth. Defaults to
            None.
        on_start (Callable, optional): Called before the first frame with the
            number of frames that are finished already. Defaults to None.
        on_frame (Callable, optional): Called after every finished frame.
            Defaults to None.
        on_checkpoint (Callable, optional): Called after every checkpoint that
            frames follow, with the folder of all that a resumed run needs,
            to bring it to where another machine finds it. Defaults to None.

    Returns:
        :obj:`RenderedVideo`: The files and a summary.

    Raises:
        ImportError: If a package that an output needs is not installed.
        OSError: If the files cannot be written.
        RenderStopped: If Ctrl-C or SIGTERM stopped it; a KeyboardInterrupt.
        ValueError: If an argument is not allowed, the video has no frame or
            a damaged one, the ground truth does not fit, or ``resume`` meets
            a run with other settings. A checkpoint stays.
    """
    start = time.perf_counter()
    outputs = _check_outputs(outputs, session)
    if checkpoint_every < 1:
        raise ValueError('checkpoint_every must be positive, got '
                         f'{checkpoint_every}')
    drawn = [name for name in outputs if OUTPUTS[name].draw is not None]
    settings = dict(
        settings or {},
        **render_settings(session, source, score_thr, drawn),
        **_report_settings(session, outputs, title, ground_truth),
        outputs=outputs)
    with RenderFolder(out_dir) as folder:
        job = RenderJob(session.model, source, folder.path, score_thr, title,
                        ground_truth)
        run = _Run(session, job, folder, settings)
        with closing(run):
            run.start(resume)
            num_before = run.num_frames
            if on_start is not None:
                on_start(num_before)
            run.process(checkpoint_every, on_frame, on_checkpoint)
            run.write_files()
            tracks = run.recording.tracks()
        run.publish()
    files = [Path(out_dir, OUTPUTS[name].file) for name in outputs]
    return RenderedVideo(
        files=[str(file) for file in files if file.exists()],
        num_frames=run.num_frames,
        num_rendered=run.num_frames - num_before,
        seconds=time.perf_counter() - start,
        num_tracks=num_reported([track.cls_scores for track in tracks],
                                session.model),
        num_shown=sum(track.score >= score_thr for track in tracks))


def num_reported(cls_scores: Sequence[np.ndarray], model: BaseVISModel) -> int:
    """Tracks that are in the results.

    Args:
        cls_scores (Sequence[np.ndarray]): Final class scores of N tracks,
            each of shape (K, ).
        model (:obj:`BaseVISModel`): Says which pairs are reported.

    Returns:
        int: Those with a class that is.
    """
    if not len(cls_scores):
        return 0
    pairs = best_pairs(
        np.stack(cls_scores), model.cls_thr, model.max_per_video)
    return int(pairs.any(axis=1).sum())


def record_video(
        session: Session,
        source: FrameSource,
        path: os.PathLike,
        on_frame: Optional[Callable[[], None]] = None) -> VideoRecording:
    """Run a video through a model and keep the results in a file.

    Args:
        session (:obj:`Session`): The model; reset first.
        source (:obj:`FrameSource`): The video.
        path (str | PathLike): The recording to make.
        on_frame (Callable, optional): Called after every finished frame.
            Defaults to None.

    Returns:
        :obj:`VideoRecording`: Opened and finished.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the video has no frame or a damaged one.
    """
    session.reset()
    recording: Optional[VideoRecording] = None

    def add(frames: List[FrameResult]) -> None:
        for frame in frames:
            recording.add(frame)
            if on_frame is not None:
                on_frame()

    with ExitStack() as stack:
        for frame, image, detected in look_ahead(session, source):
            if recording is None:
                recording = _create(session, source, path, image, {})
                stack.callback(recording.close)
            recording.add_origin(session.num_frames, frame.source_number,
                                 frame.name)
            add(session.step(image, frame.time, detected))
        if recording is None:
            raise ValueError(NO_FRAME)
        add(session.flush())
        recording.merge(session.last_merges)
        recording.finish()
        stack.pop_all()
    return recording


class _Run:
    """A run that makes checkpoints and can go on from one.

    Args:
        session (:obj:`Session`): The model.
        job (:obj:`RenderJob`): What the outputs are made of; gets its
            drawings.
        folder (:obj:`RenderFolder`): Where the files grow.
        settings (dict): See :func:`render_settings`; with the ``outputs``.
    """

    def __init__(self, session: Session, job: RenderJob, folder: RenderFolder,
                 settings: dict) -> None:
        self.session = session
        self.job = job
        self.folder = folder
        self.settings = settings
        self.outputs: List[str] = settings['outputs']
        self.recording: Optional[VideoRecording] = None

    @property
    def num_frames(self) -> int:
        """int: Frames that are finished."""
        return 0 if self.recording is None else self.recording.num_frames

    def start(self, resume: bool) -> None:
        """Go on from the checkpoint of an earlier run, or start over.

        Args:
            resume (bool): Whether to look for one.

        Raises:
            ValueError: If the checkpoint is of another run.
        """
        self.session.reset()
        out_dir, path = self.folder.out_dir, self.folder.path / RECORDING
        found = VideoRecording.open(path) if path.exists() else None
        with ExitStack() as stack:
            if found is not None:
                stack.callback(found.close)
            if found is not None and found.state is not None:
                if resume:
                    self.folder.keep = True
                    self._load(found)
                    stack.pop_all()
                    return
                _log(
                    f'a run in "{out_dir}" that stopped after '
                    f'{found.num_frames} frames is deleted, the video starts '
                    'from the beginning', logging.WARNING)
        self.folder.clear()
        if resume and found is None and self._find_complete():
            _log(f'"{out_dir}" is complete')
            return
        if resume:
            _log(f'nothing to resume in "{out_dir}", the video starts from '
                 'the beginning')
        self._start_drawings()

    def process(self, checkpoint_every: int,
                on_frame: Optional[Callable[[], None]],
                on_checkpoint: Optional[Callable[[Path], None]]) -> None:
        """Take the frames that are left.

        Args:
            checkpoint_every (int): Frames between checkpoints.
            on_frame (Callable, optional): See :func:`render_video`.
            on_checkpoint (Callable, optional): See :func:`render_video`.
        """
        if self.recording is not None and self.recording.finished:
            return
        with _caught_signals() as signals:
            for frame, image, detected in self._frames():
                self._check_truth(image, frame)
                if self.recording is None:
                    self.recording = _create(self.session, self.job.source,
                                             self.folder.path / RECORDING,
                                             image, self.settings)
                self.recording.add_origin(self.session.num_frames,
                                          frame.source_number, frame.name)
                self._add(
                    self.session.step(image, frame.time, detected), on_frame)
                if signals:
                    break
                if self.session.num_frames % checkpoint_every == 0:
                    self._checkpoint()
                    if on_checkpoint is not None:
                        on_checkpoint(self.folder.path)
        if self.recording is None:
            raise ValueError(NO_FRAME)
        if signals and not self.job.source.live:
            self._checkpoint()
            if on_checkpoint is not None:
                on_checkpoint(self.folder.path)
            raise RenderStopped(
                f'stopped after {self.session.num_frames} frames')
        if self.job.ground_truth is not None:
            check_fits(self.job.ground_truth, self.session.num_frames,
                       self.recording.size)
        self._add(self.session.flush(), on_frame)
        if self.session.last_merges.ids:
            self._merge_last()
        self._checkpoint()
        self.recording.finish()

    def write_files(self) -> None:
        """Write the files that are missing, not yet under their names."""
        self.folder.start_final()
        for name in self.outputs:
            output = OUTPUTS[name]
            output.make(self.recording, str(self.folder.final / output.file),
                        self.job)

    def publish(self) -> None:
        """Give the files their final names.

        The recording goes last: where it lies, all that it says was made is
        complete.
        """
        path, made = self.folder.path / RECORDING, []
        if path.exists():
            self.folder.withdraw(RECORDING)
            made = _made_of(self.recording)
        names = dict.fromkeys((*self.outputs, *made))
        self.folder.publish([OUTPUTS[name].file for name in names])
        if path.exists() and 'recording' in self.outputs:
            os.replace(path, self.folder.out_dir / RECORDING)
        self.folder.keep = False

    def close(self) -> None:
        """Let go of the files, complete or not."""
        if self.recording is not None:
            self.recording.close()
        for drawing in self.job.drawings.values():
            drawing.close()

    def _start_drawings(self) -> None:
        """Begin what grows with the frames."""
        for name in self.outputs:
            draw = OUTPUTS[name].draw
            if draw is not None:
                self.job.drawings[name] = draw(self.job)

    def _frames(self) -> Iterator[SeenFrame]:
        """The frames that the session has not taken."""
        source = self.job.source
        if self.session.num_frames and source.live:
            source.close()
            return iter(())
        return look_ahead(self.session, source)

    def _check_truth(self, image: np.ndarray, frame: LazyFrame) -> None:
        """Refuse the next frame if it is not the annotated one."""
        gt, num_frames = self.job.ground_truth, self.session.num_frames
        if gt is not None:
            check_fits(gt, num_frames + 1, image.shape[:2], complete=False)
            check_origin(gt, num_frames, frame.source_number, frame.name)

    def _add(self, frames: List[FrameResult],
             on_frame: Optional[Callable[[], None]]) -> None:
        """Write and draw finished frames."""
        for frame in frames:
            self.recording.add(frame)
            for drawing in self.job.drawings.values():
                drawing.add(frame)
            if on_frame is not None:
                on_frame()

    def _merge_last(self) -> None:
        """Write and draw what the end of the video told of its tracks."""
        self.recording.merge(self.session.last_merges)
        for drawing in self.job.drawings.values():
            drawing.merge(self.session.last_merges)

    def _checkpoint(self) -> None:
        """Keep what there is for a later run."""
        drawings = {
            name: drawing.state_dict()
            for name, drawing in self.job.drawings.items()
        }
        buffer = io.BytesIO()
        torch.save(
            dict(session=self.session.state_dict(), drawings=drawings), buffer)
        self.recording.checkpoint(buffer.getvalue())
        self.folder.keep = True

    def _load(self, recording: VideoRecording) -> None:
        """Go on from a checkpoint; ValueError if it is of another run."""
        check_settings(recording.settings, self.settings, self.folder.out_dir,
                       ('outputs', ))
        what = f'the checkpoint in "{self.folder.out_dir}"'
        state = read_bytes(recording.state, what)
        check_form(
            state,
            dict(
                session=dict,
                drawings=dict.fromkeys(self.settings['drawn'], dict) or dict),
            what)
        self.session.load_state_dict(state['session'])
        self._start_drawings()
        for name, drawing in self.job.drawings.items():
            drawing.load_state_dict(state['drawings'][name])
        self.recording = recording
        _log(f'goes on in "{self.folder.out_dir}" after '
             f'{self.session.num_frames} frames')

    def _find_complete(self) -> bool:
        """Take over the recording of a complete run of the same settings.

        Its files are not made again. ValueError if the settings differ.
        """
        path = self.folder.out_dir / RECORDING
        if not path.exists():
            return False
        recording = VideoRecording.open(path)
        with ExitStack() as stack:
            stack.callback(recording.close)
            check_settings(recording.settings, self.settings,
                           self.folder.out_dir, ('outputs', 'drawn'))
            made = [
                name for name in _made_of(recording) if OUTPUTS[name].compares
                or Path(self.folder.out_dir, OUTPUTS[name].file).exists()
            ]
            if not set(self.settings['drawn']) <= set(made):
                return False
            stack.pop_all()
        self.recording = recording
        self.outputs = [name for name in self.outputs if name not in made]
        return True


def _create(session: Session, source: FrameSource, path: os.PathLike,
            image: np.ndarray, settings: dict) -> VideoRecording:
    """Start the recording of a video whose first frame is there."""
    return VideoRecording.create(path, session.model.classes, image.shape[:2],
                                 source.fps, session.views, session.view,
                                 settings)


def _made_of(recording: VideoRecording) -> List[str]:
    """Outputs that were made with a recording."""
    made = recording.settings.get('outputs', [])
    check_form(made, [str], f"the outputs in '{recording.path}'")
    if not set(made) <= set(OUTPUTS):
        raise ValueError(f"the outputs in '{recording.path}' must be out of "
                         f'{tuple(OUTPUTS)}, got {made}')
    return made


def _check_outputs(outputs: Sequence[str], session: Session) -> List[str]:
    """The outputs in the order of the table, without what cannot be."""
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown or not outputs:
        got = repr(unknown[0]) if unknown else 'none'
        raise ValueError(f'outputs must be out of {tuple(OUTPUTS)}, got {got}')
    for name in outputs:
        check = OUTPUTS[name].check
        if check is not None:
            check()
    compared = FRAME_LEVEL in session.views and session.view != FRAME_LEVEL
    return [
        name for name in OUTPUTS
        if name in outputs and (compared or not OUTPUTS[name].compares)
    ]


def _report_settings(session: Session, outputs: List[str],
                     title: Optional[str],
                     ground_truth: Optional[dict]) -> dict:
    """What the report depends on besides; ValueError if it does not fit."""
    if 'report' not in outputs and (title, ground_truth) != (None, None):
        raise ValueError('a title and ground truth need "report" among the '
                         f'outputs, got {outputs}')
    settings = {} if title is None else dict(title=title)
    if ground_truth is not None:
        categories_of(session.model.classes, ground_truth)
        text = json.dumps(ground_truth, sort_keys=True, default=str)
        digest = hashlib.sha256(text.encode()).hexdigest()
        settings['ground_truth'] = digest[:16]
    return settings


def _log(message: str, level: int = logging.INFO) -> None:
    """Say what happens to earlier results."""
    print_log(message, logger='current', level=level)


@contextmanager
def _caught_signals() -> Iterator[List[int]]:
    """Collect the first Ctrl-C or SIGTERM instead of being interrupted.

    The second one acts as usual. Python allows this in the main thread only;
    elsewhere nothing is caught.

    Yields:
        list[int]: Signals received so far.
    """
    received, previous = [], {}

    def restore() -> None:
        while previous:
            signal.signal(*previous.popitem())

    def note(signum: int, _: Any) -> None:
        received.append(signum)
        restore()

    if threading.current_thread() is threading.main_thread():
        for signum in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(signum) not in (None, signal.SIG_IGN):
                previous[signum] = signal.signal(signum, note)
    try:
        yield received
    finally:
        restore()
