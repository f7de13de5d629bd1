# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Make the data set of the everyday model: people, animals and vehicles.

From COCO images, some of them with all objects labelled and some with one
person, and from DAVIS clips with one object each. What is not labelled is an
ignored region, neither object nor background: an annotation with
``iscrowd=1``. The images and clips for validation are drawn with the seed.

Layout of the source::

    SRC/coco_small/instances.json, images/: all objects labelled
    SRC/coco_small/person_single.json, person_images/: one person labelled
    SRC/davis16/train.json, JPEGImages/: YouTube-VIS form

Layout of the output folder::

    OUT/images/<image>.jpg
    OUT/{full_train,full_valid,single_train}.json: COCO form
    OUT/clips/<clip>/<frame>.jpg
    OUT/{clips_train,clips_valid}.json: YouTube-VIS form
    OUT/fine_tune_{train,valid}.json: other clips, with class rider too
    OUT/composed_valid/JPEGImages/<video>/<frame>.jpg
    OUT/composed_valid.json: composed of the validation clips only
    OUT/statistics.json: numbers, seed and licences

Example:
    python tools/dataset_converters/make_everyday.py my_sources data/everyday
"""
import argparse
import json
import os.path as osp
from typing import Dict, List, Optional

from mmengine.fileio import dump
from mmengine.registry import init_default_scope
from mmengine.utils import track_iter_progress

from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.clip_composer import PASTING, ClipComposer
from refinevis_mm.datasets.everyday_clips import (NUM_FINE_TUNE, NUM_VALID,
                                                  check_clips, draw_clips,
                                                  select_clips, sort_clips,
                                                  write_clips)
from refinevis_mm.datasets.everyday_images import (CLASSES, add_unlabelled,
                                                   count_objects,
                                                   licence_counts,
                                                   sort_objects, split_images)
from refinevis_mm.datasets.transforms.track_pasting import TrackPaster
from refinevis_mm.files import whole_folder
from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import read_image
from refinevis_mm.vis_json import copy_images, load_json

LICENCES = dict(
    images='COCO annotations: CC BY 4.0; pictures: Flickr, each with a '
    "licence of its own (COCO's id, 0: unknown)",
    clips='DAVIS 2016: CC BY-NC 4.0')
NUM_COMPOSED = 10
RIDERS_VALID = dict(rider=2)


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Make the data set of the everyday model')
    parser.add_argument('src', help='folder with coco_small/ and davis16/')
    parser.add_argument(
        'out',
        nargs='?',
        default='data/everyday',
        help='folder of the data set to write (default: data/everyday)')
    parser.add_argument(
        '--seed', type=int, default=0, help='random seed (default: 0)')
    parser.add_argument(
        '--valid-images',
        type=int,
        default=60,
        help='images for validation (default: 60)')
    parser.add_argument(
        '--force', action='store_true', help='replace an existing folder')
    args = parser.parse_args(argv)
    if args.seed < 0:
        parser.error(f'--seed must not be negative, but got {args.seed}')
    return args


def make_images(args: argparse.Namespace, root: str) -> Dict[str, dict]:
    """Write the images and their annotations.

    Args:
        args (argparse.Namespace): The command line.
        root (str): Folder to write to.

    Returns:
        dict[str, dict]: COCO contents by name of the file.

    Raises:
        OSError: If a file is missing or cannot be written.
        ValueError: If the source is malformed.
    """
    folder = osp.join(args.src, 'coco_small')
    contents = {}
    for name in ('instances', 'person_single'):
        source = osp.join(folder, f'{name}.json')
        contents[name] = sort_objects(load_json(source), source)
    train, valid = split_images(contents['instances'], args.valid_images,
                                args.seed, osp.join(folder, 'instances.json'))
    splits = dict(
        full_train=train,
        full_valid=valid,
        single_train=add_unlabelled(contents['person_single'],
                                    osp.join(folder, 'person_single.json')))
    for name, content in splits.items():
        dump(content, osp.join(root, f'{name}.json'))
    for name, images in (('instances', 'images'), ('person_single',
                                                   'person_images')):
        copy_images(((image['file_name'], image['height'], image['width'])
                     for image in contents[name]['images']),
                    osp.join(folder, images), osp.join(root, 'images'),
                    read_image)
    return splits


def make_clips(args: argparse.Namespace, root: str) -> Dict[str, dict]:
    """Write the clips and their annotations.

    Args:
        args (argparse.Namespace): The command line.
        root (str): Folder to write to.

    Returns:
        dict[str, dict]: YouTube-VIS contents by name of the file, without the
        tracks of what is unlabelled.

    Raises:
        OSError: If a file is missing or cannot be written.
        ValueError: If the source is malformed.
    """
    source = osp.join(args.src, 'davis16', 'train.json')
    content = load_json(source)
    check_clips(content, source)
    valid, train = draw_clips(
        sort_clips(content, source), NUM_VALID, args.seed, source)
    splits = dict(clips_train=train, clips_valid=valid)
    with_riders = sort_clips(content, source, tuple(NUM_FINE_TUNE))
    held_out = {video['id'] for video in valid['videos']}
    others = {video['id'] for video in with_riders['videos']} - held_out
    splits['fine_tune_train'], others = draw_clips(
        select_clips(with_riders, others), NUM_FINE_TUNE, args.seed, source)
    riders, _ = draw_clips(others, RIDERS_VALID, args.seed, source)
    splits['fine_tune_valid'] = select_clips(
        with_riders, held_out.union(video['id'] for video in riders['videos']))
    for name, split in splits.items():
        rest = [item['id'] for item in split['categories']]
        write_clips(
            osp.join(root, f'{name}.json'), split, f'{name}: seed {args.seed}',
            rest if name.endswith('valid') else rest[:1])
    videos = {
        video['id']: video
        for split in splits.values()
        for video in split['videos']
    }
    copy_images(((name, video['height'], video['width'])
                 for video in videos.values() for name in video['file_names']),
                osp.join(args.src, 'davis16', 'JPEGImages'),
                osp.join(root, 'clips'), read_image)
    return splits


def make_composed(args: argparse.Namespace, root: str) -> dict:
    """Compose clips of the validation clips and write them.

    Args:
        args (argparse.Namespace): The command line.
        root (str): Folder to write to, with the clips.

    Returns:
        dict: Seed and statistics.

    Raises:
        OSError: If a file cannot be written.
    """
    dataset = VISDataset(
        ann_file=osp.join(osp.abspath(root), 'clips_valid.json'),
        data_prefix=dict(img_path=osp.join(osp.abspath(root), 'clips')),
        metainfo=dict(classes=CLASSES),
        pipeline=[])
    return ClipComposer(dataset, TrackPaster(**PASTING)).compose_split(
        root, 'composed_valid', track_iter_progress(range(NUM_COMPOSED)),
        args.seed)


def summarize(images: Dict[str, dict], clips: Dict[str, dict],
              composed: dict) -> dict:
    """Content of ``statistics.json``.

    Args:
        images (dict[str, dict]): COCO contents by name.
        clips (dict[str, dict]): YouTube-VIS contents by name.
        composed (dict): Statistics of the composed clips.

    Returns:
        dict: Numbers by name, and the licences.
    """
    stats: dict = dict(
        licences=dict(LICENCES, coco_ids=licence_counts(images.values())))
    for name, content in images.items():
        stats[name] = dict(
            images=len(content['images']),
            objects=count_objects(content),
            ignored=sum(item['iscrowd'] for item in content['annotations']))
    for name, content in clips.items():
        stats[name] = dict(
            clips=sorted(
                osp.dirname(video['file_names'][0])
                for video in content['videos']),
            frames=sum(len(v['file_names']) for v in content['videos']),
            objects=count_objects(content))
    return dict(stats, composed_valid=composed)


@one_line_errors
def main() -> None:
    """Make the data set."""
    args = parse_args()
    init_default_scope('mmdet')
    with whole_folder(args.out, args.force) as root:
        images = make_images(args, root)
        clips = make_clips(args, root)
        stats = dict(
            seed=args.seed,
            **summarize(images, clips, make_composed(args, root)))
        dump(stats, osp.join(root, 'statistics.json'), indent=2)
    print('\n' + json.dumps(stats, indent=2))
    print(f'written to {args.out}')


if __name__ == '__main__':
    main()
