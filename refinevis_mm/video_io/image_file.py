# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Files that appear under their names when complete."""
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import cv2
import numpy as np

PARTIAL = '.partial'


@contextmanager
def output_folder(out_dir: str) -> Iterator[Path]:
    """Give a folder for new files that appear in ``out_dir`` together.

    When the block ends, the files and folders in it are moved to their final
    place and replace old ones of the same names, so a final name never
    stands for half a file. If it raises, and for files called ``*.partial``,
    nothing is moved.

    Args:
        out_dir (str): The folder; made if it does not exist.

    Yields:
        Path: The temporary folder, on the same disk.

    Raises:
        OSError: If the folder cannot be made or written.
    """
    try:
        os.makedirs(out_dir, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f'{PARTIAL}-', dir=out_dir))
    except OSError as error:
        raise OSError(f'out-dir "{out_dir}" cannot be written: '
                      f'{error.strerror}') from error
    try:
        yield partial
        for path in sorted(partial.iterdir()):
            if path.suffix != PARTIAL:
                _replace(path, Path(out_dir, path.name))
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(path: Path, final: Path) -> None:
    """Move a file or folder over what has its final name."""
    if final.is_dir() or final.exists() and path.is_dir():
        old = Path(tempfile.mkdtemp(suffix=PARTIAL, dir=path.parent))
        os.replace(final, old / 'old')
    os.replace(path, final)


def write_image(path: str, image: np.ndarray) -> None:
    """Write a PNG image.

    Args:
        path (str | Path): The file.
        image (np.ndarray): Has shape (H, W, 3), uint8, BGR.

    Raises:
        OSError: If the file cannot be written.
    """
    Path(path).write_bytes(cv2.imencode('.png', image)[1].tobytes())
