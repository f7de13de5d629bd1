# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Convert a COCO-video annotation file (mmdet, mmtracking) to YouTube-VIS.

The images stay where they are: the file names of the JSON are kept. Images
need ``video_id`` and ``frame_id``, annotations ``instance_id``.

Example:
    python tools/dataset_converters/coco_video_to_youtubevis.py \\
        annotations/youtube_vis_2019_train.json data/my_videos/train.json
"""
import argparse
from collections import defaultdict
from typing import Any, List, Optional

from mmengine.utils import track_iter_progress

from refinevis_mm.utils import add_converter_arguments, one_line_errors
from refinevis_mm.vis_json import (ImageVideo, VISJsonWriter, check_coco,
                                   load_json, usable_annotations, write_videos)


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Convert a COCO-video annotation file to YouTube-VIS')
    parser.add_argument('json', help='COCO-video file, .json or .json.gz')
    parser.add_argument('out', help='YouTube-VIS file to write, .json')
    add_converter_arguments(parser)
    return parser.parse_args(argv)


def gather_videos(content: dict, source: str) -> List[ImageVideo]:
    """Images by video, in the order of their ``frame_id``.

    Args:
        content (dict): The loaded COCO-video JSON.
        source (str): File name for the messages.

    Returns:
        list[ImageVideo]: In the order of ``videos``, or of the first image
        where there is no such list.

    Raises:
        ValueError: If a key is missing, a video has no images, two images
            are the same frame, or those of a video differ in size.
    """
    images = defaultdict(list)
    for image in content['images']:
        missing = [key for key in ('video_id', 'frame_id') if key not in image]
        if missing:
            raise ValueError(
                f'{source}: image {image["id"]} lacks {", ".join(missing)}; '
                'for images without videos use images_to_youtubevis.py')
        images[image['video_id']].append(image)
    names = {
        video['id']: video.get('name', video['id'])
        for video in content.get('videos') or []
    }
    videos = []
    for video_id in [*names, *(i for i in images if i not in names)]:
        frames = sorted(images[video_id], key=lambda image: image['frame_id'])
        name = names.get(video_id, video_id)
        if not frames:
            raise ValueError(f'{source}: video {name} has no images')
        for first, second in zip(frames, frames[1:]):
            if first['frame_id'] == second['frame_id']:
                raise ValueError(
                    f'{source}: video {name}: images {first["id"]} and '
                    f'{second["id"]} are both frame {first["frame_id"]}')
        videos.append(ImageVideo(name, frames).check())
    return videos


@one_line_errors
def main() -> None:
    """Convert a COCO-video annotation file to YouTube-VIS."""
    args = parse_args()
    content = load_json(args.json)
    check_coco(content, args.json)

    def identify(annotation: dict) -> Any:
        if 'instance_id' not in annotation:
            raise ValueError(f'{args.json}: annotation {annotation["id"]} '
                             'lacks instance_id')
        return annotation['instance_id']

    videos = gather_videos(content, args.json)
    annotations = usable_annotations(content, args.skip_bad_masks,
                                     args.crowds_as_objects)
    with VISJsonWriter(args.out, content['categories'],
                       'from COCO-video by coco_video_to_youtubevis.py',
                       args.force) as writer:
        written = write_videos(writer, videos, annotations, identify)
        for _ in track_iter_progress((written, len(videos))):
            pass
    print(f'\n{writer.summary} written to {args.out}')
    left_out = len(content['annotations']) - len(annotations)
    if left_out:
        print(f'left out {left_out} annotations without a usable mask')


if __name__ == '__main__':
    main()
