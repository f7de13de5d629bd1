# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results in COCO-video form, as labelling tools and mmdet read them."""
from itertools import count
from typing import Iterator, Optional, Sequence

from pycocotools import mask as mask_utils

from refinevis_mm.files import PathLike, whole_file
from refinevis_mm.structures import class_name
from .frame_names import frame_names
from .json_lists import write_json_list
from .video_recording import VideoRecording


def write_coco_video(recording: VideoRecording,
                     path: PathLike,
                     view: Optional[str] = None,
                     file_names: Optional[Sequence[str]] = None,
                     name: str = 'video',
                     score_thr: float = 0.) -> None:
    """Write a video as COCO annotations with instance ids.

    The JSON has ``categories`` (id = label + 1), ``videos``, ``images`` (with
    ``video_id`` and ``frame_id``) and ``annotations``: one for every mask,
    with ``instance_id`` (the track id), ``category_id`` (that of the track,
    the same in all frames), ``bbox`` (x, y, width, height in pixels),
    ``area`` in pixels, ``segmentation`` (RLE), ``iscrowd`` (0) and ``score``,
    the final one of the track. Ids of images are those of the frames + 1.
    ``coco_video_to_youtubevis.py`` turns it into a data set.

    The file appears when it is complete; one frame is in memory at a time.

    Args:
        recording (:obj:`VideoRecording`): The video.
        path (str | PathLike): The file, replaced if it exists.
        view (str, optional): Defaults to None, the main view.
        file_names (Sequence[str], optional): Names of the frames, relative to
            the folder of the images. Defaults to None, see
            :func:`frame_names`.
        name (str): Name of the video. Defaults to 'video'.
        score_thr (float): Least final score of a track, in [0, 1]. Defaults
            to 0.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If there is no such view, or the file names do not fit.
    """
    names = frame_names(recording, file_names)
    height, width = recording.size
    categories = [
        dict(id=label + 1, name=class_name(recording.classes, label))
        for label in range(recording.num_classes)
    ]
    video = dict(
        id=1, name=name, width=width, height=height, fps=recording.fps)
    images = (dict(
        id=frame_id + 1,
        video_id=1,
        frame_id=frame_id,
        file_name=file_name,
        width=width,
        height=height) for frame_id, file_name in enumerate(names))
    lists = dict(
        categories=categories,
        videos=[video],
        images=images,
        annotations=_annotations(recording, view, score_thr))

    with whole_file(path) as part, open(part, 'w', encoding='utf-8') as file:
        file.write('{"info": {"description": "results of refinevis_mm"}')
        for key, items in lists.items():
            file.write(f',\n"{key}": ')
            write_json_list(file, items)
        file.write('}\n')


def _annotations(recording: VideoRecording, view: Optional[str],
                 score_thr: float) -> Iterator[dict]:
    """One annotation for every mask."""
    tracks = {
        track.id: track
        for track in recording.tracks(view) if track.score >= score_thr
    }
    ids = count(1)
    for frame_id, _, instances in recording.frames(view):
        for track_id, box, mask in zip(instances.ids, instances.boxes.tolist(),
                                       instances.masks):
            if mask is None or track_id not in tracks:
                continue
            x1, y1, x2, y2 = box
            yield dict(
                id=next(ids),
                image_id=frame_id + 1,
                video_id=1,
                instance_id=track_id,
                category_id=tracks[track_id].label + 1,
                score=tracks[track_id].score,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                area=int(mask_utils.area(mask)),
                segmentation=mask,
                iscrowd=0)
