# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Graphs behind the contracts; PyTorch stands for the runtime."""
import os.path as osp

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.apis import Session, init_model
from refinevis_mm.apis.weights import weights_digest
from refinevis_mm.deployment import (export_model, formats, packages, runtimes,
                                     use_backend)
from refinevis_mm.deployment.graphs import make_graphs
from refinevis_mm.deployment.runtimes import Runtime
from tests.exported_streams import (NAME, assert_equal_streams, run,
                                    run_in_two, shapes_frames)
from tests.tiny_exports import PICTURE, SIZE, VERSIONS, tiny_model

pytestmark = pytest.mark.usefixtures('one_thread')


class Stub(Runtime):
    """Runs the module that a file stands for, by the name of its graph."""

    package = 'torch'
    formats = ('onnx', )
    modules: dict = {}
    runs: list = []

    def run(self, inputs):
        name = osp.splitext(osp.basename(self.path))[0]
        self.runs.append((name, {k: v.shape for k, v in inputs.items()}))
        return list(self.modules[name](*inputs.values()))


@pytest.fixture
def stub(monkeypatch):
    """PyTorch as the backend "onnxruntime"."""

    def write(graph, path, opset):
        open(f'{path}.onnx', 'w').close()
        Stub.modules[osp.basename(path)] = graph.module
        return f'{path}.onnx'

    monkeypatch.setattr(packages, 'installed', VERSIONS.get)
    monkeypatch.setitem(formats.FORMATS, 'onnx', write)
    monkeypatch.setitem(runtimes.RUNTIMES, 'onnxruntime', Stub)
    monkeypatch.setattr(Stub, 'modules', {})
    monkeypatch.setattr(Stub, 'runs', [])
    return Stub


def _exported(model, folder, size, picture=None, **options):
    """A model that runs its graphs, from a folder of its own."""
    digest = weights_digest(model)
    export_model(model, digest, size, folder, picture=picture, **options)
    use_backend(model, 'onnxruntime', digest, folder)
    return model


@pytest.fixture
def small(stub, tmp_path):
    """The small model with graphs, and as it is."""
    return (_exported(init_model(NAME), str(tmp_path / 'graphs'),
                      (128, 192)), init_model(NAME))


def test_streams_and_states_are_those_of_the_model(small, stub):
    exported, model = small
    frames = shapes_frames()
    wanted = run(model, frames)
    assert_equal_streams(run(exported, frames), wanted)
    assert {name
            for name, _ in stub.runs} == {'frame', 'tar', 'classes', 'masks'}
    # a state goes both ways: it is of the same weights
    assert_equal_streams(run_in_two(exported, model, frames, 7), wanted)
    assert_equal_streams(run_in_two(model, exported, frames, 13), wanted)


def test_the_weights_keep_their_digest_and_names(small):
    exported, model = small
    assert weights_digest(exported) == weights_digest(model)
    assert list(exported.state_dict()) == list(model.state_dict())


def test_a_state_can_be_flushed_before_a_frame_comes(small):
    """No frame has told its size yet: the heads of PyTorch answer."""
    exported, model = small
    frames = shapes_frames()[:4]
    digest = weights_digest(model)
    session = Session(model, ('offline', ))
    assert not [done for frame in frames for done in session.step(frame)]
    state, wanted = session.state_dict(), session.flush()
    lazy = init_model(NAME)
    use_backend(lazy, 'onnxruntime', digest, cache_dir='/nowhere')
    session = Session(lazy, ('offline', ))
    session.load_state_dict(state)
    found = session.flush()
    assert [frame.ids for frame in found] == [frame.ids for frame in wanted]
    assert found[0].masks == wanted[0].masks


def test_graphs_of_other_weights_are_refused(stub, tmp_path):
    model = init_model(NAME)
    export_model(model, weights_digest(model), (128, 192), str(tmp_path / 'a'))
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(ValueError, match="must be of the model's weights"):
        use_backend(model, 'onnxruntime', weights_digest(model),
                    str(tmp_path / 'a'))


def test_frames_of_another_size_end_the_stream(small):
    exported, _ = small
    session = Session(exported)
    tall = shapes_frames()[0].transpose(1, 0, 2).copy()
    # resized to 85 x 128 and padded
    with pytest.raises(ValueError, match='got 128 x 192; .* --size 192 128$'):
        session.step(tall)
    assert session.num_frames == 0


def test_a_window_is_padded(stub, tmp_path):
    """Entries behind those that there are change nothing."""
    model = tiny_model('maskdino')
    exported = _exported(
        tiny_model('maskdino'), str(tmp_path / 'g'), SIZE, max_tracklets=3)
    embeds = torch.randn(3, 4, 32)
    frame_inds = torch.arange(4).repeat(3, 1) + 5
    detected = torch.rand(3, 4) > 0.3
    padding = torch.zeros(3, 4, dtype=torch.bool)
    padding[0, :2] = True
    for args in ((embeds, frame_inds, detected, padding),
                 (embeds, frame_inds, detected), (embeds, frame_inds)):
        with torch.no_grad():
            found = exported.tar_head.refine(*args)
            wanted = model.tar_head.refine(*args)
        assert found.shape == wanted.shape
        assert_close(found[~padding], wanted[~padding], atol=1e-5, rtol=1e-5)
    assert stub.runs[-1][1]['embeds'] == (3, 10, 32)
    with pytest.raises(ValueError, match='windows of 10 frames, got 11$'):
        exported.tar_head.refine(
            torch.randn(1, 11, 32),
            torch.arange(11).repeat(1, 1))
    with pytest.raises(
            ValueError,
            match='at most 3 tracklets at a time, got 4; .*'
            '--max-tracklets$'):
        exported.tar_head.refine(
            torch.randn(4, 2, 32), torch.zeros(4, 2, dtype=torch.long))


@torch.no_grad()
def test_heads_of_its_own_and_boxes_of_masks(stub, tmp_path):
    model = tiny_model('condinst')
    exported = _exported(
        tiny_model('condinst'), str(tmp_path / 'g'), SIZE, PICTURE)
    images = torch.randn(1, 3, *SIZE)
    wanted = model.frame_model.forward_frames(images, sizes=[PICTURE])
    found = exported.frame_model.forward_frames(images, sizes=[PICTURE])
    for name in ('embeds', 'cls_logits', 'boxes', 'mask_boxes'):
        assert_close(
            getattr(found, name), getattr(wanted, name), atol=1e-4, rtol=1e-4)
    embeds, boxes = found.embeds[:, :5], found.mask_boxes[:, :5]
    for n in (5, 0):
        assert_close(
            exported.frame_model.segment(embeds[:, :n], found.mask_features,
                                         boxes[:, :n]),
            model.frame_model.segment(embeds[:, :n], found.mask_features,
                                      boxes[:, :n]),
            atol=1e-3,
            rtol=1e-4)
    graphs = make_graphs(model, SIZE, PICTURE)
    assert {'tar_classes', 'tar_masks'} <= set(graphs)
    with pytest.raises(ValueError, match='frames of a batch must have one'):
        exported.frame_model.forward_frames(
            torch.cat([images] * 2), sizes=[PICTURE, SIZE])
    with pytest.raises(NotImplementedError, match='cannot be trained'):
        exported.frame_model.forward_frames(images, targets=[])
    with pytest.raises(NotImplementedError, match='cannot be trained'):
        exported.frame_model.loss_frames(found, [])
    with pytest.raises(NotImplementedError, match='cannot be trained'):
        exported.frame_model.match(found, [])
