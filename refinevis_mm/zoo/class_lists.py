# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Class names of the data sets that named weights were trained on.

They are read when they are asked for: most of them come with mmdet, whose
data sets take a second to import.
"""
from typing import Callable, Dict, NamedTuple, Tuple


def _coco() -> Tuple[str, ...]:
    """The 80 things of COCO."""
    from mmdet.datasets import CocoDataset
    return CocoDataset.METAINFO['classes']


def _lvis_v05() -> Tuple[str, ...]:
    """The classes of LVIS v0.5."""
    from mmdet.datasets import LVISV05Dataset
    return LVISV05Dataset.METAINFO['classes']


def _lvis_v1() -> Tuple[str, ...]:
    """The classes of LVIS v1."""
    from mmdet.datasets import LVISV1Dataset
    return LVISV1Dataset.METAINFO['classes']


def _youtube_vis_2019() -> Tuple[str, ...]:
    """The classes of YouTube-VIS 2019."""
    from refinevis_mm.vis_json import YOUTUBE_VIS_2019
    return YOUTUBE_VIS_2019


def _youtube_vis_2021() -> Tuple[str, ...]:
    """The classes of YouTube-VIS 2021."""
    from refinevis_mm.vis_json import YOUTUBE_VIS_2021
    return YOUTUBE_VIS_2021


def _ovis() -> Tuple[str, ...]:
    """The classes of OVIS."""
    from refinevis_mm.vis_json import OVIS
    return OVIS


def _occluded_shapes() -> Tuple[str, ...]:
    """The geometric shapes of OccludedShapes."""
    from ..datasets.occluded_shapes import CLASSES
    return CLASSES


def _everyday() -> Tuple[str, ...]:
    """Super-categories of COCO that are met in any street."""
    from ..datasets.everyday_images import CLASSES
    return CLASSES


class ClassList(NamedTuple):
    """The classes of a data set.

    Attributes:
        title (str): Name of the data set, as metafiles write it.
        read (Callable): Returns the names in the order of the labels.
    """

    title: str
    read: Callable[[], Tuple[str, ...]]


CLASS_LISTS: Dict[str, ClassList] = dict(
    coco=ClassList('COCO', _coco),
    lvis_v05=ClassList('LVIS v0.5', _lvis_v05),
    lvis_v1=ClassList('LVIS v1', _lvis_v1),
    youtube_vis_2019=ClassList('YouTube-VIS 2019', _youtube_vis_2019),
    youtube_vis_2021=ClassList('YouTube-VIS 2021', _youtube_vis_2021),
    ovis=ClassList('OVIS', _ovis),
    occluded_shapes=ClassList('OccludedShapes', _occluded_shapes),
    everyday=ClassList('everyday images', _everyday))


def class_list_of(title: str) -> str:
    """Find the classes of a data set.

    Args:
        title (str): Name of the data set, such as 'COCO'.

    Returns:
        str: The key in :data:`CLASS_LISTS`.

    Raises:
        ValueError: If its classes are not known here.
    """
    for key, classes in CLASS_LISTS.items():
        if classes.title == title:
            return key
    known = ', '.join(classes.title for classes in CLASS_LISTS.values())
    raise ValueError(f'data set must be one of {known}, got {title}')
