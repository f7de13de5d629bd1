# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Which operators of PyTorch a run calls, by its profiler."""
from collections import Counter, defaultdict
from contextlib import nullcontext
from typing import Any, Callable, Dict, Iterable, List

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from .stage_timer import TOTAL, StageTimer

ATEN, MARK, LAUNCH = 'aten::', 'stage: ', 'cudaLaunchKernel'
NODE = 'autograd::engine::evaluate_function: '


def count_operators(timer: StageTimer,
                    run: Callable[[], Any],
                    num_units: int = 1,
                    top: int = 0) -> Dict[str, Any]:
    """Count the calls of operators.

    Operators that others call count too, as in the profiler's own tables.

    Args:
        timer (:obj:`StageTimer`): Knows the stages.
        run (Callable): The run.
        num_units (int): Frames or steps in it. Defaults to 1.
        top (int): Operators to name, those of the most time of their own.
            Defaults to 0.

    Returns:
        dict: Calls of a unit: ``total``; ``stages`` by name; on a GPU
        ``kernels``, else ``backward_ms``, milliseconds of the backward pass
        by the stage whose forward pass it belongs to, with the profiler's
        own; and ``top``, a list of dicts of ``name``, ``calls`` and ``ms``,
        milliseconds of its own on the CPU, or where there is one on the GPU.
    """
    activities = [ProfilerActivity.CPU]
    if timer.is_cuda:
        activities.append(ProfilerActivity.CUDA)
    timer.mark = lambda stage: record_function(MARK + stage)
    try:
        with profile(activities=activities, acc_events=True) as profiler:
            timer.measure(run)
            if timer.is_cuda:
                torch.cuda.synchronize(timer.device)
    finally:
        timer.mark = nullcontext
    events = profiler.events()
    stages = Counter(
        _stage_of(event) for event in events if event.name.startswith(ATEN))
    calls: Dict[str, Any] = {
        TOTAL: sum(stages.values()) / num_units,
        'stages': {
            stage: number / num_units
            for stage, number in stages.items() if stage
        }
    }
    if timer.is_cuda:
        calls['kernels'] = sum(
            event.name.startswith(LAUNCH) for event in events) / num_units
    else:
        calls['backward_ms'] = {
            stage: ms / num_units
            for stage, ms in _backward_times(events).items()
        }
    calls['top'] = _most_expensive(profiler, timer.is_cuda, num_units, top)
    return calls


def _stage_of(event: Any) -> str:
    """Name of the stage in which something was called, '' for none."""
    parent = event.cpu_parent
    while parent is not None and not parent.name.startswith(MARK):
        parent = parent.cpu_parent
    return '' if parent is None else parent.name[len(MARK):]


def _backward_times(events: Iterable[Any]) -> Dict[str, float]:
    """Milliseconds of gradients by the stage that they belong to.

    A node of the graph has the number that was next when its operator was
    called: of all operators with this number the last one made it.
    """
    stages: Dict[int, str] = {}
    for event in sorted(events, key=lambda event: event.time_range.start):
        if event.sequence_nr >= 0 and not event.name.startswith(NODE):
            stage = _stage_of(event)
            if stage != 'backward':
                stages[event.sequence_nr] = stage
    times: Dict[str, float] = defaultdict(float)
    for event in events:
        if event.name.startswith(NODE):
            times[stages.get(event.sequence_nr, '')] += \
                event.cpu_time_total / 1000
    return dict(times)


def _most_expensive(profiler: profile, is_cuda: bool, num_units: int,
                    top: int) -> List[Dict[str, Any]]:
    """The operators that take the most time of their own."""

    def own_time(entry: Any) -> float:
        return entry.self_device_time_total if is_cuda else \
            entry.self_cpu_time_total

    entries = [
        entry for entry in profiler.key_averages()
        if not entry.key.startswith(MARK)
    ]
    entries.sort(key=own_time, reverse=True)
    return [
        dict(
            name=entry.key,
            calls=entry.count / num_units,
            ms=own_time(entry) / 1000 / num_units) for entry in entries[:top]
    ]
