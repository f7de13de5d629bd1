# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Loading of frames."""
import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.fileio import get

from refinevis_mm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadFrame(LoadImageFromFile):
    """Load a frame; a missing, corrupt or wrongly sized file is named.

    Takes the arguments of :class:`mmcv.transforms.LoadImageFromFile`, which
    reports a corrupt file without saying which one, save ``ignore_empty``: a
    frame of a clip cannot be skipped.

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
    """

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
            img = mmcv.imfrombytes(
                data, flag=self.color_type, backend=self.imdecode_backend)
        except Exception as error:
            raise ValueError(
                f"frame '{path}' cannot be decoded ({error})") from error
        if img is None:
            raise ValueError(f"frame '{path}' is corrupt or not an image")
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
