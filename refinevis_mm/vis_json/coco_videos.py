# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Annotations by image, as COCO has them, gathered to videos."""
from collections import defaultdict
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

from .vis_writer import VISJsonWriter

IMAGE_KEYS = ('id', 'file_name', 'height', 'width')
ANNOTATION_KEYS = ('id', 'image_id', 'category_id', 'segmentation')


class ImageVideo(NamedTuple):
    """A video made of images: its name and COCO ``images`` in order."""
    name: Any
    images: List[dict]


def check_coco(content: Any, source: str) -> None:
    """Refuse a JSON that is not in COCO's form.

    Args:
        content (Any): The loaded JSON.
        source (str): File name for the messages.

    Raises:
        ValueError: Naming the missing part.
    """
    if not isinstance(content, dict):
        raise ValueError(f'{source}: expected a JSON object, but got '
                         f'{type(content).__name__}')
    for key, needed in (('images', IMAGE_KEYS), ('categories', ('id', 'name')),
                        ('annotations', ANNOTATION_KEYS)):
        if not isinstance(content.get(key), list):
            raise ValueError(f'{source}: {key} must be a list, but got '
                             f'{type(content.get(key)).__name__}')
        ids = set()
        for position, item in enumerate(content[key]):
            place = f'{source}: {key}[{position}]'
            missing = [name for name in needed if name not in item]
            if missing:
                raise ValueError(f'{place} lacks {", ".join(missing)}')
            if item['id'] in ids:
                raise ValueError(f'{place}: the id {item["id"]} is used twice')
            ids.add(item['id'])
    images = {image['id'] for image in content['images']}
    categories = {category['id'] for category in content['categories']}
    for annotation in content['annotations']:
        place = f'{source}: annotation {annotation["id"]}'
        if annotation['image_id'] not in images:
            raise ValueError(f'{place}: there is no image '
                             f'{annotation["image_id"]}')
        if annotation['category_id'] not in categories:
            raise ValueError(f'{place}: there is no category '
                             f'{annotation["category_id"]}')


def write_videos(writer: VISJsonWriter, videos: Sequence[ImageVideo],
                 annotations: Sequence[dict],
                 identify: Callable[[dict], Any]) -> Iterator[ImageVideo]:
    """Write images as videos, their annotations as tracks.

    Args:
        writer (VISJsonWriter): Opened.
        videos (Sequence[ImageVideo]): What to write, in this order.
        annotations (Sequence[dict]): COCO's annotations.
        identify (Callable): Tells the object that an annotation belongs to,
            as a value that is unique in its video.

    Yields:
        ImageVideo: Each video when it is written.

    Raises:
        ValueError: If the images of a video differ in size, or an object has
            several classes, or two masks in one image.
    """
    by_image: Dict[Any, List[dict]] = defaultdict(list)
    for annotation in annotations:
        by_image[annotation['image_id']].append(annotation)
    for video in videos:
        sizes = {(image['height'], image['width']) for image in video.images}
        if len(sizes) > 1:
            raise ValueError(f'video {video.name}: all images must have one '
                             f'(height, width), but got {sorted(sizes)}')
        video_id = writer.add_video(
            [image['file_name'] for image in video.images], *sizes.pop())
        for track in _tracks_of(video, by_image, identify).values():
            first = next(item for item in track if item is not None)
            try:
                writer.add_annotation(
                    video_id,
                    first['category_id'],
                    [item and item['segmentation'] for item in track],
                    iscrowd=int(
                        any(item and item.get('iscrowd') for item in track)))
            except ValueError as error:
                raise ValueError(f'video {video.name}, object of annotation '
                                 f'{first["id"]}, {error}') from None
        yield video


def _tracks_of(video: ImageVideo, by_image: Dict[Any, List[dict]],
               identify: Callable[[dict], Any]) -> Dict[Any, list]:
    """Objects of a video: an annotation or None for each frame."""
    tracks: Dict[Any, list] = {}
    for frame, image in enumerate(video.images):
        for annotation in by_image.get(image['id'], ()):
            name = identify(annotation)
            track = tracks.setdefault(name, [None] * len(video.images))
            place = f'video {video.name}, annotation {annotation["id"]}'
            if not annotation['segmentation']:
                raise ValueError(f'{place}: needs a mask, a box alone cannot '
                                 'be converted')
            if track[frame] is not None:
                raise ValueError(
                    f'{place}: object {name} has another mask in the same '
                    f'image, that of annotation {track[frame]["id"]}')
            other = next((item for item in track if item is not None), None)
            if other and other['category_id'] != annotation['category_id']:
                raise ValueError(
                    f'{place}: object {name} must keep its category, but has '
                    f'{annotation["category_id"]} here and '
                    f'{other["category_id"]} in annotation {other["id"]}')
            track[frame] = annotation
    return tracks
