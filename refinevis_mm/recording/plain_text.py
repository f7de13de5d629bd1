# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Names in files whose lines or letters mean something."""


def plain_text(name: str) -> str:
    """A name as one line.

    Args:
        name (str): Any text.

    Returns:
        str: With spaces for line breaks and the like, which text files take
        for the end of a name and XML cannot hold.
    """
    return ''.join(char if char.isprintable() else ' ' for char in name)
