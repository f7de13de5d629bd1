# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import resource

import cv2
import numpy as np
import pytest

from refinevis_mm.video_io import write_image
from tests.test_video_io.videos import noise


def test_write_image(tmp_path):
    image = noise(1, 200, 200)[0]
    write_image(tmp_path / 'i.png', image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / 'i.png')), image)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, hard))
    try:
        with pytest.raises(OSError):
            write_image(tmp_path / 'full.png', image)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
