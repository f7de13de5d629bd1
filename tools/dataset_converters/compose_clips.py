# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Compose clips of several, occluding objects from videos of single ones.

Objects of other videos are pasted into a video, each with one random scale
and place, its own motion and a drift of constant speed, before or behind the
objects that are there. Ids, masks (null where hidden or outside), boxes and,
under ``visibility``, the visible share of each object in each frame are exact
as far as those of the source are; objects that the source does not annotate
stay so. A video that is too short is played forth and back. The same seed
gives the same clips.

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
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from mmengine.utils import track_iter_progress

from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.occluded_shapes import summarize
from refinevis_mm.datasets.transforms.track_pasting import (LayeredClip, Track,
                                                            TrackPaster,
                                                            clip_tracks)
from refinevis_mm.datasets.vis_writer import YouTubeVISWriter, atomic_dir
from refinevis_mm.utils import one_line_errors


class ComposedClip(NamedTuple):
    """A clip and the class index of each of its objects."""
    layers: LayeredClip
    labels: List[int]


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
    for name, default, what in (('objects', (3, 6),
                                 'objects of a clip, as far as there are any'),
                                ('length', (20, 36), 'frames of a clip')):
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
        default=(0.3, 1.6),
        metavar=('MIN', 'MAX'),
        help='size of pasted objects; at 1 their frame just fits into the '
        "clip's (default: 0.3 1.6)")
    for name, default, what in (
        ('max-drift', 1.0, 'largest drift over a clip, in frame sizes'),
        ('aim-prob', 0.9, 'probability that a pasted object meets another'),
        ('behind-prob', 0.25, 'probability that an object goes behind those '
         'that are there')):
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


def forth_and_back(length: int, start: int, num_frames: int) -> List[int]:
    """Positions in a video that is played forth and back without end.

    Args:
        length (int): Frames of the video.
        start (int): First position.
        num_frames (int): Number of positions.

    Returns:
        list[int]: Neighbours are at most one frame apart.
    """
    period = max(1, 2 * (length - 1))
    positions = (start + np.arange(num_frames)) % period
    return np.minimum(positions, period - positions).tolist()


class ClipComposer:
    """Composes clips of the videos of a data set.

    Args:
        dataset (VISDataset): The source.
        paster (TrackPaster): Pastes objects.
        num_objects (tuple[int, int]): Fewest and most objects of a clip.
        num_frames (tuple[int, int]): Fewest and most frames of a clip.
    """

    def __init__(self, dataset: VISDataset, paster: TrackPaster,
                 num_objects: Tuple[int, int], num_frames: Tuple[int,
                                                                 int]) -> None:
        self.dataset = dataset
        self.paster = paster
        self.num_objects = num_objects
        self.num_frames = num_frames
        self.load = Compose([
            dict(
                type='TransformBroadcaster',
                transforms=[
                    dict(type='refinevis_mm.LoadFrame'),
                    dict(type='LoadTrackAnnotations', with_mask=True)
                ])
        ])

    def compose(self, rng: np.random.Generator) -> ComposedClip:
        """Compose a clip.

        The first of the videos, in random order, is the clip that objects of
        the others, one of each, are pasted into.

        Args:
            rng (np.random.Generator): Source of all randomness.

        Returns:
            ComposedClip: Crowds of the first video are not among its objects.
        """
        num_objects = rng.integers(*self.num_objects, endpoint=True)
        num_frames = int(rng.integers(*self.num_frames, endpoint=True))
        order = rng.permutation(len(self.dataset)).tolist()
        clip = self._read(order[0], num_frames, rng)
        tracks = clip_tracks(clip)
        layers = LayeredClip(
            clip['img'],
            np.array([track.masks for track in tracks]).reshape(
                len(tracks), num_frames, *clip['img'][0].shape[:2]))
        labels = [track.label for track in tracks]
        for track in self._other_tracks(order[1:], num_frames, rng):
            if len(labels) >= num_objects:
                break
            self.paster.paste(layers, track, rng)
            labels.append(track.label)
        return ComposedClip(layers, labels)

    def _other_tracks(self, indices: List[int], num_frames: int,
                      rng: np.random.Generator) -> Iterator[Track]:
        """An object of each video that has any."""
        for index in indices:
            tracks = clip_tracks(self._read(index, num_frames, rng))
            if tracks:
                yield tracks[rng.integers(len(tracks))]

    def _read(self, index: int, num_frames: int,
              rng: np.random.Generator) -> Dict[str, list]:
        """Load a random part of a video."""
        images = self.dataset.get_data_info(index)['images']
        positions = forth_and_back(
            len(images), int(rng.integers(len(images))), num_frames)
        frames = [images[i] for i in positions]
        return self.load(
            {key: [frame[key] for frame in frames]
             for key in frames[0]})


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
    visibility = []
    with atomic_dir(args.out, args.force) as root:
        writer = YouTubeVISWriter(
            root, args.split, dataset.metainfo['classes'],
            f'{args.split}: composed with seed {args.seed}')
        for index in track_iter_progress(range(args.number)):
            clip = composer.compose(np.random.default_rng((args.seed, index)))
            visibility.append(clip.layers.visibility())
            writer.add_video(clip.layers.frames, clip.labels,
                             clip.layers.masks, visibility[-1])
        writer.save()
        stats = {args.split: dict(seed=args.seed, **summarize(visibility))}
        with open(
                osp.join(root, 'statistics.json'), 'w',
                encoding='utf-8') as file:
            json.dump(stats, file, indent=2)
    print('\n' + json.dumps(stats, indent=2))
    print(f'written to {args.out}')


if __name__ == '__main__':
    main()
