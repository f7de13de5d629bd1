# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What times depend on besides the model: the machine and its load."""
import os
import platform
import resource
import sys
import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Dict, List, Optional

import torch

MIB = 2**20
STAT, CPU_INFO = '/proc/stat', '/proc/cpuinfo'
# Columns of a processor in /proc/stat that are not work: idle and iowait; and
# those that user and nice hold already: guest and guest_nice.
NO_WORK = (3, 4, 8, 9)
# Cores that others may keep busy without a warning.
QUIET = 0.1


class LoadMeter(AbstractContextManager):
    """How many of our cores other programs keep busy.

    Adds up over all times that its context is entered. Only processors are
    looked at on which this process may run.
    """

    def __init__(self) -> None:
        self.num_cores = len(_own_cores())
        self._others, self._elapsed = 0.0, 0.0
        self._start: List[Optional[float]] = []

    def __enter__(self) -> 'LoadMeter':
        self._start = self._clocks()
        return self

    def __exit__(self, kind: Optional[type], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        busy, own, now = [
            None if start is None or end is None else end - start
            for start, end in zip(self._start, self._clocks())
        ]
        if busy is None or own is None or now is None:
            return
        self._others += busy - own
        self._elapsed += now

    @staticmethod
    def _clocks() -> List[Optional[float]]:
        """Seconds of all work, of our own, and of the clock."""
        return [busy_seconds(), time.process_time(), time.perf_counter()]

    @property
    def others(self) -> Optional[float]:
        """Cores that others kept busy, None where nothing tells."""
        if self._elapsed == 0:
            return None
        return max(self._others / self._elapsed, 0.0)

    def describe(self) -> str:
        """One line; begins with "warning" where the times suffer."""
        others = self.others
        if others is None:
            return ('warning: nothing here tells whether other programs kept '
                    'the cores busy')
        text = (f'other programs kept {others:.2f} of {self.num_cores} '
                f'core{"s" if self.num_cores > 1 else ""} busy')
        if others <= QUIET:
            return text
        return f'warning: {text}: the times are too long'


def _own_cores() -> List[int]:
    """Numbers of the processors on which this process may run."""
    if hasattr(os, 'sched_getaffinity'):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def busy_seconds() -> Optional[float]:
    """Seconds of work of all programs on our processors since the start.

    Returns:
        float: The seconds, also those taken by other machines on the same
        processor; None where the system does not tell.
    """
    try:
        with open(STAT) as file:
            lines = file.read().splitlines()
        tick = os.sysconf('SC_CLK_TCK')
    except (OSError, ValueError):
        return None
    columns = {words[0]: words[1:] for words in map(str.split, lines) if words}
    ticks = 0
    for core in _own_cores():
        numbers = columns.get(f'cpu{core}')
        if numbers is None:
            return None
        ticks += sum(
            int(number) for column, number in enumerate(numbers)
            if column not in NO_WORK)
    return ticks / tick


def device_name(device: torch.device) -> str:
    """Name of the GPU or of the CPU.

    Args:
        device (torch.device): The device.

    Returns:
        str: The name.
    """
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    if os.path.exists(CPU_INFO):
        with open(CPU_INFO) as file:
            for line in file:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def peak_memory(device: torch.device) -> Dict[str, float]:
    """Peak memory of this process.

    Args:
        device (torch.device): Where the model runs.

    Returns:
        dict[str, float]: ``peak_rss_mib`` and, on a GPU,
        ``peak_cuda_mib``.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform != 'darwin':  # KiB there, bytes on macOS
        peak *= 1024
    memory = dict(peak_rss_mib=peak / MIB)
    if device.type == 'cuda':
        memory['peak_cuda_mib'] = torch.cuda.max_memory_allocated(device) / MIB
    return memory
