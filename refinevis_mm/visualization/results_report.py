# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One HTML file that shows what several systems find in one video."""
import os
from typing import Dict, Iterable, List, Optional, Union

import numpy as np

from refinevis_mm.vis_json import (check_results, distinct_tubes,
                                   num_frames_of, to_rles)
from .html_report import (DETECTED, FRAME_SIZE, JPEG_QUALITY, check_encoding,
                          check_frames, describe_truth, describe_tubes,
                          evaluate_view, shown_size, write_page)


def write_results_report(path: Union[str, os.PathLike],
                         frames: Iterable[np.ndarray],
                         ground_truth: dict,
                         results: Dict[str, List[dict]],
                         title: str,
                         facts: Optional[Dict[str, str]] = None,
                         fps: float = 10.,
                         score_thr: float = 0.3,
                         frame_size: int = FRAME_SIZE,
                         quality: int = JPEG_QUALITY) -> int:
    """Write result files of one video side by side, a view for each.

    The page is that of :func:`write_report`. The files have no ids: objects
    count from the best one on, in each view anew. Of rows with the same
    masks, that of the best class is shown.

    Args:
        path (str | PathLike): The file.
        frames (Iterable[np.ndarray]): The frames of the video, each of shape
            (H, W, 3), uint8, BGR.
        ground_truth (dict): Annotations of this video, see
            :func:`select_video`; the last view.
        results (dict[str, list[dict]]): Results in YouTube-VIS format by name
            of what made them. Those of other videos are left out.
        title (str): Heading of the page.
        facts (dict[str, str], optional): More lines about the video. Defaults
            to None.
        fps (float): Frames per second. Defaults to 10.
        score_thr (float): Least score of a shown object, also for the metrics
            of tracking. Defaults to 0.3.
        frame_size (int): Longer frames and their masks are scaled down to it.
            Defaults to 640 pixels.
        quality (int): Of the JPEG images, in [1, 100]. Defaults to 80.

    Returns:
        int: Size of the file in bytes.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there is no result, one is malformed, the frames are
            not those of the video, or an argument is out of its range.
    """
    check_encoding(frame_size, quality)
    if not results:
        raise ValueError('results must have at least one name, got none')
    if fps <= 0:
        raise ValueError(f'fps must be positive, got {fps}')
    video, = ground_truth['videos']
    size, num_frames = (video['height'], video['width']), num_frames_of(video)
    shown = shown_size(size, frame_size)
    views, rows = [], []
    for index, (name, found) in enumerate(results.items()):
        found = _check_video(ground_truth, name, found)
        view, view_rows = describe_tubes(f'system{index}', name,
                                         f'what {name} has found',
                                         ground_truth,
                                         _shown_tubes(video, found, score_thr),
                                         DETECTED, shown)
        view['metrics'] = evaluate_view(ground_truth, found, score_thr)
        views.append(view)
        rows.append(view_rows)
    truth, truth_rows = describe_truth(ground_truth, shown)
    jpegs = check_frames(frames, num_frames, size, frame_size, quality)
    times = [frame / fps for frame in range(num_frames)]
    return write_page(path, title, facts, times, fps, size, shown,
                      [*views, truth], 0, jpegs, [*rows, truth_rows])


def _check_video(gt: dict, name: str, results: List[dict]) -> List[dict]:
    """Results of the annotated video; an error names the system."""
    video, = gt['videos']
    own = [
        row for row in results if not isinstance(row, dict)
        or row.get('video_id', video['id']) == video['id']
    ]
    try:
        return check_results(gt, own)
    except ValueError as error:
        raise ValueError(f'{name}: {error}') from None


def _shown_tubes(video: dict, results: List[dict],
                 score_thr: float) -> List[dict]:
    """Results from a score on, of those with the same masks the best."""
    rows = [row for row in results if row['score'] >= score_thr]
    rows.sort(key=lambda row: -row['score'])
    tubes = [to_rles(video, row) for row in rows]
    row_of = {id(tube): row for tube, row in zip(tubes, rows)}
    distinct = distinct_tubes(tubes, num_frames_of(video))
    return [row_of[id(tube)] for tube in distinct]
