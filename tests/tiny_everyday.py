# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A miniature of the sources of the everyday data set."""
import json
from pathlib import Path

import cv2
import numpy as np

HEIGHT, WIDTH = 24, 32
CATEGORIES = [
    dict(id=i, name=name, supercategory=group)
    for i, name, group in ((1, 'person', 'person'), (3, 'car', 'vehicle'),
                           (18, 'dog', 'animal'), (47, 'cup', 'kitchen'))
]
# name, category, composite, frames
CLIPS = [(f'walk{i}', 1, 0, 2) for i in range(5)]
CLIPS += [(f'dog{i}', 2, 0, 1 + i % 2) for i in range(5)]  # also of one frame
CLIPS += [(f'car{i}', 3, 0, 2) for i in range(5)]
CLIPS += [(f'bike{i}', 4, 1, 2) for i in range(7)]
CLIPS += [('hockey', 1, 1, 2)]


def rectangle(x: int, y: int, width: int, height: int) -> list:
    """A polygon."""
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]


def _picture(path: Path, seed: int) -> None:
    """Random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    cv2.imwrite(str(path), rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))


def _coco(path: Path, images: Path, rows: list) -> None:
    """Write images and (image id, category id, box, iscrowd) rows."""
    ids = sorted({row[0] for row in rows})
    for image_id in ids:
        _picture(images / f'{image_id}.jpg', image_id)
    path.write_text(
        json.dumps(
            dict(
                images=[
                    dict(
                        id=i,
                        file_name=f'{i}.jpg',
                        height=HEIGHT,
                        width=WIDTH,
                        license=i % 3) for i in ids
                ],
                annotations=[
                    dict(
                        id=i,
                        image_id=image_id,
                        category_id=category_id,
                        bbox=box,
                        area=box[2] * box[3],
                        iscrowd=iscrowd,
                        segmentation=rectangle(*box))
                    for i, (image_id, category_id, box,
                            iscrowd) in enumerate(rows, 1)
                ],
                categories=CATEGORIES)))


def write_source(root: Path) -> Path:
    """Write the source.

    Four images, 1 to 4, each with a person of 8 x 10 pixels at (2, 3), a dog,
    a car, a cup and a crowd of people; two, 11 and 12, with one person of 6 x
    12 pixels at (4, 5); clips of 16 x 12 pixels with an object of 6 x 5
    pixels at (1 + t, 2) in frame t.

    Args:
        root: Folder to be written to.

    Returns:
        The folder.
    """
    coco, davis = root / 'coco_small', root / 'davis16'
    coco.mkdir(parents=True)
    davis.mkdir()
    objects = ((1, [2, 3, 8, 10], 0), (18, [12, 3, 8, 8], 0),
               (3, [22, 2, 9, 9], 0), (47, [2, 15, 5,
                                            5], 0), (1, [12, 14, 16, 8], 1))
    _coco(coco / 'instances.json', coco / 'images',
          [(i, *row) for i in range(1, 5) for row in objects])
    _coco(coco / 'person_single.json', coco / 'person_images',
          [(i, 1, [4, 5, 6, 12], 0) for i in (11, 12)])
    videos, tracks = [], []
    for i, (name, category_id, composite, length) in enumerate(CLIPS, 1):
        names = [f'{name}/{t:05d}.jpg' for t in range(length)]
        for t, file_name in enumerate(names):
            path = davis / 'JPEGImages' / file_name
            _picture(path, 100 * i + t)
            cv2.imwrite(str(path), cv2.imread(str(path))[:12, :16])
        videos.append(
            dict(id=i, width=16, height=12, length=length, file_names=names))
        tracks.append(
            dict(
                id=i,
                video_id=i,
                category_id=category_id,
                composite=composite,
                segmentations=[
                    rectangle(1 + t, 2, 6, 5) for t in range(length)
                ]))
    names = ('person', 'animal', 'vehicle', 'rider')
    (davis / 'train.json').write_text(
        json.dumps(
            dict(
                videos=videos,
                annotations=tracks,
                categories=[
                    dict(id=i, name=name) for i, name in enumerate(names, 1)
                ])))
    return root
