# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Follow the objects that a segmenter has found in the frames of a video.

The results are a COCO results file or annotation file: RLE or polygons, with
file names or image ids as frames. The files are those of video_demo.py.

Example:
    python tools/track_results.py frames/ results.json --out-dir outputs/own
"""
import argparse
import hashlib
import sys
from contextlib import closing, redirect_stdout
from pathlib import Path

from mmengine.config import DictAction

from refinevis_mm.apis import VISInferencer
from refinevis_mm.apis.command_line import (add_render_arguments, render_with,
                                            report_render)
from refinevis_mm.apis.render import RenderedVideo
from refinevis_mm.datasets.coco_results import CocoResults
from refinevis_mm.utils import one_line_errors
from refinevis_mm.video_io import FrameSource, open_source
from refinevis_mm.vis_json import load_json


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Give the objects of a results file identities, and write '
        'pictures and results')
    parser.add_argument(
        'frames', help='folder of frames, quoted glob pattern or video file')
    parser.add_argument(
        'results', help='COCO results or annotations (.json or .json.gz)')
    parser.add_argument(
        '--images',
        help='COCO file whose images and categories the results speak of; '
        'default: those of the results, else image ids are numbers in the '
        'names of the frames and categories COCO\'s')
    parser.add_argument(
        '--first-id',
        type=int,
        default=0,
        help='image id of the first frame of a video; default: 0')
    parser.add_argument(
        '--tracker',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='arguments of StreamingTracker, such as new_score_thr=0.5')
    parser.add_argument(
        '--fps',
        type=float,
        help='frames per second; default: the input\'s, 10 for images')
    add_render_arguments(parser)
    return parser.parse_args()


def load_results(args: argparse.Namespace, source: FrameSource) -> CocoResults:
    """Read the results of the frames; ValueError if some have no frame."""
    # what the rows and their frames depend on
    digest = hashlib.sha256(f'{args.first_id} '.encode())
    for file in filter(None, (args.results, args.images)):
        digest.update(Path(file).read_bytes())
    files = getattr(source, 'paths', None)
    results = CocoResults(
        load_json(args.results),
        file_names=files,
        images=None if args.images is None else load_json(args.images),
        first_id=args.first_id,
        name=digest.hexdigest())
    if files is None and not source.live:
        # counted, as the number in the header of a video may be a guess
        num_frames = sum(1 for _ in source.scan())
        if num_frames <= results.last_frame:
            raise ValueError(f'"{args.results}" must speak of the '
                             f'{num_frames} frames of {source.name}, got '
                             f'frame {results.last_frame}')
    return results


def run(args: argparse.Namespace) -> RenderedVideo:
    """Render the video."""
    with closing(open_source(args.frames, args.fps)) as source, \
            redirect_stdout(sys.stderr):
        results = load_results(args, source)
        inferencer = VISInferencer.from_results(results, args.device,
                                                **args.tracker)
        return render_with(inferencer, source, args)


@one_line_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    report_render(lambda: run(args), args.score_thr)


if __name__ == '__main__':
    main()
