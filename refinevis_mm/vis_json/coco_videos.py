# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Annotations by image, as COCO has them, gathered to videos."""
from collections import defaultdict
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence

from .packed_masks import MaskError, compress_mask
from .validation import BACKSLASH, is_int
from .vis_writer import VISJsonWriter

IMAGE_KEYS = ('id', 'file_name', 'height', 'width')
ANNOTATION_KEYS = ('id', 'image_id', 'category_id', 'segmentation')
NAMED = 20  # annotations in a message


class ImageVideo(NamedTuple):
    """A video made of images: its name and COCO ``images`` in order."""
    name: Any
    images: List[dict]

    def check(self) -> 'ImageVideo':
        """Refuse images of several sizes.

        Returns:
            ImageVideo: The same.

        Raises:
            ValueError: If they differ in height or width.
        """
        sizes = {(image['height'], image['width']) for image in self.images}
        if len(sizes) > 1:
            raise ValueError(f'video {self.name}: all images must have one '
                             f'(height, width), but got {sorted(sizes)}')
        return self


def check_coco(content: Any, source: str) -> None:
    """Refuse a JSON that is not in COCO's form.

    Args:
        content (Any): The loaded JSON.
        source (str): File name for the messages.

    Raises:
        ValueError: Naming the first part that is missing or wrong.
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
            if not isinstance(item, dict):
                raise ValueError(f'{place} must be an object, but got '
                                 f'{type(item).__name__}')
            missing = [name for name in needed if name not in item]
            if missing:
                raise ValueError(f'{place} lacks {", ".join(missing)}')
            for name in ('id', 'image_id', 'category_id'):
                if isinstance(item.get(name), (list, dict)):
                    raise ValueError(f'{place}: {name} must be a number or '
                                     f'text, but got {item[name]!r:.40}')
            if item['id'] in ids:
                raise ValueError(f'{place}: the id {item["id"]} is used twice')
            ids.add(item['id'])
    for image in content['images']:
        _check_image(image, f'{source}: image {image["id"]}')
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


def _check_image(image: dict, place: str) -> None:
    """Refuse an image whose file or size cannot be meant."""
    name = image['file_name']
    if not isinstance(name, str):
        raise ValueError(f'{place}: file_name must be text, but got {name!r}')
    if '\\' in name:
        raise ValueError(f'{place}: {BACKSLASH.format(name)}')
    for key in ('height', 'width'):
        if not is_int(image[key]) or image[key] < 1:
            raise ValueError(f'{place}: {key} must be a positive integer, but '
                             f'got {image[key]!r}')


def usable_annotations(content: dict,
                       skip_bad_masks: bool = False,
                       crowds_as_objects: bool = False) -> List[dict]:
    """Annotations with a mask.

    Args:
        content (dict): Passed :func:`check_coco`.
        skip_bad_masks (bool): Leave out those without a mask, with a
            malformed one or one without pixels. Defaults to False, which
            refuses.
        crowds_as_objects (bool): Take crowds for objects. Defaults to False.

    Returns:
        list[dict]: Copies whose ``segmentation`` is compressed RLE.

    Raises:
        ValueError: Naming those that have no usable mask, up to 20.
    """
    sizes = {
        image['id']: [image['height'], image['width']]
        for image in content['images']
    }
    usable, bad = [], []
    for annotation in content['annotations']:
        size = sizes[annotation['image_id']]
        try:
            rle = _read_mask(annotation['segmentation'], size)
        except MaskError as error:
            bad.append(f'annotation {annotation["id"]}: {error}')
            continue
        usable.append(dict(annotation, segmentation=rle))
        if crowds_as_objects:
            usable[-1]['iscrowd'] = 0
    if bad and not skip_bad_masks:
        more = f'; and {len(bad) - NAMED} more' * (len(bad) > NAMED)
        raise ValueError(
            f'{len(bad)} of {len(content["annotations"])} annotations have no '
            'usable mask (--skip-bad-masks leaves them out): '
            f'{"; ".join(bad[:NAMED])}{more}')
    return usable


def _read_mask(mask: Any, size: List[int]) -> dict:
    """Mask of an annotation as compressed RLE."""
    if not mask:
        raise MaskError('mask-form', 'needs a mask, a box alone cannot be '
                        'converted')
    counts, area = compress_mask(mask, *size)
    if not area:
        raise MaskError('empty-mask', 'the mask has no pixels')
    return dict(size=size, counts=counts.decode('ascii'))


def write_videos(writer: VISJsonWriter, videos: Sequence[ImageVideo],
                 annotations: Sequence[dict],
                 identify: Callable[[dict], Any]) -> Iterator[ImageVideo]:
    """Write images as videos, their annotations as tracks.

    Args:
        writer (VISJsonWriter): Opened.
        videos (Sequence[ImageVideo]): What to write, in this order; checked.
        annotations (Sequence[dict]): From :func:`usable_annotations`.
        identify (Callable): Tells the object that an annotation belongs to,
            as a value that is unique in its video.

    Yields:
        ImageVideo: Each video when it is written.

    Raises:
        ValueError: If an object has several classes, or two masks in one
            image.
    """
    by_image: Dict[Any, List[dict]] = defaultdict(list)
    for annotation in annotations:
        by_image[annotation['image_id']].append(annotation)
    for video in videos:
        video_id = writer.add_video(
            [image['file_name'] for image in video.images],
            video.images[0]['height'], video.images[0]['width'])
        for track in _tracks_of(video, by_image, identify).values():
            first = next(item for item in track if item is not None)
            writer.add_annotation(
                video_id,
                first['category_id'],
                [item and item['segmentation'] for item in track],
                iscrowd=int(
                    any(item and item.get('iscrowd') for item in track)))
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
