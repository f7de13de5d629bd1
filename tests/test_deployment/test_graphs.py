# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Graphs of torch.export, which needs no package beside torch."""
import json

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.deployment import export_model
from refinevis_mm.deployment.graphs import FRAME, FrameNetwork, make_graphs
from refinevis_mm.models.layers import use_attention_backend
from tests.tiny_exports import KINDS, PICTURE, SIZE, tiny_model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures('one_thread')]
CLOSE = dict(atol=1e-4, rtol=1e-4)


@pytest.fixture(scope='module', params=KINDS)
def exported(request, tmp_path_factory):
    """Model, manifest and folder of its graphs."""
    model = tiny_model(request.param)
    folder = str(tmp_path_factory.mktemp('graphs') / request.param)
    manifest = export_model(
        model, 'a' * 16, SIZE, folder, 'torch-export', picture=PICTURE)
    return model, manifest, folder


def _load(folder, manifest, name):
    return torch.export.load(f'{folder}/{manifest.graphs[name]["file"]}')


def _named(manifest, name, values):
    outputs = manifest.graphs[name]['outputs']
    assert len(outputs) == len(values)
    for output, value in zip(outputs, values):
        assert output['shape'][1:] == list(value.shape[1:])
        assert output['dtype'] == str(value.dtype).replace('torch.', '')
    return dict(zip([output['name'] for output in outputs], values))


@torch.no_grad()
def test_frames_of_another_batch(exported):
    """The batch is free: no size of the example is left in the graph."""
    model, manifest, folder = exported
    program = _load(folder, manifest, FRAME).module()
    images = torch.randn(3, 3, *SIZE)
    # not the backend that the graph was made with
    frames = model.frame_model.forward_frames(images, sizes=[PICTURE] * 3)
    model.embed(frames)
    found = _named(manifest, FRAME, program(images))
    for name, value in found.items():
        assert_close(value, getattr(frames, name), **CLOSE)
    assert set(found) >= {
        'embeds', 'cls_logits', 'boxes', 'mask_features', 'assoc_embeds'
    }


@torch.no_grad()
def test_heads_and_refinement(exported):
    model, manifest, folder = exported
    with use_attention_backend('gather'):
        graphs = make_graphs(model, SIZE, manifest.picture)
    assert set(graphs) == set(manifest.graphs)
    for name in set(graphs) - {FRAME}:
        inputs = graphs[name].inputs
        # other numbers of tracklets: twice as many
        more = [
            torch.cat([value] * 2) if key in graphs[name].free else value
            for key, value in inputs.items()
        ]
        found = _load(folder, manifest, name).module()(*more)
        for value, wanted in zip(found, graphs[name].outputs.values()):
            assert_close(value, torch.cat([wanted] * 2), **CLOSE)


def test_no_operator_that_other_runtimes_lack(exported):
    _, manifest, folder = exported
    code = _load(folder, manifest, FRAME).graph_module.code
    assert 'grid_sampler' not in code and 'embedding_bag' not in code
    assert 'index_select' in code


def test_the_json_says_what_there_is(exported):
    model, manifest, folder = exported
    with open(f'{folder}/graphs.json', encoding='utf-8') as file:
        data = json.load(file)
    assert data['size'] == list(SIZE) and data['weights'] == 'a' * 16
    assert data['window'] == model.window and data['opset'] is None
    masked = type(model.frame_model).__name__ == 'DeformableDETRCondInst'
    assert data['picture'] == (list(PICTURE) if masked else None)
    assert ('tar_masks' in data['graphs']) is masked
    images, = data['graphs'][FRAME]['inputs']
    assert images == dict(
        name='images', dtype='float32', shape=['batch', 3, *SIZE])
    settings = data['preprocessing']
    assert settings['divisor'] == 32 and settings['channels'] == 'RGB'
    assert settings['mean'] == [123.675, 116.28, 103.53]


@torch.no_grad()
def test_padding_is_that_of_the_picture():
    """A frame model that masks padding has it in the graph."""
    model = tiny_model('condinst')
    images = torch.randn(1, 3, *SIZE)
    masked, = FrameNetwork(model, PICTURE)(images)[:1]
    filled, = FrameNetwork(model, None)(images)[:1]
    frames = model.frame_model.forward_frames(images, sizes=[PICTURE])
    assert_close(masked, frames.embeds, atol=0, rtol=0)
    assert (masked - filled).abs().max() > 1e-3
