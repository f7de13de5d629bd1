# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A video run through a model and written as pictures and results."""
import io
import logging
import os
import signal
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Sequence

import numpy as np
import torch
from mmengine.logging import print_log

from refinevis_mm.recording import (VideoRecording, write_coco_video,
                                    write_id_masks, write_results_json,
                                    write_tracks_csv)
from refinevis_mm.structures import FRAME_LEVEL, FrameResult
from refinevis_mm.video_io import (FrameSource, H264Writer, TimedFrame,
                                   concat_videos, write_image)
from refinevis_mm.visualization import (RefinementStrips, draw_frame,
                                        draw_timeline)
from .render_folder import RenderFolder
from .render_settings import check_settings, render_settings
from .session import Session

RECORDING = 'recording.sqlite'
OUTPUTS = dict(
    overlay='overlay.mp4',
    before_after='before_after.png',
    timeline='timeline.png',
    results='results.json',
    csv='tracks.csv',
    coco='coco_video.json',
    masks='masks',
    recording=RECORDING)
DEFAULT_OUTPUTS = ('overlay', 'before_after', 'timeline', 'results', 'csv',
                   'recording')
# Made frame by frame; the others are made of the recording at the end.
DRAWN = ('overlay', 'before_after')
SEGMENTS = 'overlay-*.mp4'
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
        settings: Optional[dict] = None,
        on_start: Optional[Callable[[int], None]] = None,
        on_frame: Optional[Callable[[], None]] = None) -> RenderedVideo:
    """Find, follow and refine the objects of a video, and show them.

    =============  ====================  =================================
    output         file                  content
    =============  ====================  =================================
    overlay        ``overlay.mp4``       frames with the objects, H.264
    before_after   ``before_after.png``  where refinement changed most;
                                         none if it changed nothing
    timeline       ``timeline.png``      when each track was seen
    results        ``results.json``      YouTube-VIS results; video_id 1,
                                         category_id = label + 1
    csv            ``tracks.csv``        a row per track and frame
    coco           ``coco_video.json``   annotations with track ids
    masks          ``masks/*.png``       track ids as pixel values
    recording      ``recording.sqlite``  :class:`VideoRecording`, all views
    =============  ====================  =================================

    All of them grow in ``out_dir/.partial`` and get their names when the
    video has ended. Every ``checkpoint_every`` frames what there is becomes
    a checkpoint. A run that was killed, stopped or ended by an error goes on
    from its last checkpoint with ``resume``, and its files are the same as
    those of a run in one piece; without ``resume`` it starts over. The
    memory does not depend on the number of frames.

    Ctrl-C and SIGTERM are caught while frames come, in the main thread: they
    end a live source, whose files are then written as usual, and make a
    checkpoint of other sources.

    Args:
        session (:obj:`Session`): The model; reset first.
        source (:obj:`FrameSource`): The video.
        out_dir (str): Folder of the files; other files in it stay, those of
            an earlier run are replaced.
        outputs (Sequence[str]): What to make. Defaults to all but coco and
            masks.
        score_thr (float): Least running class score of a drawn instance, in
            [0, 1]. Defaults to 0.3.
        resume (bool): Go on from the checkpoint in ``out_dir``. Starts from
            the first frame where there is none. Does nothing where the
            outputs are complete; what is only missing as a file is made of
            the recording. A live source cannot be read on: its files are
            made of what the checkpoint holds. Defaults to False.
        checkpoint_every (int): Frames between checkpoints. Defaults to 200.
        settings (dict, optional): Numbers and text of the caller that a
            resumed run must share, besides source, model, views and
            ``score_thr``. Defaults to None.
        on_start (Callable, optional): Called before the first frame with the
            number of frames that are finished already. Defaults to None.
        on_frame (Callable, optional): Called after every finished frame.
            Defaults to None.

    Returns:
        :obj:`RenderedVideo`: The files and a summary.

    Raises:
        OSError: If the files cannot be written.
        RenderStopped: If Ctrl-C or SIGTERM stopped it; a KeyboardInterrupt.
        ValueError: If an argument is not allowed, the video has no frame or
            a damaged one, or ``resume`` meets a run with other settings. A
            checkpoint stays.
    """
    start = time.perf_counter()
    outputs = _check_outputs(outputs, session)
    if checkpoint_every < 1:
        raise ValueError('checkpoint_every must be positive, got '
                         f'{checkpoint_every}')
    drawn = [name for name in outputs if name in DRAWN]
    settings = dict(
        settings or {},
        **render_settings(session, source, score_thr, drawn),
        outputs=outputs)
    with RenderFolder(out_dir) as folder:
        run = _Run(session, source, folder, score_thr, settings)
        with closing(run):
            run.start(resume)
            num_before = run.num_frames
            if on_start is not None:
                on_start(num_before)
            run.process(checkpoint_every, on_frame)
            run.write_files()
            scores = [track.score for track in run.recording.tracks()]
        run.publish()
    files = [Path(out_dir, OUTPUTS[name]) for name in outputs]
    return RenderedVideo(
        files=[str(file) for file in files if file.exists()],
        num_frames=run.num_frames,
        num_rendered=run.num_frames - num_before,
        seconds=time.perf_counter() - start,
        num_tracks=sum(score > session.model.cls_thr for score in scores),
        num_shown=sum(score >= score_thr for score in scores))


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
    with ExitStack() as stack:
        recording = None
        for frame in session.stream(source):
            if recording is None:
                recording = _create(session, source, path, frame.image, {})
                stack.callback(recording.close)
            recording.add(frame)
            if on_frame is not None:
                on_frame()
        if recording is None:
            raise ValueError(NO_FRAME)
        recording.finish()
        stack.pop_all()
    return recording


