# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Pictures in and out, and those of a folder."""
import io
import os
import os.path as osp
from pathlib import Path
from typing import List, Sequence, Tuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from refinevis_mm.files import PathLike

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')
# Images as well, which not all decoders know.
OTHER_SUFFIXES = ('.avif', '.dng', '.exr', '.gif', '.heic', '.heif', '.jfif',
                  '.jp2', '.jpe', '.jxl', '.pgm', '.pnm', '.ppm', '.tga')
# Cameras write a preview or a map of depth behind the picture.
JPEG_FORMATS = ('JPEG', 'MPO')
# What a file may hold, whatever its name. Pillow knows more, some of which
# (PostScript) it runs.
FORMATS = ('AVIF', 'BMP', 'DIB', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM',
           'TIFF', 'WEBP')


def decode_image(data: bytes) -> np.ndarray:
    """Decode an image file, turned as its EXIF orientation says.

    All frames that are image files, of videos that a model is run on and of
    those that it is trained on, are read so. Of 16 bits the upper 8 are
    taken; transparency is ignored.

    Args:
        data (bytes): Content of the file.

    Returns:
        np.ndarray: Has shape (H, W, 3), uint8, BGR.

    Raises:
        ValueError: If it is no image, is cut off, holds several pictures or
            has pixels of more than 16 bits, which have no common range.
    """
    try:
        Image.init()
        formats = [name for name in FORMATS if name in Image.OPEN]
        with Image.open(io.BytesIO(data), formats=formats) as picture:
            num_pictures = getattr(picture, 'n_frames', 1)
            if num_pictures > 1 and picture.format not in JPEG_FORMATS:
                raise ValueError(f'it holds {num_pictures} pictures, a frame '
                                 'is one')
            # PNG files of 16 bits are of mode I in older Pillow
            deep = picture.mode.startswith('I;16') or (picture.mode == 'I' and
                                                       picture.format == 'PNG')
            if picture.mode in ('I', 'F') and not deep:
                raise ValueError('its pixels must have 8 or 16 bits, got 32')
            picture = ImageOps.exif_transpose(picture)
            if deep:
                values = np.asarray(picture) >> 8
                picture = Image.fromarray(values.astype(np.uint8))
            pixels = np.asarray(picture.convert('RGB'))
    except Exception as error:  # Pillow has all kinds of them for bad files
        reason = str(error).splitlines()[0] if str(error) else 'no image'
        if isinstance(error, Image.UnidentifiedImageError):
            reason = 'not an image'
        raise ValueError(reason) from error
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)


def read_image(path: str) -> np.ndarray:
    """Read an image file, see :func:`decode_image`.

    Args:
        path (str): The file.

    Returns:
        np.ndarray: Has shape (H, W, 3), uint8, BGR.

    Raises:
        ValueError: If the file cannot be read.
    """
    try:
        return decode_image(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise ValueError(f'frame "{path}" cannot be read: {reason}') from error


def write_image(path: PathLike, image: np.ndarray) -> None:
    """Write a PNG image.

    Args:
        path (str | PathLike): The file.
        image (np.ndarray): Has shape (H, W, 3), uint8, BGR.

    Raises:
        OSError: If the file cannot be written.
    """
    Path(path).write_bytes(cv2.imencode('.png', image)[1].tobytes())


def visible_names(folder: str) -> List[str]:
    """List a folder without what is hidden.

    Names with a dot in front are notes of a system or an editor, such as the
    ``._frame.jpg`` beside each file that a Mac has copied.

    Args:
        folder (str): The folder.

    Returns:
        list[str]: Names of its files and folders, sorted by
        :func:`natural_key`.

    Raises:
        OSError: If it cannot be read.
    """
    names = (name for name in os.listdir(folder) if name[0] != '.')
    return sorted(names, key=natural_key)


def image_folder(folder: str) -> List[str]:
    """List the image files in a folder, see :func:`image_files`.

    Args:
        folder (str): The folder; what is hidden in it is left out.

    Returns:
        list[str]: Their paths.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it holds none, or some in a form that is not read.
    """
    paths = [osp.join(folder, name) for name in visible_names(folder)]
    return image_files(paths, f'folder "{folder}"')


def image_files(paths: Sequence[str], name: str) -> List[str]:
    """Sort the image files among some paths.

    Args:
        paths (Sequence[str]): Any files.
        name (str): Where they are, for the message.

    Returns:
        list[str]: The image files by name, numbers in the names by value.

    Raises:
        ValueError: If there are none, or some are images in a form that is
            not read.
    """
    images = [path for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
    known = ', '.join(IMAGE_SUFFIXES)
    if not images:
        raise ValueError(f'{name} holds no images ({known})')
    others = [path for path in paths if path.lower().endswith(OTHER_SUFFIXES)]
    if others:
        raise ValueError(
            f'{name} holds images that are not read: {len(others)} of '
            f'{len(images) + len(others)}, such as '
            f'"{osp.basename(min(others))}"; a pattern ("folder/*.jpg") '
            'chooses the frames')
    return sorted(images, key=natural_key)


def natural_key(path: str) -> List[Tuple[bool, int, str]]:
    """Sorting key under which frame 2 comes before frame 10.

    Args:
        path (str): A path or a name.

    Returns:
        list[tuple]: Its characters, and its numbers by their values.
    """
    key, digits = [], ''
    for char in path + '\0':
        if char.isdecimal():
            digits += char
            continue
        if digits:
            key.append((False, int(digits), digits))
            digits = ''
        key.append((True, 0, char))
    return key
