# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Medians and spreads of what was measured."""
import statistics
from typing import Any, Dict, List, Sequence

from .stage_timer import TOTAL
from .stages import STAGES


def spread(values: Sequence[float]) -> Dict[str, float]:
    """Median and spread.

    Args:
        values (Sequence[float]): At least one.

    Returns:
        dict[str, float]: ``median``, ``q1``, ``q3`` and ``min``.
    """
    values = list(values)
    q1, median, q3 = values * 3 if len(values) == 1 else \
        statistics.quantiles(values, n=4, method='inclusive')
    return dict(median=median, q1=q1, q3=q3, min=min(values))


def quartiles(seconds: Sequence[float]) -> Dict[str, float]:
    """Median and spread of a time.

    Args:
        seconds (Sequence[float]): The time in each run.

    Returns:
        dict[str, float]: See :func:`spread`, in milliseconds.
    """
    return spread([1000 * value for value in seconds])


def summarise(runs: List[Dict[str, float]]) -> Dict[str, Dict[str, Any]]:
    """Median and spread of every stage.

    Args:
        runs (list[dict[str, float]]): Seconds of the stages of each run.

    Returns:
        dict[str, dict]: :func:`quartiles` of each stage, in the order of
        ``STAGES``.
    """
    return {
        stage: quartiles([run.get(stage, 0.0) for run in runs])
        for stage in STAGES if any(stage in run for run in runs)
    }


def compare(first: List[Dict[str, float]],
            second: List[Dict[str, float]]) -> Dict[str, Any]:
    """How many times longer the first of two takes, measured in pairs.

    Args:
        first (list[dict[str, float]]): Seconds of the stages of each run.
        second (list[dict[str, float]]): The runs beside them.

    Returns:
        dict: ``median``, the ratio of the two medians of the total;
        ``q1`` and ``q3``, quartiles of the ratios of the pairs; and
        ``stages``, the ratio of the medians of each stage that both have.
    """
    pairs = spread([a[TOTAL] / b[TOTAL] for a, b in zip(first, second)])
    ours, theirs = summarise(first), summarise(second)
    ratios = {
        stage: ours[stage]['median'] / theirs[stage]['median']
        for stage in ours if stage in theirs and theirs[stage]['median'] > 0
    }
    return dict(
        median=ratios.pop(TOTAL),
        q1=pairs['q1'],
        q3=pairs['q3'],
        pairs=len(first),
        stages=ratios)
