# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""COCO images with three everyday classes."""
from collections import Counter
from typing import Any, Collection, Dict, List, Sequence, Tuple

import numpy as np
import pycocotools.mask as mask_utils

from refinevis_mm.vis_json import check_coco
from .ignored_regions import unlabelled_region

CLASSES = ('person', 'animal', 'vehicle')
CATEGORIES = [
    dict(id=i, name=name, supercategory=name)
    for i, name in enumerate(CLASSES, 1)
]


def sort_objects(content: Any, source: str) -> dict:
    """Sort the objects of COCO images into the everyday classes.

    An object has the class that its category has for super-category; objects
    without one are left out, so they become background.

    Args:
        content (Any): The loaded JSON in COCO's form.
        source (str): File name for the messages.

    Returns:
        dict: COCO content with the same images.

    Raises:
        ValueError: If the content is not in COCO's form, or its categories do
            not tell their super-categories or have none of the classes.
    """
    check_coco(content, source)
    ids = _everyday_ids(content['categories'], source)
    return dict(
        images=content['images'],
        annotations=[
            dict(annotation, category_id=ids[annotation['category_id']])
            for annotation in content['annotations']
            if annotation['category_id'] in ids
        ],
        categories=CATEGORIES)


def _everyday_ids(categories: List[dict], source: str) -> Dict[int, int]:
    """Everyday category id of each category that has one."""
    for category in categories:
        if 'supercategory' not in category:
            raise ValueError(f'{source}: each category must have a '
                             f'supercategory, but {category["name"]} lacks it')
    ids = {
        category['id']: CLASSES.index(category['supercategory']) + 1
        for category in categories if category['supercategory'] in CLASSES
    }
    if not ids:
        found = sorted({category['supercategory'] for category in categories})
        raise ValueError(f'{source}: super-categories must be among {CLASSES}'
                         f', but are {found}')
    return ids


def split_images(content: dict, num_valid: int, seed: int,
                 source: str) -> Tuple[dict, dict]:
    """Draw the images for validation; the others are for training.

    Args:
        content (dict): COCO content.
        num_valid (int): Images for validation.
        seed (int): Random seed, not negative.
        source (str): File name for the messages.

    Returns:
        tuple[dict, dict]: COCO contents for training and validation.

    Raises:
        ValueError: If no image would be left for one of the two, or a class
            has no object in it.
    """
    ids = sorted(image['id'] for image in content['images'])
    if not 1 <= num_valid < len(ids):
        raise ValueError(f'{source}: the validation images must be 1 to '
                         f'{len(ids) - 1} of the {len(ids)}, got {num_valid}')
    order = np.random.default_rng(seed).permutation(len(ids))
    drawn = {ids[i] for i in order[:num_valid]}
    splits = (_select(content, set(ids) - drawn), _select(content, drawn))
    for split, name in zip(splits, ('training', 'validation')):
        counts = count_objects(split)
        empty = [key for key in CLASSES if not counts[key]]
        if empty:
            raise ValueError(
                f'{source}: each class must have an object in the {name} '
                f'images of seed {seed}, but {", ".join(empty)} has none')
    return splits


def _select(content: dict, image_ids: Collection[int]) -> dict:
    """COCO content of some images."""
    return dict(
        content,
        images=[
            image for image in content['images'] if image['id'] in image_ids
        ],
        annotations=[
            annotation for annotation in content['annotations']
            if annotation['image_id'] in image_ids
        ])


def add_unlabelled(content: dict, source: str) -> dict:
    """Mark all that is not labelled in each image as unknown.

    Args:
        content (dict): COCO content.
        source (str): File name for the messages.

    Returns:
        dict: The content with one more annotation for each image that objects
        do not cover, a crowd (of the first class, it does not matter) whose
        mask is the rest, with the box of the whole image.

    Raises:
        ValueError: If a segmentation is malformed.
    """
    masks: Dict[int, list] = {image['id']: [] for image in content['images']}
    for annotation in content['annotations']:
        masks[annotation['image_id']].append(annotation['segmentation'])
    annotations = list(content['annotations'])
    next_id = max((item['id'] for item in annotations), default=0) + 1
    for image in content['images']:
        try:
            region = unlabelled_region(masks[image['id']], image['height'],
                                       image['width'])
        except ValueError as error:
            raise ValueError(
                f'{source}: image {image["id"]}: {error}') from None
        if region is not None:
            annotations.append(
                dict(
                    id=next_id,
                    image_id=image['id'],
                    category_id=CATEGORIES[0]['id'],
                    iscrowd=1,
                    bbox=[0, 0, image['width'], image['height']],
                    area=float(mask_utils.area(region)),
                    segmentation=region))
            next_id += 1
    return dict(content, annotations=annotations)


def count_objects(content: dict) -> Dict[str, int]:
    """Objects by class; crowds are none.

    Args:
        content (dict): COCO or YouTube-VIS content.

    Returns:
        dict[str, int]: Number of objects of each category name.
    """
    counts = Counter(annotation['category_id']
                     for annotation in content['annotations']
                     if not annotation.get('iscrowd'))
    return {item['name']: counts[item['id']] for item in content['categories']}


def licence_counts(contents: Sequence[dict]) -> Dict[str, int]:
    """Pictures by COCO's licence id.

    Args:
        contents (Sequence[dict]): COCO contents.

    Returns:
        dict[str, int]: Number of images by id, '0' where it is unknown.
    """
    counts = Counter(
        image.get('license', 0) for content in contents
        for image in content['images'])
    return {str(key): counts[key] for key in sorted(counts)}
