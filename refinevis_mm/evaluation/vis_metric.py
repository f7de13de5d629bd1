# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""VISMetric: the YouTube-VIS protocol inside the Runner."""
import json
import logging
import os.path as osp
import sys
import zipfile
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from mmengine.structures import BaseDataElement

from refinevis_mm.files import whole_file, write_text
from refinevis_mm.registry import METRICS
from refinevis_mm.structures import to_results_json
from refinevis_mm.vis_json import (check_ground_truth, check_results,
                                   load_json, match_classes, missing_results)
from .best_tracklet import evaluate_best_tracklet
from .finished_videos import FinishedVideos
from .tracking_eval import evaluate_tracking
from .vis_eval import evaluate_vis

TRACKING_SCORE_THR = 0.3


@METRICS.register_module()
class VISMetric(BaseMetric):
    """Video instance segmentation AP and AR, and the submission file.

    Reads the official YouTube-VIS / OVIS JSON as it is. A model hands over
    each video once, with its last frame, as ``pred_tracklets`` in the
    metainfo of the ``TrackDataSample``; samples without that key (earlier
    frames) are skipped, so only RLE rows are held. Every (instance, class)
    pair is one result. AP and AR are fractions in [0, 1], unrounded, -1
    where no object counts.

    Distributed: each rank keeps its own videos and rank 0 evaluates. A video
    that comes more than once (a padding sampler) counts once, with the first
    copy. Every video of ``ann_file`` must come, even with an empty
    ``pred_tracklets``, because a video left out would count as one in which
    nothing was found.

    Args:
        ann_file (str): Annotation file in YouTube-VIS format, ``.json`` or
            ``.json.gz``. With ``format_only`` it needs no annotations.
        format_only (bool): Whether to only write the submission file.
            Defaults to False.
        outfile_prefix (str, optional): Write the results to
            ``{outfile_prefix}.json`` and, as ``results.json`` in a flat zip,
            to ``{outfile_prefix}.zip``. Needed with ``format_only``.
            Defaults to None, which writes nothing.
        allow_missing (bool): Accept that videos of ``ann_file`` have no
            results and count them as such, as the official evaluator does.
            Defaults to False, which refuses.
        collect_device (str): 'cpu' or 'gpu', where ranks exchange results.
            Defaults to 'cpu'.
        prefix (str, optional): Prefix of the names of the numbers. Defaults
            to None, which gives 'vis'.
        collect_dir (str, optional): Folder shared by the ranks, for
            ``collect_device='cpu'``. Defaults to None.
        tracking (bool): Whether to add the numbers of
            :func:`evaluate_tracking`, all classes as one, of results with a
            score of at least 0.3: ``hota``, ``idf1``, ``id_switches`` and so
            on. Defaults to False.
        best_tracklet (bool): Whether to add ``J``, see
            :func:`evaluate_best_tracklet`. Defaults to False.
        options (dict, optional): Passed to :func:`evaluate_vis`, for example
            ``dict(class_agnostic=True)``. Defaults to None.
        resume_dir (str, optional): Folder, shared by the ranks, that receives
            one file for each finished video. Videos found there count even
            if they do not come, so that a killed run can be continued with
            :class:`WholeVideoSampler`. Defaults to None, which keeps
            results in memory only.
        evaluate_later (bool): Only leave the results in ``resume_dir``, for a
            run that finds those of all videos there. Defaults to False.

    Raises:
        ValueError: If ``format_only`` comes without ``outfile_prefix``, or
            ``evaluate_later`` without ``resume_dir``.
        FileNotFoundError: If ``ann_file`` does not exist.
    """
    default_prefix = 'vis'

    def __init__(self,
                 ann_file: str,
                 format_only: bool = False,
                 outfile_prefix: Optional[str] = None,
                 allow_missing: bool = False,
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None,
                 collect_dir: Optional[str] = None,
                 tracking: bool = False,
                 best_tracklet: bool = False,
                 options: Optional[Dict[str, Any]] = None,
                 resume_dir: Optional[str] = None,
                 evaluate_later: bool = False) -> None:
        super().__init__(
            collect_device=collect_device,
            prefix=prefix,
            collect_dir=collect_dir)
        if format_only and outfile_prefix is None:
            raise ValueError('format_only needs an outfile_prefix, got None')
        if evaluate_later and resume_dir is None:
            raise ValueError('evaluate_later needs a resume_dir, got None')
        if not osp.isfile(ann_file):
            raise FileNotFoundError(f'ann_file does not exist: {ann_file}')
        self.ann_file = ann_file
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix
        self.allow_missing = allow_missing
        self.tracking = tracking
        self.best_tracklet = best_tracklet
        self.options = dict(options or {})
        self.evaluate_later = evaluate_later
        self.finished = FinishedVideos(resume_dir) if resume_dir else None
        self._ground_truth: Optional[dict] = None
        self._last_files: Optional[Dict[Any, str]] = None

    def process(self, data_batch: Optional[dict],
                data_samples: Sequence[Union[dict, BaseDataElement]]) -> None:
        """Keep the tracklets of the videos that end with this batch.

        Args:
            data_batch (dict, optional): Not used.
            data_samples (Sequence[dict | TrackDataSample]): Outputs of the
                model. Those of a video's last frame carry ``video_id`` and
                ``pred_tracklets``, see :class:`VideoResult`.

        Raises:
            ValueError: If a video's last frame is another file than in
                ``ann_file``.
            OSError: If ``resume_dir`` cannot be written.
        """
        for data_sample in data_samples:
            tracklets = data_sample.get('pred_tracklets')
            if tracklets is None:
                continue
            video_id = data_sample.get('video_id')
            for frame in list(data_sample.get('video_data_samples')
                              or [])[-1:]:
                self._check_file(video_id, frame.get('img_path'))
            self.results.append((video_id, tracklets))
            if self.finished is not None:
                self.finished.add(video_id, tracklets)

    def _check_file(self, video_id: Any, path: Optional[str]) -> None:
        """Refuse frames of other videos than those of ``ann_file``."""
        if self._last_files is None:
            self._last_files = {
                video['id']: video['file_names'][-1]
                for video in self._load_ground_truth()['videos']
                if video.get('file_names')
            }
        name = self._last_files.get(video_id)
        if name is None or path is None:
            return
        if Path(path).parts[-len(Path(name).parts):] != Path(name).parts:
            raise ValueError(
                'the data set and the metric must have the same videos, got '
                f'{path} as the last frame of video_id {video_id!r}, which is '
                f'{name} in {self.ann_file}; is ann_file that of the data '
                'set?')

    def evaluate(self, size: int = sys.maxsize) -> Dict[str, float]:
        """Gather the videos of all ranks and compute the numbers.

        Args:
            size (int): Length of the data set. Not used: it counts frames or
                videos, depending on the sampler, and duplicates are found by
                video id instead.

        Returns:
            dict[str, float]: Numbers by ``prefix/name``.
        """
        return super().evaluate(sys.maxsize)

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Evaluate, write the submission, or both.

        Args:
            results (list[tuple]): (video id, tracklets) of all ranks.

        Returns:
            dict[str, float]: The numbers of :func:`evaluate_vis`, with
            ``tracking`` those of :func:`evaluate_tracking`, with
            ``best_tracklet`` also ``J``; nothing with ``format_only`` or
            ``evaluate_later``.

        Raises:
            ValueError: If the results do not fit the annotation file.
            OSError: If the submission cannot be written.
        """
        if self.evaluate_later:
            return {}
        ground_truth = self._load_ground_truth()
        if self.finished is not None:
            known = [video_id for video_id, _ in results]
            results = results + self.finished.load(skip=known)
        rows = self._to_rows(results, ground_truth)
        if self.finished is not None:
            check_results(ground_truth, rows, check_masks=True)
        stats = {}
        if not self.format_only:
            stats = evaluate_vis(ground_truth, rows, **self.options)
            per_class = stats.pop('per_class')
            aps = (f'{numbers["name"]} {numbers["AP"]:.4f} '
                   f'({numbers["AP50"]:.4f})'
                   for numbers in per_class.values())
            print_log(
                f'AP (AP50) by class: {", ".join(aps)}', logger='current')
            if self.tracking:
                numbers = evaluate_tracking(
                    ground_truth, rows, score_thr=TRACKING_SCORE_THR)
                # mmengine writes an int as null into its JSON file
                stats.update({
                    name: float(value)
                    for name, value in numbers.items()
                    if isinstance(value, (int, float))
                })
            if self.best_tracklet:
                stats['J'] = evaluate_best_tracklet(ground_truth, rows)['J']
        if self.outfile_prefix is not None:
            write_submission(rows, self.outfile_prefix, ground_truth)
        return stats

    def _load_ground_truth(self) -> dict:
        """Annotation file, read and checked once."""
        if self._ground_truth is None:
            ground_truth = load_json(self.ann_file)
            check_ground_truth(ground_truth, not self.format_only, True)
            self._ground_truth = ground_truth
        return self._ground_truth

    def _category_ids(self, ground_truth: dict) -> List[int]:
        """JSON category id of each label; the classes are checked."""
        categories = ground_truth['categories']
        classes = (self.dataset_meta or {}).get('classes')
        if classes is None:
            return [category['id'] for category in categories]
        ids = {category.get('name'): category['id'] for category in categories}
        match = match_classes(classes, ids)
        if match is None:
            raise ValueError('the classes of the data set must be the '
                             f'categories of {self.ann_file}, {list(ids)}, '
                             f'got {list(classes)}')
        return [ids[match[name]] for name in classes]

    def _to_rows(self, results: List[tuple], ground_truth: dict) -> List[dict]:
        """Result rows by video, in the order of the annotation file."""
        tracklets_of = {}
        for video_id, tracklets in results:
            tracklets_of.setdefault(video_id, tracklets)
        video_ids = [video['id'] for video in ground_truth['videos']]
        unknown = sorted(set(tracklets_of) - set(video_ids), key=str)
        if unknown:
            raise ValueError(
                f'results must be of videos of {self.ann_file}, got the '
                f'unknown video_id {unknown[0]!r}')
        missing = missing_results(ground_truth, tracklets_of)
        if missing and not self.allow_missing:
            raise ValueError(f'{self.ann_file}: {missing}; allow_missing=True '
                             'counts them as videos in which nothing was '
                             'found')
        if missing:
            print_log(
                f'{self.ann_file}: {missing}',
                logger='current',
                level=logging.WARNING)
        category_ids = self._category_ids(ground_truth)
        return [
            row for video_id in video_ids for row in to_results_json(
                video_id, tracklets_of.get(video_id, []), category_ids)
        ]


def write_submission(rows: List[dict], outfile_prefix: str,
                     ground_truth: dict) -> None:
    """Write results for an evaluation server.

    ``{outfile_prefix}.json`` holds the rows, ``{outfile_prefix}.zip`` the
    same as its only member ``results.json``. A file appears under its final
    name only when it is complete.

    Args:
        rows (list[dict]): Results in YouTube-VIS format.
        outfile_prefix (str): Path without ending; folders are created.
        ground_truth (dict): Annotation file that the results belong to; needs
            videos and categories only.

    Raises:
        ValueError: If the validator finds an error in the results.
        OSError: If a file cannot be written.
    """
    check_results(ground_truth, rows, 'raise', check_masks=True)
    content = json.dumps(rows, allow_nan=False)
    write_text(f'{outfile_prefix}.json', content)
    with whole_file(f'{outfile_prefix}.zip') as part, zipfile.ZipFile(
            part, 'w') as archive:
        # without the time, so that equal results are equal files
        entry = zipfile.ZipInfo('results.json')
        archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
