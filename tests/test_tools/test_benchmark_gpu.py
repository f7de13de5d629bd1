# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import sys

import pytest
import torch

from tests.tool_module import load_tool


@pytest.fixture
def tool():
    return load_tool('analysis_tools/benchmark_gpu.py')


def test_tiny_on_the_cpu(tool, tmp_path, monkeypatch, capsys):
    """Real processes; what a CPU has not is named."""
    list_cases = tool.list_cases

    def few(*args):
        return [
            case for case in list_cases(*args)
            if case.settings.batch_size == 1 and not case.settings.compile and
            case.variant in ('bfloat16', 'AMP float16', 'attention mmcv_cuda')
        ]

    monkeypatch.setattr(tool, 'list_cases', few)
    out = tmp_path / 'gpu.json'
    monkeypatch.setattr(sys, 'argv', [
        'benchmark_gpu.py', '--device', 'cpu', '--tiny', '--repeats', '1',
        '--out',
        str(out)
    ])
    tool.main()
    printed = capsys.readouterr()
    results = json.loads(out.read_text())
    found = {
        (result['variant'], result['mode']): result.get('skipped')
        for result in results
    }
    assert found == {
        ('bfloat16', 'inference'): None,
        ('attention mmcv_cuda', 'inference'): 'needs a GPU and compiled mmcv',
        ('attention mmcv_cuda', 'training'): 'needs a GPU and compiled mmcv',
        ('AMP float16', 'training'): 'needs a GPU'
    }
    assert results[0]['ms']['median'] > 0
    assert results[0]['shape'] == [64, 128]
    assert '| small | inference | 64 x 128 |' in printed.out
    assert '1/4 small' in printed.err


def test_defaults_are_those_of_the_page(tool):
    args = tool.parse_args([])
    assert (args.device, list(args.models), args.sides,
            args.batch_sizes) == ('cuda', ['R50', 'SwinL'], [480, 720], [1, 8])
    assert args.minutes < 8
    cases = tool.list_cases(args.models, args.sides, args.batch_sizes, 'cuda')
    assert len(cases) < 70


def test_models_of_ones_own(tool):
    args = tool.parse_args(['--models', 'mine=a.py', '--sides', '96'])
    assert (args.models, args.sides) == (dict(mine='a.py'), [96])


@pytest.mark.parametrize('args, message', [
    (['--models', 'a.py'], "--models must be NAME=CONFIG, got 'a.py'"),
    (['--sides', '0'], '--sides must be at least 1, got 0'),
    (['--repeats', '-2'], '--repeats must be at least 1, got -2'),
])
def test_wrong_arguments(tool, capsys, args, message):
    with pytest.raises(SystemExit):
        tool.parse_args(args)
    assert message in capsys.readouterr().err


def test_no_gpu_is_one_line(tool):
    if torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises(ValueError, match='torch finds no GPU'):
        tool.measure(tool.parse_args([]))
