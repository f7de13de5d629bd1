# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Images with COCO annotations, served as short videos."""
import os.path as osp
from collections import defaultdict
from typing import Any, Dict, Iterable, List, Optional

import numpy as np
from mmdet.datasets import BaseVideoDataset, CocoDataset
from mmengine.fileio import load
from mmengine.logging import print_log

from refinevis_mm.registry import DATASETS
from refinevis_mm.vis_json import (CROWD_HINT, PRESETS, check_class_names,
                                   check_coco, class_sources, without_points)


@DATASETS.register_module()
class CocoPseudoVideoDataset(BaseVideoDataset):
    """Images in COCO form, each a video that shows it in every frame.

    Phase 2 of the paper (Sec. 4.1): a pipeline that augments each frame on
    its own makes a moving scene of an image. Reads the official instances
    JSON as it is. A video has ``num_frames`` frames whose ``frame_id`` are
    drawn each time it is read: the first from 0 to ``max_start``, the others
    1 to ``max_gap`` after it, so that the temporal encoding of TAR sees the
    positions of real clips. An object keeps its ``instance_id``, its 1-based
    position among the annotations of the image, in all frames.

    Images without an object to learn from are left out, unless ``filter_cfg``
    has ``filter_empty_gt=False``. Objects without mask, with an empty box or
    marked ``ignore`` are left out and counted; crowds have ``ignore_flag`` 1.

    The JSON's categories are matched to the classes by name (see
    :func:`class_sources`); objects of other categories are left out. The
    classes are COCO's 80, or those of ``metainfo['classes']``, or of
    ``preset``: with the last two the data set can be trained with jointly
    with a video data set of these classes.

    Args:
        *args: See :class:`mmdet.datasets.BaseVideoDataset`; the folder of the
            images is ``data_prefix['img_path']``.
        num_frames (int): Frames of a video. Defaults to 2.
        max_gap (int): Largest distance in frames from the first frame to
            another. Defaults to 10.
        max_start (int): Largest ``frame_id`` of the first frame. Defaults to
            100, ours.
        preset (str, optional): Classes of a public video data set: a key of
            :data:`PRESETS`. Goes before ``metainfo``. Defaults to None.
        **kwargs: See :class:`mmdet.datasets.BaseVideoDataset`.

    Raises:
        ValueError: If an option is out of its range, the JSON is not in
            COCO's form, none of its categories is among the classes, or no
            image is left.
        FileNotFoundError: If ``ann_file`` does not exist.
    """

    METAINFO = dict(classes=CocoDataset.METAINFO['classes'])

    def __init__(self,
                 *args: Any,
                 num_frames: int = 2,
                 max_gap: int = 10,
                 max_start: int = 100,
                 preset: Optional[str] = None,
                 **kwargs: Any) -> None:
        if not 1 <= num_frames <= max_gap + 1:
            raise ValueError('num_frames must lie in 1..max_gap + 1 = '
                             f'{max_gap + 1}, got {num_frames}')
        if max_start < 0:
            raise ValueError(
                f'max_start must not be negative, got {max_start}')
        if kwargs.get('test_mode'):
            raise ValueError('pseudo-videos are for training, got '
                             'test_mode=True')
        if preset is not None:
            if preset not in PRESETS:
                raise ValueError(
                    f'preset must be one of {list(PRESETS)}, got {preset!r}')
            metainfo = kwargs.get('metainfo') or {}
            kwargs['metainfo'] = dict(metainfo, classes=PRESETS[preset])
        self.num_frames = num_frames
        self.max_gap = max_gap
        self.max_start = max_start
        super().__init__(*args, **kwargs)

    def load_data_list(self) -> List[dict]:
        """Load the JSON.

        Returns:
            list[dict]: One dict per image: ``img_id``, ``img_path``,
            ``height``, ``width`` and ``instances``.
        """
        content = load(
            self.ann_file, file_format='json', backend_args=self.backend_args)
        check_coco(content, self.ann_file)
        self._set_labels(content['categories'])
        annotations: Dict[Any, List[dict]] = defaultdict(list)
        for annotation in content['annotations']:
            annotations[annotation['image_id']].append(annotation)
        prefix = self.data_prefix.get('img_path') or ''
        data_list = [
            dict(
                img_id=image['id'],
                img_path=osp.join(prefix, image['file_name']),
                height=image['height'],
                width=image['width'],
                instances=self._instances(image,
                                          annotations.get(image['id'], ())))
            for image in content['images']
        ]
        number = sum(item['category_id'] in self.cat2label
                     for item in content['annotations'])
        left_out = number - sum(len(image['instances']) for image in data_list)
        if left_out:
            print_log(
                f'{self.ann_file}: left out {left_out} of {number} '
                'annotations, which have no mask or an empty box or are '
                'marked "ignore"', 'current')
        return data_list

    def filter_data(self) -> List[dict]:
        """Leave out images without an object to learn from.

        Returns:
            list[dict]: The images kept.

        Raises:
            ValueError: If no image is left.
        """
        if not (self.filter_cfg or {}).get('filter_empty_gt', True):
            return self.data_list
        kept = [
            image for image in self.data_list
            if not all(item['ignore_flag'] for item in image['instances'])
        ]
        if not kept:
            raise ValueError(f'{self.ann_file}: none of its '
                             f'{len(self.data_list)} images has an object of '
                             'the classes asked for, which training needs; '
                             f'{CROWD_HINT}')
        if len(kept) < len(self.data_list):
            print_log(
                f'{self.ann_file}: left out {len(self.data_list) - len(kept)} '
                f'of {len(self.data_list)} images without objects', 'current')
        return kept

    def get_data_info(self, idx: int) -> dict:
        """An image as a video; frame ids are drawn.

        Args:
            idx (int): Its index.

        Returns:
            dict: ``video_id``, the image's id, ``video_length`` and
            ``images``, the frames.
        """
        image = super().get_data_info(idx)
        gaps = 1 + np.random.permutation(self.max_gap)[:self.num_frames - 1]
        start = np.random.randint(self.max_start + 1)
        frame_ids = [start, *(start + np.sort(gaps))]
        return dict(
            video_id=image['img_id'],
            video_length=int(frame_ids[-1]) + 1,
            images=[
                dict(image, frame_id=int(frame_id)) for frame_id in frame_ids
            ])

    def _set_labels(self, categories: List[dict]) -> None:
        """Match the JSON's categories to the classes."""
        classes = check_class_names(self._metainfo['classes'],
                                    'metainfo classes')
        names = [category['name'] for category in categories]
        sources = class_sources(classes, names)
        self.cat2label = {
            categories[i]['id']: label
            for label, found in enumerate(sources)
            for i in found
        }
        if not self.cat2label:
            raise ValueError(f'{self.ann_file}: none of its categories '
                             f'{names} is among the classes {classes}')
        missing = [name for name, found in zip(classes, sources) if not found]
        unused = [
            category['name'] for category in categories
            if category['id'] not in self.cat2label
        ]
        if missing or unused:
            print_log(
                f'{self.ann_file}: without objects are the classes {missing}, '
                f'left out are the categories {unused}', 'current')

    def _instances(self, image: dict,
                   annotations: Iterable[dict]) -> List[dict]:
        """Objects of an image."""
        instances = []
        for position, annotation in enumerate(annotations, start=1):
            label = self.cat2label.get(annotation['category_id'])
            mask = annotation['segmentation']
            if isinstance(mask, list):
                mask = without_points(mask)
            if label is None or not mask or annotation.get('ignore'):
                continue
            if 'bbox' not in annotation:
                raise ValueError(f'{self.ann_file}: annotation '
                                 f'{annotation["id"]} lacks bbox')
            x1, y1, width, height = annotation['bbox']
            x2 = min(x1 + width, image['width'])
            y2 = min(y1 + height, image['height'])
            x1, y1 = max(x1, 0), max(y1, 0)
            if x2 <= x1 or y2 <= y1:
                continue
            instances.append(
                dict(
                    bbox=[x1, y1, x2, y2],
                    bbox_label=label,
                    mask=mask,
                    ignore_flag=int(bool(annotation.get('iscrowd', 0))),
                    instance_id=position))
        return instances
