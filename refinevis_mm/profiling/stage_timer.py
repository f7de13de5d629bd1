# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How much of something that only grows is spent in which stage."""
import functools
import inspect
import threading
import time
from collections import defaultdict
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import TracebackType
from typing import Any, Callable, Dict, Iterator, List, Optional

import torch

OTHER, TOTAL = 'other', 'total'
BESIDE = ' (beside)'  # of stages that run in other threads
MISSING = object()


class StageTimer(AbstractContextManager):
    """Measures the time spent in the stages of a run.

    The time of a stage that runs inside of another one counts for the inner
    one alone. Work of other threads is kept apart: it does not lengthen the
    run. Leaving the context undoes what was wrapped.

    Args:
        device (torch.device): Where the model runs; a GPU is waited for at
            every stage's begin and end.

    Attributes:
        times (dict[str, float]): Seconds by stage, of the thread that
            measures.
        beside (dict[str, float]): The same of all other threads.
        mark (Callable): Gives a context that is entered with each stage,
            for profilers; gets the name of the stage.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.is_cuda = device.type == 'cuda'
        self.times: Dict[str, float] = defaultdict(float)
        self.beside: Dict[str, float] = defaultdict(float)
        self.mark: Callable[[str], Any] = nullcontext
        self._owner = threading.get_ident()
        self._threads = threading.local()
        self._undo = ExitStack()

    def __exit__(self, kind: Optional[type], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        self._undo.close()

    def now(self) -> float:
        """Seconds, after everything asked for is done."""
        if self.is_cuda:
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def timed(self, stage: str, function: Callable) -> Callable:
        """A function that adds its own time to a stage.

        Args:
            stage (str): Name of the stage.
            function (Callable): What it does.

        Returns:
            Callable: Takes and gives the same.
        """

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            is_owner = threading.get_ident() == self._owner
            inner = self._inner()
            inner.append(0.0)
            start = self.now()
            try:
                with self.mark(stage):
                    return function(*args, **kwargs)
            finally:
                elapsed = self.now() - start
                times = self.times if is_owner else self.beside
                times[stage] += elapsed - inner.pop()
                if inner:
                    inner[-1] += elapsed

        return wrapped

    def _inner(self) -> List[float]:
        """What the stages inside of the open ones took, by thread."""
        if not hasattr(self._threads, 'inner'):
            self._threads.inner = []
        return self._threads.inner

    def timed_items(self, stage: str, items: Iterator) -> Iterator:
        """Add the time until each item is there to a stage.

        Args:
            stage (str): Name of the stage.
            items (Iterator): Such as the frames of a video.

        Yields:
            Any: The items.
        """
        take = self.timed(stage, functools.partial(next, items, MISSING))
        while (item := take()) is not MISSING:
            yield item

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Time a method or function wherever it is called by its name.

        Args:
            owner (Any): Object, class or module that has it.
            name (str): Its name there.
            stage (str): Name of the stage.
        """
        own = inspect.getattr_static(owner,
                                     name) if name in vars(owner) else MISSING
        timed = self.timed(stage, getattr(owner, name))
        is_static = isinstance(own, (classmethod, staticmethod))
        setattr(owner, name, staticmethod(timed) if is_static else timed)
        self._undo.callback(_restore, owner, name, own)

    def measure(self, run: Callable[[], Any]) -> Dict[str, float]:
        """Measure one run.

        Args:
            run (Callable): The run; what belongs to no stage is ``OTHER``.

        Returns:
            dict[str, float]: Seconds by stage, and their sum ``TOTAL``;
            stages of other threads with ``BESIDE`` in their name.
        """
        self.times.clear()
        self.beside.clear()
        self.timed(OTHER, run)()
        times = dict(self.times, **{TOTAL: sum(self.times.values())})
        times.update({
            stage + BESIDE: seconds
            for stage, seconds in self.beside.items()
        })
        return times


def _restore(owner: Any, name: str, own: Any) -> None:
    """Undo that a name of an object was set."""
    if own is MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, own)
