# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Miniature copies of the files of COCO and YouTube-VIS."""
import json
from pathlib import Path
from typing import Sequence

import cv2
import numpy as np

HEIGHT, WIDTH = 60, 80


def _write_image(path: Path, seed: int) -> None:
    """A random image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))


def _square(x: int, y: int, side: int) -> list:
    """A polygon."""
    return [[x, y, x + side, y, x + side, y + side, x, y + side]]


def write_coco(ann_file: Path, folder: Path, classes: Sequence[str]) -> None:
    """Write an instances JSON with its images.

    Image 11 has two objects, of the first and the last class, and a crowd
    between them in the file; 12 has a crowd only, 13 nothing and 14 an object
    of the second class, partly outside.

    Args:
        ann_file: JSON to be written.
        folder: Folder of the images.
        classes: Category names; ids leave out every other number.
    """
    ids = [2 * i + 1 for i in range(len(classes))]
    crowd = dict(counts=[0, 60, HEIGHT * WIDTH - 60], size=[HEIGHT, WIDTH])
    rows = [
        (11, ids[0], _square(5, 5, 30), [5, 5, 30, 30], 0),
        (11, ids[0], crowd, [0, 0, 1, 60], 1),
        (11, ids[-1], _square(45, 20, 25), [45, 20, 25, 25], 0),
        (12, ids[0], crowd, [0, 0, 1, 60], 1),
        (14, ids[1], _square(60, 10, 30), [60, 10, 30, 30], 0),
    ]
    content = dict(
        images=[
            dict(id=i, file_name=f'{i:012d}.jpg', height=HEIGHT, width=WIDTH)
            for i in (11, 12, 13, 14)
        ],
        categories=[dict(id=i, name=name) for i, name in zip(ids, classes)],
        annotations=[
            dict(
                id=100 + i,
                image_id=image,
                category_id=category,
                segmentation=mask,
                bbox=box,
                area=box[2] * box[3],
                iscrowd=iscrowd)
            for i, (image, category, mask, box, iscrowd) in enumerate(rows)
        ])
    for image in content['images']:
        _write_image(folder / image['file_name'], image['id'])
    ann_file.parent.mkdir(parents=True, exist_ok=True)
    ann_file.write_text(json.dumps(content))


def write_vis(ann_file: Path,
              folder: Path,
              classes: Sequence[str],
              length: int = 14) -> None:
    """Write a YouTube-VIS JSON with its frames.

    One video; an object of the first class moves, one of the last class is
    hidden in every other frame.

    Args:
        ann_file: JSON to be written.
        folder: Folder of the frames.
        classes: Category names.
        length: Frames of the video.
    """
    names = [f'video/{t:05d}.jpg' for t in range(length)]
    tracks = [
        (1, 25**2, [_square(5 + t, 5, 25) for t in range(length)]),
        (len(classes), 28**2,
         [_square(40, 25, 28) if t % 2 else None for t in range(length)]),
    ]
    content = dict(
        videos=[
            dict(
                id=1,
                height=HEIGHT,
                width=WIDTH,
                length=length,
                file_names=names)
        ],
        categories=[
            dict(id=i, name=name) for i, name in enumerate(classes, start=1)
        ],
        annotations=[
            dict(
                id=i,
                video_id=1,
                category_id=category,
                iscrowd=0,
                segmentations=masks,
                areas=[mask and area for mask in masks])
            for i, (category, area, masks) in enumerate(tracks, start=1)
        ])
    for t, name in enumerate(names):
        _write_image(folder / name, t)
    ann_file.parent.mkdir(parents=True, exist_ok=True)
    ann_file.write_text(json.dumps(content))
