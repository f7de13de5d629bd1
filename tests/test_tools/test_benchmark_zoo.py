# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import os.path as osp
import sys
from argparse import Namespace
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from tests.tiny_files import write_model_files
from tests.tool_module import load_tool


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """The tool, to which the tiny model has a name."""
    module = load_tool('analysis_tools/benchmark_zoo.py')
    config, _ = write_model_files(tmp_path)
    monkeypatch.setattr(module, 'find_entry',
                        lambda name: SimpleNamespace(config=config))
    return module


def arguments(**options):
    return Namespace(**dict(
        dict(shape=(48, 96), frames=2, threads=1, device='cpu'), **options))


def test_a_model_is_timed(tool, monkeypatch):
    threads = torch.get_num_threads()
    seen = []
    step = tool.Session.step

    def spy(session, image, time=None):
        seen.append(image.shape)
        return step(session, image, time)

    monkeypatch.setattr(tool.Session, 'step', spy)
    try:
        seconds, peak, count, found = tool.measure('tiny', arguments())
    finally:
        torch.set_num_threads(threads)
    assert seen == [(48, 96, 3)] * 3  # one frame to warm up
    assert 0 < seconds < 60 and peak > 100 and found >= 0
    model = tool.build('tiny', (48, 96), 'cpu').model
    expected = sum(value.numel() for value in model.parameters()) / 1e6
    assert count == expected > 0.1


def test_the_model_sees_the_shape(tool):
    session = tool.build('tiny', (32, 64), 'cpu')
    steps = session.model.cfg.test_dataloader.dataset.pipeline
    assert steps[0].transforms[1].scale == (64, 32)
    square = Config(
        dict(
            model=session.model.cfg.model,
            default_scope='mmdet',
            test_dataloader=dict(
                dataset=dict(pipeline=[
                    dict(type='Resize', scale=(40, 40), keep_ratio=True),
                    dict(type='Resize', scale=(90, 30), keep_ratio=False)
                ]))))
    path = osp.join(osp.dirname(session.model.cfg.filename), 'square.py')
    square.dump(path)
    tool.find_entry = lambda name: SimpleNamespace(config=path)
    steps = tool.build('square', (32, 64),
                       'cpu').model.cfg.test_dataloader.dataset.pipeline
    assert [step.scale for step in steps] == [(40, 40), (90, 30)]


def test_unknown_name_is_one_line(monkeypatch):
    module = load_tool('analysis_tools/benchmark_zoo.py')
    with pytest.raises(ValueError, match='no weights of the name "absent"'):
        module.measure('absent', arguments())
    monkeypatch.setattr(sys, 'argv', ['benchmark_zoo.py'])
    with pytest.raises(SystemExit):
        module.main()


def test_no_such_device(tool):
    with pytest.raises(ValueError, match='device "abacus" is not one of'):
        tool.build('tiny', (48, 96), 'abacus')
