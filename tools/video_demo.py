# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Find, follow and refine the objects of a video, and draw them.

Examples:
    python tools/video_demo.py street.mp4 mask2former-r50_coco \
        --out-dir outputs/street
    python tools/video_demo.py street.mp4 CONFIG CHECKPOINT --out-dir outputs
    python tools/video_demo.py 'clips/*.mp4' CONFIG CHECKPOINT \
        --out-dir outputs/clips --shard $SLURM_ARRAY_TASK_ID/8
"""
import argparse

from refinevis_mm.apis.command_line import (parse_video_arguments,
                                            render_with_model)
from refinevis_mm.fleet import run_share
from refinevis_mm.utils import one_line_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    return parse_video_arguments(
        'Run a model on a video and write pictures and results. All files '
        'appear together at the end.')


@one_line_errors
def main() -> None:
    """Run the demo."""
    args = parse_args()
    if args.shard is None:
        render_with_model(args)
    else:
        run_share(args)


if __name__ == '__main__':
    main()
