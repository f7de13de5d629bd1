# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Occlusion augmentation of images."""
import numpy as np

from refinevis_mm.registry import TRANSFORMS
from .video_copy_paste import VideoCopyPaste

_KEYS = ('img', 'gt_bboxes', 'gt_bboxes_labels', 'gt_masks', 'gt_ignore_flags')


@TRANSFORMS.register_module()
class ImageCopyPaste(VideoCopyPaste):
    """Paste objects of other images into an image, with a depth order.

    :class:`VideoCopyPaste` for images, which it takes as clips of one frame.
    mmdet's ``CopyPaste`` needs images of one size, leaves objects where they
    are and pastes crowds and ignored regions, too.

    Required Keys:

    - img
    - gt_bboxes, gt_bboxes_labels, gt_masks, gt_ignore_flags
    - mix_results (list[dict]): the other images, in the same form.

    Modified Keys: those above; mix_results is removed.

    Args:
        prob (float): Probability to change an image. Defaults to 0.5.
        max_clips (int): 1 to ``max_clips`` other images are drawn. Defaults
            to 2.
        max_tracks (int): 1 to ``max_tracks`` of their objects are pasted, as
            far as there are any; crowds are not. Defaults to 3.
        **kwargs: Scale, place and depth, see :class:`TrackPaster`.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def transform(self, results: dict) -> dict:
        """Paste objects into an image.

        Args:
            results (dict): The image and ``mix_results``.

        Returns:
            dict: The image with the objects pasted.
        """
        clip = _as_clip(results)
        clip['mix_results'] = [
            _as_clip(image) for image in results.pop('mix_results')
        ]
        clip = super().transform(clip)
        results.update((key, clip[key][0]) for key in _KEYS)
        return results


def _as_clip(results: dict) -> dict:
    """An image as a clip of one frame, its objects numbered from 1."""
    ids = 1 + np.arange(len(results['gt_bboxes_labels']))
    return dict({key: [results[key]] for key in _KEYS}, gt_instances_ids=[ids])
