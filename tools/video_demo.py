# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Find, follow and refine the objects of a video, and draw them.

Example:
    python tools/video_demo.py street.mp4 CONFIG CHECKPOINT --out-dir outputs
"""
import argparse
import sys
import warnings
from contextlib import closing, redirect_stdout
from typing import Optional

from mmengine.config import DictAction
from mmengine.utils import ProgressBar

from refinevis_mm.apis import VISInferencer
from refinevis_mm.apis.render import (DEFAULT_OUTPUTS, OUTPUTS, RenderedVideo,
                                      render_video)
from refinevis_mm.utils import add_source_arguments, one_line_errors
from refinevis_mm.video_io import open_source

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    files = ', '.join(f'{name} ({file})' for name, file in OUTPUTS.items())
    parser = argparse.ArgumentParser(
        description='Run a model on a video and write pictures and results. '
        'All files appear together at the end. Ctrl-C stops: the files of a '
        'webcam or stream are then written, other videos go on with --resume',
        epilog=f'outputs: {files}')
    parser.add_argument(
        'input',
        help='video file, folder of frames, quoted glob pattern, number of a '
        'webcam, or address (rtsp://...)')
    parser.add_argument(
        'config', help='config file path or name of a shipped config')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--out-dir', required=True, help='the dir to save the files')
    parser.add_argument(
        '--outputs',
        nargs='+',
        choices=list(OUTPUTS),
        default=list(DEFAULT_OUTPUTS),
        metavar='OUTPUT',
        help='files to write, see below; default: '
        f'{" ".join(DEFAULT_OUTPUTS)}')
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
    add_source_arguments(parser)
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on from the last checkpoint in --out-dir')
    parser.add_argument(
        '--checkpoint-every',
        type=int,
        default=200,
        help='frames between checkpoints')
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


class Progress:
    """Shows on the error stream how many frames are finished.

    Args:
        num_expected (int): Frames of the video, 0 if unknown.
    """

    def __init__(self, num_expected: int) -> None:
        self.num_expected = num_expected
        self.num_frames = 0
        self.bar: Optional[ProgressBar] = None

    def start(self, num_frames: int) -> None:
        """Begin behind the frames that are finished already."""
        self.num_frames = num_frames
        if self.num_expected > num_frames:
            self.bar = ProgressBar(
                self.num_expected - num_frames, file=sys.stderr)

    def update(self) -> None:
        """Count a frame."""
        self.num_frames += 1
        if self.bar is not None:
            self.bar.update()
        else:
            print(f'\r{self.num_frames} frames', end='', file=sys.stderr)


def run(args: argparse.Namespace) -> RenderedVideo:
    """Render the video."""
    source = open_source(args.input, args.fps, args.start, args.end,
                         args.stride, args.max_size, args.allow_damaged)
    with closing(source):
        inferencer = VISInferencer(args.config, args.checkpoint, args.device,
                                   args.mode, args.window, args.cfg_options,
                                   args.allow_mismatch)
        progress = Progress(source.num_frames)
        try:
            return render_video(
                inferencer.session(),
                source,
                args.out_dir,
                outputs=args.outputs,
                score_thr=args.score_thr,
                resume=args.resume,
                checkpoint_every=args.checkpoint_every,
                on_start=progress.start,
                on_frame=progress.update)
        finally:
            print(file=sys.stderr)


@one_line_errors
def main() -> None:
    """Run the demo."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    try:
        with redirect_stdout(sys.stderr):  # for what the package reports
            video = run(args)
    except KeyboardInterrupt as error:
        reason = f'{error}; go on with --resume' if str(error) else \
            'interrupted'
        print(reason, file=sys.stderr)
        sys.exit(INTERRUPTED)
    speed = 'complete already'
    if video.num_rendered:
        speed = f'{video.num_rendered / video.seconds:.1f} frames/s'
    print(f'{video.num_frames} frames, {speed}, '
          f'{video.num_tracks} tracks, {video.num_shown} of them with a score '
          f'of at least {args.score_thr:g}')
    for file in video.files:
        print(file)


if __name__ == '__main__':
    main()
