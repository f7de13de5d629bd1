# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What a rendered video can become: one entry for each output."""
import os.path as osp
from dataclasses import dataclass, field
from pathlib import Path
from typing import (Any, Callable, Dict, List, NamedTuple, Optional, Protocol,
                    Sequence, Tuple)

import numpy as np
import torch
from mmengine.logging import print_log

from refinevis_mm.models import BaseVISModel
from refinevis_mm.models.association import find_delay
from refinevis_mm.recording import (VideoRecording, check_pyarrow,
                                    write_coco_video, write_cvat_video,
                                    write_id_masks, write_mots_png,
                                    write_results_json, write_tracks_csv,
                                    write_tracks_parquet)
from refinevis_mm.structures import (VIEWS, FrameInstances, FrameResult,
                                     TrackMerges, Values, check_form)
from refinevis_mm.video_io import (FrameSource, H264Writer, concat_videos,
                                   write_image)
from refinevis_mm.visualization import (FrameSpool, RefinementStrips,
                                        draw_frame, draw_timeline,
                                        write_report)

RECORDING = 'recording.sqlite'
SEGMENTS = 'overlay-*.mp4'
HELD = dict(time=float, image=torch.Tensor, instances=dict)


class Drawing(Protocol):
    """What grows with the frames of a video, and goes on in another run."""

    def add(self, frame: FrameResult) -> None:
        """Take the next frame."""

    def merge(self, merges: TrackMerges) -> None:
        """Take what the end of the video told of its tracks."""

    def state_dict(self) -> dict:
        """Everything so far is on disk or in what this returns."""

    def load_state_dict(self, state: dict) -> None:
        """Go on behind the frames of a state."""

    def close(self) -> None:
        """Let go of open files, complete or not."""


@dataclass
class RenderJob:
    """What outputs are made of.

    Attributes:
        model (:obj:`BaseVISModel`): The model.
        source (:obj:`FrameSource`): The video.
        folder (Path): Where drawings may keep files until the end.
        score_thr (float): Least score of a drawn instance.
        title (str, optional): Heading of the report, see
            :func:`render_video`.
        ground_truth (dict, optional): Annotations for the report.
        drawings (dict[str, :obj:`Drawing`]): By output, of those that need
            the frames.
    """

    model: BaseVISModel
    source: FrameSource
    folder: Path
    score_thr: float
    title: Optional[str] = None
    ground_truth: Optional[dict] = None
    drawings: Dict[str, Any] = field(default_factory=dict)


class Output(NamedTuple):
    """A file or folder that a video can become.

    Attributes:
        name (str): What users ask for.
        file (str): Its name in the folder of the results.
        make (Callable): Writes it, given the recording, the path and the
            job.
        draw (Callable, optional): Starts the :obj:`Drawing` it is made of,
            given the job. None: it is made of the recording alone.
        compares (bool): Shows what refinement changed; left out where
            nothing is refined or changed.
        all_views (bool): Wants the frame level, online and offline.
        check (Callable, optional): Raises ImportError before the first frame
            where a package is missing. None: it needs no other.
    """

    name: str
    file: str
    make: Callable[[VideoRecording, str, RenderJob], Any]
    draw: Optional[Callable[[RenderJob], Drawing]] = None
    compares: bool = False
    all_views: bool = False
    check: Optional[Callable[[], None]] = None


@dataclass
class _HeldFrame:
    """A frame that is drawn once the ids in it are settled."""

    time: float
    image: np.ndarray
    instances: FrameInstances


