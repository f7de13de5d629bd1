# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The image files of a data set: checks and copies."""
import os
import os.path as osp
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import (Any, Callable, Dict, Iterable, Iterator, NamedTuple,
                    Optional, Tuple)

import numpy as np

from refinevis_mm.files import is_inside
from .defects import Defect
from .validation import VideoSize, VISChecker, is_int

ReadImage = Callable[[str], np.ndarray]
BLOCK = 1024  # frames that wait for a thread


class _Frame(NamedTuple):
    """A frame of a data set.

    Attributes:
        place (dict): Its ``video`` and ``frame``.
        path (str): Its file.
        size (VideoSize): Extent of its video.
    """
    place: Dict[str, Any]
    path: str
    size: VideoSize


def find_frame_defects(content: Any, folder: str,
                       read_image: ReadImage) -> Iterator[Defect]:
    """Image files that are missing, unreadable or of the wrong size.

    Each file is decoded, since one that is cut off has a faultless head, by
    as many threads as there are processors. Videos that :class:`VISChecker`
    finds unusable are left out.

    Args:
        content (Any): The loaded JSON of the data set.
        folder (str): The folder that its ``file_names`` are relative to.
        read_image (Callable): Reads a file as training does, which is
            ``refinevis_mm.video_io.read_image``.

    Yields:
        Defect: At most one for each frame.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not osp.isdir(folder):
        raise FileNotFoundError(f"the folder '{folder}' does not exist")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        frames = _frames_of(content, folder)
        while block := list(islice(frames, BLOCK)):
            yield from filter(
                None, pool.map(partial(_find_defect, read_image), block))


def _frames_of(content: Any, folder: str) -> Iterator[_Frame]:
    """Frames of all usable videos."""
    checker = VISChecker(lambda defect: None)
    checker.check_header(content)
    usable = dict(checker.videos)
    for video in content['videos'] if usable else ():
        if not isinstance(video, dict) or not is_int(video.get('id')):
            continue
        size = usable.pop(video['id'], None)
        if size is not None:
            for frame, name in enumerate(video['file_names']):
                yield _Frame(
                    dict(video=video['id'], frame=frame),
                    osp.join(folder, name), size)


def _find_defect(read_image: ReadImage, frame: _Frame) -> Optional[Defect]:
    """What is wrong with a frame."""
    if not osp.isfile(frame.path):
        return Defect('missing-frame', f"'{frame.path}' does not exist",
                      **frame.place)
    try:
        found = read_image(frame.path).shape[:2]
    except ValueError as error:
        return Defect('unreadable-frame', str(error), **frame.place)
    if found != frame.size[:2]:
        return Defect(
            'frame-size', f"'{frame.path}' has (height, width) {found}, but "
            f'its video {frame.size[:2]}', **frame.place)
    return None


def copy_images(files: Iterable[Tuple[str, int, int]], source: str,
                target: str, read_image: ReadImage) -> None:
    """Copy image files, keeping their sub-folders.

    Args:
        files (Iterable[tuple]): Name relative to the folder, height and width
            in pixels of each image.
        source (str): Folder they are in.
        target (str): Folder they go to.
        read_image (Callable): See :func:`find_frame_defects`.

    Raises:
        FileExistsError: If the target has a file of this name already.
        OSError: If an image cannot be written.
        ValueError: If an image is missing, unreadable or of another size than
            expected, or its name leads out of the folder.
    """
    for name, height, width in files:
        if not is_inside(name):
            raise ValueError('image names must lie inside of their folder, '
                             f'but got {name!r}')
        path, copy = osp.join(source, name), osp.join(target, name)
        found = read_image(path).shape[:2]
        if found != (height, width):
            raise ValueError(f"'{path}' must have (height, width) "
                             f'{(height, width)}, got {found}')
        if osp.exists(copy):
            raise FileExistsError(f"image names must differ, but '{name}' of "
                                  f"'{source}' is there already")
        os.makedirs(osp.dirname(copy), exist_ok=True)
        shutil.copyfile(path, copy)
