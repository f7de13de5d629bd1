# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pictures out."""
from pathlib import Path

import cv2
import numpy as np


def write_image(path: str, image: np.ndarray) -> None:
    """Write a PNG image.

    Args:
        path (str | Path): The file.
        image (np.ndarray): Has shape (H, W, 3), uint8, BGR.

    Raises:
        OSError: If the file cannot be written.
    """
    Path(path).write_bytes(cv2.imencode('.png', image)[1].tobytes())
