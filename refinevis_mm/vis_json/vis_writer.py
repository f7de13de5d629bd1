# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Writes YouTube-VIS data sets; their JSON is complete or not there."""
import json
import os
import os.path as osp
from contextlib import ExitStack
from typing import Any, Dict, List, Optional, Sequence

import cv2
import numpy as np
import pycocotools.mask as mask_utils

from refinevis_mm.files import refuse_existing, whole_file, write_text
from .packed_masks import MaskError, pack_masks
from .validation import ALL_CROWDS


def encode_counts(mask: np.ndarray) -> List[int]:
    """Uncompressed RLE counts as in the official training JSON.

    Args:
        mask (np.ndarray): (H, W) bool.

    Returns:
        list[int]: Run lengths in column-major order, zeros first.
    """
    flat = np.asarray(mask, bool).ravel(order='F')
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], edges, [flat.size]])
    counts = np.diff(edges).tolist()
    return [0] + counts if flat[0] else counts


class VISJsonWriter:
    """Writes a YouTube-VIS JSON for frames that exist already.

    Annotations are written when they are added, as compressed RLE, so that
    only the videos are held. To be used in a ``with`` block: the file appears
    when the block succeeds.

    Args:
        path (str): The JSON to write.
        categories (Sequence[dict]): ``id`` and ``name`` of the classes.
        description (str): Goes into the JSON's ``info``.
        force (bool): Replace an existing file. Defaults to False.

    Raises:
        ValueError: If ``path`` does not end in .json; at the end of the block,
            if there is no object, or nothing but crowds.
        FileExistsError: If ``path`` exists and ``force`` is False.
    """

    def __init__(self,
                 path: str,
                 categories: Sequence[dict],
                 description: str,
                 force: bool = False) -> None:
        if not path.endswith('.json'):
            raise ValueError(f"the file must end in .json, but got '{path}'")
        refuse_existing(path, force)
        self.path = path
        self.num_annotations = self.num_crowds = 0
        self.videos: List[dict] = []
        self._header = dict(
            info=dict(description=description, version='1.0'),
            licenses=[],
            categories=list(categories))

    def __enter__(self) -> 'VISJsonWriter':
        with ExitStack() as stack:
            part = stack.enter_context(whole_file(self.path))
            self._file = stack.enter_context(open(part, 'w', encoding='utf-8'))
            text = json.dumps(self._header, separators=(',', ':'))
            self._file.write(text[:-1] + ',"annotations":[')
            self._stack = stack.pop_all()
        return self

    def __exit__(self, _: Optional[type], error: Optional[BaseException],
                 *traceback: Any) -> None:
        with self._stack:
            if error is not None:
                raise error
            if self.num_annotations == self.num_crowds:
                raise ValueError(
                    f'{self.path}: {ALL_CROWDS}' if self.num_crowds else
                    f'nothing was converted: there is no object in the '
                    f'{len(self.videos)} videos')
            videos = json.dumps(self.videos, separators=(',', ':'))
            self._file.write(f'],"videos":{videos}}}\n')

    def add_video(self, file_names: Sequence[str], height: int,
                  width: int) -> int:
        """Take a video.

        Args:
            file_names (Sequence[str]): Its frames in order, relative to the
                folder of the images.
            height (int): Of the frames, in pixels.
            width (int): Of the frames, in pixels.

        Returns:
            int: The video's id, 1-based.
        """
        self.videos.append(
            dict(
                id=len(self.videos) + 1,
                width=width,
                height=height,
                length=len(file_names),
                file_names=list(file_names)))
        return len(self.videos)

    def add_annotation(self,
                       video_id: int,
                       category_id: int,
                       segmentations: Sequence[Any],
                       iscrowd: int = 0,
                       track_id: Optional[int] = None) -> int:
        """Write an annotation; boxes and areas are those of the masks.

        Args:
            video_id (int): What :meth:`add_video` returned.
            category_id (int): Id of a category.
            segmentations (Sequence): For each frame a mask (H, W) bool, RLE,
                polygons, or None; a mask without pixels counts as None.
            iscrowd (int): 0 or 1. Defaults to 0.
            track_id (int, optional): What the object is called where it comes
                from, written as it is. Defaults to None, which writes none.

        Returns:
            int: The annotation's id, 1-based.

        Raises:
            ValueError: If a segmentation is malformed.
        """
        video = self.videos[video_id - 1]
        height, width, length = (
            video[key] for key in ('height', 'width', 'length'))
        masks = [
            dict(size=list(mask.shape), counts=encode_counts(mask))
            if isinstance(mask, np.ndarray) else mask for mask in segmentations
        ]
        rles, boxes, areas = ([None] * length for _ in range(3))
        tube = pack_masks(masks, height, width, _refuse_mask)
        codes = tube.rles([(height, width)])
        for t, rle, area in zip(tube.frames, codes, tube.areas.tolist()):
            boxes[t] = mask_utils.toBbox(rle).tolist()
            rles[t] = dict(
                size=rle['size'], counts=rle['counts'].decode('ascii'))
            areas[t] = area
        self.num_annotations += 1
        self.num_crowds += iscrowd
        if self.num_annotations > 1:
            self._file.write(',\n')
        ids = {} if track_id is None else dict(track_id=track_id)
        json.dump(
            dict(
                id=self.num_annotations,
                **ids,
                video_id=video_id,
                category_id=category_id,
                iscrowd=iscrowd,
                width=width,
                height=height,
                length=length,
                segmentations=rles,
                bboxes=boxes,
                areas=areas),
            self._file,
            separators=(',', ':'))
        return self.num_annotations

    @property
    def summary(self) -> str:
        """Numbers of videos, of objects and, if there are any, of crowds."""
        objects = self.num_annotations - self.num_crowds
        text = f'{len(self.videos)} videos, {objects} objects'
        return text + f' and {self.num_crowds} crowds' * bool(self.num_crowds)


