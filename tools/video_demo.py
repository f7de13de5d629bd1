# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Find, follow and refine the objects of a video, and draw them.

Example:
    python tools/video_demo.py street.mp4 CONFIG CHECKPOINT --out-dir outputs
"""
import argparse
import os
import sys
import warnings

from mmengine.config import DictAction
from mmengine.utils import ProgressBar

from refinevis_mm.apis import init_model, render_video
from refinevis_mm.utils import one_line_errors
from refinevis_mm.visualization import open_source


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Run a model on a video; writes overlay.mp4, '
        'before_after.png and results.json')
    parser.add_argument(
        'input', help='video file, folder of frames or quoted glob pattern')
    parser.add_argument(
        'config', help='config file path or name of a shipped config')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out-dir', required=True, help='the dir to save the files')
    parser.add_argument(
        '--mode',
        choices=['online', 'offline'],
        help='refine from past frames or clip by clip; default: the config\'s')
    parser.add_argument(
        '--window',
        type=int,
        help='frames seen by refinement, 0 switches it off; default: the '
        'config\'s')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least score of a drawn object')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...')
    parser.add_argument(
        '--fps',
        type=float,
        help='frames per second of the overlay; default: the input\'s, 10 for '
        'images')
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


def model_options(args: argparse.Namespace) -> dict:
    """Settings of the config that the command line overrides."""
    options = dict(args.cfg_options or {})
    if args.mode is not None:
        options['model.mode'] = args.mode
    if args.window is not None:
        options['model.window'] = args.window
    return options


@one_line_errors
def main() -> None:
    """Run the demo."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    # ffmpeg inside OpenCV writes to stderr by itself; what matters is raised
    os.environ.setdefault('OPENCV_FFMPEG_LOGLEVEL', '-8')
    source = open_source(args.input, args.fps, args.allow_damaged)
    model = init_model(args.config, args.checkpoint, args.device,
                       model_options(args), args.allow_mismatch)
    progress = ProgressBar(source.num_frames, file=sys.stderr)
    try:
        video = render_video(
            model,
            source,
            args.out_dir,
            score_thr=args.score_thr,
            on_frame=progress.update)
    finally:
        print(file=sys.stderr)
    num_ids = len({row['instances_id'] for row in video.tracklets})
    print(f'{video.num_frames} frames, '
          f'{video.num_frames / video.seconds:.1f} frames/s, {num_ids} tracks')
    for file in video.files:
        print(file)


if __name__ == '__main__':
    main()
