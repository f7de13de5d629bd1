# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From a name to its entry."""
import os
from difflib import get_close_matches
from typing import List, Tuple

from .entries import ENTRIES
from .entry import ZooEntry

NUM_NEAREST = 3
ZOO_ENV = 'REFINEVIS_MM_ZOO'  # see own_entries


class UnknownNameError(ValueError):
    """There are no weights of this name."""


def list_entries() -> Tuple[ZooEntry, ...]:
    """The names of this project.

    Returns:
        tuple[:obj:`ZooEntry`]: Without those of the user and of mmdet's zoo,
        which :func:`find_entry` knows as well.
    """
    return ENTRIES


def own_entries() -> Tuple[ZooEntry, ...]:
    """The names of the user, in the files of ``REFINEVIS_MM_ZOO``.

    Returns:
        tuple[:obj:`ZooEntry`]: In the order of the files; empty where the
        variable is not set.

    Raises:
        OSError: If a file cannot be read.
        ValueError: If one has another form, or a name comes twice or is one
            of this project.
    """
    paths = os.environ.get(ZOO_ENV, '').split(os.pathsep)
    if not any(paths):
        return ()
    from .own_entries import read_own_entries
    return read_own_entries(list(filter(None, paths)))


def find_entry(name: str) -> ZooEntry:
    """Find weights by their name.

    Args:
        name (str): Name of this project, of the user (see
            :func:`own_entries`) or of mmdet's zoo, in any case.

    Returns:
        :obj:`ZooEntry`: The weights.

    Raises:
        OSError: If the file of the user's names cannot be read.
        UnknownNameError: If there is no such name; names the nearest.
        ValueError: If the user's file has another form, or mmdet's model of
            this name finds no masks, has no weights, or its classes are not
            known here.
    """
    for entries in (list_entries, own_entries):
        for entry in entries():
            if entry.name == name.lower():
                return entry
    from .mmdet_names import find_mmdet_model, mmdet_entry
    model = find_mmdet_model(name)
    if model is None:
        raise UnknownNameError(
            f'there are no weights of the name "{name}"; the nearest are '
            f'{", ".join(_nearest(name))}; `python -m refinevis_mm.zoo` lists '
            'all')
    for entry in ENTRIES:
        if entry.address == model.get('Weights'):
            return entry
    return mmdet_entry(model)


def _nearest(name: str) -> List[str]:
    """Names that look like a name, the best first."""
    from .mmdet_names import mmdet_models, mmdet_names, segments
    names = [entry.name for entry in (*ENTRIES, *own_entries())]
    names += [
        mmdet_names(model)[0] for model in mmdet_models() if segments(model)
    ]
    return get_close_matches(name.lower(), names, NUM_NEAREST, cutoff=0)
