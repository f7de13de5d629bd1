# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Loading of frames."""
from typing import Optional

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.fileio import get

from refinevis_mm.registry import TRANSFORMS
from refinevis_mm.video_io import decode_image


@TRANSFORMS.register_module()
class LoadFrame(BaseTransform):
    """Load a frame; a missing, corrupt or wrongly sized file is named.

    Takes the place of :class:`mmcv.transforms.LoadImageFromFile`. The image is
    the one that :func:`open_source` gives of the same file, so that a model
    sees in use what it was trained on.

    Required Keys:

    - img_path
    - height (optional)
    - width (optional)

    Added Keys:

    - img
    - img_shape
    - ori_shape
    - homography_matrix, the identity: mmdet's transforms add it only to the
      frames that they change, but the frames of a clip must have equal keys

    Args:
        to_float32 (bool): Make the image float32, in [0, 255]. Defaults to
            False, uint8.
        backend_args (dict, optional): Arguments of mmengine's file backend.
            Defaults to None.
    """

    def __init__(self,
                 to_float32: bool = False,
                 backend_args: Optional[dict] = None) -> None:
        self.to_float32 = to_float32
        self.backend_args = backend_args

    def transform(self, results: dict) -> dict:
        """Load the image.

        Args:
            results (dict): Frame info.

        Returns:
            dict: With ``img`` (h, w, 3) added.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file is not a readable image, or its size
                differs from ``height`` and ``width``.
        """
        path = results['img_path']
        try:
            data = get(path, backend_args=self.backend_args)
        except FileNotFoundError:
            raise FileNotFoundError(f"frame '{path}' does not exist") from None
        try:
            img = decode_image(data)
        except ValueError as error:
            raise ValueError(
                f"frame '{path}' cannot be read: {error}") from error
        size = (results.get('height',
                            img.shape[0]), results.get('width', img.shape[1]))
        if img.shape[:2] != size:
            raise ValueError(
                f"frame '{path}' has (height, width) {img.shape[:2]}, but its "
                f'annotation says {size}')
        results['img'] = img.astype('float32') if self.to_float32 else img
        results['img_shape'] = img.shape[:2]
        results['ori_shape'] = img.shape[:2]
        results['homography_matrix'] = np.eye(3, dtype=np.float32)
        return results
