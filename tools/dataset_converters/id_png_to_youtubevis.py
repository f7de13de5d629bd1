# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Convert folders of id maps (DAVIS, MOTS) to YouTube-VIS.

Expects ``FRAMES/<video>/<frame>.jpg`` and ``MAPS/<video>/<frame>.png``; the
images stay where they are. Frames without a map are left out.

``davis``: the pixel is the object's number, 0 the background, 255 unknown in
maps of 8 bits unless ``--no-unknown`` is given, as maps in black and white
need it; all objects are of the class "object", or of the one given by
``--labels``, a JSON such as ``{"bear": {"1": "animal"}, "bus": "vehicle"}``.
``mots``: the pixel is class * 1000 + number, 10000 is to be ignored;
``--classes`` names the classes.

Example:
    python tools/dataset_converters/id_png_to_youtubevis.py \\
        DAVIS/JPEGImages/480p DAVIS/Annotations/480p data/davis/train.json
    python tools/dataset_converters/id_png_to_youtubevis.py \\
        MOTS/training/image_02 MOTS/instances data/mots/train.json \\
        --form mots --classes 1:car 2:pedestrian
"""
import argparse
import os.path as osp
from typing import Any, Dict, Iterator, List, Optional, Set, Tuple

import numpy as np
import pycocotools.mask as mask_utils
from mmengine.utils import track_iter_progress

from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import image_folder, read_image, visible_names
from refinevis_mm.vis_json import (MOTS_FACTOR, VISJsonWriter, check_sharp,
                                   find_cores, load_json, read_id_map)

UNKNOWN = dict(davis=255, mots=10000)
DEFAULT_CLASS = 'object'


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Convert folders of id maps to YouTube-VIS')
    parser.add_argument('frames', help='folder of the frames, by video')
    parser.add_argument('maps', help='folder of the id maps, by video')
    parser.add_argument('out', help='YouTube-VIS file to write, .json')
    parser.add_argument(
        '--form',
        choices=('davis', 'mots'),
        default='davis',
        help='what the pixels mean (default: davis)')
    parser.add_argument(
        '--labels',
        help='for davis: JSON with the class name of each object, or of all '
        'objects of a video')
    parser.add_argument(
        '--classes',
        nargs='+',
        metavar='ID:NAME',
        default=['1:car', '2:pedestrian'],
        help='for mots: the classes (default: 1:car 2:pedestrian)')
    parser.add_argument(
        '--no-unknown',
        action='store_true',
        help='255 (mots: 10000) is an object like any other, as in maps in '
        'black and white')
    parser.add_argument(
        '--force', action='store_true', help='replace an existing file')
    return parser.parse_args(argv)


class DavisLabels:
    """Class of each object by video and number.

    Args:
        labels (dict): Class name, or class names by number, of each video;
            empty if all objects are of one class.

    Raises:
        ValueError: If ``labels`` has another form.
    """

    def __init__(self, labels: Dict[str, Any]) -> None:
        names = {DEFAULT_CLASS} if not labels else set()
        for video, value in labels.items():
            values = value.values() if isinstance(value, dict) else [value]
            for name in values:
                if not isinstance(name, str):
                    raise ValueError('labels must be a class name, or class '
                                     f'names by number, but video {video} '
                                     f'has {value!r}')
                names.add(name)
        self._labels = labels
        self._ids = {name: i for i, name in enumerate(sorted(names), 1)}
        self.categories = [
            dict(id=i, name=name) for name, i in self._ids.items()
        ]

    def category_of(self, video: str, pixel: int) -> int:
        """Category id of an object.

        Args:
            video (str): Name of its video.
            pixel (int): Its value in the maps.

        Returns:
            int: The id.

        Raises:
            ValueError: If the object has no label.
        """
        if not self._labels:
            return self._ids[DEFAULT_CLASS]
        name = self._labels.get(video)
        if isinstance(name, dict):
            name = name.get(str(pixel))
        if name is None:
            raise ValueError(f'video {video}: object {pixel} has no label')
        return self._ids[name]


class MotsLabels:
    """Class of each object, which its pixels tell.

    Args:
        classes (list[str]): ``ID:NAME`` of each class.

    Raises:
        ValueError: If one has another form.
    """

    def __init__(self, classes: List[str]) -> None:
        self.categories = []
        for text in classes:
            number, _, name = text.partition(':')
            if not number.isdigit() or not name:
                raise ValueError(f'classes must be ID:NAME, but got {text!r}')
            self.categories.append(dict(id=int(number), name=name))

    def category_of(self, video: str, pixel: int) -> int:
        """Category id of an object, see :class:`DavisLabels`."""
        number = pixel // MOTS_FACTOR
        if all(number != item['id'] for item in self.categories):
            raise ValueError(f'video {video}: pixel {pixel} is of class '
                             f'{number}, which --classes does not name')
        return number


def list_frames(frames_dir: str, maps_dir: str,
                video: str) -> List[Tuple[str, str]]:
    """Frames of a video that have a map.

    Args:
        frames_dir (str): Folder of the frames, by video.
        maps_dir (str): Folder of the maps, by video.
        video (str): Name of the video.

    Returns:
        list[tuple[str, str]]: File names, relative to the folders, of frame
        and map.

    Raises:
        FileNotFoundError: If a map has no frame, or the video no map.
    """
    folder = osp.join(frames_dir, video)
    found = {}
    for path in image_folder(folder) if osp.isdir(folder) else ():
        name = osp.basename(path)
        found[osp.splitext(name)[0]] = f'{video}/{name}'
    pairs = []
    for name in visible_names(osp.join(maps_dir, video)):
        stem, suffix = osp.splitext(name)
        if suffix.lower() != '.png':
            continue
        if stem not in found:
            raise FileNotFoundError(
                f"'{osp.join(maps_dir, video, name)}' needs a frame "
                f"{stem} in '{folder}'")
        pairs.append((found[stem], f'{video}/{name}'))
    if not pairs:
        raise FileNotFoundError(f"'{osp.join(maps_dir, video)}' must hold "
                                'PNG maps, but has none')
    return pairs


def read_maps(args: argparse.Namespace, video: str,
              pairs: List[Tuple[str, str]]) -> Iterator[np.ndarray]:
    """Read the maps of a video and look at its frames.

    Args:
        args (argparse.Namespace): The command line.
        video (str): Name of the video.
        pairs (list[tuple[str, str]]): See :func:`list_frames`.

    Yields:
        np.ndarray: Pixel values of each map, (H, W).

    Raises:
        ValueError: If a file cannot be read or has another size.
    """
    size = None
    for frame, map_name in pairs:
        image = read_image(osp.join(args.frames, frame))
        values = read_id_map(osp.join(args.maps, map_name))
        size = size or image.shape[:2]
        for name, got in ((frame, image.shape[:2]), (map_name, values.shape)):
            if got != size:
                raise ValueError(
                    f'video {video}: all frames and maps must have one '
                    f'(height, width), but {pairs[0][0]} has {size} and '
                    f'{name} {got}')
        yield values


def convert_video(writer: VISJsonWriter, args: argparse.Namespace, video: str,
                  labels: Any) -> None:
    """Write one video.

    Args:
        writer (VISJsonWriter): Opened.
        args (argparse.Namespace): The command line.
        video (str): Name of the video.
        labels (DavisLabels | MotsLabels): Classes of the objects.

    Raises:
        OSError: If a file is missing.
        ValueError: If a file cannot be read, a map does not fit its frame or
            has smoothed edges, an object has no class, or there is nothing
            but unknown pixels.
    """
    pairs = list_frames(args.frames, args.maps, video)
    tracks: Dict[int, list] = {}
    cores: Set[int] = set()
    for t, values in enumerate(read_maps(args, video, pairs)):
        pixels = np.unique(values).tolist()
        if not cores.issuperset(pixels):
            cores |= find_cores(values)
        for pixel in pixels:
            if pixel != 0:
                track = tracks.setdefault(pixel, [None] * len(pairs))
                track[t] = _to_rle(values == pixel)
    # 255 is an object like any other in maps of 16 bits
    wide = args.form == 'davis' and values.dtype != np.uint8
    unknown = UNKNOWN[args.form]
    if not args.no_unknown and not wide and \
            tracks.pop(unknown, None) and not tracks:
        raise ValueError(f'video {video}: its maps have nothing but 0 and '
                         f'{unknown}, which is unknown; if {unknown} is an '
                         'object, use --no-unknown')
    check_sharp(tracks, cores, f'video {video}')
    video_id = writer.add_video([frame for frame, _ in pairs], *values.shape)
    for pixel in sorted(tracks):
        writer.add_annotation(video_id, labels.category_of(video, pixel),
                              tracks[pixel])


def _to_rle(mask: np.ndarray) -> dict:
    """Mask (H, W) -> compressed RLE, which is small enough to be held."""
    return mask_utils.encode(np.asfortranarray(mask, np.uint8))


@one_line_errors
def main() -> None:
    """Convert folders of id maps to YouTube-VIS."""
    args = parse_args()
    if args.form == 'mots':
        labels = MotsLabels(args.classes)
    else:
        labels = DavisLabels(load_json(args.labels) if args.labels else {})
    videos = [
        name for name in visible_names(args.maps)
        if osp.isdir(osp.join(args.maps, name))
    ]
    if not videos:
        raise ValueError(f"'{args.maps}' must hold a folder for each video, "
                         'but has none')
    with VISJsonWriter(args.out, labels.categories,
                       'from id maps by id_png_to_youtubevis.py',
                       args.force) as writer:
        for video in track_iter_progress(videos):
            convert_video(writer, args, video, labels)
    print(f'\n{writer.summary} written to {args.out}')


if __name__ == '__main__':
    main()
