# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Classes of one data set found among those of another."""
from typing import Dict, List, Sequence, Tuple

from .class_names import spelling_key

# What else a class is called, the nearest name first. Keys and names are in
# the form of `spelling_key`, in which "vehicle" is "vehical".
OTHER_NAMES: Dict[str, Tuple[str, ...]] = dict(
    bird=('eagle', 'owl'),
    car=('sedan', ),
    flying_disc=('frisbee', ),
    frisbee=('flying_disc', ),
    monkey=('ape', ),
    motorbike=('motorcycle', ),
    motorcycle=('motorbike', ),
    sedan=('car', ),
    vehical=('car', 'sedan', 'truck', 'bus'))


def class_sources(target: Sequence[str],
                  source: Sequence[str]) -> List[List[int]]:
    """For each class the classes of another data set that it covers.

    Names are compared in the form of :func:`spelling_key`, then by
    :data:`OTHER_NAMES`. A source class that has its own name among the
    targets covers no other. A "mouse" is a device in data sets that have a
    "keyboard" and an animal in the others.

    Args:
        target (Sequence[str]): Class names in label order.
        source (Sequence[str]): Class names of the other data set.

    Returns:
        list[list[int]]: For each target class indices of source classes, the
        nearest first; an empty list if there is none.
    """
    targets, sources = _keys(target), _keys(source)
    index = {key: i for i, key in enumerate(sources)}
    found = []
    for key in targets:
        others = [
            name for name in OTHER_NAMES.get(key, ()) if name not in targets
        ]
        found.append([index[name] for name in (key, *others) if name in index])
    return found


def _keys(names: Sequence[str]) -> List[str]:
    """Names in the form in which they are compared."""
    keys = [spelling_key(name) for name in names]
    if 'keyboard' in keys:
        keys = ['computer_mouse' if key == 'mouse' else key for key in keys]
    return keys
