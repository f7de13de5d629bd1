# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""JSON lists written item by item."""
import json
from typing import Iterable, TextIO


def write_json_list(file: TextIO, items: Iterable[dict]) -> None:
    """Write a list, one item a line, without ever holding it.

    Args:
        file (TextIO): Receives it, without a line break at the end.
        items (Iterable[dict]): Its items.
    """
    file.write('[')
    for index, item in enumerate(items):
        file.write((',\n' if index else '') + json.dumps(item))
    file.write(']')
