# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Reader of YouTube-VIS style JSON files."""
import json
import os.path as osp
from collections import defaultdict
from typing import Any, Dict, List, Optional, Tuple, Union

import pycocotools.mask as mask_utils
from mmdet.datasets import BaseVideoDataset
from mmengine.fileio import get_text
from mmengine.logging import print_log

from refinevis_mm.registry import DATASETS
from .validation import validate_vis_json


@DATASETS.register_module()
class VISDataset(BaseVideoDataset):
    """Video instance segmentation data in YouTube-VIS form.

    Reads the official JSON of YouTube-VIS 2019 / 2021 / 2022 and OVIS as it
    is, and any custom data set of that form. Labels follow the order of the
    JSON's categories by id. The index keeps each mask as compressed RLE;
    pixels are decoded in the pipeline, for the sampled frames only.

    A frame is a dict with ``img_id`` (int, unique in the data set),
    ``img_path``, ``height``, ``width``, ``frame_id`` (0-based position in the
    video's frame list), and ``instances``, each a dict with ``bbox`` (x1, y1,
    x2, y2), ``bbox_label``, ``mask`` (compressed RLE), ``ignore_flag`` (1
    for crowd) and ``instance_id``, the 1-based position of the annotation
    among those of its video. A null segmentation leaves the instance out of
    that frame.

    Args:
        metainfo (dict, optional): ``classes`` selects nothing; when given it
            must name the JSON's categories, in any order. Labels follow the
            order given. Defaults to None, the JSON's own.
        *args: See :class:`mmdet.datasets.BaseVideoDataset`.
        **kwargs: See :class:`mmdet.datasets.BaseVideoDataset`.

    Raises:
        ValueError: If the JSON is malformed (see :mod:`.validation`) or its
            category names differ from ``metainfo['classes']``.
        FileNotFoundError: If ``ann_file`` does not exist.
    """

    def load_data_list(self) -> List[dict]:
        """Load the JSON and index it by video.

        Returns:
            list[dict]: One dict per video with ``video_id``, ``video_length``
            and ``images``.
        """
        content = self._load_json()
        validate_vis_json(content, self.ann_file)
        self._set_classes(content['categories'])
        by_video: Dict[int, List[dict]] = defaultdict(list)
        for annotation in content.get('annotations') or []:
            by_video[annotation['video_id']].append(annotation)
        data_list, num_images = [], 0
        for video in content['videos']:
            data_list.append(
                self._parse_video(video, by_video.pop(video['id'], []),
                                  num_images))
            num_images += data_list[-1]['video_length']
        return data_list

    def filter_data(self) -> List[dict]:
        """Leave out videos without any annotated frame in training.

        Frames are never dropped: ``frame_id`` keeps its meaning and frames
        without objects serve as negatives. ``filter_cfg`` may switch the
        filter off with ``filter_empty_gt=False``.

        Returns:
            list[dict]: The videos kept.

        Raises:
            ValueError: If no video is left.
        """
        filter_empty = (self.filter_cfg or {}).get('filter_empty_gt', True)
        if self.test_mode or not filter_empty:
            return self.data_list
        kept = [
            video for video in self.data_list
            if any(image['instances'] for image in video['images'])
        ]
        if not kept:
            raise ValueError(f'{self.ann_file}: none of its '
                             f'{len(self.data_list)} videos has an annotated '
                             'frame, which training needs')
        if len(kept) < len(self.data_list):
            print_log(
                f'{self.ann_file}: left out '
                f'{len(self.data_list) - len(kept)} of '
                f'{len(self.data_list)} videos without annotations', 'current')
        return kept

    def prepare_data(self, idx: Union[int, Tuple[int, int]]) -> Any:
        """Run the pipeline on a video or on one of its frames.

        As :meth:`BaseVideoDataset.prepare_data`, but ``video_length`` is
        always the length of the whole video, also for a single frame.

        Args:
            idx (int | tuple[int, int]): Video index, or video and frame index.

        Returns:
            Any: What the pipeline returns.
        """
        video_idx, frame_idx = idx if isinstance(idx, tuple) else (idx, None)
        video = self.get_data_info(video_idx)
        if not self.test_mode:
            if frame_idx is not None:
                video['key_frame_id'] = frame_idx
            return self.pipeline(video)
        images = video['images']
        if frame_idx is not None:
            images = [images[frame_idx]]
        results = {key: [image[key] for image in images] for key in images[0]}
        for key in ('video_length', 'ori_video_length'):
            results[key] = [video['video_length']] * len(images)
        results['video_id'] = [video['video_id']] * len(images)
        return self.pipeline(results)

    def _load_json(self) -> dict:
        """Read ``ann_file``."""
        text = get_text(self.ann_file, backend_args=self.backend_args)
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f'{self.ann_file}: not a JSON file '
                             f'({error})') from None

    def _set_classes(self, categories: List[dict]) -> None:
        """Settle class order: the metainfo's when given, else by JSON id."""
        categories = sorted(categories, key=lambda item: item['id'])
        names = tuple(category['name'] for category in categories)
        classes = self._metainfo.get('classes')
        if classes is None:
            self._metainfo['classes'] = classes = names
        if sorted(classes) != sorted(names):
            missing = [name for name in classes if name not in names]
            unknown = [name for name in names if name not in classes]
            raise ValueError(
                f"{self.ann_file}: classes must equal the JSON's categories "
                f'by name, but {missing} are not in the JSON and {unknown} '
                'are not in classes')
        label = {name: i for i, name in enumerate(classes)}
        self.cat2label = {
            category['id']: label[category['name']]
            for category in categories
        }
        self.cat_ids = sorted(self.cat2label, key=self.cat2label.get)
        self._metainfo['category_ids'] = tuple(self.cat_ids)

    def _parse_video(self, video: dict, annotations: List[dict],
                     first_img_id: int) -> dict:
        """One video of the JSON -> the entry of the data list."""
        prefix = self.data_prefix.get('img_path') or ''
        images = []
        for frame_id, name in enumerate(video['file_names']):
            instances = []
            for instance_id, annotation in enumerate(annotations, 1):
                instance = self._parse_instance(annotation, frame_id,
                                                video['height'],
                                                video['width'])
                if instance is not None:
                    instance['instance_id'] = instance_id
                    instances.append(instance)
            images.append(
                dict(
                    img_id=first_img_id + frame_id,
                    img_path=osp.join(prefix, name),
                    height=video['height'],
                    width=video['width'],
                    frame_id=frame_id,
                    instances=instances))
        return dict(
            video_id=video['id'], video_length=len(images), images=images)

    def _parse_instance(self, annotation: dict, frame_id: int, height: int,
                        width: int) -> Optional[dict]:
        """One frame of an annotation, or None where it has no pixels."""
        mask = annotation['segmentations'][frame_id]
        if not mask:
            return None
        rle = _compress(mask, height, width)
        boxes = annotation.get('bboxes')
        box = boxes[frame_id] if boxes is not None else None
        if box is None:
            box = mask_utils.toBbox(rle).tolist()
        x, y, w, h = box
        if w <= 0 or h <= 0:
            return None
        return dict(
            bbox=[x, y, x + w, y + h],
            bbox_label=self.cat2label[annotation['category_id']],
            mask=rle,
            ignore_flag=int(bool(annotation.get('iscrowd', 0))))


def _compress(mask: Union[dict, list], height: int, width: int) -> dict:
    """Polygons or RLE of any kind -> compressed RLE."""
    if isinstance(mask, dict) and isinstance(mask['counts'], str):
        return mask
    rle = mask_utils.frPyObjects(mask, height, width)
    if isinstance(rle, list):
        rle = mask_utils.merge(rle)
    # NOTE: mmdet's LoadAnnotations takes counts of type bytes for a broken
    # mask and blanks it, so str it must be
    return dict(size=[height, width], counts=rle['counts'].decode())
