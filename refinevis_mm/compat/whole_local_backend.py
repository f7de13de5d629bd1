# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What mmengine writes to local files is whole or not there."""
from pathlib import Path
from typing import Union

from mmengine.fileio import LocalBackend, register_backend

from refinevis_mm.files import whole_file


class WholeLocalBackend(LocalBackend):
    """mmengine's backend of local files, with whole checkpoints.

    A training that is killed, or whose disk is full, while it saves leaves
    no half checkpoint of a final name behind.
    """

    def put(self, obj: bytes, filepath: Union[str, Path]) -> None:
        """Write bytes to a file.

        Args:
            obj (bytes): The content.
            filepath (str | Path): The file.

        Raises:
            OSError: If the file cannot be written; an old one stays.
        """
        with whole_file(filepath) as part:
            super().put(obj, part)

    def put_text(self,
                 obj: str,
                 filepath: Union[str, Path],
                 encoding: str = 'utf-8') -> None:
        """Write text to a file.

        Args:
            obj (str): The content.
            filepath (str | Path): The file.
            encoding (str): Its encoding. Defaults to 'utf-8'.

        Raises:
            OSError: If the file cannot be written; an old one stays.
        """
        with whole_file(filepath) as part:
            super().put_text(obj, part, encoding)


def register_whole_backend() -> None:
    """Let mmengine write all local files whole."""
    register_backend('local', WholeLocalBackend, force=True, prefixes='')
