# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results in YouTube-VIS form, as evaluation reads them."""
from typing import Optional, Sequence

from refinevis_mm.files import PathLike, whole_file
from refinevis_mm.structures import to_results_json
from .json_lists import write_json_list
from .video_recording import VideoRecording


def write_results_json(recording: VideoRecording,
                       path: PathLike,
                       view: Optional[str] = None,
                       video_id: int = 1,
                       category_ids: Optional[Sequence[int]] = None,
                       cls_thr: float = 0.05,
                       max_per_video: Optional[int] = None) -> None:
    """Write the tracks of a video as YouTube-VIS results.

    A JSON list, one track and class a line, with ``video_id``,
    ``category_id``, ``score`` and ``segmentations`` (RLE or null of every
    frame). It appears when it is complete; one track is in memory at a time.

    Args:
        recording (:obj:`VideoRecording`): The video.
        path (str | PathLike): The file, replaced if it exists.
        view (str, optional): Defaults to None, the main view.
        video_id (int): Id of the video in the annotation file. Defaults to 1.
        category_ids (Sequence[int], optional): Category id of each label.
            Defaults to None, the label + 1.
        cls_thr (float): A class of a track is written when its score is
            greater. Defaults to 0.05.
        max_per_video (int, optional): Write only that many classes of
            tracks, those of the highest scores. Defaults to None, all.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there is no such view, or a label has no category id.
    """
    if category_ids is None:
        category_ids = range(1, recording.num_classes + 1)

    rows = (
        row for tracklet in recording.tracklets(view, cls_thr, max_per_video)
        for row in to_results_json(video_id, [tracklet], category_ids))
    with whole_file(path) as part, open(part, 'w', encoding='utf-8') as file:
        write_json_list(file, rows)
        file.write('\n')
