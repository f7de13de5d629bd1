# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Filtering of annotations that keeps ids aligned."""
from typing import Union

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import HorizontalBoxes, get_box_tensor
from mmdet.structures.mask import BitmapMasks

from refinevis_mm.registry import TRANSFORMS

_KEYS = ('gt_bboxes', 'gt_bboxes_labels', 'gt_masks', 'gt_instances_ids',
         'gt_ignore_flags')


@TRANSFORMS.register_module()
class FilterTrackAnnotations(BaseTransform):
    """Tighten boxes to the masks and drop instances without pixels.

    Boxes, labels, masks, ids and ignore flags are filtered alike, so they
    stay aligned; mmdet's ``FilterAnnotations`` leaves the ids unfiltered. An
    instance dropped here is absent in this frame; the other frames of the
    clip keep it under its id.

    A box becomes the tight box of its mask: cropping and the loss of thin
    parts in shrinking change the mask, but mmdet's transforms merely clip and
    scale the box.

    Required Keys:

    - gt_bboxes
    - gt_masks
    - gt_bboxes_labels, gt_instances_ids, gt_ignore_flags (optional)

    Modified Keys: the same.

    Args:
        min_box_size (float): Smallest width and height of a box in pixels.
            Defaults to 1.0.
        min_mask_area (int): Fewest mask pixels. Defaults to 1.
    """

    def __init__(self,
                 min_box_size: float = 1.0,
                 min_mask_area: int = 1) -> None:
        self.min_box_size = min_box_size
        self.min_mask_area = min_mask_area

    def transform(self, results: dict) -> dict:
        """Filter the annotations of a frame.

        Args:
            results (dict): Frame with annotations of n instances.

        Returns:
            dict: The frame with the instances kept.

        Raises:
            ValueError: If a transform before has left the annotations with
                different lengths.
        """
        lengths = {key: len(results[key]) for key in _KEYS if key in results}
        if len(set(lengths.values())) > 1:
            raise ValueError('the annotations of a frame must have one '
                             f'length, but a transform before left {lengths}')
        masks = results['gt_masks']
        results['gt_bboxes'] = tight_boxes(masks, results['gt_bboxes'])
        boxes = np.asarray(get_box_tensor(results['gt_bboxes']))
        sizes = boxes[:, 2:] - boxes[:, :2]
        keep = (sizes >= self.min_box_size).all(axis=1)
        keep &= masks.areas >= self.min_mask_area
        inds = np.flatnonzero(keep)
        if len(inds) < len(keep):
            for key in lengths:
                results[key] = results[key][inds]
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}('
                f'min_box_size={self.min_box_size}, '
                f'min_mask_area={self.min_mask_area})')


def tight_boxes(
    masks: BitmapMasks, like: Union[np.ndarray, HorizontalBoxes]
) -> Union[np.ndarray, HorizontalBoxes]:
    """Boxes of masks.

    Args:
        masks (BitmapMasks): n masks.
        like (np.ndarray | HorizontalBoxes): Boxes whose type is wanted: plain
            arrays until the first geometric transform.

    Returns:
        np.ndarray | HorizontalBoxes: n boxes (x1, y1, x2, y2) in pixels, all
        zero where a mask is empty.
    """
    boxes = HorizontalBoxes.from_instance_masks(masks)
    return boxes.tensor.numpy() if isinstance(like, np.ndarray) else boxes
