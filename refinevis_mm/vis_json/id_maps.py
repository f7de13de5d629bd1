# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Id maps: images whose pixels are the numbers of objects."""
from typing import IO, Collection, Optional, Set

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

MIN_EDGES = 3  # ids, see check_sharp
STRETCHED = {'L;2': 85, 'L;4': 17}  # Pillow makes greys of all 8 bits


def read_id_map(path: str, file: Optional[IO[bytes]] = None) -> np.ndarray:
    """Read an id map.

    Args:
        path (str): PNG of one channel, 1 to 16 bits, or with a palette.
        file (IO[bytes], optional): Its content, where ``path`` is but a name
            for messages. Defaults to None.

    Returns:
        np.ndarray: Pixel values (palette indices), (H, W).

    Raises:
        ValueError: If it cannot be read or has several channels.
    """
    try:
        with Image.open(file or path, formats=['PNG']) as image:
            step = STRETCHED.get(image.tile[0][3], 1)
            values = np.asarray(image)
    except Exception as error:  # Pillow has all kinds of them for bad files
        reason = getattr(error, 'strerror', None) or error
        raise ValueError(
            f"'{path}' must be a PNG map, but cannot be read: {reason}"
        ) from error
    if values.ndim != 2:
        raise ValueError(f"'{path}' must have one channel or a palette, got "
                         f'{values.shape}')
    return values.astype(np.uint8) if values.dtype == bool else values // step


def find_cores(values: np.ndarray) -> Set[int]:
    """Ids with a pixel none of whose neighbours is of another object.

    Args:
        values (np.ndarray): Id map, 0 is the background. Has shape (H, W).

    Returns:
        set[int]: The ids, 0 among them if the background is so.
    """
    others = np.where(values == 0, values.max(), values)
    alone = (maximum_filter(values, 3) <= values) & (
        minimum_filter(others, 3) >= values)
    return set(np.unique(values[alone]).tolist())


def check_sharp(ids: Collection, cores: Set, place: str) -> None:
    """Refuse maps whose edges are smoothed, or that were saved as JPEG.

    Each grey value of such an edge is an id of its own, and all its pixels
    touch others. An object that does is two pixels wide at most, in all
    frames, and lies along others with its whole length; three and the
    majority of a video are not of this kind. Small ids that are smoothed
    (the edge of 2 is 1) are not told from objects.

    Args:
        ids (Collection): Ids of the objects of some maps.
        cores (set): What :func:`find_cores` returned for these maps, joined.
        place (str): Where the maps are, for the message.

    Raises:
        ValueError: If most ids are edges.
    """
    edges = sorted(set(ids) - cores)
    if len(edges) >= MIN_EDGES and 2 * len(edges) > len(ids):
        raise ValueError(
            f'{place}: ids must be painted without smoothing, resized to the '
            f'nearest pixel and never be JPEG, but {len(edges)} of {len(ids)} '
            'are only edges of others, such as '
            f'{", ".join(map(str, edges[:3]))}')
