# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Zips of id maps with class and number, as CVAT has them ("MOTS PNG 1.0").

``<subset>/instances/<frame>.png`` have 16 bits: class * 1000 + number, where
classes count from 1 in the order of ``<subset>/instances/labels.txt``, a name
a line. 10 is "ignored" where there are fewer classes.
"""
import posixpath
import re
from typing import Dict, List, Sequence, Set, Tuple
from zipfile import ZipFile, is_zipfile

import numpy as np
import pycocotools.mask as mask_utils

from .cvat_video import ZIP_ERRORS, AnnotatedVideo
from .id_maps import check_sharp, find_cores, read_id_map

MOTS_FACTOR = 1000  # pixel = class * 1000 + number
MOTS_IGNORED = 10  # class
MOTS_FOLDER, MOTS_LABELS = 'instances', 'labels.txt'


def is_mots_png(path: str) -> bool:
    """Whether a file is a zip with a folder of instances.

    Args:
        path (str): A file.

    Returns:
        bool: False for all others, and where there is none.
    """
    if not is_zipfile(path):
        return False
    try:
        with ZipFile(path) as archive:
            return any(
                MOTS_FOLDER in name.split('/')[:-1]
                for name in archive.namelist())
    except ZIP_ERRORS as error:
        raise ValueError(f"zip '{path}' is damaged: {error}") from error


def read_mots_png(path: str, stems: Sequence[str],
                  size: Tuple[int, int]) -> AnnotatedVideo:
    """Read a zip of a video.

    CVAT leaves out frames without an object. It names a map after its image,
    and the frames of a video after their numbers from 0.

    Args:
        path (str): The zip.
        stems (Sequence[str]): Names of the frames without folder and suffix,
            in order.
        size (tuple[int, int]): Height and width of the frames in pixels.

    Returns:
        AnnotatedVideo: With these frames; the id of an object is its number,
        or the pixel where two classes have the same number.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such zip, a map is damaged, has another size,
            smoothed edges or no frame, or a pixel has no class.
    """
    try:
        with ZipFile(path) as archive:
            return _read(archive, path, stems, size)
    except (UnicodeDecodeError, *ZIP_ERRORS) as error:
        raise ValueError(f"'{path}' must be a zip of MOTS PNG, but cannot be "
                         f'read: {error}') from error


def _read(archive: ZipFile, path: str, stems: Sequence[str],
          size: Tuple[int, int]) -> AnnotatedVideo:
    """Read the maps one by one."""
    names = [
        name for name in archive.namelist()
        if MOTS_FOLDER in name.split('/')[:-1]
    ]
    labels = [
        name for name in names if posixpath.basename(name) == MOTS_LABELS
    ]
    if len(labels) != 1:
        raise ValueError(f"'{path}' must have one {MOTS_FOLDER}/{MOTS_LABELS},"
                         f' got {len(labels)}')
    classes = [
        line.strip() for line in archive.read(labels[0]).decode().splitlines()
        if line.strip()
    ]
    maps = {
        posixpath.splitext(posixpath.basename(name))[0]: name
        for name in names if name.lower().endswith('.png')
    }
    if len(maps) < sum(name.lower().endswith('.png') for name in names):
        raise ValueError(f"'{path}' must be of one video, but has maps of "
                         'one name in several folders')
    codes: Dict[int, Dict[int, dict]] = {}
    cores: Set[int] = set()
    for frame, name in _places(list(maps), stems, path):
        name = maps[name]
        with archive.open(name) as file:
            values = read_id_map(f'{path}/{name}', file)
        if values.shape != tuple(size):
            raise ValueError(f"'{path}/{name}' must have (height, width) "
                             f'{tuple(size)}, got {values.shape}')
        cores |= find_cores(values)
        for pixel in np.unique(values).tolist():
            if _has_class(pixel, classes, f"'{path}/{name}'"):
                code = mask_utils.encode(
                    np.asfortranarray(values == pixel, np.uint8))
                codes.setdefault(pixel, {})[frame] = dict(
                    code, counts=code['counts'].decode('ascii'))
    check_sharp(codes, cores, f"'{path}'")
    numbers = [pixel % MOTS_FACTOR for pixel in codes]
    objects = {}
    for pixel in sorted(codes):
        label, number = divmod(pixel, MOTS_FACTOR)
        object_id = number if numbers.count(number) == 1 else pixel
        objects[object_id] = classes[label - 1], codes[pixel]
    return AnnotatedVideo(range(len(stems)), classes, objects)


def _places(names: List[str], stems: Sequence[str],
            path: str) -> List[Tuple[int, str]]:
    """Frame and name of each map, by name, else by number."""
    places = {stem: frame for frame, stem in enumerate(stems)}
    if not set(names) <= set(places):
        numbers = {
            name: re.fullmatch(r'(?:frame_)?(\d{1,9})', name)
            for name in names
        }
        places = {
            name: int(number[1])
            for name, number in numbers.items() if number
        }
    for name in names:
        if places.get(name, len(stems)) >= len(stems):
            raise ValueError(f"'{path}': map '{name}' must have a frame of "
                             f'this name or number, but there are '
                             f'{len(stems)} others')
    return sorted((places[name], name) for name in names)


def _has_class(pixel: int, classes: Sequence[str], place: str) -> bool:
    """Whether a pixel is of an object; ValueError if nobody knows."""
    label = pixel // MOTS_FACTOR
    if not pixel or label == MOTS_IGNORED > len(classes):
        return False
    if not 1 <= label <= len(classes):
        raise ValueError(f'{place}: pixel {pixel} must be of a class from 1 '
                         f'to {len(classes)}, which {MOTS_LABELS} names')
    return True
