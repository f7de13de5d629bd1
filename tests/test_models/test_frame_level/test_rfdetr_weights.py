# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import argparse
import gzip
import json
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.compat.checkpoints import (CheckpointError,
                                             CheckpointMismatchError,
                                             check_state_dict)
from refinevis_mm.models.frame_level import rfdetr_weights
from refinevis_mm.models.frame_level.rfdetr_package import SIZES
from refinevis_mm.models.frame_level.rfdetr_seg import RFDETRSeg
from refinevis_mm.models.frame_level.rfdetr_weights import (
    OTHER_GROUP, convert_rfdetr_weights, load_rfdetr_weights)
from tests.tiny_rfdetr import need_rfdetr, package_network, use_tiny_nano

MANIFESTS = Path(__file__).parents[2] / 'data' / 'manifests'
GROUPS = 13

need_rfdetr()
pytestmark = pytest.mark.zoo


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path, ))


@pytest.fixture
def tiny_nano(monkeypatch):
    return use_tiny_nano(monkeypatch)


@pytest.fixture
def model(tiny_nano):
    torch.manual_seed(1)
    return RFDETRSeg('nano', num_classes=3)


@pytest.fixture
def official(tiny_nano):
    """Weights of the package's network, all groups of queries."""
    return package_network('nano', num_classes=3).state_dict()


def save(path, checkpoint):
    torch.save(checkpoint, path)
    return str(path)


@pytest.mark.parametrize('size', SIZES)
def test_every_key_of_a_full_model_is_used_or_dropped(size):
    path = MANIFESTS / f'rfdetr_seg_{size}.json.gz'
    keys = json.loads(gzip.open(path).read())['keys']
    with torch.device('meta'):
        full = RFDETRSeg(size)
        official = {
            key: torch.empty(shape, dtype=getattr(torch, dtype))
            for key, shape, dtype in keys
        }
    converted, dropped = convert_rfdetr_weights(official, full)
    check_state_dict(full, converted)
    assert len(converted) + len(dropped) == len(keys)
    # what exists for each group of queries, but for the first
    assert len(dropped) == 12 * (GROUPS - 1)
    assert all(OTHER_GROUP.match(key) for key in dropped)


@pytest.mark.parametrize('layout', ['package', 'lightning', 'compiled'])
def test_layouts_of_the_package(model, official, layout, tmp_path):
    args = argparse.Namespace(num_classes=3, class_names=['a', 'b', 'c'])
    prefix = 'model._orig_mod.' if layout == 'compiled' else 'model.'
    checkpoint = dict(model=official, args=args) if layout == 'package' else \
        dict(
            state_dict={prefix + k: v for k, v in official.items()},
            hyper_parameters=dict(class_names=['a', 'b']))  # of another
    path = save(tmp_path / 'weights.pth', checkpoint)
    report = load_rfdetr_weights(model, path)
    assert report.path == path
    assert report.classes == (['a', 'b', 'c'] if layout == 'package' else [])
    assert sorted(report.loaded + report.dropped) == sorted(official)
    assert len(report.dropped) == 12 * (GROUPS - 1)
    own = model.state_dict()
    queries = official['query_feat.weight']
    assert len(queries) == GROUPS * 20
    assert torch.equal(own['network.query_feat.weight'], queries[:20])
    for old, new in (('transformer.decoder.norm.weight', 'norm.weight'),
                     ('transformer.enc_out_class_embed.0.bias',
                      'network.transformer.enc_out_class_embed.0.bias')):
        assert torch.equal(own[new], official[old])


def test_the_published_weights_are_loaded_by_name(model, official, monkeypatch,
                                                  tmp_path):
    path = save(tmp_path / 'published.pt', dict(model=official))
    sizes = []

    def fetch(size):
        sizes.append(size)
        return path

    monkeypatch.setattr(rfdetr_weights, 'fetch_weights', fetch)
    assert load_rfdetr_weights(model).path == path and sizes == ['nano']


def test_old_and_newer_files(model, official, tmp_path):
    del official['_kp_active_mask']  # files before keypoint models
    official['some.other.head'] = torch.zeros(1)
    path = save(tmp_path / 'weights.pth', dict(model=official))
    report = load_rfdetr_weights(model, path)
    others = [key for key in report.dropped if not OTHER_GROUP.match(key)]
    assert others == ['some.other.head']


def test_weights_of_another_model_change_nothing(model, official, tmp_path):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    missing = dict(official)
    del missing['class_embed.weight']
    other_side = dict(official)
    key = 'backbone.0.encoder.encoder.embeddings.position_embeddings'
    other_side[key] = torch.zeros(1, 50, 384)
    for weights, text in (
        (missing, r'1 missing keys \(network.class_embed.weight\)'),
        (other_side, r'position_embeddings \(1, 50, 384\) in the checkpoint, '
         r'\(1, 65, 384\) in the model'),
    ):
        path = save(tmp_path / 'weights.pth', dict(model=weights))
        with pytest.raises(CheckpointMismatchError, match=text):
            load_rfdetr_weights(model, path)
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


def test_other_classes_are_refused_or_cut_and_repeated(tiny_nano, official,
                                                       tmp_path):
    path = save(tmp_path / 'weights.pth', dict(model=official))
    model = RFDETRSeg('nano', num_classes=5)
    with pytest.raises(
            CheckpointMismatchError, match='4 keys of another shape'):
        load_rfdetr_weights(model, path)
    load_rfdetr_weights(model, path, other_classes=True)
    rows = official['class_embed.weight']  # 4 of them
    assert_close(model.network.class_embed.weight, rows[[0, 1, 2, 3, 0, 1]])
    fewer = RFDETRSeg('nano', num_classes=1, weights=path)
    fewer.init_weights()  # as training does
    assert_close(fewer.network.class_embed.weight, rows[:2])
    bias = official['transformer.enc_out_class_embed.0.bias']
    assert_close(fewer.network.transformer.enc_out_class_embed[0].bias,
                 bias[:2])


def test_what_is_no_checkpoint_of_the_package(model, tmp_path):
    path = tmp_path / 'weights.pth'
    for content, text in ((dict(weights=1), 'got the keys weights'),
                          (dict(model=dict()), 'got the keys model'),
                          ([1], 'got list'), ({}, 'got no key')):
        with pytest.raises(CheckpointError, match=text):
            load_rfdetr_weights(model, save(path, content))
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_rfdetr_weights(model, str(tmp_path / 'nowhere.pth'))


def test_pickled_code_is_not_run(model, official, tmp_path):
    path, trace = tmp_path / 'weights.pth', tmp_path / 'trace'
    save(path, dict(model=official, args=Malicious(trace)))
    with pytest.raises(CheckpointError, match='holds more than weights'):
        load_rfdetr_weights(model, str(path))
    assert not trace.exists()
    # Namespace is allowed for these files only
    save(path, dict(state_dict=dict(), args=argparse.Namespace()))
    with pytest.raises(Exception, match='Namespace'):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize('names', [5, 'abc', None, ['a', 'b']])
def test_names_that_are_no_three_names(names):
    assert rfdetr_weights._class_names(dict(args=dict(class_names=names)),
                                       3) == []
