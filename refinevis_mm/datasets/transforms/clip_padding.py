# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Padding of the frames of a clip to one size."""
from typing import Dict, Optional

from mmcv.transforms import BaseTransform
from mmdet.datasets.transforms import Pad

from refinevis_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PadClip(BaseTransform):
    """Pad the frames of a clip, right and below, to their largest size.

    Frames that were cropped each on its own differ in size, and a clip is
    packed as one array. Works on the clip, outside ``TransformBroadcaster``.

    Required Keys, each a list over the frames:

    - img
    - gt_masks (optional)
    - gt_seg_map (optional)

    Modified Keys:

    - img
    - gt_masks
    - gt_seg_map

    ``img_shape`` stays the size of each frame before padding, so that models
    can tell padding from picture.

    Added Keys, each a list over the frames:

    - pad_shape, pad_fixed_size, pad_size_divisor

    Args:
        pad_val (dict): Fill values ``img``, in the channel order of the
            images, ``masks`` and ``seg`` (255 if not given). Defaults to
            dict(img=0, masks=0).
    """

    def __init__(self, pad_val: Optional[dict] = None) -> None:
        self.pad_val = pad_val or dict(img=0, masks=0)

    def transform(self, results: Dict[str, list]) -> Dict[str, list]:
        """Pad a clip.

        Args:
            results (dict[str, list]): The clip, each key a list over its
                frames.

        Returns:
            dict[str, list]: The clip with frames of one size.
        """
        height = max(img.shape[0] for img in results['img'])
        width = max(img.shape[1] for img in results['img'])
        pad = Pad(size=(width, height), pad_val=self.pad_val)
        frames = []
        for t, img in enumerate(results['img']):
            frame = dict(img=img)
            for key in ('gt_masks', 'gt_seg_map'):
                if key in results:
                    frame[key] = results[key][t]
            frames.append(pad(frame))
        for key in set(frames[0]) - {'img_shape'}:
            results[key] = [frame[key] for frame in frames]
        return results

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(pad_val={self.pad_val})'
