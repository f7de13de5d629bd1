# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Write a model as graphs that other runtimes read.

Examples:
    python tools/deployment/export.py refinevis-small_occluded-shapes \
        --size 128 192 --out outputs/graphs
    python tools/deployment/export.py CONFIG CHECKPOINT --format openvino \
        --size 384 640 --out outputs/graphs
"""
import argparse
from typing import Tuple

from mmengine.config import DictAction

from refinevis_mm.apis import init_model
from refinevis_mm.apis.weights import weights_digest
from refinevis_mm.deployment import (FORMATS, MAX_TRACKLETS, MIN_OPSET,
                                     export_model)
from refinevis_mm.utils import add_model_arguments, one_line_errors


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description='Write a model as graphs that other runtimes read: the '
        'frame model, TAR and their heads, with a JSON file that describes '
        'them; tracker and memory stay in Python')
    add_model_arguments(parser)
    parser.add_argument(
        '--format', choices=list(FORMATS), default='onnx', help='of the files')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        required=True,
        metavar=('H', 'W'),
        help='height and width of frames as they enter the network, resized '
        'and padded')
    parser.add_argument(
        '--picture-size',
        type=int,
        nargs=2,
        metavar=('H', 'W'),
        help='height and width of the picture in it, for models that mask '
        'padding; default: --size')
    parser.add_argument('--out', required=True, help='folder to write')
    parser.add_argument(
        '--opset',
        type=int,
        default=MIN_OPSET,
        help=f'version of the operators of ONNX; default: {MIN_OPSET}')
    parser.add_argument(
        '--max-tracklets',
        type=int,
        default=MAX_TRACKLETS,
        help='most tracklets that are refined at a time; default: '
        f'{MAX_TRACKLETS}')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    parser.add_argument(
        '--force', action='store_true', help='replace an existing folder')
    return parser.parse_args()


def as_pair(numbers: list) -> Tuple[int, int]:
    """Height and width from the command line."""
    height, width = numbers
    return height, width


@one_line_errors
def main() -> None:
    """Export a model."""
    args = parse_args()
    model = init_model(
        args.config, args.checkpoint, cfg_options=args.cfg_options)
    picture = args.picture_size and as_pair(args.picture_size)
    manifest = export_model(model, weights_digest(model), as_pair(args.size),
                            args.out, args.format, picture, args.opset,
                            args.max_tracklets, args.force)
    for name, graph in manifest.graphs.items():
        outputs = ', '.join(f'{item["name"]} {item["shape"]}'
                            for item in graph['outputs'])
        print(f'{name}: {graph["file"]}: {outputs}')
    print(args.out)


if __name__ == '__main__':
    main()
