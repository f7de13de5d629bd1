# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The real runtimes: frames, streams, states and command lines."""
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.apis import VISInferencer, init_model
from refinevis_mm.deployment import RUNTIMES, export_model
from refinevis_mm.deployment.exported_model import GraphSet
from refinevis_mm.deployment.graphs import FRAME, FrameNetwork, make_graphs
from tests.exported_streams import (NAME, assert_equal_streams, frame_outputs,
                                    run, run_in_two, shapes_frames)
from tests.tiny_exports import KINDS, PICTURE, SIZE, tiny_model

for package in ('onnx', 'onnxscript', 'onnxruntime', 'openvino'):
    pytest.importorskip(package)

ROOT = Path(__file__).parents[2]
BACKENDS = list(RUNTIMES)
CLOSE = dict(atol=1e-4, rtol=1e-4)
pytestmark = [pytest.mark.zoo, pytest.mark.usefixtures('one_thread')]


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """An empty cache of weights, to which graphs are exported once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp('cache')
        patch.setenv('REFINEVIS_MM_CACHE', str(folder))
        yield folder


@pytest.fixture(scope='module')
def model():
    return init_model(NAME)


@pytest.fixture(scope='module')
def frames():
    return shapes_frames()


@pytest.fixture(scope='module')
def wanted(model, frames):
    return run(model, frames)


@pytest.mark.parametrize('kind', KINDS)
def test_every_frame_model(kind, tmp_path):
    """Graphs of ONNX of a batch that they were not made with."""
    model, folder = tiny_model(kind), str(tmp_path / 'graphs')
    manifest = export_model(model, '', SIZE, folder, picture=PICTURE)
    torch.manual_seed(1)
    images = torch.randn(3, 3, *SIZE)
    network = FrameNetwork(model, manifest.picture)
    with torch.no_grad():
        values = network(images)
    expected = dict(zip(network.names, values))
    graphs = make_graphs(model, SIZE, manifest.picture)
    for backend in BACKENDS:
        opened = GraphSet(folder, backend, 1)
        found = opened.run(FRAME, images=images)
        assert list(found) == network.names
        for name, value in found.items():
            assert_close(value, expected[name], **CLOSE)
        for name in set(graphs) - {FRAME}:
            found = opened.run(name, **graphs[name].inputs)
            for output, value in graphs[name].outputs.items():
                assert_close(found[output], value, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize('backend', BACKENDS)
def test_streams_and_states_are_those_of_the_model(backend, cache, model,
                                                   frames, wanted):
    exported = VISInferencer(NAME, backend=backend).model
    assert_equal_streams(run(exported, frames), wanted)
    assert_equal_streams(run_in_two(exported, model, frames, 7), wanted)
    assert_equal_streams(run_in_two(model, exported, frames, 13), wanted)
    # exported once, by whoever came first
    assert len(list(cache.glob('exported/*/graphs.json'))) == 1


@pytest.mark.parametrize('backend', BACKENDS)
def test_embeddings_and_logits(backend, cache, model, frames):
    exported = VISInferencer(NAME, backend=backend, threads=2).model
    for found, expected in zip(
            frame_outputs(exported, frames[:3]),
            frame_outputs(model, frames[:3])):
        for name in ('embeds', 'cls_logits', 'boxes', 'mask_features'):
            assert_close(
                getattr(found, name), getattr(expected, name), **CLOSE)


def test_graphs_of_a_folder(cache, model, frames, wanted):
    folder = next(cache.glob('exported/*/graphs.json')).parent
    inferencer = VISInferencer(NAME, backend='openvino', graphs=str(folder))
    assert_equal_streams(run(inferencer.model, frames), wanted)
    with pytest.raises(ValueError, match='window 12'):
        VISInferencer(
            NAME, backend='onnxruntime', graphs=str(folder), window=12)


def test_tools(cache, tmp_path, frames):
    """The graphs of export.py are those that video_demo.py takes."""
    import cv2
    for i, frame in enumerate(frames[:5]):
        cv2.imwrite(str(tmp_path / f'{i:02d}.png'), frame)
    results = {}
    folder = next(cache.glob('exported/*/graphs.json')).parent
    for options in ([], ['--backend', 'openvino'],
                    ['--backend', 'onnxruntime', '--graphs',
                     str(folder)]):
        out = tmp_path / ('out' + ''.join(options[1:2]))
        subprocess.run([
            sys.executable, 'tools/video_demo.py', f'{tmp_path}/*.png', NAME,
            '--outputs', 'results', '--out-dir',
            str(out), *options
        ],
                       cwd=ROOT,
                       check=True,
                       capture_output=True)
        data = json.loads((out / 'results.json').read_text('utf-8'))
        results[out.name] = [(item['category_id'], round(item['score'], 3),
                              [mask is None for mask in item['segmentations']])
                             for item in data]
    first, *others = results.values()
    assert others == [first, first] and first
