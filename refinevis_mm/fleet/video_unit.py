# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One video of many: what is read, how, and what the result is called."""
from dataclasses import dataclass, field
from typing import Any, Dict, Sequence

from refinevis_mm.files import is_inside
from refinevis_mm.storage import is_address


@dataclass(frozen=True)
class VideoUnit:
    """A unit of work.

    Attributes:
        name (str): What its results are called: parts with ``/`` between
            them, inside of the folder of all results.
        input (str): File, folder of frames, glob pattern of frames, or
            address.
        options (dict): Options of :func:`open_source`, without those that
            have their default.
    """

    name: str
    input: str
    options: Dict[str, Any] = field(default_factory=dict)


def check_names(units: Sequence[VideoUnit]) -> None:
    """Refuse names that cannot be folders beside each other.

    Args:
        units (Sequence[:obj:`VideoUnit`]): The videos.

    Raises:
        ValueError: If a name leads out of the folder, has hidden or empty
            parts, comes twice, or lies in another one.
    """
    inputs: Dict[str, str] = {}
    for unit in units:
        name, parts = unit.name, unit.name.split('/')
        if not is_inside(name) or is_address(name) or not name.isprintable() \
                or any(not part or part.startswith('.') for part in parts):
            raise ValueError('the name of a video must be that of a folder '
                             'without hidden parts, got '
                             f'{name!r} for "{unit.input}"')
        if name in inputs:
            raise ValueError(
                f'two videos are called "{name}": "{inputs[name]}" and '
                f'"{unit.input}"; give names of their own in a manifest')
        inputs[name] = unit.input
    for name in inputs:
        parts = name.split('/')
        for end in range(1, len(parts)):
            above = '/'.join(parts[:end])
            if above in inputs:
                raise ValueError(
                    f'the video "{name}" would lie in the results of the '
                    f'video "{above}"; give names of their own in a manifest')
