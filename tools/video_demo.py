# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Find, follow and refine the objects of a video, and draw them.

Examples:
    python tools/video_demo.py street.mp4 mask2former-r50_coco \
        --out-dir outputs/street
    python tools/video_demo.py street.mp4 CONFIG CHECKPOINT --out-dir outputs
"""
import argparse
import sys
import warnings
from contextlib import closing, redirect_stdout

from mmengine.config import DictAction

from refinevis_mm.apis import VISInferencer
from refinevis_mm.apis.command_line import (add_render_arguments, render_with,
                                            report_render)
from refinevis_mm.apis.render import RenderedVideo
from refinevis_mm.utils import (add_model_arguments, add_source_arguments,
                                one_line_errors)
from refinevis_mm.video_io import open_source


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Run a model on a video and write pictures and results. '
        'All files appear together at the end. Ctrl-C stops: the files of a '
        'webcam or stream are then written, other videos go on with --resume')
    parser.add_argument(
        'input',
        help='video file, folder of frames, quoted glob pattern, number of a '
        'webcam, or address (rtsp://...)')
    add_model_arguments(parser)
    add_render_arguments(parser)
    parser.add_argument(
        '--mode',
        choices=['online', 'offline'],
        help='refine from past frames or clip by clip; default: the config\'s')
    parser.add_argument(
        '--window',
        type=int,
        help='frames seen by refinement, 0 switches it off; default: the '
        'config\'s')
    add_source_arguments(parser)
    parser.add_argument(
        '--allow-mismatch',
        action='store_true',
        help='load what fits of a checkpoint of another architecture '
        'instead of refusing it')
    parser.add_argument(
        '--allow-damaged',
        action='store_true',
        help='leave out frames that cannot be read instead of refusing the '
        'video')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    return parser.parse_args()


def run(args: argparse.Namespace) -> RenderedVideo:
    """Render the video."""
    source = open_source(args.input, args.fps, args.start, args.end,
                         args.stride, args.max_size, args.allow_damaged)
    with closing(source), redirect_stdout(sys.stderr):
        inferencer = VISInferencer(args.config, args.checkpoint, args.device,
                                   args.mode, args.window, args.cfg_options,
                                   args.allow_mismatch)
        return render_with(inferencer.session(), source, args)


@one_line_errors
def main() -> None:
    """Run the demo."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    report_render(lambda: run(args), args.score_thr)


if __name__ == '__main__':
    main()
