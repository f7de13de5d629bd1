# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Occlusion levels of OVIS: slightly, moderately and heavily occluded objects.

OVIS annotations have ``occlusion``: for each frame ``no_occlusion``,
``slight_occlusion``, ``severe_occlusion`` or null. The rule is meant to be
that of `OVIS <https://arxiv.org/abs/2102.01558>`_ but has not been compared
with the evaluator of its server: the labels stand for 0, 0.25 and 0.75, and
the score of an object is the mean over the half of its frames that is most
occluded. Chosen here: the ranges of the scores touch and, as with areas, both
ends belong to them; half a frame counts as one; false positives count at
every level.
"""
from typing import List

import numpy as np

OCCLUSION_SCORES = dict(
    no_occlusion=0., slight_occlusion=0.25, severe_occlusion=0.75)
OCCLUSION_LEVELS = ('so', 'mo', 'ho')
OCCLUSION_RANGES = np.array([[0, 0.25], [0.25, 0.5], [0.5, 0.75]])


def has_occlusion(anns: List[dict]) -> bool:
    """Whether annotations have their occlusion, all of them or none.

    Args:
        anns (list[dict]): Annotations with ``id`` and ``segmentations``.

    Returns:
        bool: True if all have it.

    Raises:
        ValueError: If only some have it or it is malformed.
    """
    without = [ann['id'] for ann in anns if ann.get('occlusion') is None]
    if len(without) == len(anns):
        return False
    if without:
        raise ValueError('all objects or none must have their occlusion, '
                         f'annotation {without[0]} has none')
    labels = (*OCCLUSION_SCORES, None)
    for ann in anns:
        occlusion, length = ann['occlusion'], len(ann['segmentations'])
        if not isinstance(occlusion, list) or len(occlusion) != length:
            raise ValueError(f'annotation {ann["id"]} needs occlusion or null '
                             f'for each of {length} frames, got {occlusion}')
        unknown = [label for label in occlusion if label not in labels]
        if unknown:
            raise ValueError(
                f'occlusion must be one of {list(OCCLUSION_SCORES)} or null, '
                f'got {unknown[0]!r} in annotation {ann["id"]}')
    return True


def occlusion_score(ann: dict) -> float:
    """How occluded an object is.

    Args:
        ann (dict): Annotation with ``occlusion``, a label or None per frame.

    Returns:
        float: In [0, 0.75], the mean score of the half of the frames (half a
        frame counts as one) with the highest scores; 0 without any label.
    """
    scores = sorted((OCCLUSION_SCORES[label]
                     for label in ann['occlusion'] if label is not None),
                    reverse=True)
    worst = scores[:(len(scores) + 1) // 2]
    return float(np.mean(worst)) if worst else 0.


def outside_levels(anns: List[dict]) -> np.ndarray:
    """Which objects lie outside the occlusion levels.

    Args:
        anns (list[dict]): G annotations with ``occlusion``.

    Returns:
        ndarray: Bool, has shape (3, G).
    """
    scores = np.array([occlusion_score(ann) for ann in anns])
    low, high = OCCLUSION_RANGES.T[..., None]
    return (scores < low) | (scores > high)
