# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The README of weights on a hub."""
import os.path as osp
import re
from typing import Any, Dict, List

import yaml

from .entry import ZooEntry, licence_line

# as the Hugging Face Hub spells them; others are "other"
LICENCES = {
    'Apache-2.0': 'apache-2.0',
    'MIT': 'mit',
    'CC BY 4.0': 'cc-by-4.0',
    'CC BY-NC 4.0': 'cc-by-nc-4.0',
    'CC BY-NC-SA 4.0': 'cc-by-nc-sa-4.0'
}
TAGS = ('video-instance-segmentation', 'instance-segmentation', 'tracking',
        'mmdetection')
USE = '''```python
from refinevis_mm.apis import VISInferencer

inferencer = VISInferencer({arguments})
for frame in inferencer.stream(images):  # (H, W, 3), uint8, BGR
    print(frame.frame_id, frame.ids, frame.classes, frame.scores)
```'''


def model_card(entry: ZooEntry) -> str:
    """Write all that is known about weights as a page of a hub.

    The head is in the form of the Hugging Face Hub. Nothing is said that the
    entry does not say.

    Args:
        entry (:obj:`ZooEntry`): The weights.

    Returns:
        str: Markdown, the content of ``README.md``.
    """
    head = yaml.safe_dump(_head(entry), sort_keys=False, allow_unicode=True)
    return f'---\n{head}---\n\n' + '\n\n'.join(_body(entry)) + '\n'


def _head(entry: ZooEntry) -> Dict[str, Any]:
    """What a hub reads."""
    licence = LICENCES.get(entry.licence)
    head: Dict[str, Any] = dict(license=licence or 'other')
    if licence is None:
        head['license_name'] = entry.licence
    head.update(
        library_name='refinevis_mm',
        pipeline_tag='image-segmentation',
        tags=list(TAGS))
    if entry.result is not None:
        result = dict(
            task=dict(type='image-segmentation', name=entry.result.task),
            dataset=dict(
                type=re.sub(r'[^a-z0-9]+', '-', entry.result.data.lower()),
                name=entry.result.data),
            metrics=[
                dict(type=name, name=name, value=value)
                for name, value in entry.result.metrics.items()
            ])
        head['model-index'] = [dict(name=entry.name, results=[result])]
    return head


def _body(entry: ZooEntry) -> List[str]:
    """What people read: paragraphs, tables and headings."""
    parts = [
        f'# {entry.name}',
        f'{entry.family}: finds, segments and follows the objects of videos, '
        'with the package `refinevis_mm`. Config: '
        f'`{osp.basename(entry.config)}`, weights: `{entry.file_name}`.'
    ]
    if entry.own_classes:  # others do not have the name
        arguments = f"'{osp.basename(entry.config)}', '{entry.file_name}'"
    else:
        arguments = f"'{entry.name}'"
    parts += ['## Use', USE.format(arguments=arguments)]
    parts += [
        f'## Classes\n\n{len(entry.classes)}: {", ".join(entry.classes)}.'
    ]
    if entry.result is not None:
        metrics = entry.result.metrics
        parts += [
            '## Accuracy',
            _table(
                list(metrics), [f'{value:g}' for value in metrics.values()]),
            f'On {entry.result.data}. Source: '
            f'{entry.result.source}.'
        ]
    if entry.training:
        parts += [
            '## Training', '\n'.join(f'- {key}: {value}'
                                     for key, value in entry.training.items())
        ]
    parts += ['## Licence', f'{licence_line(entry)}.']
    checks = {'Verified': entry.verified, 'Not tried': entry.untried}
    if any(checks.values()):
        parts += [
            '## What was checked', '\n'.join(f'- {key}: {text}'
                                             for key, text in checks.items()
                                             if text)
        ]
    if entry.sha256:
        parts += [
            f'SHA-256 of the weights: `{entry.sha256}`' +
            ('' if len(entry.sha256) == 64 else ' and so on') + '.'
        ]
    return parts


def _table(header: List[str], cells: List[str]) -> str:
    """A table of one row."""
    rows = (header, ['---'] * len(header), cells)
    return '\n'.join(f'| {" | ".join(row)} |' for row in rows)