# How outputs are made of a recording, given the least score of a class in
# the results and that of a drawn instance.
EXPORTS: Dict[str, Callable[[VideoRecording, Path, float, float], None]] = {
    'timeline':
    lambda recording, path, cls_thr, score_thr: write_image(
        path, draw_timeline(recording, score_thr=score_thr)),
    'results':
    lambda recording, path, cls_thr, score_thr: write_results_json(
        recording, path, cls_thr=cls_thr),
    'csv':
    lambda recording, path, cls_thr, score_thr: write_tracks_csv(
        recording, path, score_thr=cls_thr),
    'coco':
    lambda recording, path, cls_thr, score_thr: write_coco_video(
        recording, path, score_thr=score_thr),
    'masks':
    lambda recording, path, cls_thr, score_thr: write_id_masks(
        recording, path, score_thr=score_thr)
}


class _Overlay:
    """A video that is written in segments.

    Args:
        folder (Path): Folder of the segments.
        fps (float): Frames per second.

    Attributes:
        num_segments (int): Complete segments.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        self.folder = folder
        self.fps = fps
        self.num_segments = 0
        self._writer: Optional[H264Writer] = None

    def write(self, image: np.ndarray, time: float) -> None:
        """Append a frame of shape (H, W, 3), uint8, BGR."""
        if self._writer is None:
            self._writer = H264Writer(
                self._segment(self.num_segments), self.fps, image.shape[1::-1])
        self._writer.write(image, time)

    def close_segment(self) -> None:
        """Complete the segment that has frames, if there is one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self.num_segments += 1

    def discard_segment(self) -> None:
        """Delete the segment that is not complete."""
        if self._writer is not None:
            self._writer.discard()

    def load(self, num_segments: int) -> None:
        """Go on behind some segments; later ones are deleted."""
        known = [self._segment(index) for index in range(num_segments)]
        for path in self.folder.glob(SEGMENTS):
            if path not in known:
                path.unlink()
        self.num_segments = num_segments

    def join(self, path: Path) -> None:
        """Write all segments as one file."""
        concat_videos([self._segment(i) for i in range(self.num_segments)],
                      path)

    def _segment(self, index: int) -> Path:
        """File of a segment."""
        return self.folder / f'overlay-{index:06d}.mp4'


