# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The names as a table, and all that is known about one."""
import os.path as osp
from typing import List, Sequence

from .cache import weights_path
from .entry import SHIPPED, ZooEntry

HEADER = ('name', 'classes', 'licence', 'AP as its source states', 'size')


def licence_notes(entries: Sequence[ZooEntry]) -> List[str]:
    """Footnotes of a table.

    Args:
        entries (Sequence[:obj:`ZooEntry`]): Its rows.

    Returns:
        list[str]: What licences rest on, each once.
    """
    notes = (entry.licence_note for entry in entries)
    return list(dict.fromkeys(filter(None, notes)))


def table_rows(entries: Sequence[ZooEntry]) -> List[List[str]]:
    """The facts that a table has room for.

    Args:
        entries (Sequence[:obj:`ZooEntry`]): The rows.

    Returns:
        list[list[str]]: A cell for each of ``HEADER``. A number in brackets
        is that of the licence's footnote, see :func:`licence_notes`.
    """
    notes, rows = licence_notes(entries), []
    for entry in entries:
        licence = entry.licence
        if entry.licence_note:
            licence += f' [{notes.index(entry.licence_note) + 1}]'
        if entry.non_commercial:
            licence += ', NON-COMMERCIAL'
        rows.append([
            entry.name, entry.class_summary, licence,
            _stated_ap(entry),
            _size(entry)
        ])
    return rows


def text_table(entries: Sequence[ZooEntry]) -> str:
    """Show names in a terminal.

    Args:
        entries (Sequence[:obj:`ZooEntry`]): The rows.

    Returns:
        str: A table that also tells which files are here, and its
        footnotes.
    """
    rows = [[*HEADER, 'here']]
    rows += [[*row, where(entry)]
             for entry, row in zip(entries, table_rows(entries))]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = [
        '  '.join(cell.ljust(width)
                  for cell, width in zip(row, widths)).rstrip() for row in rows
    ]
    notes = [
        f'[{number}] {note}'
        for number, note in enumerate(licence_notes(entries), 1)
    ]
    return '\n'.join([*lines, '', *notes])


def describe(entry: ZooEntry) -> str:
    """Show all that is known about weights.

    Args:
        entry (:obj:`ZooEntry`): The weights.

    Returns:
        str: A line for each fact.
    """
    result = entry.result
    metrics = result.metrics.items() if result else ()
    facts = {
        'name': entry.name,
        'family': entry.family,
        'config': entry.config,
        'address': entry.address,
        'file': weights_path(entry) if entry.loader == 'checkpoint' else
        f'{entry.file_name} in the cache of {entry.loader}',
        'here': where(entry),
        'SHA-256': entry.sha256,
        'size': _size(entry),
        'licence': entry.licence,
        'rests on': entry.licence_note,
        'commercial use': 'FORBIDDEN' if entry.non_commercial else '',
        'classes': f'{len(entry.classes)}: {", ".join(entry.classes)}',
        'accuracy': ', '.join(f'{key} {value}' for key, value in metrics),
        'measured on': result.data if result else '',
        'stated by': result.source if result else '',
        'verified here': entry.verified,
        'not tried here': entry.untried
    }
    width = max(map(len, facts))
    return '\n'.join(f'{key:<{width}}  {value}'
                     for key, value in facts.items() if value)


def where(entry: ZooEntry) -> str:
    """Tell whether weights are on this machine.

    Args:
        entry (:obj:`ZooEntry`): The weights.

    Returns:
        str: 'shipped', 'cached', 'in place' for a file of the user, 'by
        <package>' where another package keeps them, or '-'.
    """
    if entry.loader != 'checkpoint':
        return f'by {entry.loader}'
    if not osp.isfile(weights_path(entry)):
        return '-'
    if osp.isabs(entry.address):
        return 'in place'
    return 'shipped' if entry.address == SHIPPED else 'cached'


def _stated_ap(entry: ZooEntry) -> str:
    """The AP with its name and data."""
    if entry.result is None:
        return '-'
    metric, value = next(iter(entry.result.metrics.items()))
    return f'{value} {metric}, {entry.result.data}'


def _size(entry: ZooEntry) -> str:
    """Length of the file, or of the weights in it."""
    if entry.num_bytes is not None:
        return f'{entry.num_bytes / 1e6:.1f} MB'
    if entry.tensor_bytes is not None:
        return f'about {entry.tensor_bytes / 1e6:.0f} MB'
    return '-'
