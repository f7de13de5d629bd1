# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Make the OccludedShapes data set in YouTube-VIS form.

Layout of the output folder::

    OUT/{train,valid}/JPEGImages/<video>/<frame>.jpg
    OUT/{train,valid}.json
    OUT/statistics.json

Example:
    python tools/dataset_converters/make_occluded_shapes.py \\
        data/occluded_shapes --split train:400:0 --split valid:40:100000
"""
import argparse
import json
import os.path as osp
import sys
from typing import List, NamedTuple, Optional

import cv2
import numpy as np
from mmengine.utils import ProgressBar

import refinevis_mm  # noqa: F401
from refinevis_mm.datasets.occluded_shapes import (CLASSES,
                                                   OccludedShapesGenerator,
                                                   ShapesVideo, summarize)
from refinevis_mm.files import whole_folder
from refinevis_mm.vis_json import YouTubeVISWriter


class Split(NamedTuple):
    """A split to be made: name, number of videos and seed."""
    name: str
    num_videos: int
    seed: int


def parse_split(text: str) -> Split:
    """``name:num_videos:seed`` -> :obj:`Split`."""
    try:
        name, num_videos, seed = text.split(':')
        split = Split(name, int(num_videos), int(seed))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected name:num_videos:seed, but got '{text}'") from None
    if not name.isidentifier() or split.num_videos < 1 or split.seed < 0:
        raise argparse.ArgumentTypeError(
            'the name must be a word, num_videos at least 1 and the seed not '
            f"negative, but got '{text}'")
    return split


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Make the OccludedShapes data set in YouTube-VIS form')
    parser.add_argument('out', help='folder of the data set')
    parser.add_argument(
        '--split',
        type=parse_split,
        action='append',
        metavar='NAME:VIDEOS:SEED',
        help='a split to make, may be repeated '
        '(default: train:400:0 and valid:40:100000)')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(128, 192),
        metavar=('H', 'W'),
        help='frame size in pixels (default: 128 192)')
    parser.add_argument(
        '--objects',
        type=int,
        nargs=2,
        default=(3, 8),
        metavar=('MIN', 'MAX'),
        help='objects of a video (default: 3 8)')
    parser.add_argument(
        '--frames',
        type=int,
        nargs=2,
        default=(20, 60),
        metavar=('MIN', 'MAX'),
        help='frames of a video (default: 20 60)')
    parser.add_argument(
        '--preview',
        metavar='PNG',
        help='also write a sheet of frames, plain and with masks')
    parser.add_argument(
        '--force', action='store_true', help='replace an existing folder')
    args = parser.parse_args(argv)
    args.split = args.split or [
        Split('train', 400, 0),
        Split('valid', 40, 100000)
    ]
    names = [split.name for split in args.split]
    if len(set(names)) < len(names):
        parser.error(f'split names must differ, but got {names}')
    return args


def make_split(root: str, split: Split, generator: OccludedShapesGenerator,
               samples: List[ShapesVideo]) -> dict:
    """Generate and write one split.

    Args:
        root (str): Data set folder.
        split (Split): What to make.
        generator (:obj:`OccludedShapesGenerator`): Makes the videos.
        samples (list[ShapesVideo]): Gets the first videos, for the preview.

    Returns:
        dict: Statistics of the split.
    """
    writer = YouTubeVISWriter(root, split.name, CLASSES,
                              f'OccludedShapes {split.name} {split.seed}')
    visibility, labels = [], []
    print(f'{split.name}: {split.num_videos} videos, seed {split.seed}')
    bar = ProgressBar(split.num_videos)
    for index in range(split.num_videos):
        video = generator.generate((split.seed, index))
        writer.add_video(video.frames, video.labels, video.masks,
                         video.visibility)
        visibility.append(video.visibility)
        labels.append(video.labels)
        if len(samples) < 4:
            samples.append(video)
        bar.update()
    print()
    writer.save()
    return dict(seed=split.seed, **summarize(visibility, labels))


def draw_preview(videos: List[ShapesVideo], columns: int = 6) -> np.ndarray:
    """Sheet of frames, each video plain above and with masks below."""
    rng = np.random.default_rng(3)
    rows = []
    for video in videos:
        hues = (np.arange(len(video.labels)) * 67 + rng.integers(180)) % 180
        hsv = np.array([(hue, 220, 255) for hue in hues], np.uint8)
        colors = cv2.cvtColor(hsv[None], cv2.COLOR_HSV2BGR)[0].tolist()
        plain, overlaid = [], []
        for t in np.linspace(0, len(video.frames) - 1, columns).astype(int):
            frame = video.frames[t]
            drawn = frame.copy()
            for mask, color in zip(video.masks[:, t], colors):
                drawn[mask] = 0.5 * drawn[mask] + 0.5 * np.array(color)
                contours, _ = cv2.findContours(
                    mask.astype(np.uint8), cv2.RETR_CCOMP,
                    cv2.CHAIN_APPROX_NONE)
                cv2.drawContours(drawn, contours, -1, color, 1)
            border = dict(value=(255, 255, 255))
            sides = (1, 1, 1, 1, cv2.BORDER_CONSTANT)
            plain.append(cv2.copyMakeBorder(frame, *sides, **border))
            overlaid.append(cv2.copyMakeBorder(drawn, *sides, **border))
        rows += [np.hstack(plain), np.hstack(overlaid)]
    return np.vstack(rows)


def report(name: str, stats: dict) -> None:
    """Print a split's statistics."""
    low, mean, high = stats['frames_per_video']
    hidden = stats['complete_occlusion_frames'] or ['-', '-']
    print(f"{name}: {stats['videos']} videos, {stats['frames']} frames "
          f"({low}-{high}, mean {mean}), {stats['instances']} instances\n"
          f"  objects per frame          {stats['objects_per_frame']:.2f}\n"
          f'  object-frames occluded     '
          f"> 30 %: {stats['occluded_over_30']:.1%}, "
          f"> 70 %: {stats['occluded_over_70']:.1%}\n"
          f"  complete occlusions        {stats['complete_occlusions']} of "
          f'{hidden[0]}-{hidden[1]} frames')


def main(argv: Optional[List[str]] = None) -> int:
    """Make the data set; returns the exit status."""
    args = parse_args(argv)
    samples: List[ShapesVideo] = []
    try:
        generator = OccludedShapesGenerator(
            *args.size,
            num_objects=tuple(args.objects),
            num_frames=tuple(args.frames))
        with whole_folder(args.out, args.force) as root:
            stats = {
                split.name: make_split(root, split, generator, samples)
                for split in args.split
            }
            with open(
                    osp.join(root, 'statistics.json'), 'w',
                    encoding='utf-8') as file:
                json.dump(stats, file, indent=2)
        if args.preview and not cv2.imwrite(args.preview,
                                            draw_preview(samples)):
            raise OSError(f"cannot write '{args.preview}'")
    except (OSError, RuntimeError, ValueError, cv2.error) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for name, split_stats in stats.items():
        report(name, split_stats)
    print(f'written to {args.out}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
