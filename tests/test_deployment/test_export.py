# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What cannot be exported, or not be used, is refused in one line."""
import json
import os

import pytest
import torch

from refinevis_mm.deployment import (Manifest, export_model, formats,
                                     graph_folders, packages, use_backend)
from refinevis_mm.deployment.exported_model import GraphSet, OpenGraphs
from refinevis_mm.deployment.graph_folders import GraphFolders
from refinevis_mm.models import Mask2Former
from tests.tiny_exports import PICTURE, SIZE, VERSIONS, tiny_model

WEIGHTS = 'a' * 16


@pytest.fixture(scope='module')
def model():
    return tiny_model('maskdino')


@pytest.fixture
def installed(monkeypatch):
    """Every package is there, in a version that is new enough."""
    versions = dict(VERSIONS)
    monkeypatch.setattr(packages, 'installed', versions.get)
    return versions


def _manifest(model, **changes):
    """A manifest of graphs of a model, without graphs."""
    data = dict(
        format='onnx',
        frame_model='MaskDINO',
        weights=WEIGHTS,
        network=graph_folders.network_digest(model.cfg),
        classes=[],
        size=SIZE,
        picture=None,
        window=10,
        max_tracklets=5,
        preprocessing={},
        graphs={},
        opset=18,
        versions={})
    return Manifest(**{**data, **changes})


@pytest.mark.parametrize('size', [(64, 100), (0, 96), (-32, 32)])
def test_size_must_be_divisible_by_the_stride(model, tmp_path, size,
                                              installed):
    with pytest.raises(
            ValueError, match=r'divisible by the stride 32, got -?\d+ x \d+$'):
        export_model(model, WEIGHTS, size, str(tmp_path / 'out'))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize('options, reason', [
    (dict(fmt='tensorrt'), "format must be one of .*, got 'tensorrt'"),
    (dict(opset=11), 'opset must be at least 18, got 11'),
    (dict(max_tracklets=0), 'max_tracklets must be positive, got 0'),
])
def test_options(model, tmp_path, options, reason, installed):
    with pytest.raises(ValueError, match=f'^{reason}$'):
        export_model(model, WEIGHTS, SIZE, str(tmp_path / 'out'), **options)
    assert not os.listdir(tmp_path)


def test_picture_lies_in_the_input(tmp_path):
    with pytest.raises(ValueError, match='64 x 96 .*, got 65 x 90'):
        export_model(
            tiny_model('condinst'),
            WEIGHTS,
            SIZE,
            str(tmp_path / 'out'),
            'torch-export',
            picture=(65, 90))


def test_existing_folder_is_not_replaced(model, tmp_path, installed):
    with pytest.raises(FileExistsError, match='use --force'):
        export_model(model, WEIGHTS, SIZE, str(tmp_path))


def test_only_models_whose_graphs_are_known(model, tmp_path, monkeypatch,
                                            installed):
    monkeypatch.setattr('refinevis_mm.deployment.export.FRAME_MODELS',
                        (Mask2Former, ))
    with pytest.raises(
            ValueError, match='must be one of Mask2Former .*, got MaskDINO'):
        export_model(model, WEIGHTS, SIZE, str(tmp_path / 'out'))
    with pytest.raises(ValueError, match='type RefineVIS .*, got Linear'):
        export_model(
            torch.nn.Linear(1, 1), WEIGHTS, SIZE, str(tmp_path / 'out'))


@pytest.mark.parametrize('missing, call', [
    ('onnxscript',
     lambda model: export_model(model, WEIGHTS, SIZE, '/nowhere')),
    ('openvino',
     lambda model: export_model(model, WEIGHTS, SIZE, '/nowhere', 'openvino')),
    ('openvino', lambda model: use_backend(model, 'openvino', WEIGHTS)),
    ('onnxruntime', lambda model: use_backend(model, 'onnxruntime', WEIGHTS)),
    ('onnx', lambda model: use_backend(model, 'onnxruntime', WEIGHTS)),
])
def test_missing_package_is_named(model, missing, call, installed):
    del installed[missing]
    with pytest.raises(
            ImportError,
            match=f'needs {missing}>=.* but found none. Run: pip install '
            r'"refinevis_mm\[(export|onnxruntime|openvino)\]"$'):
        call(model)
    installed[missing] = '0.1'
    with pytest.raises(ImportError, match='but found 0.1'):
        call(model)


def test_what_a_backend_refuses(model, installed):
    with pytest.raises(ValueError, match="one of .*, got 'tensorrt'"):
        use_backend(model, 'tensorrt', WEIGHTS)
    with pytest.raises(ValueError, match='threads must be positive, got 0'):
        use_backend(model, 'onnxruntime', WEIGHTS, threads=0)
    with pytest.raises(ValueError, match='runs on the CPU, got .* "meta"'):
        use_backend(tiny_model('maskdino').to('meta'), 'openvino', WEIGHTS)


@pytest.mark.parametrize('changes, reason', [
    (dict(weights='b' * 16), "the model's weights a+, got b+$"),
    (dict(network='c' * 16), "the model's network settings .*, got c+$"),
    (dict(window=9), 'windows of 9 frames, got window 10$'),
])
def test_graphs_of_another_model(model, tmp_path, changes, reason):
    _manifest(model, **changes).write(str(tmp_path))
    with pytest.raises(ValueError, match=reason):
        GraphFolders(model, WEIGHTS, str(tmp_path))


