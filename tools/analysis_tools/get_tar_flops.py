# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Count the multiply-accumulates of TAR, by formula and on the built layers.

The numbers are those of one tracklet and one clip of W frames. One
multiply-accumulate (MAC) is two FLOP. LayerNorms, softmax and encodings are
left out, as usual.

Example:
    python tools/analysis_tools/get_tar_flops.py \
        configs/_base_/models/refinevis_r50.py
"""
import argparse
import math
from typing import Any, Callable, Dict, List, Optional

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from terminaltables import AsciiTable
from torch.utils.flop_counter import FlopCounterMode

import refinevis_mm  # noqa: F401  makes mmdet importable on mmcv-lite
from refinevis_mm.models.refinement import TARHead
from refinevis_mm.registry import MODELS
from refinevis_mm.utils import one_line_errors

MILLION = 1e6
# "TAR adds only 2.8 MFLOPS per 10-frame window" (paper Sec. 4.4, Table 6)
PAPER_MILLIONS = 2.8
MASK_STRIDE = 4
# What the totals add up, each to the one before.
TOTALS = {
    'attention (MSA)': ('projections', 'scores and values'),
    'attention + FFN (TAR)': ('FFN', ),
    'TAR + heads': ('class head', 'mask head'),
    'TAR + heads + masks': ('mask product', ),
}


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Count the multiply-accumulates of TAR')
    parser.add_argument('config', help='config file path, with a tar_head')
    parser.add_argument(
        '--window', type=int, default=10, help='frames W; default: 10')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(480, 854),
        metavar=('H', 'W'),
        help='height and width of the input in pixels, padding included; '
        'default: 480 854')
    args = parser.parse_args(argv)
    for name, value in dict(window=args.window, shape=min(args.shape)).items():
        if value < 1:
            parser.error(f'--{name} must be at least 1, got {value}')
    return args


def find_key(cfg: Any, key: str) -> Any:
    """The first value of a key that is not None, anywhere in a config."""
    if isinstance(cfg, dict):
        if cfg.get(key) is not None:
            return cfg[key]
        cfg = list(cfg.values())
    if isinstance(cfg, (list, tuple)):
        found = (find_key(value, key) for value in cfg)
        return next((value for value in found if value is not None), None)
    return None


def build_tar_head(config: str) -> TARHead:
    """TAR as in the config, without data.

    Heads shared with a frame model are replaced by :class:`EmbeddingHeads`,
    which have the layers of MaskDINO's class and mask branches.

    Args:
        config (str): Config file path.

    Returns:
        :obj:`TARHead`: With heads of its own.

    Raises:
        OSError: If there is no such config.
        ValueError: If the config has no TAR, or heads that TAR cannot share
            by name.
    """
    cfg = Config.fromfile(config)
    tar_head = find_key(cfg.get('model'), 'tar_head')
    if tar_head is None:
        raise ValueError(f'config "{config}" must have a tar_head')
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    heads = tar_head.get('heads')
    if heads is None:
        shared = find_key(find_key(cfg.model, 'frame_model'), 'head') or {}
        if 'mask_dims' not in shared:
            raise ValueError(
                'shared heads must be those of MaskDINO, with num_classes '
                f"and mask_dims, got {shared.get('type')}")
        heads = ConfigDict(
            type='refinevis_mm.EmbeddingHeads',
            num_classes=shared.num_classes,
            embed_dims=tar_head.get('embed_dims', 256),
            mask_dims=shared.mask_dims)
    return MODELS.build(dict(tar_head, heads=heads))


def describe(head: TARHead, args: argparse.Namespace) -> Dict[str, int]:
    """The sizes that the formulas need.

    Args:
        head (:obj:`TARHead`): With heads of its own.
        args (argparse.Namespace): The command line.

    Returns:
        dict[str, int]: Sizes by name.
    """
    ffn = head.layers[0].ffn
    return dict(
        window=args.window,
        num_layers=len(head.layers),
        embed_dims=head.embed_dims,
        num_heads=head.layers[0].self_attn.num_heads,
        feedforward_channels=ffn.feedforward_channels,
        num_classes=head.heads.fc_cls.out_features,
        mask_dims=head.heads.fc_mask.layers[-1].out_features,
        mask_height=math.ceil(args.shape[0] / MASK_STRIDE),
        mask_width=math.ceil(args.shape[1] / MASK_STRIDE))


def count_by_formula(size: Dict[str, int]) -> Dict[str, int]:
    """MAC of every part.

    With width d, window W and FFN width h, the attention of a layer costs
    ``4 W d^2`` for its projections and ``2 W^2 d`` for scores and values, its
    FFN ``2 W d h``.

    Args:
        size (dict[str, int]): From :func:`describe`.

    Returns:
        dict[str, int]: MAC by part.
    """
    dims, window = size['embed_dims'], size['window']
    tokens = size['num_layers'] * window
    cells = size['mask_height'] * size['mask_width']
    return {
        'projections': 4 * tokens * dims**2,
        'scores and values': 2 * tokens * window * dims,
        'FFN': 2 * tokens * dims * size['feedforward_channels'],
        'class head': window * dims * size['num_classes'],
        'mask head': window * dims * (2 * dims + size['mask_dims']),
        'mask product': window * cells * size['mask_dims'],
    }


def add_up(parts: Dict[str, int]) -> Dict[str, int]:
    """Totals with ever more parts.

    Args:
        parts (dict[str, int]): From :func:`count_by_formula`.

    Returns:
        dict[str, int]: MAC by total.
    """
    totals, macs = {}, 0
    for total, added in TOTALS.items():
        macs += sum(parts[part] for part in added)
        totals[total] = macs
    return totals


def count_macs(function: Callable, *args: Any) -> int:
    """MAC of the matrix products that a call really does."""
    counter = FlopCounterMode(display=False)
    with counter:
        function(*args)
    return counter.get_total_flops() // 2


def count_on_layers(head: TARHead, size: Dict[str, int]) -> Dict[str, int]:
    """Run the layers on a clip without data and count.

    Args:
        head (:obj:`TARHead`): With heads of its own.
        size (dict[str, int]): From :func:`describe`.

    Returns:
        dict[str, int]: MAC by total.
    """
    window = size['window']
    embeds = torch.zeros(1, window, size['embed_dims'])
    frame_inds = torch.zeros(1, window, dtype=torch.long)
    # a frame's embeddings meet the features of the same frame
    mask_features = embeds.new_empty(window, size['mask_dims'],
                                     size['mask_height'], size['mask_width'])
    attention = sum(
        count_macs(layer.self_attn, embeds) for layer in head.layers)
    refine = count_macs(head.refine, embeds, frame_inds)
    classes = count_macs(head.heads.classify, embeds)
    mask_head = count_macs(head.heads.fc_mask, embeds)
    masks = count_macs(head.heads.segment, embeds.transpose(0, 1),
                       mask_features)
    counts = (attention, refine, refine + classes + mask_head,
              refine + classes + masks)
    return dict(zip(TOTALS, counts))


def format_report(size: Dict[str, int], counted: Dict[str, int]) -> str:
    """Text for people.

    Args:
        size (dict[str, int]): From :func:`describe`.
        counted (dict[str, int]): From :func:`count_on_layers`.

    Returns:
        str: Several lines.
    """
    parts = count_by_formula(size)
    totals = add_up(parts)
    rows = [['MMAC of one tracklet', 'formula', 'counted']]
    rows += [[part, _millions(macs), ''] for part, macs in parts.items()]
    rows += [[f'= {total}',
              _millions(macs),
              _millions(counted[total])] for total, macs in totals.items()]
    table = AsciiTable(rows)
    table.justify_columns = {1: 'right', 2: 'right'}
    attention, tar = (totals[total] for total in list(TOTALS)[:2])
    return '\n'.join([
        *(f'{name}: {value}' for name, value in size.items()), table.table,
        f'The paper says {PAPER_MILLIONS} MFLOPS per window of 10 frames. '
        'Attention and class head, without the FFN, take '
        f'{_millions(attention + parts["class head"])} MMAC; attention and '
        f'FFN {_millions(2 * tar)} MFLOP, for each tracklet.'
    ])


def _millions(value: float) -> str:
    """A number in millions."""
    return f'{value / MILLION:.3f}'


@one_line_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    head = build_tar_head(args.config)
    size = describe(head, args)
    print(format_report(size, count_on_layers(head, size)))


if __name__ == '__main__':
    main()
