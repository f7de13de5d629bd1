# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Count the multiply-accumulates of TAR, by formula and on the built layers.

The numbers are for one window, three times over: a clip of W frames (offline,
all frames come out); a frame online as the code computes it (the layer runs
over the window, the heads over the current frame); and the least a frame
online needs (the last layer for its last token alone). One
multiply-accumulate (MAC) is two FLOP. LayerNorms, softmax and encodings are
left out, as usual.

Example:
    python tools/analysis_tools/get_tar_flops.py \
        configs/_base_/models/refinevis_r50.py --num-tracklets 5
"""
import argparse
import json
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
# Operations of a LayerNorm per number: mean, variance, difference, quotient,
# affine.
NORM_OPS = 5
MASK_STRIDE = 4
COLUMNS = ('clip', 'online', 'last token')
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
        '--num-tracklets',
        type=int,
        default=1,
        help='tracklets of the totals; default: 1')
    parser.add_argument(
        '--shape',
        type=int,
        nargs=2,
        default=(480, 854),
        metavar=('H', 'W'),
        help='height and width of the input in pixels, padding included; '
        'default: 480 854')
    parser.add_argument(
        '--num-classes', type=int, help="classes; default: the config's")
    parser.add_argument(
        '--json', action='store_true', help='print JSON instead of tables')
    args = parser.parse_args(argv)
    counts = dict(
        window=args.window,
        num_tracklets=args.num_tracklets,
        shape=min(args.shape),
        num_classes=args.num_classes)
    for name, value in counts.items():
        if value is not None and value < 1:
            parser.error(f'--{name.replace("_", "-")} must be at least 1, '
                         f'got {value}')
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


def build_tar_head(args: argparse.Namespace) -> TARHead:
    """TAR as in the config, without data.

    Heads shared with a frame model are replaced by :class:`EmbeddingHeads`,
    which have the layers of MaskDINO's class and mask branches.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        :obj:`TARHead`: With heads of its own.

    Raises:
        OSError: If there is no such config.
        ValueError: If the config has no TAR, or heads that TAR cannot share
            by name.
    """
    cfg = Config.fromfile(args.config)
    tar_head = find_key(cfg.get('model'), 'tar_head')
    if tar_head is None:
        raise ValueError(f'config "{args.config}" must have a tar_head')
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
    if args.num_classes is not None:
        heads.num_classes = args.num_classes
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


def count_by_formula(size: Dict[str, int]) -> Dict[str, Dict[str, int]]:
    """MAC of every part for one tracklet.

    With width d, window W and FFN width h, attention costs ``4 W d^2`` for
    its projections and ``2 W^2 d`` for scores and values, the FFN ``2 W d h``.

    Args:
        size (dict[str, int]): From :func:`describe`.

    Returns:
        dict[str, dict[str, int]]: MAC by part and column.
    """
    dims, window = size['embed_dims'], size['window']
    hidden, lower = size['feedforward_channels'], size['num_layers'] - 1
    # the last layer for n of the W tokens: queries and output for n, keys and
    # values for all; the layers below it for all
    parts = {}
    for column, tokens in zip(COLUMNS, (window, window, 1)):
        outputs = window if column == 'clip' else 1
        rows = lower * window + tokens
        keys = (lower + 1) * window
        cells = size['mask_height'] * size['mask_width']
        parts[column] = {
            'projections': (2 * rows + 2 * keys) * dims**2,
            'scores and values': 2 * rows * window * dims,
            'FFN': 2 * rows * dims * hidden,
            'class head': outputs * dims * size['num_classes'],
            'mask head': outputs * dims * (2 * dims + size['mask_dims']),
            'mask product': outputs * cells * size['mask_dims'],
        }
    return {
        part: {
            column: parts[column][part]
            for column in COLUMNS
        }
        for part in parts['clip']
    }


def add_up(parts: Dict[str, Dict[str, int]]) -> Dict[str, Dict[str, int]]:
    """Totals with ever more parts.

    Args:
        parts (dict[str, dict[str, int]]): From :func:`count_by_formula`.

    Returns:
        dict[str, dict[str, int]]: MAC by total and column.
    """
    totals, current = {}, dict.fromkeys(COLUMNS, 0)
    for total, added in TOTALS.items():
        current = {
            column: macs + sum(parts[part][column] for part in added)
            for column, macs in current.items()
        }
        totals[total] = current
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
        dict[str, int]: MAC of each total for a clip, by name.
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


def read_paper(size: Dict[str, int],
               parts: Dict[str, Dict[str, int]]) -> Dict[str, float]:
    """What the paper's 2.8 M may have counted, in millions per tracklet.

    Args:
        size (dict[str, int]): From :func:`describe`.
        parts (dict[str, dict[str, int]]): From :func:`count_by_formula`.

    Returns:
        dict[str, float]: Value of each reading.
    """
    totals = add_up(parts)
    attention = totals['attention (MSA)']['clip']
    with_classes = attention + parts['class head']['clip']
    norms = 2 * size['num_layers'] * NORM_OPS * size['window'] * \
        size['embed_dims']
    tar = totals['attention + FFN (TAR)']
    readings = {
        'MAC, attention': attention,
        'MAC, attention and class head': with_classes,
        'the same, with LayerNorms': with_classes + norms,
        'MAC, attention and FFN': tar['clip'],
        'FLOP, attention and FFN': 2 * tar['clip'],
        'FLOP, attention and FFN, per frame': 2 * tar['clip'] / size['window'],
        'MAC, last token alone': tar['last token'],
        'MAC, last token alone, with heads':
        totals['TAR + heads']['last token'],
    }
    return {name: value / MILLION for name, value in readings.items()}


def run(args: argparse.Namespace) -> Dict[str, Any]:
    """Count.

    Args:
        args (argparse.Namespace): The command line.

    Returns:
        dict: ``size``, ``parts`` and ``totals`` (MAC of a tracklet by
        formula), ``counted`` (MAC of a clip on the layers), ``readings``
        (millions) and ``num_tracklets``.
    """
    head = build_tar_head(args)
    size = describe(head, args)
    parts = count_by_formula(size)
    return dict(
        config=args.config,
        size=size,
        parts=parts,
        totals=add_up(parts),
        counted=count_on_layers(head, size),
        readings=read_paper(size, parts),
        num_tracklets=args.num_tracklets)


def format_report(report: Dict[str, Any]) -> str:
    """Text for people.

    Args:
        report (dict): From :func:`run`.

    Returns:
        str: Several lines.
    """
    size, number = report['size'], report['num_tracklets']
    rows = [['MMAC of one tracklet', *COLUMNS, 'clip, counted']]
    for part, macs in report['parts'].items():
        rows.append([part, *map(_millions, macs.values()), ''])
    for total, macs in report['totals'].items():
        rows.append([
            f'= {total}', *map(_millions, macs.values()),
            _millions(report['counted'][total])
        ])
    flops = [[f'MFLOP of {number} tracklet(s)', *COLUMNS]]
    for total, macs in report['totals'].items():
        flops.append(
            [total, *(_millions(2 * number * n) for n in macs.values())])
    readings = [['million per tracklet and window', '']]
    for name, value in report['readings'].items():
        readings.append([name, f'{value:.2f}' + _mark(value)])
    tar = report['readings']['FLOP, attention and FFN'] / PAPER_MILLIONS
    lines = [f"config: {report['config']}"]
    lines += [f'{name}: {value}' for name, value in size.items()]
    for table in (rows, flops, readings):
        table = AsciiTable(table)
        table.justify_columns = {i: 'right' for i in range(1, 5)}
        lines.append(table.table)
    lines.append(
        f'The paper says {PAPER_MILLIONS} MFLOPS per window of 10 frames. '
        f'Readings that round to it: {_matching(report["readings"])}. '
        f'Attention and FFN cost {tar:.1f} times as many FLOP, for each '
        'tracklet.')
    return '\n'.join(lines)


def _millions(value: float) -> str:
    """A number in millions."""
    return f'{value / MILLION:.3f}'


def _mark(value: float) -> str:
    """Point at a reading that rounds to the paper's number."""
    return ' *' if round(value, 1) == PAPER_MILLIONS else '  '


def _matching(readings: Dict[str, float]) -> str:
    """Names of the readings that round to the paper's number."""
    names = [name for name, value in readings.items() if _mark(value).strip()]
    return '; '.join(names) or 'none'


@one_line_errors
def main() -> None:
    """Run the tool."""
    args = parse_args()
    report = run(args)
    print(json.dumps(report, indent=2) if args.json else format_report(report))


if __name__ == '__main__':
    main()
