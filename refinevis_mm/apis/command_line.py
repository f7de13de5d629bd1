# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One command line for all tools that render a video."""
import argparse
import errno
import os
import os.path as osp
import sys
import warnings
from contextlib import closing, redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Optional, Sequence

from mmengine.config import DictAction
from mmengine.utils import ProgressBar

from refinevis_mm.deployment import RUNTIMES
from refinevis_mm.files import PARTIAL
from refinevis_mm.utils import (add_model_arguments, add_shard_argument,
                                add_source_arguments)
from refinevis_mm.video_io import FrameSource, open_source
from refinevis_mm.vis_json import load_json
from refinevis_mm.visualization import select_video
from .outputs import DEFAULT_OUTPUTS, OUTPUTS, views_for
from .render import RenderedVideo, render_video
from .session import Session
from .vis_inferencer import VISInferencer

INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
# Options that a share of many videos does not have; those run in PyTorch.
ONE_VIDEO = ('title', 'gt', 'backend', 'graphs', 'threads')


def parse_video_arguments(description: str,
                          output: Optional[str] = None) -> argparse.Namespace:
    """Parse the command line of a tool that runs a model on a video.

    Args:
        description (str): What the tool does.
        output (str, optional): See :func:`add_render_arguments`. Defaults to
            None.

    Returns:
        argparse.Namespace: What :func:`render_with_model` takes.
    """
    parser = argparse.ArgumentParser(
        description=f'{description} Ctrl-C stops: the files of a webcam or '
        'stream are then written, other videos go on with --resume')
    parser.add_argument(
        'input',
        help='video file, folder of frames, quoted glob pattern, number of a '
        'webcam, or address (rtsp://...)')
    add_model_arguments(parser)
    add_render_arguments(parser, output)
    add_inference_arguments(parser)
    add_backend_arguments(parser)
    add_source_arguments(parser)
    _add_report_arguments(parser)
    if output is None:
        add_shard_argument(
            parser, 'render one share of many videos, the input being a glob '
            'pattern, a list or a manifest as of tools/fleet.py; goes on by '
            'itself')
    args = parser.parse_args()
    if args.gt is None and (args.video_id, args.video_name) != (None, None):
        parser.error('--video-id and --video-name need --gt')
    if None not in (args.video_id, args.video_name):
        parser.error('--video-id and --video-name exclude each other')
    if output is None and args.shard and any(
            getattr(args, name) is not None for name in ONE_VIDEO):
        parser.error(f'{", ".join(f"--{name}" for name in ONE_VIDEO)} are for '
                     'one video, --shard for many')
    return args


def add_inference_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what changes a model, and what it may accept.

    Args:
        parser (argparse.ArgumentParser): Receives the options.
    """
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


def add_backend_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that let another runtime compute the networks.

    Args:
        parser (argparse.ArgumentParser): Receives ``--backend``,
            ``--graphs`` and ``--threads``.
    """
    parser.add_argument(
        '--backend',
        choices=list(RUNTIMES),
        help='compute the networks by it, on the CPU; default: by PyTorch')
    parser.add_argument(
        '--graphs',
        metavar='DIR',
        help='graphs that tools/deployment/export.py has written; default: '
        'they are exported once, into the cache')
    parser.add_argument(
        '--threads',
        type=int,
        help='threads of the backend; default: those of PyTorch')


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the report alone needs."""
    parser.add_argument(
        '--title', help='heading of the report; default: name of the video')
    parser.add_argument(
        '--gt',
        help='annotations in YouTube-VIS format (.json or .json.gz), shown in '
        'the report')
    parser.add_argument(
        '--video-id',
        type=int,
        help='id of the video in --gt; default: there must be one only')
    parser.add_argument(
        '--video-name', help='folder of its frames in --gt, in place of an id')


def add_render_arguments(parser: argparse.ArgumentParser,
                         output: Optional[str] = None) -> None:
    """Add the options of :func:`render_video`, and say what it can write.

    Args:
        parser (argparse.ArgumentParser): Receives the options.
        output (str, optional): The only output, which ``--out`` names.
            Defaults to None: ``--outputs`` in ``--out-dir``.
    """
    if output is not None:
        parser.add_argument('--out', required=True, help='file to write')
        parser.set_defaults(outputs=[output])
    else:
        parser.add_argument(
            '--out-dir', required=True, help='the dir to save the files')
        add_outputs_argument(parser, DEFAULT_OUTPUTS)
    add_run_arguments(parser)
    parser.add_argument(
        '--resume',
        action='store_true',
        help='go on from the last checkpoint of a run that was stopped')


def add_outputs_argument(parser: argparse.ArgumentParser,
                         default: Sequence[str]) -> None:
    """Add the option that says what to write, and the list of all.

    Args:
        parser (argparse.ArgumentParser): Receives the option.
        default (Sequence[str]): Names out of ``OUTPUTS``.
    """
    parser.epilog = 'outputs: ' + ', '.join(f'{output.name} ({output.file})'
                                            for output in OUTPUTS.values())
    parser.add_argument(
        '--outputs',
        nargs='+',
        choices=list(OUTPUTS),
        default=list(default),
        metavar='OUTPUT',
        help=f'files to write, see below; default: {" ".join(default)}')


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of any run over a video.

    Args:
        parser (argparse.ArgumentParser): Receives the options.
    """
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least score of a drawn object')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...')
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


