# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A video run through a model and written as pictures and results."""
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, Dict, List, Optional

import numpy as np
from torch import Tensor

from refinevis_mm.models.refinevis import RefineVIS
from refinevis_mm.structures import FrameResult, VideoResult, to_results_json
from refinevis_mm.visualization import (FrameSource, RefinementFigure,
                                        VideoSink, display_scale,
                                        draw_instances, output_folder,
                                        panel_scale, refinement_change,
                                        write_image)
from .inference import stream_video, stream_video_compared

OVERLAY = 'overlay.mp4'
BEFORE_AFTER = 'before_after.png'
RESULTS = 'results.json'


@dataclass
class RenderedVideo:
    """What :func:`render_video` made.

    Attributes:
        files (list[str]): Paths of the files.
        tracklets (list[dict]): As :meth:`VideoResult.tracklets` gives them.
        num_frames (int): Frames of the video.
        seconds (float): Time for all of it.
    """

    files: List[str]
    tracklets: List[dict]
    num_frames: int
    seconds: float


def render_video(
        model: RefineVIS,
        source: FrameSource,
        out_dir: str,
        score_thr: float = 0.3,
        on_frame: Optional[Callable[[], None]] = None) -> RenderedVideo:
    """Find, follow and refine the objects of a video, and show them.

    Writes ``overlay.mp4``, ``results.json`` (YouTube-VIS form, video_id 1,
    category_id = label + 1) and, with refinement, ``before_after.png``. They
    appear together when the video has ended. Besides the run-length codes of
    the results the memory does not depend on the video's length.

    Args:
        model (:obj:`RefineVIS`): From :func:`init_model`.
        source (:obj:`FrameSource`): The video.
        out_dir (str): Folder of the files.
        score_thr (float): Least running class score of a drawn instance, in
            [0, 1]. Defaults to 0.3.
        on_frame (Callable, optional): Called after every frame.

    Returns:
        :obj:`RenderedVideo`: The files and the results.

    Raises:
        OSError: If the files cannot be written.
        ValueError: If the video has no frame or a damaged one.
    """
    start = time.perf_counter()
    with output_folder(out_dir) as folder:
        painter = _Painter(folder, source.fps, model, score_thr)
        if model.window > 0:
            stream = stream_video_compared(model, source)
        else:
            stream = ((*pair, None) for pair in stream_video(model, source))
        for image, result, frame_level in stream:
            painter.add(image, result, frame_level)
            if on_frame is not None:
                on_frame()
        tracklets = painter.close(model.cls_thr)
        files = sorted(file.name for file in folder.iterdir())
    return RenderedVideo([str(Path(out_dir, name)) for name in files],
                         tracklets, painter.num_frames,
                         time.perf_counter() - start)


@dataclass
class _Shown:
    """Instances of a frame that are drawn, by id."""

    masks: Dict[int, np.ndarray] = field(default_factory=dict)
    scores: Dict[int, float] = field(default_factory=dict)
    texts: Dict[int, str] = field(default_factory=dict)
    recovered: Dict[int, bool] = field(default_factory=dict)


class _Painter:
    """Draws frames and gathers their results.

    Args:
        folder (Path): Where the files are written.
        fps (float): Frames per second of the overlay.
        model (:obj:`RefineVIS`): For class names and the window.
        score_thr (float): Least running class score of a drawn instance.
    """

    def __init__(self, folder: Path, fps: float, model: RefineVIS,
                 score_thr: float) -> None:
        self.folder = folder
        self.fps = fps
        self.classes = model.classes
        self.score_thr = score_thr
        self.num_frames = 0
        self.num_classes = 0
        self.results = VideoResult()
        self.figure = RefinementFigure(
            min_gap=model.window) if model.window > 0 else None
        self.sink: Optional[VideoSink] = None

    def add(self, image: np.ndarray, result: FrameResult,
            frame_level: Optional[FrameResult]) -> None:
        """Draw a frame; ``frame_level`` is its result before refinement."""
        self.num_frames += 1
        self.num_classes = result.cls_scores.shape[1]
        self.results.discard(result.discarded_ids)
        self.results.add_frame(result.frame_id, result.ids, result.cls_scores,
                               result.scored, result.masks)
        shown = self._shown(result, self.results.running_scores(result.ids))
        overlay = _draw(image, shown, display_scale(*image.shape[:2]))
        if self.sink is None:
            self.sink = VideoSink(self.folder / OVERLAY, self.fps,
                                  overlay.shape[1::-1])
        self.sink.write(overlay)
        if frame_level is not None:
            self._compare(image, shown, frame_level)

    def close(self, cls_thr: float) -> List[dict]:
        """Finish the files; returns the tracklets."""
        if self.sink is None:
            raise ValueError('a video needs at least one frame, got none')
        self.sink.close()
        if self.figure is not None:
            write_image(self.folder / BEFORE_AFTER, self.figure.draw())
        tracklets = self.results.tracklets(cls_thr)
        rows = to_results_json(1, tracklets, range(1, self.num_classes + 1))
        with open(self.folder / RESULTS, 'w', encoding='utf-8') as file:
            lines = (json.dumps(row) for row in rows)
            file.write('[')
            for index, line in enumerate(lines):
                file.write((',\n' if index else '') + line)
            file.write(']\n')
        return tracklets

    def _shown(self, result: FrameResult, scores: Tensor) -> _Shown:
        """Choose the instances with a good score (scores: (N, K))."""
        shown = _Shown()
        if not result.ids:
            return shown
        masks = result.masks.cpu().numpy()
        best_scores, labels = scores.max(dim=1)
        for row, instance_id in enumerate(result.ids):
            score = float(best_scores[row])
            if score < self.score_thr:
                continue
            label = int(labels[row])
            name = self.classes[label] if label < len(
                self.classes) else f'class {label}'
            shown.masks[instance_id] = masks[row]
            shown.scores[instance_id] = score
            shown.texts[instance_id] = f'{name} #{instance_id} {score:.2f}'
            shown.recovered[instance_id] = not bool(result.real[row])
        return shown

    def _compare(self, image: np.ndarray, shown: _Shown,
                 frame_level: FrameResult) -> None:
        """Offer a frame to the before/after figure."""
        masks = frame_level.masks.cpu().numpy()
        before = {
            instance_id: masks[row]
            for row, instance_id in enumerate(frame_level.ids)
            if instance_id in shown.masks
        }
        change, recovered = refinement_change(before, shown.masks,
                                              shown.scores)
        texts = [shown.texts[i].rsplit(' ', 1)[0] for i in recovered]
        caption = f'recovered: {", ".join(texts)}' if texts else ''

        def draw() -> List[np.ndarray]:
            scale = panel_scale(*image.shape[:2])
            plain = _Shown(before, shown.scores, shown.texts,
                           dict.fromkeys(before, False))
            return [
                _draw(image, panel, scale)
                for panel in (_Shown(), plain, shown)
            ]

        self.figure.add(frame_level.frame_id, change, caption, draw)


def _draw(image: np.ndarray, shown: _Shown, scale: float) -> np.ndarray:
    """Draw the shown instances over an image."""
    ids = list(shown.masks)
    return draw_instances(
        image, [shown.masks[i] for i in ids],
        ids, [shown.texts[i] for i in ids], [shown.recovered[i] for i in ids],
        scale=scale)