def test_frames_of_another_size(model, tmp_path):
    _manifest(model).write(str(tmp_path))
    folders = GraphFolders(model, WEIGHTS, str(tmp_path))
    assert folders.find(SIZE, None) == str(tmp_path)
    with pytest.raises(
            ValueError,
            match=r'frames of 96 x 64 \(width x height, padded\), got 96 x '
            '128; export others with --size 128 96$'):
        folders.find((128, 96), None)
    _manifest(model, picture=PICTURE).write(str(tmp_path))
    folders = GraphFolders(model, WEIGHTS, str(tmp_path))
    with pytest.raises(
            ValueError,
            match='pictures of 90 x 50 .*, got 96 x 64; export others with '
            '--picture-size 64 96$'):
        folders.find(SIZE, SIZE)


def test_sizes_that_the_network_cannot_take_are_not_exported(
        model, tmp_path, installed):
    folders = GraphFolders(model, WEIGHTS, cache_dir=str(tmp_path))
    with pytest.raises(ValueError, match='divisible by the stride'):
        folders.find((65, 96), None)


def test_cache_exports_once(model, tmp_path, monkeypatch, installed):
    made = []

    def export(model, weights, size, folder, picture):
        made.append((size, picture))
        os.makedirs(folder)

    monkeypatch.setattr(graph_folders, 'export_model', export)
    folders = GraphFolders(model, WEIGHTS, cache_dir=str(tmp_path))
    first = folders.find(SIZE, None)
    assert folders.find(SIZE, None) == first
    assert GraphFolders(
        model, WEIGHTS, cache_dir=str(tmp_path)).find(SIZE, None) == first
    assert folders.find((64, 64), None) != first
    assert folders.find((64, 64), (50, 50)) != folders.find((64, 64), None)
    assert len(made) == 3
    other = GraphFolders(model, 'b' * 16, cache_dir=str(tmp_path))
    assert other.find(SIZE, None) != first


def test_setting_that_no_weights_show(model):
    """Other queries are another network with the same weights."""
    cfg = model.cfg.copy()
    cfg.merge_from_dict({'model.frame_model.num_queries': 7})
    assert graph_folders.network_digest(cfg) != graph_folders.network_digest(
        model.cfg)
    cfg.merge_from_dict({'model.frame_model.num_queries': 12})
    cfg.merge_from_dict({'model.cls_thr': 0.5})  # of no graph
    assert graph_folders.network_digest(cfg) == graph_folders.network_digest(
        model.cfg)


@pytest.mark.parametrize('text, reason', [
    ('{', 'describes no exported graphs'),
    ('[]', 'describes no exported graphs'),
    ('{}', "'format_version'"),
    ('{"format_version": 99}', 'format_version must be 1, got 99'),
    ('{"format_version": 1, "size": [1, 2]}', 'missing 12 required'),
])
def test_broken_json(tmp_path, text, reason):
    (tmp_path / 'graphs.json').write_text(text)
    with pytest.raises(
            ValueError,
            match='describes no .*' + reason
            if reason not in 'describes no exported graphs' else reason):
        Manifest.read(str(tmp_path))


def test_no_folder_of_graphs(tmp_path):
    with pytest.raises(FileNotFoundError, match='folder of exported graphs'):
        Manifest.read(str(tmp_path))


def test_json_comes_back(model, tmp_path):
    manifest = _manifest(model, picture=PICTURE)
    manifest.write(str(tmp_path))
    assert Manifest.read(str(tmp_path)) == manifest
    text = (tmp_path / 'graphs.json').read_text('utf-8')
    assert json.loads(text)['format_version'] == 1


def test_format_and_backend_must_fit(model, tmp_path, installed):
    _manifest(model, format='openvino').write(str(tmp_path))
    with pytest.raises(
            ValueError,
            match='"onnxruntime" reads graphs of format onnx, got '
            '"openvino"'):
        GraphSet(str(tmp_path), 'onnxruntime', 1)
    graph = dict(file='frame.onnx', inputs=[], outputs=[])
    _manifest(model, graphs=dict(frame=graph)).write(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='no graph ".*frame.onnx"'):
        GraphSet(str(tmp_path), 'onnxruntime', 1)


def test_few_sizes_stay_open(model, tmp_path, monkeypatch, installed):
    _manifest(model).write(str(tmp_path))
    monkeypatch.setattr(GraphFolders, 'find', lambda *_: str(tmp_path))
    graphs = OpenGraphs(
        GraphFolders(model, WEIGHTS, cache_dir=str(tmp_path)), 'onnxruntime',
        1)
    first = graphs.of_frames((32, 32), None)
    for side in range(2, 5):
        graphs.of_frames((32, 32 * side), None)
    assert graphs.of_frames((32, 32), None) is first  # used again
    graphs.of_frames((32, 320), None)
    assert len(graphs._sets) == OpenGraphs.MAX_OPEN
    assert graphs.of_frames((32, 32), None) is first


def test_written_whole_or_not_at_all(model, tmp_path, monkeypatch, installed):

    def fail(graph, path, opset):
        with open(path, 'w') as file:
            file.write('half of it')
        raise OSError('disk full')

    monkeypatch.setitem(formats.FORMATS, 'onnx', fail)
    with pytest.raises(OSError, match='disk full'):
        export_model(model, WEIGHTS, SIZE, str(tmp_path / 'out'))
    assert not os.listdir(tmp_path)
