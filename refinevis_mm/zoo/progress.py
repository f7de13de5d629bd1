# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How much of a file has arrived."""
import sys
import time
from typing import Optional

BAR, WIDTH = 30, 70  # characters
INTERVAL = 0.2  # seconds between two updates of the line


class Progress:
    """A line on the error stream that grows with a file.

    Where that is no terminal, one line says what is fetched.

    Args:
        name (str): Name of the file.
        first (int): Bytes that were there before.
        total (int, optional): Bytes of the file, None if unknown.
    """

    def __init__(self, name: str, first: int, total: Optional[int]) -> None:
        self.first = first
        self.total = total
        self.started = time.monotonic()
        self._shown = 0.
        self._is_terminal = sys.stderr.isatty()
        size = '' if total is None else f', {total / 1e6:.1f} MB'
        rest = f', from {first / 1e6:.1f} MB on' if first else ''
        print(f'fetching {name}{size}{rest}', file=sys.stderr)

    def update(self, have: int) -> None:
        """Show how much there is.

        Args:
            have (int): Bytes that have arrived so far.
        """
        now = time.monotonic()
        if not self._is_terminal or (now < self._shown + INTERVAL
                                     and have != self.total):
            return
        self._shown = now
        speed = (have - self.first) / max(now - self.started, 1e-3)
        text = f'{have / 1e6:.1f} MB, {speed / 1e6:.1f} MB/s'
        if self.total:
            marks = '#' * (BAR * have // self.total)
            text = f'[{marks:<{BAR}}] {100 * have // self.total:3d} %  {text}'
        print(f'\r{text:<{WIDTH}}', end='', file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line."""
        if self._is_terminal:
            print(file=sys.stderr)