def render_with_model(args: argparse.Namespace) -> None:
    """Run a model on a video, and print what was made or how to go on.

    Args:
        args (argparse.Namespace): From :func:`parse_video_arguments`.

    Raises:
        OSError: If a file cannot be read or written.
        ImportError: If a package that the weights need is not installed.
        ValueError: If the model, the video and the options do not fit.
        CheckpointError: If the checkpoint cannot be used.
    """

    def render() -> RenderedVideo:
        gt: Any = None if args.gt is None else load_json(args.gt)
        if gt is not None:
            gt = select_video(gt, args.video_id, args.video_name)
        source = open_source(args.input, args.fps, args.start, args.end,
                             args.stride, args.max_size, args.allow_damaged)
        with closing(source), redirect_stdout(sys.stderr):
            inferencer = VISInferencer(args.config, args.checkpoint,
                                       args.device, args.mode, args.window,
                                       args.cfg_options, args.allow_mismatch,
                                       args.backend, args.graphs, args.threads)
            return render_with(
                inferencer, source, args, title=args.title, ground_truth=gt)

    warnings.filterwarnings('ignore', message='torch.meshgrid')
    report_render(render, args.score_thr)


def render_with(inferencer: VISInferencer, source: FrameSource,
                args: argparse.Namespace, **options: Any) -> RenderedVideo:
    """Call :func:`render_video` as :func:`add_render_arguments` says.

    Args:
        inferencer (:obj:`VISInferencer`): The model.
        source (:obj:`FrameSource`): The video.
        args (argparse.Namespace): The command line.
        **options: Others of :func:`render_video`.

    Returns:
        :obj:`RenderedVideo`: What was made.

    Raises:
        OSError: If a file cannot be written.
        RenderStopped: If Ctrl-C or SIGTERM stopped it.
        ValueError: If the model, the video and the options do not fit.
    """
    session = inferencer.session(views_for(args.outputs, inferencer.model))
    progress = Progress(source.num_frames)
    options.update(
        score_thr=args.score_thr,
        resume=args.resume,
        checkpoint_every=args.checkpoint_every,
        on_start=progress.start,
        on_frame=progress.update)
    try:
        if 'out' in args:
            return _render_file(session, source, args, options)
        return render_video(session, source, args.out_dir, args.outputs,
                            **options)
    finally:
        print(file=sys.stderr)


def _render_file(session: Session, source: FrameSource,
                 args: argparse.Namespace, options: dict) -> RenderedVideo:
    """Make one output under a name of its own, in a hidden folder beside it.

    The folder stays where there is a checkpoint.
    """
    path, output = Path(osp.realpath(args.out)), OUTPUTS[args.outputs[0]]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise OSError(f'"{args.out}" cannot be written: '
                      f'{error.strerror}') from error
    folder = path.with_name(f'.{path.name}{PARTIAL}')
    if folder.is_symlink():
        raise OSError(f'"{folder}" must not be a link; delete it')
    try:
        video = render_video(session, source, str(folder), [output.name],
                             **options)
        os.replace(folder / output.file, path)
    finally:
        with suppress(OSError):  # it is not empty
            folder.rmdir()
    return replace(video, files=[args.out])


def report_render(render: Callable[[], RenderedVideo],
                  score_thr: float) -> None:
    """Render, and print what was made or how to go on.

    Args:
        render (Callable): Renders a video.
        score_thr (float): Least score of a drawn object.

    Raises:
        SystemExit: If Ctrl-C or SIGTERM stopped it, with exit code 130.
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
