# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Convert a checkpoint of an official code base to this package.

    python tools/model_converters/convert_checkpoint.py cocopretrain_R50.pth
    python tools/model_converters/convert_checkpoint.py model_final.pkl out.pth
    python tools/model_converters/convert_checkpoint.py maskdino.pth out.pth \
        --num-decoder-layers 6 --classes 'coco->youtube_vis_2019'

Known are Mask2Former (detectron2, mmdet), MinVIS, CTVIS, VITA, MaskDINO, IDOL
and SeqFormer; which of them a file is, is read off its keys. Every tensor is
either converted or dropped with a reason, each in one line; a tensor that is
neither, and a model that would lack one, end the program with exit code 1, and
nothing is written.
"""
import argparse
from pathlib import Path
from typing import Tuple

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from refinevis_mm.apis.inference import find_config
from refinevis_mm.compat.checkpoints import read_checkpoint
from refinevis_mm.engine.hooks.class_rows_hook import copy_or_draw_class_rows
from refinevis_mm.files import whole_file
from refinevis_mm.utils import one_line_errors
from refinevis_mm.version import __version__
from refinevis_mm.vis_json import PRESETS, class_sources
from refinevis_mm.zoo.class_lists import CLASS_LISTS
from refinevis_mm.zoo.conversion import convert_state_dict
from refinevis_mm.zoo.conversion.checked_parts import (check_conversion,
                                                       find_model)
from refinevis_mm.zoo.loading import KNOWN_CLASSES, notes_of

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def class_names(name: str) -> Tuple[str, ...]:
    """Classes of a data set in the order of their labels."""
    known = dict(PRESETS, coco=CLASS_LISTS['coco'].read())
    if name not in known:
        raise ValueError(f'classes must be of {", ".join(known)}, or two of '
                         f'them as "coco->ovis" in quotes, got {name!r}')
    return known[name]


@one_line_errors
def main() -> None:
    """Convert a file."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='official checkpoint')
    parser.add_argument('dst', nargs='?', help='file to write; default: none')
    parser.add_argument(
        '--config', help='config whose model it must fit; default: shipped')
    parser.add_argument(
        '--num-decoder-layers',
        type=int,
        help='keep this many decoder layers of MaskDINO, from the first')
    parser.add_argument(
        '--classes',
        help='the classes that it has (youtube_vis_2019), or also those that '
        'it shall have ("coco->ovis", in quotes): their rows are copied by '
        f'name, others drawn; known are coco, {", ".join(PRESETS)}')
    parser.add_argument(
        '--feature-order',
        choices=['low2high', 'high2low'],
        help="MaskDINO's FEATURE_ORDER, where the weights do not tell")
    parser.add_argument('--seed', type=int, default=0, help='of drawn rows')
    args = parser.parse_args()
    init_default_scope('mmdet')
    checkpoint = read_checkpoint(args.src)
    conversion = convert_state_dict(
        checkpoint['state_dict'],
        num_decoder_layers=args.num_decoder_layers,
        feature_order=args.feature_order,
        model_keys=('frame_model.head.', ),
        name=args.src)
    num_classes = conversion.traits.num_classes
    print('\n'.join(conversion.report(checkpoint['state_dict'])))
    print('; '.join(
        [f'{args.src}: {conversion}', *notes_of(conversion, checkpoint)]))
    names = args.classes or KNOWN_CLASSES.get(num_classes, '')
    old, _, new = names.partition('->')
    print(f'classes: {names or "not known"}')
    classes = class_names(old) if old else ()
    if old and len(classes) != num_classes:
        raise ValueError(f'{args.src} must have the {len(classes)} classes of '
                         f'{old}, got {num_classes}')
    if not args.config:
        print(find_model(conversion, CONFIGS))
    if new:
        known, classes = classes, class_names(new)
        conversion.state_dict.update(
            copy_or_draw_class_rows(conversion.state_dict, known, classes,
                                    args.seed))
        sources = class_sources(classes, known)
        drawn = [name for name, found in zip(classes, sources) if not found]
        print(f'class rows: {len(classes) - len(drawn)} of {len(classes)} '
              f'copied by name, {len(drawn)} drawn: {", ".join(drawn)}')
    if args.config:
        model = Config.fromfile(find_config(args.config)).model
        for part in check_conversion(conversion, model, args.src):
            print(f'{args.config} also has a {part}, which is not in the file')
    if args.dst:
        meta = dict(
            dataset_meta=dict(classes=list(classes)) if classes else {},
            family=conversion.family.name,
            refinevis_mm=__version__)
        with whole_file(args.dst) as part:
            torch.save(dict(state_dict=conversion.state_dict, meta=meta), part)
        print(f'{len(conversion.state_dict)} tensors written to {args.dst}')


if __name__ == '__main__':
    main()
