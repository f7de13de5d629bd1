# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""List the named weights, describe one, fetch one.

Example:
    python -m refinevis_mm.zoo
    python -m refinevis_mm.zoo --fetch mask2former-r50_coco
    python -m refinevis_mm.zoo --card mask2former-r50_coco > README.md
"""
import argparse
import sys

from ..utils import one_line_errors
from .cache import cache_folder, fetch_weights
from .entry import licence_line
from .listing import describe, text_table
from .names import ZOO_ENV, find_entry, list_entries, own_entries


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m refinevis_mm.zoo',
        description='List the named weights, or tell all about one. Figures '
        'are those of their sources. Fetched files go to the folder '
        'REFINEVIS_MM_CACHE, by default refinevis_mm in XDG_CACHE_HOME or '
        f'~/.cache. {ZOO_ENV} is a JSON with names of your own')
    parser.add_argument(
        'name', nargs='?', help='name of weights, also one of mmdet\'s zoo')
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        '--fetch',
        action='store_true',
        help='fetch the file of this name and print its path')
    action.add_argument(
        '--card',
        action='store_true',
        help='write a page for a model hub about this name, in Markdown')
    action.add_argument(
        '--write-metafiles',
        action='store_true',
        help='bring metafiles and docs/model_zoo.md of a source checkout up '
        'to date')
    args = parser.parse_args()
    if (args.fetch or args.card) and not args.name:
        parser.error('--fetch and --card need a name')
    if args.write_metafiles and args.name:
        parser.error('--write-metafiles takes no name')
    return args


@one_line_errors
def main() -> None:
    """Run the command."""
    args = parse_args()
    if args.write_metafiles:
        from .metafiles import write_metafiles
        for path in write_metafiles():
            print(path)
    elif args.name is None:
        print(text_table([*list_entries(), *own_entries()]))
        print(f'cache: {cache_folder()}; the names of mmdet\'s instance '
              'segmenters are known as well')
    elif args.fetch:
        entry = find_entry(args.name)
        print(licence_line(entry), file=sys.stderr)
        print(fetch_weights(entry))
    elif args.card:
        from .model_card import model_card
        print(model_card(find_entry(args.name)), end='')
    else:
        print(describe(find_entry(args.name)))


if __name__ == '__main__':
    main()