class _Overlay:
    """A video that is written in segments.

    Args:
        folder (Path): Folder of the segments.
        fps (float): Frames per second.
        score_thr (float): Least running class score of a drawn instance.
        classes (Sequence[str]): Class names.
        delay (int): Frames after which ids are settled.
    """

    def __init__(self, folder: Path, fps: float, score_thr: float,
                 classes: Sequence[str], delay: int) -> None:
        self.folder = folder
        self.fps = fps
        self.score_thr = score_thr
        self.classes = classes
        self.delay = delay
        self.num_segments = 0  # complete ones
        self._writer: Optional[H264Writer] = None
        self._view = ''
        self._held: List[_HeldFrame] = []

    def add(self, frame: FrameResult) -> None:
        """Append a frame, and draw one whose ids are settled."""
        self._view = frame.view
        for held in self._held if frame.discarded_ids else ():
            held.instances = held.instances.without(frame.discarded_ids)
        self.merge(frame.merges)
        self._held.append(_HeldFrame(frame.time, frame.image, frame.instances))
        if len(self._held) > self.delay:
            self._draw(self._held.pop(0))

    def merge(self, merges: TrackMerges) -> None:
        """Give tracks that turned out to be one their id."""
        cls_scores = merges.cls_scores.get(self._view, {})
        for held in self._held if merges.ids else ():
            held.instances = held.instances.merged(merges.ids, cls_scores,
                                                   self.classes)

    def _draw(self, frame: _HeldFrame) -> None:
        """Draw a frame into the segment."""
        image = draw_frame(frame.image, frame.instances, self.score_thr)
        if self._writer is None:
            height, width = image.shape[:2]
            self._writer = H264Writer(
                self._segment(self.num_segments), self.fps, (width, height))
        self._writer.write(image, frame.time)

    def state_dict(self) -> dict:
        """Complete the segment that has frames, if there is one."""
        self._end_segment()
        return dict(
            num_segments=self.num_segments,
            view=self._view,
            held=[
                dict(
                    time=held.time,
                    image=torch.from_numpy(held.image.copy()),
                    instances=held.instances.state_dict())
                for held in self._held
            ])

    def _end_segment(self) -> None:
        """Complete the segment that has frames."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self.num_segments += 1

    def load_state_dict(self, state: dict) -> None:
        """Go on behind some segments; later ones are deleted.

        Raises:
            ValueError: If one of them is missing.
        """
        what = 'the state of the overlay'
        check_form(state, dict(num_segments=int, view=str, held=[HELD]), what)
        held = []
        for frame in state['held']:
            instances = FrameInstances.from_state(frame['instances'])
            check_form(frame['image'], Values((*instances.size, 3),
                                              torch.uint8), what)
            held.append(
                _HeldFrame(frame['time'], frame['image'].numpy().copy(),
                           instances))
        num, found = state['num_segments'], set(self.folder.glob(SEGMENTS))
        if not 0 <= num <= len(found):
            raise ValueError(f'{self.folder} must hold {num} segments of the '
                             f'overlay, got {len(found)}')
        self.num_segments, self._view, self._held = num, state['view'], held
        known = self._segments()
        for path in found.difference(known):
            path.unlink()

    def close(self) -> None:
        """Delete the segment that is not complete."""
        if self._writer is not None:
            self._writer.discard()

    def join(self, path: str) -> None:
        """Write all frames as one file."""
        for frame in self._held:
            self._draw(frame)
        self._held = []
        self._end_segment()
        concat_videos(self._segments(), path)

    def _segments(self) -> list:
        """Files of the complete segments."""
        return [self._segment(index) for index in range(self.num_segments)]

    def _segment(self, index: int) -> Path:
        """File of a segment."""
        return self.folder / f'overlay-{index:06d}.mp4'


def _start_overlay(job: RenderJob) -> _Overlay:
    """An overlay whose frames wait until their ids are settled."""
    return _Overlay(job.folder, job.source.fps, job.score_thr,
                    job.model.classes, find_delay(job.model.tracker))


def _make_strips(recording: VideoRecording, path: str, job: RenderJob) -> None:
    """Draw what refinement changed most, if it changed anything."""
    picture = job.drawings['before_after'].draw(
        [number for number, _ in recording.origins()])
    if picture is not None:
        write_image(path, picture)
        return
    print_log(
        f'no {osp.basename(path)}: refinement changed no object that is drawn',
        logger='current')


def _make_report(recording: VideoRecording, path: str, job: RenderJob) -> None:
    """Write the report, with what is known of the model."""
    model, name = job.model, job.source.name
    window = f'{model.window} frames' if model.window else 'none'
    facts = dict(
        Config=Path(model.cfg.filename or '').stem,
        Checkpoint=osp.basename(model.weights),
        Window=window)
    known = {key: text for key, text in facts.items() if text}
    title = job.title or osp.basename(name) or name
    write_report(path, job.drawings['report'], recording, title, known,
                 job.ground_truth, job.score_thr, model.cls_thr,
                 model.max_per_video)


OUTPUTS: Dict[str, Output] = {
    output.name: output
    for output in (
        # frames with the objects, H.264
        Output(
            'overlay',
            'overlay.mp4',
            lambda _, path, job: job.drawings['overlay'].join(path),
            draw=_start_overlay),
        # where refinement changed most
        Output(
            'before_after',
            'before_after.png',
            _make_strips,
            draw=lambda job: RefinementStrips(score_thr=job.score_thr),
            compares=True),
        # when each track was seen
        Output(
            'timeline', 'timeline.png',
            lambda recording, path, job: write_image(
                path, draw_timeline(recording, score_thr=job.score_thr))),
        # YouTube-VIS results; video_id 1, category_id = label + 1
        Output(
            'results', 'results.json',
            lambda recording, path, job: write_results_json(
                recording,
                path,
                cls_thr=job.model.cls_thr,
                max_per_video=job.model.max_per_video)),
        # a row per track and frame
        Output(
            'csv', 'tracks.csv', lambda recording, path, job: write_tracks_csv(
                recording, path, score_thr=job.model.cls_thr)),
        # the same for pandas, DuckDB and Spark, with masks
        Output(
            'parquet',
            'tracks.parquet',
            lambda recording, path, job: write_tracks_parquet(
                recording, path, score_thr=job.model.cls_thr),
            check=check_pyarrow),
        # annotations with track ids
        Output(
            'coco', 'coco_video.json', lambda recording, path, job:
            write_coco_video(recording, path, score_thr=job.score_thr)),
        # track ids as pixel values
        Output(
            'masks', 'masks', lambda recording, path, job: write_id_masks(
                recording, path, score_thr=job.score_thr)),
        # tracks to be corrected in CVAT
        Output(
            'cvat', 'cvat', lambda recording, path, job: write_cvat_video(
                recording,
                path,
                score_thr=job.score_thr,
                name=Path(job.source.name).stem or 'video')),
        # class and track id as pixel values, for CVAT and others
        Output(
            'mots', 'mots.zip', lambda recording, path, job: write_mots_png(
                recording, path, score_thr=job.score_thr)),
        # a page to click through, with all frames in it
        Output(
            'report',
            'report.html',
            _make_report,
            draw=lambda job: FrameSpool(job.folder / 'frames.jpegs'),
            all_views=True),
        # all views, there already; named last
        Output('recording', RECORDING, lambda recording, path, job: None))
}
DEFAULT_OUTPUTS = ('overlay', 'before_after', 'timeline', 'results', 'csv',
                   'recording')


def views_for(outputs: Sequence[str],
              model: BaseVISModel) -> Optional[Tuple[str, ...]]:
    """Views that a session must have for some outputs.

    Args:
        outputs (Sequence[str]): Names of outputs.
        model (:obj:`BaseVISModel`): The model.

    Returns:
        tuple[str] | None: All views where an output shows them and the model
        refines; else None, those that a :class:`Session` has by itself.
    """
    wanted = any(output.all_views for output in OUTPUTS.values()
                 if output.name in outputs)
    return VIEWS if wanted and model.window else None
