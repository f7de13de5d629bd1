# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Compose clips of several, occluding objects from videos of single ones.

Objects of other videos are pasted into a video, each with one random scale
and place, its own motion and a drift of constant speed, before or behind the
objects that are there. Ids, masks (null where hidden or outside), boxes and,
under ``visibility``, the visible share of each object in each frame are exact
as far as those of the source are; objects that the source does not annotate
stay so, and crowds of the video stay crowds where nothing is pasted over
them. A video that is too short is played forth and back. The same seed gives
the same clips.

Layout of the output folder::

    OUT/SPLIT/JPEGImages/<video>/<frame>.jpg
    OUT/SPLIT.json
    OUT/statistics.json

Example:
    python tools/dataset_converters/compose_clips.py davis16/train.json \\
        davis16/JPEGImages data/composed --number 20 --seed 0
"""
import argparse
import json
import os.path as osp
from typing import List, Optional

from mmengine.fileio import dump
from mmengine.registry import init_default_scope
from mmengine.utils import track_iter_progress

from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.clip_composer import (NUM_FRAMES, NUM_OBJECTS,
                                                 PASTING, ClipComposer)
from refinevis_mm.datasets.transforms.track_pasting import TrackPaster
from refinevis_mm.files import whole_folder
from refinevis_mm.utils import one_line_errors


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Compose clips of several, occluding objects from videos '
        'of single ones')
    parser.add_argument('ann_file', help='source in YouTube-VIS form')
    parser.add_argument('frames', help="folder of the source's frames")
    parser.add_argument('out', help='folder of the data set to write')
    parser.add_argument(
        '--split', default='valid', help='name of the split (default: valid)')
    parser.add_argument(
        '--number', type=int, default=20, help='of clips (default: 20)')
    parser.add_argument(
        '--seed', type=int, default=0, help='random seed (default: 0)')
    for name, default, what in (('objects', NUM_OBJECTS,
                                 'objects of a clip, as far as there are any'),
                                ('length', NUM_FRAMES, 'frames of a clip')):
        parser.add_argument(
            f'--{name}',
            type=int,
            nargs=2,
            default=default,
            metavar=('MIN', 'MAX'),
            help=f'{what} (default: {default[0]} {default[1]})')
    parser.add_argument(
        '--scale',
        type=float,
        nargs=2,
        default=PASTING['scale_range'],
        metavar=('MIN', 'MAX'),
        help='size of pasted objects; at 1 their frame just fits into the '
        "clip's (default: {} {})".format(*PASTING['scale_range']))
    for name, what in (('max-drift',
                        'largest drift over a clip, in frame sizes'),
                       ('aim-prob',
                        'probability that a pasted object meets another'),
                       ('behind-prob',
                        'probability that an object goes behind those '
                        'that are there')):
        default = PASTING[name.replace('-', '_')]
        parser.add_argument(
            f'--{name}',
            type=float,
            default=default,
            help=f'{what} (default: {default:g})')
    parser.add_argument(
        '--force', action='store_true', help='replace an existing folder')
    args = parser.parse_args(argv)
    for name in ('objects', 'length'):
        low, high = getattr(args, name)
        if not 1 <= low <= high:
            parser.error(f'--{name} must be positive and ascending, but got '
                         f'{low} {high}')
    if args.number < 1 or args.seed < 0:
        parser.error('--number must be at least 1 and --seed not negative, '
                     f'but got {args.number} and {args.seed}')
    if not args.split.isidentifier():
        parser.error(f"--split must be a word, but got '{args.split}'")
    return args


@one_line_errors
def main() -> None:
    """Compose clips and write them."""
    args = parse_args()
    init_default_scope('mmdet')
    dataset = VISDataset(
        ann_file=osp.abspath(args.ann_file),
        data_prefix=dict(img_path=osp.abspath(args.frames)),
        pipeline=[])
    paster = TrackPaster(
        args.scale,
        aim_prob=args.aim_prob,
        behind_prob=args.behind_prob,
        max_drift=args.max_drift)
    composer = ClipComposer(dataset, paster, args.objects, args.length)
    with whole_folder(args.out, args.force) as root:
        stats = {
            args.split:
            composer.compose_split(root, args.split,
                                   track_iter_progress(range(args.number)),
                                   args.seed)
        }
        dump(stats, osp.join(root, 'statistics.json'), indent=2)
    print('\n' + json.dumps(stats, indent=2))
    print(f'written to {args.out}')


if __name__ == '__main__':
    main()
