# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Measurements as text for people."""
from typing import Any, Dict, List, Optional

from terminaltables import AsciiTable

from .stage_timer import BESIDE, TOTAL


def format_report(report: Dict[str, Any]) -> str:
    """A table of the stages and what belongs to it.

    Args:
        report (dict): From :meth:`Profile.report`.

    Returns:
        str: Several lines.
    """
    lines = [f'{key}: {value}' for key, value in report['setup'].items()]
    lines.append(_format_stages(report))
    for name, value in report['memory'].items():
        lines.append(f'{name[:-4]}: {value:.0f} MiB')
    for name in ('frames', 'tracklets', 'parameter_groups', 'parameters'):
        if name in report:
            lines.append(f"{name.replace('_', ' ')}: {report[name]}")
    if 'added_by_tar' in report:
        added = report['added_by_tar']
        lines.append(
            'added by TAR, decoding of missed objects included: '
            f"{added['median']:.2f} ms ({added['q1']:.2f} - "
            f"{added['q3']:.2f}), {added['share']:.2f} % of a frame without")
    if 'arithmetic' in report:
        floor = report['arithmetic']
        rate = report['gflops_per_second']['median']
        lines.append(f"arithmetic: {floor['gflop'].get(TOTAL, 0):.2f} GFLOP a "
                     f"{report['unit']}; at {rate:.0f} GFLOP/s, a matrix "
                     f"product measured here, {floor['floor_ms']:.1f} ms, "
                     f"{floor['share']:.0f} % of the time")
    if 'operators' in report:
        lines += _format_operators(report)
    lines.append(report['load']['text'])
    return '\n'.join(lines)


def _format_stages(report: Dict[str, Any]) -> str:
    """The table of the stages."""
    head = ['stage', 'median ms', 'quartiles ms', 'min ms', 'share']
    flops = report.get('arithmetic', {}).get('gflop')
    calls = report.get('operators')
    if flops is not None:
        head += ['GFLOP', 'floor ms']
    if calls is not None:
        head += ['operators']
        calls = dict(calls['stages'], **{TOTAL: calls[TOTAL]})
    rate = report['gflops_per_second']['median']
    total = report['stages'][TOTAL]['median']
    rows = [head]
    for stage, times in report['stages'].items():
        share = '' if stage.endswith(BESIDE) else \
            f"{100 * times['median'] / total:.1f} %"
        row = [
            stage, f"{times['median']:.2f}",
            f"{times['q1']:.2f} - {times['q3']:.2f}", f"{times['min']:.2f}",
            share
        ]
        if flops is not None:
            count = flops.get(stage, 0)
            row += [f'{count:.3f}', f'{1000 * count / rate:.2f}'
                    ] if count else ['', '']
        if calls is not None:
            row.append(f'{calls[stage]:.0f}' if stage in calls else '')
        rows.append(row)
    return _table(rows)


def _format_operators(report: Dict[str, Any]) -> List[str]:
    """Numbers of operators and those of the most time."""
    calls, unit = report['operators'], report['unit']
    line = f'operators: {calls[TOTAL]:.0f} calls a {unit}'
    if 'kernels' in calls:
        line += f", {calls['kernels']:.0f} kernels on the GPU"
    lines = [line]
    times = {
        stage or 'the rest': ms
        for stage, ms in calls.get('backward_ms', {}).items()
    }
    if times:
        total = sum(times.values())
        lines.append('backward pass by stage: ' + ', '.join(
            f'{stage} {100 * ms / total:.0f} %'
            for stage, ms in sorted(times.items(), key=lambda item: -item[1])
            if ms >= total / 100))
    if not calls['top']:
        return lines
    rows = [['operator', f'calls a {unit}', 'ms of its own']]
    rows += [[entry['name'], f"{entry['calls']:.0f}", f"{entry['ms']:.2f}"]
             for entry in calls['top']]
    return [*lines, _table(rows)]


def format_pairs(result: Dict[str, Any], second: str) -> str:
    """Both reports, and how they compare.

    Args:
        result (dict): From :func:`run_pairs`.
        second (str): What the second one is.

    Returns:
        str: Several lines.
    """
    first, other = result['reports']
    ratio = result['ratio']
    rows = [['stage', 'first ms', 'second ms', 'first / second']]
    for stage in dict.fromkeys((*first['stages'], *other['stages'])):
        times: List[Optional[float]] = [
            report['stages'].get(stage, {}).get('median')
            for report in (first, other)
        ]
        value = ratio['median'] if stage == TOTAL else ratio['stages'].get(
            stage)
        rows.append([stage] +
                    ['' if time is None else f'{time:.2f}' for time in times] +
                    ['' if value is None else f'{value:.2f}'])
    return '\n'.join([
        'first:',
        format_report(first), '', f'second: {second}',
        format_report(other), '',
        _table(rows),
        f"first / second: {ratio['median']:.3f}, the ratio of the medians; "
        f"quartiles of the {ratio['pairs']} pairs {ratio['q1']:.3f} - "
        f"{ratio['q3']:.3f}"
    ])


def _table(rows: List[List[str]]) -> str:
    """A table, numbers on the right."""
    table = AsciiTable(rows)
    table.justify_columns = dict.fromkeys(range(1, len(rows[0])), 'right')
    return table.table
