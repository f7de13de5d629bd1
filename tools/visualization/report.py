# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Write one HTML file that shows the results of a video, without a network.

Examples:
    python tools/visualization/report.py street.mp4 mask2former-r50_coco \
        --out report.html
    python tools/visualization/report.py data/tune/tune/JPEGImages/00001 \
        CONFIG CHECKPOINT --out report.html \
        --gt data/tune/tune.json --video-name 00001
"""
import argparse
import errno
import os
import os.path as osp
import sys
import tempfile
import warnings
from contextlib import closing, redirect_stdout
from pathlib import Path
from typing import Iterator, Optional

from mmengine.config import DictAction
from mmengine.utils import ProgressBar

from refinevis_mm.apis import VISInferencer
from refinevis_mm.apis.command_line import INTERRUPTED
from refinevis_mm.structures import FRAME_LEVEL, VIEWS
from refinevis_mm.utils import (add_model_arguments, add_source_arguments,
                                one_line_errors)
from refinevis_mm.video_io import FrameSource, TimedFrame, open_source
from refinevis_mm.vis_json import load_json
from refinevis_mm.visualization.html_report import (FrameSpool, check_fits,
                                                    match_classes,
                                                    select_video, write_report)


class SpooledSource(FrameSource):
    """A source whose frames are kept for the report while they are read.

    Args:
        source (:obj:`FrameSource`): The video.
        spool (:obj:`FrameSpool`): Takes the frames.
        gt (dict, optional): Annotations that must fit the frames, see
            :func:`select_video`. Defaults to None.
    """

    def __init__(self,
                 source: FrameSource,
                 spool: FrameSpool,
                 gt: Optional[dict] = None) -> None:
        self.source = source
        self.spool = spool
        self.gt = gt
        self.name = source.name
        self.settings = source.settings
        self.num_frames = source.num_frames
        self.fps = source.fps

    def __iter__(self) -> Iterator[TimedFrame]:
        """See :meth:`FrameSource.__iter__`."""
        for frame in self.source:
            self.spool.add(frame.image)
            size = frame.image.shape[:2]
            if self.gt is not None:
                check_fits(
                    self.gt, self.spool.num_frames, size, complete=False)
            yield frame
        if self.gt is not None and self.spool.num_frames:
            check_fits(self.gt, self.spool.num_frames, size)


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Write one HTML file that shows the results of a video: '
        'before refinement, refined online and offline, with a timeline and '
        'a table of the tracks. It opens in a browser without a network')
    parser.add_argument(
        'video',
        help='video file, folder of frames, quoted glob pattern, or with '
        '--end number of a webcam or address (rtsp://...)')
    add_model_arguments(parser)
    parser.add_argument('--out', required=True, help='HTML file to write')
    parser.add_argument(
        '--title', help='heading of the page; default: name of the video')
    parser.add_argument(
        '--gt', help='annotations in YouTube-VIS format (.json or .json.gz)')
    parser.add_argument(
        '--video-id',
        type=int,
        help='id of the video in --gt; default: there must be one only')
    parser.add_argument(
        '--video-name', help='folder of its frames in --gt, in place of an id')
    parser.add_argument(
        '--window',
        type=int,
        help='frames seen by refinement, 0 switches it off; default: the '
        'config\'s')
    parser.add_argument(
        '--score-thr',
        type=float,
        default=0.3,
        help='least final score of a shown track')
    parser.add_argument(
        '--device', default='cpu', help='cpu, cuda, cuda:1 ...')
    add_source_arguments(parser)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    args = parser.parse_args()
    if args.gt is None and (args.video_id, args.video_name) != (None, None):
        parser.error('--video-id and --video-name need --gt')
    if None not in (args.video_id, args.video_name):
        parser.error('--video-id and --video-name exclude each other')
    return args


def check_writable(path: str) -> None:
    """Make the folder of a file; OSError if the file cannot be written."""
    folder = osp.dirname(osp.abspath(path))
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        if osp.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    except OSError as error:
        raise OSError(f'"{path}" cannot be written: '
                      f'{error.strerror}') from error


def run(args: argparse.Namespace) -> int:
    """Write the report; returns its size in bytes."""
    gt = None
    if args.gt is not None:
        gt = select_video(load_json(args.gt), args.video_id, args.video_name)
    source = open_source(args.video, args.fps, args.start, args.end,
                         args.stride, args.max_size)
    with closing(source), closing(FrameSpool()) as spool:
        if source.live and args.end is None:
            raise ValueError(f'{source.name} is live: a report of it needs '
                             '--end')
        check_writable(args.out)
        inferencer = VISInferencer(
            args.config,
            args.checkpoint,
            args.device,
            window=args.window,
            cfg_options=args.cfg_options)
        model = inferencer.model
        if gt is not None:
            match_classes(inferencer.classes, gt)
        bar = ProgressBar(source.num_frames, file=sys.stderr)
        try:
            recording = inferencer(
                SpooledSource(source, spool, gt),
                views=VIEWS if model.window else (FRAME_LEVEL, ),
                on_frame=bar.update)
        finally:
            print(file=sys.stderr)
        with recording:
            facts = {
                'Config': Path(args.config).stem,
                'Checkpoint': osp.basename(model.weights),
                'Window': f'{model.window} frames' if model.window else 'none'
            }
            return write_report(
                args.out, spool, recording, args.title
                or osp.basename(source.name) or source.name, facts, gt,
                args.score_thr, model.cls_thr)


@one_line_errors
def main() -> None:
    """Write the report."""
    args = parse_args()
    warnings.filterwarnings('ignore', message='torch.meshgrid')
    try:
        with redirect_stdout(sys.stderr):  # for what the package reports
            num_bytes = run(args)
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        sys.exit(INTERRUPTED)
    print(f'{args.out} ({num_bytes / 1e6:.1f} MB)')


if __name__ == '__main__':
    main()
