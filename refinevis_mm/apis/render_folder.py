# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where the files of a run grow before they get their final names."""
import logging
import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Iterable, Optional, Sequence

from mmengine.logging import print_log

from refinevis_mm.files import LOCK, PARTIAL, delete, one_run, replace

FINAL = 'final'


class RenderFolder:
    """The folder ``.partial`` inside a folder of results.

    A context manager. The folder is locked against a second run. On leaving,
    it is deleted unless :attr:`keep` is set. A run makes no links: what they
    lead to would be written and deleted.

    Args:
        out_dir (str | PathLike): The folder of results; made if it does not
            exist.

    Attributes:
        path (Path): The folder ``.partial``.
        final (Path): Folder inside it with the files to publish.
        keep (bool): Leave the folder for a run that continues this one.

    Raises:
        OSError: On entering, if the folder cannot be written, another run
            uses it, or it is a link or holds one.
    """

    def __init__(self, out_dir: os.PathLike) -> None:
        self.out_dir = Path(out_dir)
        self.path = self.out_dir / PARTIAL
        self.final = self.path / FINAL
        self.keep = False

    def __enter__(self) -> 'RenderFolder':
        with ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                _refuse_links([self.path])
                stack.enter_context(one_run(self.path))
                _refuse_links(self.path.rglob('*'))
            except OSError as error:
                raise OSError(f'out-dir "{self.out_dir}" cannot be written: '
                              f'{error.strerror or error}') from error
            self._lock = stack.pop_all()
        return self

    def __exit__(self, kind: Optional[type], *_: Any) -> None:
        self._lock.close()
        if not self.keep:
            shutil.rmtree(self.path, ignore_errors=True)
        elif kind is not None and issubclass(kind, Exception):
            print_log(
                f'the checkpoint in "{self.out_dir}" is kept and can be '
                'resumed',
                logger='current',
                level=logging.WARNING)

    def clear(self) -> None:
        """Delete what an earlier run has left."""
        for path in self.path.iterdir():
            if path.name != LOCK:
                delete(path)

    def start_final(self) -> None:
        """Make the folder of the final files anew."""
        delete(self.final)
        self.final.mkdir()

    def publish(self, names: Sequence[str]) -> None:
        """Give files of :attr:`final` their final names, one by one.

        A name stands for the old or the new file at any moment, never for a
        part of one; a folder is missing for a moment.

        Args:
            names (Sequence[str]): Files and folders. Where :attr:`final` has
                none of that name, an old one is taken away.
        """
        for name in names:
            source, target = self.final / name, self.out_dir / name
            if source.exists():
                replace(source, target)
            else:
                self.withdraw(name)

    def withdraw(self, name: str) -> None:
        """Take away what has a final name, if anything has."""
        if (self.out_dir / name).exists():
            old = self.path / f'old-{name}'
            delete(old)
            os.replace(self.out_dir / name, old)


def _refuse_links(paths: Iterable[Path]) -> None:
    """Raise OSError for what leads elsewhere."""
    for path in paths:
        if path.is_symlink():
            raise OSError(f'"{path}" must not be a link; delete it')
