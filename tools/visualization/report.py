# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Write one HTML file that shows the results of a video, without a network.

The output ``report`` of video_demo.py, under a name of its own.

Examples:
    python tools/visualization/report.py street.mp4 mask2former-r50_coco \
        --out report.html
    python tools/visualization/report.py data/tune/tune/JPEGImages/00001 \
        CONFIG CHECKPOINT --out report.html \
        --gt data/tune/tune.json --video-name 00001
"""
import argparse

from refinevis_mm.apis.command_line import (parse_video_arguments,
                                            render_with_model)
from refinevis_mm.utils import one_line_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    return parse_video_arguments(
        'Write one HTML file that shows the results of a video: before '
        'refinement, refined online and offline, with a timeline and a table '
        'of the tracks. It opens in a browser without a network.', 'report')


@one_line_errors
def main() -> None:
    """Write the report."""
    render_with_model(parse_args())


if __name__ == '__main__':
    main()
