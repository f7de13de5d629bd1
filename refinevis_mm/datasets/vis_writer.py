# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Writes frames and masks as a YouTube-VIS data set, all or nothing."""
import json
import os
import os.path as osp
import shutil
import tempfile
from contextlib import contextmanager
from typing import Dict, Iterator, List, Optional, Sequence

import cv2
import numpy as np


@contextmanager
def atomic_dir(path: str, force: bool = False) -> Iterator[str]:
    """A temporary folder that becomes ``path`` when the block succeeds.

    Args:
        path (str): Final folder.
        force (bool): Replace an existing folder. Defaults to False.

    Yields:
        str: The temporary folder, beside the final one; it is removed when
        the block fails.

    Raises:
        FileExistsError: If ``path`` exists and ``force`` is False.
        OSError: If the folder cannot be written.
    """
    path = osp.abspath(path)
    if osp.lexists(path) and not force:
        raise FileExistsError(f"'{path}' exists already, use --force to "
                              'replace it')
    parent = osp.dirname(path)
    os.makedirs(parent, exist_ok=True)
    work = tempfile.mkdtemp(prefix=f'.{osp.basename(path)}.', dir=parent)
    try:
        yield work
        os.chmod(work, 0o755)
        if osp.isdir(path) and not osp.islink(path):
            old = tempfile.mkdtemp(
                prefix=f'.{osp.basename(path)}.', dir=parent)
            os.replace(path, osp.join(old, 'old'))
            os.replace(work, path)
            shutil.rmtree(old)
        else:
            if osp.lexists(path):
                os.remove(path)
            os.replace(work, path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


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


class YouTubeVISWriter:
    """Collects videos and writes ``JPEGImages/`` and the split's JSON.

    Args:
        root (str): Data set folder, must exist.
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
                  visibility: Optional[np.ndarray] = None) -> int:
        """Write the frames and take the annotations of one video.

        Args:
            frames (Sequence[np.ndarray]): T BGR images (H, W, 3), uint8.
            labels (Sequence[int]): N class indices, 0-based.
            masks (np.ndarray): (N, T, H, W) bool; an empty mask is written
                as null.
            visibility (np.ndarray, optional): (N, T) visible share in [0, 1],
                NaN (written as null) where the object is out of the frame.

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
        for i, label in enumerate(labels):
            annotation = dict(
                id=len(self.content['annotations']) + 1,
                video_id=video_id,
                category_id=int(label) + 1,
                iscrowd=0,
                width=width,
                height=height,
                length=len(frames),
                **_frame_lists(masks[i]))
            if visibility is not None:
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
        """
        path = osp.join(self.root, f'{self.split}.json')
        with open(path, 'w', encoding='utf-8') as file:
            json.dump(self.content, file, separators=(',', ':'))
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
