# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What is written from the entries into files of the repository.

Each file has a part between two comments that is written from here; the rest
is written by hand.
"""
import os.path as osp
import re
import textwrap
from typing import Any, Dict, List, Sequence

import yaml

from refinevis_mm.files import write_text
from .entry import SHIPPED, ZooEntry
from .listing import HEADER, licence_notes, table_rows
from .names import list_entries

COMMAND = 'python -m refinevis_mm.zoo --write-metafiles'
BEGIN, END = f'written by {COMMAND}', 'end of what is written'
TABLE = 'docs/model_zoo.md'
# folders of the shipped configs, by family
FOLDERS = {
    'RefineVIS': 'refinevis',
    'MaskDINO': 'maskdino',
    'Mask2Former': 'mask2former',
    'Mask2Former-VIS': 'mask2former',
    'IDOL': 'idol',
    'MinVIS': 'minvis',
    'RF-DETR-Seg': 'rfdetr'
}


class _Dumper(yaml.SafeDumper):
    """Indents lists inside of mappings, as metafiles do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False):
        """Begin a deeper level."""
        return super().increase_indent(flow, False)


def render_metafiles(root: str) -> Dict[str, str]:
    """Write the metafiles and the table in memory.

    Args:
        root (str): The repository.

    Returns:
        dict[str, str]: Their content by path below ``root``.

    Raises:
        OSError: If one cannot be read.
        ValueError: If one has no place for what is written.
    """
    files = {TABLE: _replace(root, TABLE, '<!-- ', ' -->', _table())}
    for folder in dict.fromkeys(FOLDERS.values()):
        path = f'configs/{folder}/metafile.yml'
        entries = [
            entry for entry in list_entries()
            if FOLDERS.get(entry.family) == folder
        ]
        files[path] = _replace(root, path, '  # ', '', _models(entries))
    return files


def write_metafiles() -> List[str]:
    """Bring the files of a source checkout up to date.

    Returns:
        list[str]: The files that have changed.

    Raises:
        OSError: If the package does not lie in a source checkout, or a file
            cannot be written.
        ValueError: If one has no place for what is written.
    """
    root = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
    changed = []
    for name, text in render_metafiles(root).items():
        path = osp.join(root, name)
        with open(path, encoding='utf-8') as file:
            if file.read() == text:
                continue
        write_text(path, text)
        changed.append(path)
    return changed


def _replace(root: str, name: str, start: str, stop: str, text: str) -> str:
    """Content of a file with another text between the comments."""
    with open(osp.join(root, name), encoding='utf-8') as file:
        content = file.read()
    begin, end = f'{start}{BEGIN}{stop}\n', f'{start}{END}{stop}\n'
    pattern = f'{re.escape(begin)}.*{re.escape(end)}'
    if len(re.findall(pattern, content, re.DOTALL)) != 1:
        raise ValueError(f'{name} must have a line "{begin.strip()}" and, '
                         f'after it, a line "{end.strip()}"')
    return re.sub(
        pattern, lambda _: begin + text + end, content, flags=re.DOTALL)


def _models(entries: Sequence[ZooEntry]) -> str:
    """Models of a metafile."""
    text = yaml.dump([_model(entry) for entry in entries],
                     Dumper=_Dumper,
                     sort_keys=False,
                     width=1000)
    return textwrap.indent(text, '  ')


def _model(entry: ZooEntry) -> Dict[str, Any]:
    """A model of a metafile."""
    model: Dict[str, Any] = {
        'Name': entry.name,
        'In Collection': entry.family,
        'Config': f'configs/{FOLDERS[entry.family]}/{entry.config}',
        'Metadata': dict(entry.training, **{'Weights Licence': entry.licence})
    }
    if entry.result is not None:
        model['Results'] = [{
            'Task': entry.result.task,
            'Dataset': entry.result.data,
            'Metrics': dict(entry.result.metrics)
        }]
    if entry.address != SHIPPED:
        model['Weights'] = entry.address
    return model


def _table() -> str:
    """The table of the documentation."""
    entries = list_entries()
    lines = [HEADER, ['---'] * len(HEADER)]
    for name, *cells in table_rows(entries):
        lines.append([f'`{name}`', *cells])
    text = ''.join(f'| {" | ".join(cells)} |\n' for cells in lines)
    notes = ''.join(f'\n[{number}] {note}\n'
                    for number, note in enumerate(licence_notes(entries), 1))
    return f'\n{text}{notes}\n'
