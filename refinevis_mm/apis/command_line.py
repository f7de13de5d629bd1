# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the tools that render a video share."""
import argparse
import sys
from typing import Callable, Optional

from mmengine.utils import ProgressBar

from refinevis_mm.video_io import FrameSource
from .render import DEFAULT_OUTPUTS, OUTPUTS, RenderedVideo, render_video
from .session import Session

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it


def add_render_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of :func:`render_video`, and say what it can write.

    Args:
        parser (argparse.ArgumentParser): Receives the options.
    """
    files = ', '.join(f'{name} ({file})' for name, file in OUTPUTS.items())
    parser.epilog = f'outputs: {files}'
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
        '--score-thr',
        type=float,
        default=0.3,
        help='least score of a drawn object')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...')
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on from the last checkpoint in --out-dir')
    parser.add_argument(
        '--checkpoint-every',
        type=int,
        default=200,
        help='frames between checkpoints')


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


def render_with(session: Session, source: FrameSource,
                args: argparse.Namespace) -> RenderedVideo:
    """Call :func:`render_video` as :func:`add_render_arguments` says.

    Args:
        session (:obj:`Session`): The model.
        source (:obj:`FrameSource`): The video.
        args (argparse.Namespace): The command line.

    Returns:
        :obj:`RenderedVideo`: What was made.
    """
    progress = Progress(source.num_frames)
    try:
        return render_video(
            session,
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


def report_render(render: Callable[[], RenderedVideo],
                  score_thr: float) -> None:
    """Render, and print what was made or how to go on.

    Args:
        render (Callable): Renders a video.
        score_thr (float): Least score of a drawn object.
    """
    try:
        video = render()
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
          f'of at least {score_thr:g}')
    for file in video.files:
        print(file)