def _refuse_mask(frame: int, error: MaskError) -> None:
    """Let a malformed mask stop the writing; one without pixels is null."""
    if error.code != 'empty-mask':
        raise ValueError(f'frame {frame}: {error}')


class YouTubeVISWriter:
    """Collects videos and writes ``JPEGImages/`` and the split's JSON.

    The frames are written as they come, the JSON by :meth:`save`.

    Args:
        root (str): Data set folder.
        split (str): Name of the split.
        categories (Sequence[str]): Class names; the JSON ids start at 1.
        description (str): Goes into the JSON's ``info``.
        quality (int): JPEG quality in [0, 100]. Defaults to 92.
    """

    def __init__(self,
                 root: str,
                 split: str,
                 categories: Sequence[str],
                 description: str,
                 quality: int = 92) -> None:
        self.root, self.split, self.quality = root, split, quality
        self.content: Dict[str, object] = dict(
            info=dict(description=description, version='1.0'),
            licenses=[],
            categories=[
                dict(id=i, name=name, supercategory='object')
                for i, name in enumerate(categories, 1)
            ],
            videos=[],
            annotations=[])

    def add_video(self,
                  frames: Sequence[np.ndarray],
                  labels: Sequence[int],
                  masks: np.ndarray,
                  visibility: Optional[np.ndarray] = None,
                  num_crowds: int = 0) -> int:
        """Write the frames and take the annotations of one video.

        Args:
            frames (Sequence[np.ndarray]): T BGR images (H, W, 3), uint8.
            labels (Sequence[int]): N class indices, 0-based.
            masks (np.ndarray): (N, T, H, W) bool; an empty mask is written
                as null.
            visibility (np.ndarray, optional): Visible share of the objects
                that are no crowds, in [0, 1], NaN (written as null) where the
                object is out of the frame. Has shape (N - num_crowds, T).
                Defaults to None, which writes none.
            num_crowds (int): The last ones of the objects, which are crowds.
                Defaults to 0.

        Returns:
            int: The video's id, 1-based.

        Raises:
            OSError: If a frame cannot be written.
        """
        video_id = len(self.content['videos']) + 1
        name = f'{video_id:05d}'
        folder = osp.join(self.root, self.split, 'JPEGImages', name)
        os.makedirs(folder)
        for t, frame in enumerate(frames):
            _, data = cv2.imencode('.jpg', frame,
                                   [cv2.IMWRITE_JPEG_QUALITY, self.quality])
            with open(osp.join(folder, f'{t:05d}.jpg'), 'wb') as file:
                file.write(data.tobytes())
        height, width = frames[0].shape[:2]
        self.content['videos'].append(
            dict(
                id=video_id,
                width=width,
                height=height,
                length=len(frames),
                file_names=[f'{name}/{t:05d}.jpg'
                            for t in range(len(frames))]))
        num_objects = len(labels) - num_crowds
        for i, label in enumerate(labels):
            annotation = dict(
                id=len(self.content['annotations']) + 1,
                video_id=video_id,
                category_id=int(label) + 1,
                iscrowd=int(i >= num_objects),
                width=width,
                height=height,
                length=len(frames),
                **_frame_lists(masks[i]))
            if visibility is not None and i < num_objects:
                annotation['visibility'] = [
                    None if np.isnan(v) else round(float(v), 3)
                    for v in visibility[i]
                ]
            self.content['annotations'].append(annotation)
        return video_id

    def save(self) -> str:
        """Write ``<root>/<split>.json``.

        Returns:
            str: The file's path.

        Raises:
            OSError: If it cannot be written.
        """
        path = osp.join(self.root, f'{self.split}.json')
        write_text(path, json.dumps(self.content, separators=(',', ':')))
        return path


def _frame_lists(masks: np.ndarray) -> Dict[str, list]:
    """The per-frame lists of one annotation; null where the mask (T, H, W)
    is empty. Boxes are (x, y, w, h) in pixels."""
    segmentations, bboxes, areas = [], [], []
    for mask in masks:
        area = int(np.count_nonzero(mask))
        areas.append(area or None)
        bboxes.append(
            [float(v) for v in cv2.boundingRect(mask.astype(np.uint8)
                                                )] if area else None)
        segmentations.append(
            dict(size=list(mask.shape), counts=encode_counts(mask)
                 ) if area else None)
    return dict(segmentations=segmentations, bboxes=bboxes, areas=areas)
