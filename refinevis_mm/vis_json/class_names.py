# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Classes of the public data sets, in the order of their category ids."""
from typing import Dict, Iterable, Optional, Tuple

YOUTUBE_VIS_2019 = ('person', 'giant_panda', 'lizard', 'parrot', 'skateboard',
                    'sedan', 'ape', 'dog', 'snake', 'monkey', 'hand', 'rabbit',
                    'duck', 'cat', 'cow', 'fish', 'train', 'horse', 'turtle',
                    'bear', 'motorbike', 'giraffe', 'leopard', 'fox', 'deer',
                    'owl', 'surfboard', 'airplane', 'truck', 'zebra', 'tiger',
                    'elephant', 'snowboard', 'boat', 'shark', 'mouse', 'frog',
                    'eagle', 'earless_seal', 'tennis_racket')
YOUTUBE_VIS_2021 = ('airplane', 'bear', 'bird', 'boat', 'car', 'cat', 'cow',
                    'deer', 'dog', 'duck', 'earless_seal', 'elephant', 'fish',
                    'flying_disc', 'fox', 'frog', 'giant_panda', 'giraffe',
                    'horse', 'leopard', 'lizard', 'monkey', 'motorbike',
                    'mouse', 'parrot', 'person', 'rabbit', 'shark',
                    'skateboard', 'snake', 'snowboard', 'squirrel',
                    'surfboard', 'tennis_racket', 'tiger', 'train', 'truck',
                    'turtle', 'whale', 'zebra')
# The last name is misspelt in the official files.
OVIS = ('Person', 'Bird', 'Cat', 'Dog', 'Horse', 'Sheep', 'Cow', 'Elephant',
        'Bear', 'Zebra', 'Giraffe', 'Poultry', 'Giant_panda', 'Lizard',
        'Parrot', 'Monkey', 'Rabbit', 'Tiger', 'Fish', 'Turtle', 'Bicycle',
        'Motorcycle', 'Airplane', 'Boat', 'Vehical')

PRESETS: Dict[str, Tuple[str, ...]] = dict(
    youtube_vis_2019=YOUTUBE_VIS_2019,
    youtube_vis_2021=YOUTUBE_VIS_2021,
    youtube_vis_2022=YOUTUBE_VIS_2021,  # new videos, the same classes
    ovis=OVIS)

# OVIS prints "Vehicle" on its page and "Vehical" in its files.
_SPELLINGS = dict(vehicle='vehical')


def spelling_key(name: str) -> str:
    """A form in which different spellings of a class are equal.

    Args:
        name (str): Class name.

    Returns:
        str: In lower case, with underscores for spaces, known misspellings
        of the official files included.
    """
    key = name.strip().lower().replace(' ', '_')
    return _SPELLINGS.get(key, key)


def match_classes(names: Iterable[str],
                  classes: Iterable[str]) -> Optional[Dict[str, str]]:
    """Pair two lists of class names one to one, in any order.

    Names must be equal or, failing that for any of them, have the same
    :func:`spelling_key`.

    Args:
        names (Iterable[str]): Names to be found in the other list.
        classes (Iterable[str]): The other list.

    Returns:
        dict[str, str], optional: The class of each name, or None if the
        lists do not match.
    """
    names, classes = list(names), list(classes)
    for key in (str, spelling_key):
        by_key = {key(name): name for name in classes}
        keys = {key(name) for name in names}
        if keys == set(by_key) and len(keys) == len(names) == len(classes):
            return {name: by_key[key(name)] for name in names}
    return None


def preset_of(names: Iterable[str]) -> Optional[str]:
    """The first preset with these classes.

    Args:
        names (Iterable[str]): Class names in any order.

    Returns:
        str, optional: Its name in :data:`PRESETS`, None if there is none.
    """
    names = list(names)
    return next((preset for preset, classes in PRESETS.items()
                 if match_classes(names, classes)), None)
