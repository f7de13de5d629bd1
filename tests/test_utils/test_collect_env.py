# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from refinevis_mm.utils.collect_env import collect_env


def test_collect_env():
    env = collect_env()
    assert env['refinevis_mm'] == '0.2.0'
    assert env['MMDetection'].startswith('3.')
    assert env['MMCV compiled ops'] in ('True', 'False')
    assert env['Deformable attention, cpu']
    assert all(isinstance(value, str) for value in env.values())
