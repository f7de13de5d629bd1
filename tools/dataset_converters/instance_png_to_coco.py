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
import json
import os.path as osp
from typing import Dict, List, Optional, Set

import numpy as np
import pycocotools.mask as mask_utils

from refinevis_mm.datasets.coco_results import coco_categories
from refinevis_mm.files import write_text
from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import image_folder, read_image
from refinevis_mm.vis_json import check_sharp, find_cores, read_id_map


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
        ValueError: If it cannot be read or has another size.
    """
    path = osp.join(folder, f'{name}.png')
    values = read_id_map(path)
    if values.shape != shape:
        raise ValueError(f"'{path}' must have the size {shape} of its image, "
                         f'got {values.shape}')
    return values


def find_instances(instances: np.ndarray, labels: np.ndarray,
                   classes: Dict[int, str], min_area: int) -> Dict[int, dict]:
    """Annotations of one image.

    Args:
        instances (np.ndarray): Instance ids, has shape (height, width).
        labels (np.ndarray): Label values, same shape.
        classes (dict[int, str]): Label values that are classes.
        min_area (int): Least number of pixels.

    Returns:
        dict[int, dict]: COCO annotations without ``id`` and ``image_id`` by
        instance id.
    """
    annotations = {}
    for instance_id in np.unique(instances).tolist():
        mask = instances == instance_id
        values, counts = np.unique(labels[mask], return_counts=True)
        label = int(values[counts.argmax()])
        if label not in classes or mask.sum() < min_area:
            continue
        rle = mask_utils.encode(np.asfortranarray(mask, np.uint8))
        annotations[instance_id] = dict(
            category_id=label + 1,
            iscrowd=0,
            area=float(mask_utils.area(rle)),
            bbox=mask_utils.toBbox(rle).tolist(),
            segmentation=dict(
                size=list(mask.shape), counts=rle['counts'].decode()))
    return annotations


def convert(args: argparse.Namespace) -> dict:
    """Convert a folder.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict: Content of the annotation file.

    Raises:
        OSError: If a folder is missing.
        ValueError: If there is no image or no instance, or a map does not fit
            or has smoothed edges.
    """
    classes = read_classes(args.classes)
    coco = dict(
        images=[],
        annotations=[],
        categories=[
            dict(id=value + 1, name=name) for value, name in classes.items()
        ])
    ids: Set[str] = set()
    cores: Set[str] = set()
    for path in image_folder(args.images):
        file_name = osp.basename(path)
        name = osp.splitext(file_name)[0]
        shape = read_image(path).shape[:2]
        image_id = len(coco['images']) + 1
        coco['images'].append(
            dict(
                id=image_id,
                file_name=file_name,
                height=shape[0],
                width=shape[1]))
        instances = read_map(args.instances, name, shape)
        found = find_instances(instances, read_map(args.labels, name, shape),
                               classes, args.min_area)
        ids.update(f'{number} ({name})' for number in found)
        cores.update(f'{number} ({name})' for number in find_cores(instances))
        for annotation in found.values():
            coco['annotations'].append(
                dict(
                    id=len(coco['annotations']) + 1,
                    image_id=image_id,
                    **annotation))
    if not ids:
        raise ValueError(
            f'nothing was converted: no instance in {len(coco["images"])} '
            f'images has {args.min_area} pixels and a label that is a class, '
            f'{sorted(classes)!r:.60}')
    check_sharp(ids, cores, args.instances)
    return coco


@one_line_errors
def main() -> None:
    """Make a COCO annotation file from PNG maps."""
    args = parse_args()
    if not args.out.endswith('.json'):
        raise ValueError(f'out must end in .json, got {args.out}')
    coco = convert(args)
    write_text(args.out, json.dumps(coco))
    print(f'{len(coco["annotations"])} instances in {len(coco["images"])} '
          f'images written to {args.out}')


if __name__ == '__main__':
    main()
