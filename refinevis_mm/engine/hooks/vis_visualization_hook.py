# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Clips of validation and test videos as pictures and films."""
import logging
import os.path as osp
from itertools import chain
from typing import Any, Dict, Iterable, Iterator, List, Optional, Sequence
from urllib.parse import quote

import numpy as np
from mmdet.datasets import BaseVideoDataset
from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner

from refinevis_mm.datasets.transforms import LoadFrame
from refinevis_mm.files import whole_files
from refinevis_mm.registry import HOOKS
from refinevis_mm.structures import class_name
from refinevis_mm.video_io import H264Writer
from refinevis_mm.vis_json import to_rles
from refinevis_mm.visualization.refinement_figure import draw_panels
from refinevis_mm.visualization.vis_overlay import (draw_instances,
                                                    instance_text)

FOLDER = osp.join('vis_data', 'vis_video')  # beside LocalVisBackend's images
FILM_SIDE = 640  # px, longer side of a frame in a film
STRIP_SIDE = 320  # px, longer side of a frame in a strip
TITLES = ('ground truth', 'prediction')


@HOOKS.register_module()
class VISVisualizationHook(Hook):
    """Draws some videos of each validation and test.

    For a video that has ended, ground truth and prediction are written side
    by side as an H.264 film to
    ``<log dir>/vis_data/vis_video/<val or test>_iter_<i>/video_<id>.mp4``.
    When the validation ends, some frames of each video go as one picture
    called ``<val or test>_video_<id>`` to the visualizer's backends, whatever
    they are: local files, TensorBoard, Weights & Biases.

    The model hands over each video as :class:`VISMetric` needs it, with its
    last frame, as ``pred_tracklets`` in the metainfo of the
    ``TrackDataSample``. Frames and annotations are read again from the data
    set one by one, so little memory is used and the pipeline need not load
    annotations. A video without annotations is drawn with its prediction
    alone. The colours of the two sides are not matched.

    Distributed: each rank draws those of the chosen videos that it has
    tested, rank 0 hands all pictures to the backends.

    Args:
        num_videos (int): Videos that are drawn, spread evenly over the data
            set. Defaults to 4.
        video_ids (Sequence[int], optional): Ids of the videos that are drawn
            instead. Defaults to None.
        interval (int): The first of every so many validations since the
            start of the process is drawn; tests always are. Defaults to 1.
        score_thr (float): Least score of a drawn prediction, in [0, 1].
            Defaults to 0.3.
        max_frames (int): A clip ends after so many frames of its video.
            Defaults to 100.
        strip_frames (int): Frames of the clip in the picture. Defaults to 5.
        fps (float): Frames per second of the films. Defaults to 6, as
            YouTube-VIS is annotated.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 num_videos: int = 4,
                 video_ids: Optional[Sequence[int]] = None,
                 interval: int = 1,
                 score_thr: float = 0.3,
                 max_frames: int = 100,
                 strip_frames: int = 5,
                 fps: float = 6.) -> None:
        counts = dict(
            num_videos=num_videos,
            interval=interval,
            max_frames=max_frames,
            strip_frames=strip_frames)
        for name, count in counts.items():
            if not isinstance(count, int) or count < 1:
                raise ValueError(f'{name} must be a positive whole number, '
                                 f'got {count!r}')
        if video_ids is not None and (isinstance(video_ids, (str, int))
                                      or not len(video_ids)):
            raise ValueError('video_ids must be a list with at least one id, '
                             f'got {video_ids!r}')
        if not 0 <= score_thr <= 1:
            raise ValueError(f'score_thr must lie in [0, 1], got {score_thr}')
        if not fps > 0:
            raise ValueError(f'fps must be positive, got {fps}')
        self.num_videos = num_videos
        self.video_ids = video_ids
        self.interval = interval
        self.score_thr = score_thr
        self.max_frames = max_frames
        self.strip_frames = strip_frames
        self.fps = fps
        self._num_validations = 0
        self._videos: Dict[Any, int] = {}  # index by id of those to be drawn
        self._strips: Dict[Any, np.ndarray] = {}

    def before_train(self, runner: Runner) -> None:
        """Refuse a wrong id before training, not at the first validation.

        Args:
            runner (:obj:`Runner`): Has the validation data, or none.

        Raises:
            ValueError: If the data set does not have the videos.
        """
        if runner.val_loop is not None:
            self._find_videos(runner.val_dataloader.dataset)

    def before_val(self, runner: Runner) -> None:
        """Choose the videos of a validation.

        Args:
            runner (:obj:`Runner`): Has the validation data.

        Raises:
            ValueError: If the data set does not have the videos.
        """
        drawn = self._num_validations % self.interval == 0
        self._num_validations += 1
        self._strips = {}
        self._videos = {}
        if drawn:
            self._videos = self._find_videos(runner.val_dataloader.dataset)

    def before_test(self, runner: Runner) -> None:
        """Choose the videos of a test.

        Args:
            runner (:obj:`Runner`): Has the test data.

        Raises:
            ValueError: If the data set does not have the videos.
        """
        self._strips = {}
        self._videos = self._find_videos(runner.test_dataloader.dataset)

    def after_val_iter(self,
                       runner: Runner,
                       batch_idx: int,
                       data_batch: Optional[dict] = None,
                       outputs: Optional[Sequence] = None) -> None:
        """Draw the chosen videos that end with this batch.

        Args:
            runner (:obj:`Runner`): Has the data set and the log folder.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (Sequence[:obj:`TrackDataSample`], optional): Outputs of
                the model.
        """
        self._draw_ended(runner, 'val', runner.val_dataloader.dataset, outputs)

    def after_test_iter(self,
                        runner: Runner,
                        batch_idx: int,
                        data_batch: Optional[dict] = None,
                        outputs: Optional[Sequence] = None) -> None:
        """Draw the chosen videos that end with this batch.

        Args:
            runner (:obj:`Runner`): Has the data set and the log folder.
            batch_idx (int): Not used.
            data_batch (dict, optional): Not used.
            outputs (Sequence[:obj:`TrackDataSample`], optional): Outputs of
                the model.
        """
        self._draw_ended(runner, 'test', runner.test_dataloader.dataset,
                         outputs)

    def after_val(self, runner: Runner) -> None:
        """Hand the pictures of all ranks to the visualizer.

        Args:
            runner (:obj:`Runner`): Has the visualizer.
        """
        self._show_strips(runner, 'val')

    def after_test(self, runner: Runner) -> None:
        """Hand the pictures of all ranks to the visualizer.

        Args:
            runner (:obj:`Runner`): Has the visualizer.
        """
        self._show_strips(runner, 'test')

    def _find_videos(self, dataset: BaseVideoDataset) -> Dict[Any, int]:
        """Index by id of the videos to be drawn."""
        if not isinstance(dataset, BaseVideoDataset):
            raise ValueError(
                'VISVisualizationHook draws videos of a BaseVideoDataset, '
                f'got {type(dataset).__name__}')
        total = len(dataset)
        number = min(self.num_videos, total)
        positions: Iterable[int] = range(total)
        if self.video_ids is None:
            positions = [i * total // number for i in range(number)]
        found = {dataset.get_data_info(i)['video_id']: i for i in positions}
        if self.video_ids is None:
            return found
        unknown = [i for i in self.video_ids if i not in found]
        if unknown:
            raise ValueError('video_ids must be videos of the data set, got '
                             f'the unknown id {unknown[0]!r}')
        return {video_id: found[video_id] for video_id in self.video_ids}

    def _draw_ended(self, runner: Runner, phase: str,
                    dataset: BaseVideoDataset,
                    outputs: Optional[Sequence]) -> None:
        """Write films and keep strips of videos that have ended."""
        for sample in outputs or ():
            tracklets = sample.get('pred_tracklets')
            video_id = sample.get('video_id')
            if tracklets is None or video_id not in self._videos or \
                    video_id in self._strips:
                continue
            clip = _Clip(dataset, self._videos[video_id], tracklets,
                         self.score_thr, self.max_frames)
            folder = osp.join(runner.log_dir, FOLDER,
                              f'{phase}_iter_{_step(runner)}')
            # a video that a sampler repeats may end on two ranks at once
            with whole_files(folder) as part:
                clip.write_film(
                    str(part / f'video_{_file_name(video_id)}.mp4'), self.fps)
            self._strips[video_id] = clip.draw_strip(self.strip_frames)

    def _show_strips(self, runner: Runner, phase: str) -> None:
        """Hand the strips of all ranks to the visualizer of the first."""
        if not self._videos:
            return
        strips = {}
        for part in all_gather_object(self._strips):
            strips.update(part)
        for video_id in self._videos:
            if video_id in strips:
                # backends take RGB
                runner.visualizer.add_image(
                    f'{phase}_video_{_file_name(video_id)}',
                    np.ascontiguousarray(strips[video_id][..., ::-1]),
                    _step(runner))
        if not strips:
            print_log(
                f'VISVisualizationHook drew nothing: no video of '
                f'{list(self._videos)} came with pred_tracklets',
                logger='current',
                level=logging.WARNING)
        self._strips = {}


class _Clip:
    """A video with its ground truth and its prediction, read by frame.

    Args:
        dataset (:obj:`BaseVideoDataset`): Has the frames and annotations.
        index (int): Position of the video in the data set.
        tracklets (list[dict]): Its ``pred_tracklets``.
        score_thr (float): Least score of a drawn tracklet.
        max_frames (int): Frames at most.
    """

    def __init__(self, dataset: BaseVideoDataset, index: int,
                 tracklets: List[dict], score_thr: float,
                 max_frames: int) -> None:
        self._images = dataset.get_data_info(index)['images']
        self._classes = dataset.metainfo.get('classes') or ()
        self._load = LoadFrame(backend_args=dataset.backend_args)
        self._tracklets = best_tracklets(tracklets, score_thr)
        self.num_frames = min(len(self._images), max_frames)
        annotated = any(
            _counted(self._images[t]) for t in range(self.num_frames))
        self._titles = TITLES if annotated else TITLES[1:]

    def write_film(self, path: str, fps: float) -> None:
        """Write all frames as an mp4 file."""
        pictures = self._draw_film()
        first = next(pictures)
        height, width = first.shape[:2]
        with H264Writer(path, fps, (width, height)) as writer:
            for picture in chain([first], pictures):
                writer.write(picture)

    def draw_strip(self, num_frames: int) -> np.ndarray:
        """Some frames, spread evenly, side by side in one BGR picture."""
        last = self.num_frames - 1
        frames = sorted(
            set(np.linspace(0, last, num_frames).round().astype(int).tolist()))
        columns = [self._draw_frame(t, STRIP_SIDE) for t in frames]
        return draw_panels(
            list(zip(*columns)), [f'frame {t}' for t in frames], self._titles)

    def _draw_film(self) -> Iterator[np.ndarray]:
        """The pictures of the film, BGR."""
        for t in range(self.num_frames):
            yield draw_panels([self._draw_frame(t, FILM_SIDE)], self._titles,
                              [f'frame {t}'])

    def _draw_frame(self, frame_id: int, side: int) -> List[np.ndarray]:
        """The drawings of a frame, one for each title."""
        info = self._images[frame_id]
        image = self._load(dict(info))['img']
        groups = [self._predicted(frame_id)]
        if len(self._titles) == 2:
            groups.insert(0, self._true(info, image.shape))
        scale = side / max(image.shape[:2])
        return [
            draw_instances(image, masks, ids, texts, scale=scale)
            for masks, ids, texts in map(_columns, groups)
        ]

    def _predicted(self, frame_id: int) -> List[tuple]:
        """Mask, id and label of each predicted instance of a frame."""
        return [(tracklet['segmentations'][frame_id], tracklet['instances_id'],
                 instance_text(
                     class_name(self._classes, tracklet['label']),
                     tracklet['instances_id'], tracklet['score']))
                for tracklet in self._tracklets]

    def _true(self, info: dict, shape: Sequence[int]) -> List[tuple]:
        """Mask, id and label of each annotated instance of a frame."""
        size = dict(height=shape[0], width=shape[1])
        rows = []
        for row in _counted(info):
            mask, = to_rles(size, dict(segmentations=[row['mask']]))
            name = class_name(self._classes, row['bbox_label'])
            rows.append((mask, row['instance_id'],
                         instance_text(name, row['instance_id'])))
        return rows


def best_tracklets(tracklets: Iterable[dict], score_thr: float) -> List[dict]:
    """The (instance, class) pairs that are drawn.

    Args:
        tracklets (Iterable[dict]): See :meth:`VideoResult.tracklets`.
        score_thr (float): Least score.

    Returns:
        list[dict]: One for each instance, that of the best class, in the
        order in which the instances first come.
    """
    best: Dict[int, dict] = {}
    for tracklet in tracklets:
        if tracklet['score'] < score_thr:
            continue
        known = best.setdefault(tracklet['instances_id'], tracklet)
        if tracklet['score'] > known['score']:
            best[tracklet['instances_id']] = tracklet
    return list(best.values())


def _counted(info: dict) -> List[dict]:
    """Annotated instances of a frame with masks, without crowds."""
    return [
        row for row in info.get('instances') or ()
        if row.get('mask') and not row.get('ignore_flag')
    ]


def _columns(rows: List[tuple]) -> tuple:
    """Masks, ids and texts of the rows."""
    return tuple(zip(*rows)) or ((), (), ())


def _step(runner: Runner) -> int:
    """Iterations trained so far.

    ``runner.iter`` would build the training data in a mere test.
    """
    loop = runner._train_loop
    return loop.iter if isinstance(loop, BaseLoop) else 0


def _file_name(video_id: Any) -> str:
    """A video id as a part of a file name."""
    return quote(str(video_id), safe='')
