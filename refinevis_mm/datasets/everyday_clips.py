# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""DAVIS clips with three everyday classes.

One object of each clip is labelled; the rest of the pictures is unknown.
"""
from typing import Any, Collection, Dict, List, Sequence, Tuple

import numpy as np

from refinevis_mm.vis_json import (ERROR, VISJsonWriter, find_defects,
                                   raise_defect)
from .everyday_images import CLASSES
from .ignored_regions import unlabelled_region

# clips for validation, and clips to show fine-tuning with
NUM_VALID = dict(person=2, animal=2, vehicle=1)
NUM_FINE_TUNE = dict(person=2, animal=2, vehicle=2, rider=4)


def check_clips(content: Any, source: str) -> None:
    """Refuse clips that are not in YouTube-VIS form.

    Args:
        content (Any): The loaded JSON.
        source (str): File name for the messages.

    Raises:
        ValueError: Naming the first error of the validator.
    """
    for defect in find_defects(content):
        if defect.level == ERROR:
            raise_defect(defect, source)


def sort_clips(content: dict,
               source: str,
               classes: Sequence[str] = CLASSES) -> dict:
    """Sort the tracks of clips into classes.

    A track of another category becomes a crowd: it is neither an object nor
    background. So does a ``composite``, the mask of a person together with a
    vehicle or equipment, that bears the name of an everyday class. Clips with
    nothing but crowds are left out.

    Args:
        content (dict): YouTube-VIS content, see :func:`check_clips`.
        source (str): File name for the messages.
        classes (Sequence[str]): Category names. Defaults to the everyday
            classes.

    Returns:
        dict: YouTube-VIS content; category ids are 1-based positions among
        the classes.

    Raises:
        ValueError: If no clip is left.
    """
    names = {item['id']: item['name'] for item in content['categories']}
    tracks = []
    for track in content['annotations']:
        name = names[track['category_id']]
        known = name in classes and not (track.get('composite')
                                         and name in CLASSES)
        tracks.append(
            dict(
                track,
                category_id=classes.index(name) + 1 if known else 1,
                iscrowd=int(bool(track.get('iscrowd')) or not known)))
    kept = {track['video_id'] for track in tracks if not track['iscrowd']}
    if not kept:
        raise ValueError(f'{source}: at least one track must be of '
                         f'{tuple(classes)} and no composite, but none is')
    categories = [dict(id=i, name=name) for i, name in enumerate(classes, 1)]
    return select_clips(
        dict(content, annotations=tracks, categories=categories), kept)


def select_clips(content: dict, video_ids: Collection[int]) -> dict:
    """YouTube-VIS content of some clips.

    Args:
        content (dict): YouTube-VIS content.
        video_ids (Collection[int]): Ids of the clips.

    Returns:
        dict: These clips and their tracks.
    """
    return dict(
        content,
        videos=[
            video for video in content['videos'] if video['id'] in video_ids
        ],
        annotations=[
            track for track in content['annotations']
            if track['video_id'] in video_ids
        ])


def draw_clips(content: dict, numbers: Dict[str, int], seed: int,
               source: str) -> Tuple[dict, dict]:
    """Draw clips by the class of their objects.

    Args:
        content (dict): What :func:`sort_clips` returned.
        numbers (dict[str, int]): Clips to draw for each category name. At
            least one clip of each is not drawn.
        seed (int): Random seed, not negative.
        source (str): File name for the messages.

    Returns:
        tuple[dict, dict]: Contents of the clips drawn and of the others.

    Raises:
        ValueError: If there are too few clips of a category.
    """
    rng = np.random.default_rng(seed)
    ids = {item['name']: item['id'] for item in content['categories']}
    drawn: List[int] = []
    for name, number in numbers.items():
        found = {
            track['video_id']
            for track in content['annotations']
            if track['category_id'] == ids.get(name) and not track['iscrowd']
        }
        free = sorted(found.difference(drawn))
        if len(free) <= number:
            raise ValueError(f'{source}: there must be at least {number + 1} '
                             f'clips of class {name}, got {len(free)}')
        drawn += rng.permutation(free)[:number].tolist()
    others = {video['id'] for video in content['videos']}.difference(drawn)
    return select_clips(content, drawn), select_clips(content, others)


def write_clips(path: str, content: dict, description: str,
                rest_categories: Sequence[int]) -> None:
    """Write clips; what is not labelled in them is marked as unknown.

    Args:
        path (str): The JSON to write.
        content (dict): What :func:`sort_clips` returned, or a part of it.
        description (str): Goes into the JSON's ``info``.
        rest_categories (Sequence[int]): Each clip gets one more track for
            each of these category ids, a crowd whose mask is what no track
            covers. One is enough for training; metrics compare masks of one
            category.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If a segmentation is malformed.
    """
    with VISJsonWriter(path, content['categories'], description) as writer:
        for video in content['videos']:
            height, width = video['height'], video['width']
            video_id = writer.add_video(video['file_names'], height, width)
            masks: List[list] = [[] for _ in video['file_names']]
            for track in content['annotations']:
                if track['video_id'] != video['id']:
                    continue
                writer.add_annotation(video_id, track['category_id'],
                                      track['segmentations'], track['iscrowd'])
                for frame, mask in zip(masks, track['segmentations']):
                    if mask is not None:
                        frame.append(mask)
            rest = [unlabelled_region(frame, height, width) for frame in masks]
            for category_id in rest_categories:
                writer.add_annotation(video_id, category_id, rest, iscrowd=1)
