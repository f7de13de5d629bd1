# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Make a COCO annotation file from PNG maps of instances and labels.

For every image, ``<name>.jpg`` for example, there is one map
``<name>.png`` with the instance id and one with the label of each pixel. An
instance has the label that most of its pixels have; instances whose label is
no class are left out, so ids may also be given to the background.

Example:
    python tools/dataset_converters/instance_png_to_coco.py \\
        data/custom_coco/train data/inst data/label \\
        data/custom_coco/train.json --classes coco
"""
import argparse
import os
import os.path as osp
from typing import Dict, List, Optional

import cv2
import numpy as np
import pycocotools.mask as mask_utils
from mmengine.fileio import dump

from refinevis_mm.datasets.coco_results import coco_categories
from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import image_folder


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Make a COCO annotation file from PNG maps')
    parser.add_argument('images', help='folder of the images')
    parser.add_argument('instances', help='folder of the instance id maps')
    parser.add_argument('labels', help='folder of the label maps')
    parser.add_argument('out', help='annotation file to write, .json')
    parser.add_argument(
        '--classes',
        required=True,
        help='"coco" for label maps with COCO category ids minus 1, or a text '
        'file with the class name of label value i in line i (from 0), empty '
        'where it is no class')
    parser.add_argument(
        '--min-area',
        type=int,
        default=1,
        help='least number of pixels of an instance (default: 1)')
    return parser.parse_args(argv)


def read_classes(source: str) -> Dict[int, str]:
    """Class names by label value.

    Args:
        source (str): 'coco' or a text file.

    Returns:
        dict[int, str]: Label values and names.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it names no class.
    """
    if source == 'coco':
        # label maps hold the category id minus 1
        return {i - 1: name for i, name in coco_categories().items()}
    with open(source, encoding='utf-8') as file:
        names = [line.strip() for line in file]
    classes = {value: name for value, name in enumerate(names) if name}
    if not classes:
        raise ValueError(f'{source} must name a class, but has none')
    return classes


def read_map(folder: str, name: str, shape: tuple) -> np.ndarray:
    """Read a map of one value per pixel.

    Args:
        folder (str): Its folder.
        name (str): File name without the suffix.
        shape (tuple[int]): Height and width it must have.

    Returns:
        np.ndarray: Has shape (height, width).

    Raises:
        OSError: If there is no such image.
        ValueError: If it has several channels or another size.
    """
    path = osp.join(folder, f'{name}.png')
    values = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if values is None:
        raise FileNotFoundError(f'{path} must be a PNG map, but cannot be '
                                'read')
    if values.shape != shape:
        raise ValueError(f'{path} must have one channel and the size {shape} '
                         f'of its image, got {values.shape}')
    return values


def find_instances(instances: np.ndarray, labels: np.ndarray,
                   classes: Dict[int, str], min_area: int) -> List[dict]:
    """Annotations of one image.

    Args:
        instances (np.ndarray): Instance ids, has shape (height, width).
        labels (np.ndarray): Label values, same shape.
        classes (dict[int, str]): Label values that are classes.
        min_area (int): Least number of pixels.

    Returns:
        list[dict]: COCO annotations without ``id`` and ``image_id``.
    """
    annotations = []
    for instance_id in np.unique(instances):
        mask = instances == instance_id
        values, counts = np.unique(labels[mask], return_counts=True)
        label = int(values[counts.argmax()])
        if label not in classes or mask.sum() < min_area:
            continue
        rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
        annotations.append(
            dict(
                category_id=label + 1,
                iscrowd=0,
                area=float(mask_utils.area(rle)),
                bbox=mask_utils.toBbox(rle).tolist(),
                segmentation=dict(
                    size=list(mask.shape), counts=rle['counts'].decode())))
    return annotations


def convert(args: argparse.Namespace) -> dict:
    """Convert a folder.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict: Content of the annotation file.

    Raises:
        OSError: If a folder or map is missing.
        ValueError: If there is no image or a map does not fit.
    """
    classes = read_classes(args.classes)
    coco = dict(
        images=[],
        annotations=[],
        categories=[
            dict(id=value + 1, name=name) for value, name in classes.items()
        ])
    for path in image_folder(args.images):
        file_name = osp.basename(path)
        name = osp.splitext(file_name)[0]
        image = cv2.imread(path)
        if image is None:
            raise ValueError(f'{path} must be an image, but cannot be read')
        shape = image.shape[:2]
        image_id = len(coco['images']) + 1
        coco['images'].append(
            dict(
                id=image_id,
                file_name=file_name,
                height=shape[0],
                width=shape[1]))
        for annotation in find_instances(
                read_map(args.instances, name, shape),
                read_map(args.labels, name, shape), classes, args.min_area):
            coco['annotations'].append(
                dict(
                    id=len(coco['annotations']) + 1,
                    image_id=image_id,
                    **annotation))
    return coco


@one_line_errors
def main() -> None:
    """Make a COCO annotation file from PNG maps."""
    args = parse_args()
    if not args.out.endswith('.json'):
        raise ValueError(f'out must end in .json, got {args.out}')
    coco = convert(args)
    os.makedirs(osp.dirname(args.out) or '.', exist_ok=True)
    dump(coco, args.out)
    print(f'{len(coco["annotations"])} instances in {len(coco["images"])} '
          f'images written to {args.out}')


if __name__ == '__main__':
    main()
