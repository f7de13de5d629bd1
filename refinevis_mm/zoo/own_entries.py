# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Names that users give to weights of their own, in a JSON of theirs.

The environment variable ``REFINEVIS_MM_ZOO`` names the file, or several
separated as in ``PATH``. It has a dict by name::

    {"street-2026": {
        "config": "street.py",
        "checkpoint": "weights/street.pth",
        "classes": ["car", "person"],
        "licence": "of our lab only"}}

Files are relative to the folder of the JSON. ``config`` may also be that of a
shipped config or of one of mmdet (``mmdet::folder/name.py``), ``checkpoint``
an address (https://, hf://), and ``classes`` the name of a data set ("COCO").
What else :obj:`ZooEntry` tells may be there.
"""
import os.path as osp
from typing import Any, Dict, Sequence, Tuple

from refinevis_mm.structures import check_form
from refinevis_mm.vis_json import check_class_names, load_json
from .cache import address_file_name
from .class_lists import class_list_of
from .entries import ENTRIES
from .entry import StatedResult, ZooEntry
from .source import resolve_address

NEEDED = dict(config=str, checkpoint=str, licence=str, classes=object)
MAY_BE = dict(
    family=str,
    sha256=str,
    licence_note=str,
    non_commercial=bool,
    training={str: object},
    verified=str,
    untried=str,
    result=dict(task=str, data=str, metrics={str: float}, source=str))
SHA256 = 64  # hex digits


def read_own_entries(paths: Sequence[str]) -> Tuple[ZooEntry, ...]:
    """Read files of names.

    Args:
        paths (Sequence[str]): The files.

    Returns:
        tuple[:obj:`ZooEntry`]: In the order of the files.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If one has another form, or a name comes twice or is one
            of this project.
    """
    found = []
    taken = {entry.name for entry in ENTRIES}
    for path in paths:
        content = load_json(osp.expanduser(path))
        check_form(content, {str: dict}, f"'{path}'")
        for name, facts in content.items():  # type: ignore[union-attr]
            what = f"{name!r} in '{path}'"
            if name.lower() in taken or not name.isprintable() or \
                    not name.strip() or name.endswith('.py'):
                raise ValueError(f'{what} must be a new name of weights')
            taken.add(name.lower())
            found.append(
                _read(name.lower(), facts, what,
                      osp.dirname(osp.abspath(path))))
    return tuple(found)


def _read(name: str, facts: Dict[str, Any], what: str,
          folder: str) -> ZooEntry:
    """One entry of a file."""
    given = {key: MAY_BE[key] for key in facts if key in MAY_BE}
    unknown = sorted(set(facts) - set(NEEDED) - set(given))
    if unknown:
        raise ValueError(f'{what} may have {", ".join([*NEEDED, *MAY_BE])}, '
                         f'got {unknown[0]!r}')
    check_form(facts, {**NEEDED, **given}, what)
    digits = facts.get('sha256', '').lower()
    if not set(digits) <= set('0123456789abcdef') or len(digits) > SHA256:
        raise ValueError(f'{what}: sha256 must be hex digits, got {digits!r}')
    more = {key: facts[key] for key in given if key != 'result'}
    if digits:
        more['sha256'] = digits
    if 'result' in facts:
        more['result'] = StatedResult(**facts['result'])
    address = facts['checkpoint']
    if '://' in address:
        resolve_address(address)  # or ValueError
        file_name = address_file_name(address)
    else:
        address = osp.join(folder, osp.expanduser(address))
        file_name = osp.basename(address)
    return ZooEntry(
        **{
            'family': 'own',
            **more
        },
        name=name,
        config=_config(facts['config'], folder, what),
        address=address,
        file_name=file_name,
        licence=facts['licence'],
        of_user=True,
        **_classes(facts['classes'], what))


def _config(config: str, folder: str, what: str) -> str:
    """Path of the config, or the name of one that is shipped."""
    path = osp.join(folder, osp.expanduser(config))
    if osp.isfile(path):
        return path
    if not config.endswith('.py') or osp.basename(config) != config and \
            '::' not in config:
        raise ValueError(f'{what}: config must be a file or the name of a '
                         f'shipped config, got {config!r}')
    return config


def _classes(classes: Any, what: str) -> Dict[str, Any]:
    """Attributes that tell the classes."""
    if isinstance(classes, str):
        try:
            return dict(class_names=class_list_of(classes))
        except ValueError as error:
            raise ValueError(f'{what}: {error}') from error
    names = check_class_names(classes, f'classes of {what}')
    return dict(class_names='', own_classes=tuple(names))
