# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A fixed list of measurements in a fixed time, for a new machine."""
import time
from dataclasses import asdict, dataclass, replace
from typing import (Any, Callable, Dict, Iterator, List, Optional, Sequence,
                    Tuple)

from refinevis_mm.compat.mmcv_lite import has_compiled_ops
from .comparison import WorkerError, WorkerProcess
from .medians import quartiles
from .settings import ProfileSettings
from .stage_timer import TOTAL

# Sides of an input are multiples of it.
DIVISOR = 32
# mmcv's CUDA operator for deformable attention, and what goes without.
COMPILED, PLAIN = 'mmcv_cuda', ('mmcv_pytorch', 'embedding_bag')


@dataclass
class Case:
    """One measurement of a list.

    Attributes:
        model (str): Name of the model.
        variant (str): What is special about it.
        settings (:obj:`ProfileSettings`): What is measured.
    """

    model: str
    variant: str
    settings: ProfileSettings

    @property
    def impossible(self) -> Optional[str]:
        """str: Why it cannot be measured here, None if nothing is known."""
        settings = self.settings
        on_gpu = settings.device.startswith('cuda')
        if settings.backend == COMPILED and not (on_gpu
                                                 and has_compiled_ops()):
            return 'needs a GPU and compiled mmcv'
        if settings.train and settings.dtype == 'float16' and not on_gpu:
            return 'needs a GPU'
        return None


def frame_shape(side: int) -> Tuple[int, int]:
    """Height and width of a padded frame of 16:9.

    Args:
        side (int): Shorter side in pixels, before padding.

    Returns:
        tuple[int, int]: Multiples of ``DIVISOR``.
    """

    def padded(length: int) -> int:
        return -(-length // DIVISOR) * DIVISOR

    return padded(side), padded(round(side * 16 / 9))


def list_cases(models: Dict[str, str], sides: Sequence[int],
               batch_sizes: Sequence[int], device: str) -> List[Case]:
    """What is measured of a GPU, the most important first.

    Args:
        models (dict[str, str]): Config by name; the first one is used for
            the backends of attention.
        sides (Sequence[int]): Shorter sides of frames in pixels.
        batch_sizes (Sequence[int]): Frames at a time.
        device (str): Where they run.

    Returns:
        list[:obj:`Case`]: Frames in float32 and bfloat16, of all models;
        attention; training steps in float32 and as ``tools/train.py --amp``;
        compiled frame models.
    """
    base = ProfileSettings('', device=device, stages=False)
    one, first = min(batch_sizes), next(iter(models))

    def cases(name: str,
              variant: str,
              sides: Sequence[int] = sides,
              batch_sizes: Sequence[int] = (one, ),
              **options: Any) -> Iterator[Case]:
        for side in sides:
            for batch_size in batch_sizes:
                yield Case(
                    name, variant,
                    replace(
                        base,
                        config=models[name],
                        shape=frame_shape(side),
                        batch_size=batch_size,
                        **options))

    found: List[Case] = []
    half: Dict[str, Any] = dict(dtype='bfloat16')
    for name in models:
        found += cases(name, 'float32', batch_sizes=batch_sizes)
        found += cases(name, 'bfloat16', batch_sizes=batch_sizes, **half)
    for backend in (COMPILED, *PLAIN):
        found += cases(first, f'attention {backend}', backend=backend)
    for name in models:
        found += cases(name, 'float32', train=True)
        found += cases(name, 'AMP float16', train=True, dtype='float16')
    for backend in (COMPILED, PLAIN[0]):
        found += cases(
            first,
            f'attention {backend}',
            sides[:1],
            train=True,
            backend=backend)
    for number in sorted(batch_sizes):
        for variant, options in (('compiled', {}), ('compiled bfloat16',
                                                    half)):
            for name in models:
                found += cases(
                    name,
                    variant,
                    batch_sizes=(number, ),
                    compile=True,
                    **options)
    return found


def run_suite(
        cases: Sequence[Case], seconds: float, repeats: int, warmup: int,
        on_result: Callable[[Dict[str, Any]], None]) -> List[Dict[str, Any]]:
    """Measure one case after the other until the time is over.

    They share a process, which is replaced after an error.

    Args:
        cases (Sequence[:obj:`Case`]): The cases.
        seconds (float): Time for all of them.
        repeats (int): Timed runs of each.
        warmup (int): Runs before them.
        on_result (Callable): Called with each result.

    Returns:
        list[dict]: For each case ``model``, ``variant``, ``mode``, ``shape``
        and ``batch_size``, then either ``ms`` a frame or training step
        (:func:`quartiles`), ``memory`` in MiB, ``device`` and ``load``, or
        ``skipped``, the reason.
    """
    deadline = time.monotonic() + seconds
    results: List[Dict[str, Any]] = []
    worker: Optional[WorkerProcess] = None
    try:
        for case in cases:
            result = _describe(case)
            reason = case.impossible
            if reason is None and time.monotonic() >= deadline:
                reason = 'the time is over'
            if reason is None:
                worker = worker or WorkerProcess()
                try:
                    result.update(
                        _measure(worker, case, deadline, repeats, warmup))
                except (TimeoutError, WorkerError) as error:
                    reason = _reason(error)
                    worker.__exit__(None, None, None)
                    worker = None
            if reason is not None:
                result['skipped'] = reason
            results.append(result)
            on_result(result)
    finally:
        if worker is not None:
            worker.__exit__(None, None, None)
    return results


def _describe(case: Case) -> Dict[str, Any]:
    """What a case is."""
    settings = case.settings
    return dict(
        model=case.model,
        variant=case.variant,
        mode='training' if settings.train else 'inference',
        shape=list(settings.shape),
        batch_size=settings.batch_size)


def _measure(worker: WorkerProcess, case: Case, deadline: float, repeats: int,
             warmup: int) -> Dict[str, Any]:
    """Measure one case."""

    def ask(do: str, **options: Any) -> Dict[str, Any]:
        return worker.ask(do, deadline - time.monotonic(), **options)

    ask('open', **asdict(case.settings))
    for _ in range(warmup):
        ask('measure', keep=False)
    runs = [ask('measure')[TOTAL] for _ in range(repeats)]
    report = ask('report')
    return dict(
        ms=quartiles(runs),
        memory=report['memory'],
        gflops_per_second=report['gflops_per_second']['median'],
        device=report['setup']['device'],
        versions=report['setup']['versions'],
        load=report['load']['others'])


def _reason(error: Exception) -> str:
    """Why a case was left out, in one line."""
    if isinstance(error, TimeoutError):
        return 'the time is over'
    kind = getattr(error, 'kind', '')
    if 'OutOfMemory' in kind:
        return 'out of memory'
    lines = str(error).splitlines() or ['']
    return f'{kind}: {lines[0][:200]}' if kind else lines[0][:200]
