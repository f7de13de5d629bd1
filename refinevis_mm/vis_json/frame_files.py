# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The image files of a data set: checks and copies."""
import os
import os.path as osp
import shutil
from typing import Any, Dict, Iterable, Iterator, Set, Tuple

from PIL import Image

from .defects import Defect
from .validation import VISChecker

EXIF_ORIENTATION = 0x0112
ROTATED = (5, 6, 7, 8)  # orientations with height and width swapped


def find_frame_defects(content: Any, folder: str) -> Iterator[Defect]:
    """Image files that are missing, unreadable or of the wrong size.

    Only the head of each file is read. Videos that :class:`VISChecker` finds
    unusable are left out.

    Args:
        content (Any): The loaded JSON of the data set.
        folder (str): The folder that its ``file_names`` are relative to.

    Yields:
        Defect: At most one for each frame.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not osp.isdir(folder):
        raise FileNotFoundError(f"the folder '{folder}' does not exist")
    checker = VISChecker(lambda defect: None)
    checker.check_header(content)
    listed: Dict[str, Set[str]] = {}
    for video in content['videos'] if checker.videos else ():
        size = checker.videos.get(video['id'])
        if size is None:
            continue
        for frame, name in enumerate(video['file_names']):
            place = dict(video=video['id'], frame=frame)
            path = osp.join(folder, name)
            parent, name = osp.split(path)
            if parent not in listed:
                listed[parent] = _list_files(parent)
            if name not in listed[parent]:
                yield Defect('missing-frame', f"'{path}' does not exist",
                             **place)
                continue
            try:
                found = image_size(path)
            except OSError as error:
                yield Defect('unreadable-frame', str(error), **place)
                continue
            if found != (size.height, size.width):
                yield Defect(
                    'frame-size', f"'{path}' has (height, width) {found}, "
                    f'but its video {(size.height, size.width)}', **place)


def image_size(path: str) -> Tuple[int, int]:
    """Size of an image, as it is when loaded, from the head of its file.

    Args:
        path (str): Image file.

    Returns:
        tuple[int, int]: Height and width in pixels.

    Raises:
        FileNotFoundError: If it does not exist.
        OSError: If it is not a readable image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            rotated = image.getexif().get(EXIF_ORIENTATION) in ROTATED
    except FileNotFoundError:
        raise FileNotFoundError(f"'{path}' does not exist") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise OSError(f"'{path}' is not a readable image ({error})") from None
    return (width, height) if rotated else (height, width)


def copy_images(files: Iterable[Tuple[str, int, int]], source: str,
                target: str) -> None:
    """Copy image files, keeping their sub-folders.

    Args:
        files (Iterable[tuple]): Name relative to the folder, height and width
            in pixels of each image.
        source (str): Folder they are in.
        target (str): Folder they go to.

    Raises:
        FileExistsError: If the target has a file of this name already.
        OSError: If an image is missing, unreadable or cannot be written.
        ValueError: If an image has another size than expected.
    """
    for name, height, width in files:
        path, copy = osp.join(source, name), osp.join(target, name)
        found = image_size(path)
        if found != (height, width):
            raise ValueError(f"'{path}' must have (height, width) "
                             f'{(height, width)}, got {found}')
        if osp.exists(copy):
            raise FileExistsError(f"image names must differ, but '{name}' of "
                                  f"'{source}' is there already")
        os.makedirs(osp.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy)


def _list_files(folder: str) -> Set[str]:
    """Names in a folder; none if there is no such folder."""
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
