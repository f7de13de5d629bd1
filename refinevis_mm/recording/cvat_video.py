# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results as tracks that people correct in CVAT."""
import json
import os.path as osp
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional
from xml.sax.saxutils import XMLGenerator
from xml.sax.xmlreader import AttributesImpl

import numpy as np
from pycocotools import mask as mask_utils

from refinevis_mm.files import PathLike, whole_folder, write_text
from refinevis_mm.structures import class_name
from refinevis_mm.vis_json import MIN_IOU, TRACK_ID, cvat_labels, mask_polygons
from .plain_text import plain_text
from .video_recording import VideoRecording

ANNOTATIONS, LABELS = 'annotations.xml', 'labels.json'


def write_cvat_video(recording: VideoRecording,
                     folder: PathLike,
                     view: Optional[str] = None,
                     score_thr: float = 0.3,
                     name: str = 'video',
                     min_iou: float = MIN_IOU,
                     force: bool = False) -> None:
    """Write the tracks of a video in the form "CVAT for video 1.1".

    The folder gets ``labels.json``, for the field "Raw" when a task is made
    of the same video, and ``annotations.xml``, to be uploaded to that task.

    CVAT reads tracks of polygons, but takes single shapes for tracks of
    masks, and a polygon has neither parts nor holes. So every part of an
    object is a track of polygons, with a slit to each hole, and the parts
    have one ``group_id``, the track id + 1, and one attribute ``track_id``;
    by these ``cvat_to_youtubevis.py`` finds the object again. Every frame
    with a mask is a keyframe, so that CVAT interpolates nothing between
    them, and where an object is gone there is a keyframe ``outside``. Parts
    are in order of size, so that number 1 is the largest one of each frame.
    ``z_order`` is higher for higher scores.

    Frames have the numbers that a task of the whole video gives them. With
    others than each n-th frame of the video, CVAT interpolates where frames
    were left out.

    The folder appears when it is complete; one track is in memory at a time.

    Args:
        recording (:obj:`VideoRecording`): The video.
        folder (str | PathLike): The folder to make.
        view (str, optional): Defaults to None, the main view.
        score_thr (float): Least final score of a track, in [0, 1]. Defaults
            to 0.3.
        name (str): Name of the task. Defaults to 'video'.
        min_iou (float): See :func:`mask_polygons`. Defaults to 0.98.
        force (bool): Replace an existing folder. Defaults to False.

    Raises:
        FileExistsError: If ``folder`` exists and ``force`` is False.
        OSError: If it cannot be written.
        ValueError: If there is no such view, or two classes have one name.
    """
    tracks = {
        track.id: track
        for track in recording.tracks(view) if track.score >= score_thr
    }
    labels = cvat_labels([
        plain_text(class_name(recording.classes, label))
        for label in range(recording.num_classes)
    ])
    ranks = {
        track_id: rank
        for rank, track_id in enumerate(
            sorted(tracks, key=lambda track_id: tracks[track_id].score))
    }
    # the codes of a track come with each of its classes
    rows = (
        row for row in recording.tracklets(
            view, cls_thr=float(np.nextafter(score_thr, -1)))
        if row['instances_id'] in tracks
        and row['label'] == tracks[row['instances_id']].label)
    with whole_folder(folder, force) as work:
        write_text(osp.join(work, LABELS), json.dumps(labels, indent=1))
        with open(osp.join(work, ANNOTATIONS), 'w', encoding='utf-8') as file:
            writer = _Writer(file, recording, min_iou)
            with writer.element('annotations'):
                writer.text('version', '1.1')
                writer.meta(name, labels)
                for row in rows:
                    track_id = row['instances_id']
                    writer.object(track_id, labels[row['label']]['name'],
                                  ranks[track_id], row['segmentations'])


class _Writer:
    """The elements of a file.

    Args:
        file (TextIO): Receives them.
        recording (:obj:`VideoRecording`): The video.
        min_iou (float): See :func:`mask_polygons`.
    """

    def __init__(self, file: Any, recording: VideoRecording,
                 min_iou: float) -> None:
        self._xml = XMLGenerator(file, 'utf-8', short_empty_elements=True)
        self._xml.startDocument()
        self._size = recording.size
        self._numbers = [number for number, _ in recording.origins()]
        self._min_iou = min_iou
        self._num_tracks = 0

    @contextmanager
    def element(self, tag: str, **attributes: Any) -> Iterator[None]:
        """An element with others in it."""
        texts = {key: str(value) for key, value in attributes.items()}
        self._xml.startElement(tag, AttributesImpl(texts))
        yield
        self._xml.endElement(tag)
        self._xml.characters('\n')

    def text(self, tag: str, text: Any, **attributes: Any) -> None:
        """An element with a text."""
        with self.element(tag, **attributes):
            self._xml.characters(str(text))

    def meta(self, name: str, labels: List[dict]) -> None:
        """The task."""
        numbers = self._numbers
        steps = set(np.diff(numbers).tolist()) or {1}
        height, width = self._size
        first, last = (numbers[0], numbers[-1]) if numbers else (0, 0)
        facts: Dict[str, Any] = dict(
            name=plain_text(name),
            size=len(numbers),
            mode='interpolation',
            overlap=0,
            subset='default',
            start_frame=first,
            stop_frame=last,
            frame_filter=f'step={steps.pop()}' if len(steps) == 1 else '')
        with self.element('meta'):
            with self.element('task'):
                for key, value in facts.items():
                    self.text(key, value)
                with self.element('labels'):
                    for label in labels:
                        self._label(label)
                with self.element('original_size'):
                    self.text('width', width)
                    self.text('height', height)

    def _label(self, label: dict) -> None:
        """A label and its attributes."""
        with self.element('label'):
            self.text('name', label['name'])
            self.text('type', label['type'])
            with self.element('attributes'):
                for attribute in label['attributes']:
                    with self.element('attribute'):
                        for key, value in attribute.items():
                            self.text(
                                key, '\n'.join(value) if isinstance(
                                    value, list) else value)

    def object(self, track_id: int, label: str, z_order: int,
               masks: List[Optional[dict]]) -> None:
        """All parts of an object."""
        frames = [[] if mask is None else mask_polygons(
            mask_utils.decode(mask).astype(bool), self._min_iou)
                  for mask in masks]
        for part in range(max(map(len, frames))):
            with self.element(
                    'track',
                    id=self._num_tracks,
                    label=label,
                    group_id=track_id + 1,
                    source='auto'):
                before: Optional[List[float]] = None
                for number, polygons in zip(self._numbers, frames):
                    polygon = polygons[part] if part < len(polygons) else None
                    if polygon is not None or before is not None:
                        self._polygon(track_id, number, z_order, polygon
                                      or before, polygon is None)
                    before = polygon
            self._num_tracks += 1

    def _polygon(self, track_id: int, number: int, z_order: int,
                 polygon: Optional[List[float]], outside: bool) -> None:
        """A keyframe."""
        assert polygon is not None
        points = ';'.join(f'{x:g},{y:g}'
                          for x, y in zip(polygon[::2], polygon[1::2]))
        with self.element(
                'polygon',
                frame=number,
                outside=int(outside),
                occluded=0,
                keyframe=1,
                points=points,
                z_order=z_order):
            self.text('attribute', track_id, name=TRACK_ID)
