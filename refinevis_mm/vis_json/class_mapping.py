# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Classes of one data set found among those of another."""
from typing import Any, Dict, List, Optional, Sequence, Tuple

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
    targets is covered by no other. A "mouse" is a device in data sets that
    have a "keyboard" and an animal in the others.

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


def check_class_names(classes: Any, what: str = 'classes') -> List[str]:
    """Class names as a list.

    Args:
        classes (Any): What was given.
        what (str): How the message calls it. Defaults to 'classes'.

    Returns:
        list[str]: The names.

    Raises:
        ValueError: If they are no list or tuple of names, or empty.
    """
    if isinstance(classes, str):
        raise ValueError(f'{what} must be a list of names, got the text '
                         f'{classes!r}; a tuple of one name needs a comma: '
                         f'({classes!r}, )')
    if not isinstance(classes, (list, tuple)) or not classes or not all(
            isinstance(name, str) for name in classes):
        raise ValueError(f'{what} must be a list of names, got {classes!r}')
    return list(classes)


def classes_of(metainfo: Any) -> Optional[List[str]]:
    """Class names of a data set.

    Args:
        metainfo (Any): Metainfo of a data set or of a checkpoint, also with
            mmdet 2's key; a list for the parts of a data set.

    Returns:
        list[str], optional: In the order of the labels; None where they are
        not known or parts have others.
    """
    if isinstance(metainfo, (list, tuple)):
        parts = [classes_of(part) for part in metainfo]
        return parts[0] if parts and all(part == parts[0]
                                         for part in parts) else None
    if not isinstance(metainfo, dict):
        return None
    classes = metainfo.get('classes', metainfo.get('CLASSES'))
    return None if classes is None else list(classes)


def check_same_classes(classes: Sequence[str], other: Sequence[str], what: str,
                       cure: str) -> None:
    """Refuse two lists of classes of which labels mean different things.

    Args:
        classes (Sequence[str]): Class names in label order.
        other (Sequence[str]): Those that must be equal, in the form of
            :func:`spelling_key`.
        what (str): Whose they are, for the message.
        cure (str): What to do, for the message.

    Raises:
        ValueError: If they are not.
    """
    if _keys(classes) != _keys(other):
        raise ValueError(f'{what} must have the same classes in the same '
                         f'order, got {list(classes)} and {list(other)}; '
                         f'{cure}')


def _keys(names: Sequence[str]) -> List[str]:
    """Names in the form in which they are compared."""
    keys = [spelling_key(name) for name in names]
    if 'keyboard' in keys:
        keys = ['computer_mouse' if key == 'mouse' else key for key in keys]
    return keys
