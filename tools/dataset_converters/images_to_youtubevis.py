# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Convert a folder of images with a COCO annotation file to YouTube-VIS.

By default each image becomes a video of one frame. With ``--video folder``
the images of a folder, by name, numbers in the names by value, become a video;
the annotations then need the object they belong to, as ``instance_id``,
``track_id`` or, as CVAT writes it, ``attributes.track_id``.

Example:
    python tools/dataset_converters/images_to_youtubevis.py \\
        data/my_videos/train/JPEGImages instances.json \\
        data/my_videos/train.json --video folder
"""
import argparse
import os.path as osp
from collections import defaultdict
from typing import Any, List, Optional

from mmengine.utils import track_iter_progress

from refinevis_mm.utils import add_converter_arguments, one_line_errors
from refinevis_mm.video_io import natural_key, read_image
from refinevis_mm.vis_json import (ImageVideo, VISJsonWriter, check_coco,
                                   load_json, usable_annotations, write_videos)

TRACK_KEYS = ('instance_id', 'track_id')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Convert images with a COCO annotation file to '
        'YouTube-VIS')
    parser.add_argument('images', help='folder of the images')
    parser.add_argument('json', help='COCO file, .json or .json.gz')
    parser.add_argument('out', help='YouTube-VIS file to write, .json')
    parser.add_argument(
        '--video',
        choices=('image', 'folder'),
        default='image',
        help='what becomes a video (default: image)')
    add_converter_arguments(parser)
    return parser.parse_args(argv)


def gather_videos(images: List[dict], by_folder: bool) -> List[ImageVideo]:
    """Images by video.

    Args:
        images (list[dict]): COCO's images.
        by_folder (bool): Whether those of a folder belong together.

    Returns:
        list[ImageVideo]: By name, each with its images by name.

    Raises:
        ValueError: If the images of a video differ in size.
    """
    images = sorted(images, key=lambda image: natural_key(image['file_name']))
    videos = defaultdict(list)
    for image in images:
        name = image['file_name']
        videos[osp.dirname(name) if by_folder else name].append(image)
    return [
        ImageVideo(name, frames).check() for name, frames in videos.items()
    ]


def track_of(annotation: dict) -> Any:
    """The object that an annotation belongs to.

    Args:
        annotation (dict): COCO's annotation.

    Returns:
        Any: Its ``instance_id`` or ``track_id``, also from ``attributes``.

    Raises:
        ValueError: If it has none.
    """
    attributes = annotation.get('attributes') or {}
    for source in (annotation, attributes):
        for key in TRACK_KEYS:
            if source.get(key) is not None:
                return source[key]
    raise ValueError(f'annotation {annotation["id"]} lacks '
                     f'{" or ".join(TRACK_KEYS)}, which --video folder needs')


def check_images(images: List[dict], folder: str) -> None:
    """Refuse image files that are missing or of another size.

    Args:
        images (list[dict]): COCO's images.
        folder (str): Where they are.

    Raises:
        ValueError: If one is missing, not readable or of another size than
            its annotation says.
    """
    for image in images:
        path = osp.join(folder, image['file_name'])
        size = read_image(path).shape[:2]
        said = image['height'], image['width']
        if size != said:
            raise ValueError(f"'{path}' has (height, width) {size}, but the "
                             f'annotation file says {said}')


@one_line_errors
def main() -> None:
    """Convert a folder of images to YouTube-VIS."""
    args = parse_args()
    content = load_json(args.json)
    check_coco(content, args.json)
    check_images(content['images'], args.images)
    by_folder = args.video == 'folder'
    videos = gather_videos(content['images'], by_folder)
    annotations = usable_annotations(content, args.skip_bad_masks,
                                     args.crowds_as_objects)
    with VISJsonWriter(args.out, content['categories'],
                       'from COCO by images_to_youtubevis.py',
                       args.force) as writer:
        written = write_videos(
            writer, videos, annotations,
            track_of if by_folder else lambda annotation: annotation['id'])
        for _ in track_iter_progress((written, len(videos))):
            pass
    print(f'\n{writer.summary} written to {args.out}')
    left_out = len(content['annotations']) - len(annotations)
    if left_out:
        print(f'left out {left_out} annotations without a usable mask')


if __name__ == '__main__':
    main()
