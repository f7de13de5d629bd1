# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Keep of a training checkpoint what users need: weights and class names.

    python tools/model_converters/publish_checkpoint.py \
        work_dirs/RUN/iter_5000.pth checkpoints/MODEL.pth --half
"""
import argparse
import os.path as osp

from mmengine.runner import save_checkpoint

from refinevis_mm.compat.checkpoints import read_checkpoint
from refinevis_mm.utils import one_line_errors
from refinevis_mm.version import __version__
from refinevis_mm.vis_json import classes_of


def strip(checkpoint: dict, half: bool) -> dict:
    """Drop optimiser, schedule, messages and random states.

    Args:
        checkpoint (dict): As read from a training checkpoint.
        half (bool): Store floating-point weights in half precision. They
            load into a float32 model as they are.

    Returns:
        dict: ``state_dict`` and ``meta`` with ``dataset_meta``, the number of
        iterations and the package's version.
    """
    state_dict = {
        key: value.half() if half and value.is_floating_point() else value
        for key, value in checkpoint['state_dict'].items()
    }
    meta = checkpoint.get('meta') or {}
    return dict(
        state_dict=state_dict,
        meta=dict(
            dataset_meta=dict(
                classes=classes_of(meta.get('dataset_meta')) or []),
            iter=meta.get('iter'),
            refinevis_mm=__version__))


@one_line_errors
def main() -> None:
    """Strip a checkpoint file."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='training checkpoint')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--half', action='store_true', help='store half-precision weights')
    args = parser.parse_args()
    published = strip(read_checkpoint(args.src), args.half)
    save_checkpoint(published, args.dst)
    size = osp.getsize(args.dst) / 2**20
    print(f'{len(published["state_dict"])} tensors, {size:.1f} MiB written to '
          f'{args.dst}')


if __name__ == '__main__':
    main()