class _Run:
    """A run that makes checkpoints and can go on from one.

    Args:
        session (:obj:`Session`): The model.
        source (:obj:`FrameSource`): The video.
        folder (:obj:`RenderFolder`): Where the files grow.
        score_thr (float): Least running class score of a drawn instance.
        settings (dict): See :func:`render_settings`; with the ``outputs``.
    """

    def __init__(self, session: Session, source: FrameSource,
                 folder: RenderFolder, score_thr: float,
                 settings: dict) -> None:
        self.session = session
        self.source = source
        self.folder = folder
        self.score_thr = score_thr
        self.settings = settings
        self.outputs: List[str] = settings['outputs']
        self.recording: Optional[VideoRecording] = None
        self.overlay: Optional[_Overlay] = None
        self.strips: Optional[RefinementStrips] = None
        if 'overlay' in self.outputs:
            self.overlay = _Overlay(folder.path, source.fps)
        if 'before_after' in self.outputs:
            self.strips = RefinementStrips(score_thr=score_thr)

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
        elif resume:
            _log(f'nothing to resume in "{out_dir}", the video starts from '
                 'the beginning')

    def process(self, checkpoint_every: int,
                on_frame: Optional[Callable[[], None]]) -> None:
        """Take the frames that are left.

        Args:
            checkpoint_every (int): Frames between checkpoints.
            on_frame (Callable, optional): See :func:`render_video`.
        """
        if self.recording is not None and self.recording.finished:
            return
        with _caught_signals() as signals:
            for image, seconds in self._frames():
                if self.recording is None:
                    self.recording = _create(self.session, self.source,
                                             self.folder.path / RECORDING,
                                             image, self.settings)
                self._add(self.session.step(image, seconds), on_frame)
                if signals:
                    break
                if self.session.num_frames % checkpoint_every == 0:
                    self._checkpoint()
        if self.recording is None:
            raise ValueError(NO_FRAME)
        if signals and not self.source.live:
            self._checkpoint()
            raise RenderStopped(
                f'stopped after {self.session.num_frames} frames')
        self._add(self.session.flush(), on_frame)
        self._checkpoint()
        self.recording.finish()

    def write_files(self) -> None:
        """Write the files that are missing, not yet under their names."""
        self.folder.start_final()
        final, cls_thr = self.folder.final, self.session.model.cls_thr
        if self.overlay is not None:
            self.overlay.join(final / OUTPUTS['overlay'])
        if self.strips is not None:
            picture = self.strips.draw()
            if picture is None:
                _log(f'no {OUTPUTS["before_after"]}: refinement changed no '
                     'object that is drawn')
            else:
                write_image(final / OUTPUTS['before_after'], picture)
        for name in self.outputs:
            if name in EXPORTS:
                EXPORTS[name](self.recording, final / OUTPUTS[name], cls_thr,
                              self.score_thr)

    def publish(self) -> None:
        """Give the files their final names.

        The recording goes last: where it lies, all that it says was made is
        complete.
        """
        path, made = self.folder.path / RECORDING, []
        if path.exists():
            self.folder.withdraw(RECORDING)
            made = self.recording.settings['outputs']
        names = dict.fromkeys((*self.outputs, *made))
        self.folder.publish([OUTPUTS[name] for name in names])
        if path.exists() and 'recording' in self.outputs:
            os.replace(path, self.folder.out_dir / RECORDING)
        self.folder.keep = False

    def close(self) -> None:
        """Let go of the files, complete or not."""
        if self.overlay is not None:
            self.overlay.discard_segment()
        if self.recording is not None:
            self.recording.close()

    def _frames(self) -> Iterator[TimedFrame]:
        """The frames that the session has not taken."""
        num_frames = self.session.num_frames
        if not num_frames:
            return iter(self.source)
        if self.source.live:
            self.source.close()
            return iter(())
        return self.source.frames_from(num_frames)

    def _add(self, frames: List[FrameResult],
             on_frame: Optional[Callable[[], None]]) -> None:
        """Write and draw finished frames."""
        for frame in frames:
            self.recording.add(frame)
            if self.overlay is not None:
                self.overlay.write(
                    draw_frame(frame.image, frame.instances, self.score_thr),
                    frame.time)
            if self.strips is not None:
                self.strips.add(frame)
            if on_frame is not None:
                on_frame()

    def _checkpoint(self) -> None:
        """Keep what there is for a later run."""
        state = dict(session=self.session.state_dict())
        if self.overlay is not None:
            self.overlay.close_segment()
            state['num_segments'] = self.overlay.num_segments
        if self.strips is not None:
            state['strips'] = self.strips.state_dict()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.recording.checkpoint(buffer.getvalue())
        self.folder.keep = True

    def _load(self, recording: VideoRecording) -> None:
        """Go on from a checkpoint; ValueError if it is of another run."""
        check_settings(recording.settings, self.settings, self.folder.out_dir,
                       ('outputs', ))
        state = torch.load(
            io.BytesIO(recording.state), map_location='cpu', weights_only=True)
        self.session.load_state_dict(state['session'])
        if self.overlay is not None:
            self.overlay.load(state['num_segments'])
        if self.strips is not None:
            self.strips.load_state_dict(state['strips'])
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
                name for name in recording.settings['outputs']
                if name == 'before_after'
                or Path(self.folder.out_dir, OUTPUTS[name]).exists()
            ]
            if not set(self.settings['drawn']) <= set(made):
                return False
            stack.pop_all()
        self.recording, self.overlay, self.strips = recording, None, None
        self.outputs = [name for name in self.outputs if name not in made]
        return True


def _create(session: Session, source: FrameSource, path: os.PathLike,
            image: np.ndarray, settings: dict) -> VideoRecording:
    """Start the recording of a video whose first frame is there."""
    return VideoRecording.create(path, session.model.classes, image.shape[:2],
                                 source.fps, session.views, session.view,
                                 settings)


def _check_outputs(outputs: Sequence[str], session: Session) -> List[str]:
    """The outputs in the order of the table, without what cannot be."""
    unknown = [name for name in outputs if name not in OUTPUTS]
    if unknown or not outputs:
        got = repr(unknown[0]) if unknown else 'none'
        raise ValueError(f'outputs must be out of {tuple(OUTPUTS)}, got {got}')
    compared = FRAME_LEVEL in session.views and session.view != FRAME_LEVEL
    return [
        name for name in OUTPUTS
        if name in outputs and (compared or name != 'before_after')
    ]


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
