# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import hashlib
import importlib.metadata
import os.path as osp

import pytest
from mmdet.datasets import CocoDataset

from refinevis_mm.compat.checkpoints import CheckpointError
from refinevis_mm.models.frame_level import rfdetr_package
from refinevis_mm.models.frame_level.rfdetr_seg import RFDETRSeg
from tests.tiny_rfdetr import need_rfdetr, use_tiny_nano


@pytest.fixture
def rfdetr():
    return need_rfdetr()


@pytest.fixture
def tiny_nano(monkeypatch):
    return use_tiny_nano(monkeypatch)


@pytest.mark.parametrize('version', [None, '1.10.1', '1.12.0', '2.0'])
def test_missing_or_other_package_is_one_line(monkeypatch, version):

    def find(name):
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    monkeypatch.setattr(importlib.metadata, 'version', find)
    with pytest.raises(ImportError) as error:
        RFDETRSeg('nano')
    text = str(error.value)
    assert f'found {version or "none"}.' in text and '\n' not in text
    assert 'rfdetr>=1.11.0,<1.12.0' in text
    assert 'pip install "refinevis_mm[rfdetr]"' in text


@pytest.mark.zoo
def test_another_network_is_named(tiny_nano, monkeypatch):
    known = rfdetr_package._known_parts

    def changed(*args):
        return {**known(*args), 'transformer.no.such.part': 3}

    monkeypatch.setattr(rfdetr_package, '_known_parts', changed)
    with pytest.raises(ImportError, match='must be 3, got nothing'):
        rfdetr_package.build_network('nano', 4)
    monkeypatch.setattr(rfdetr_package, '_known_parts',
                        lambda *args: {'transformer.d_model': 128})
    with pytest.raises(
            ImportError, match='transformer.d_model must be 128, got 256'):
        rfdetr_package.build_network('nano', 4)


@pytest.mark.zoo
def test_category_ids_are_in_the_order_of_mmdet(rfdetr):
    from rfdetr.assets.coco_classes import COCO_CLASSES
    ids = rfdetr_package.coco_category_ids()
    assert ids[0] == 1 and ids[-1] == 90 and len(ids) == 80
    names = tuple(COCO_CLASSES[i] for i in ids)
    assert names == CocoDataset.METAINFO['classes']


@pytest.mark.zoo
def test_offline_names_address_and_path(rfdetr, monkeypatch, tmp_path):
    requests = pytest.importorskip('requests')
    from rfdetr.assets import model_weights

    def fail(**kwargs):
        raise requests.exceptions.ConnectionError('no route\nto host')

    monkeypatch.setenv('RF_HOME', str(tmp_path / 'models'))
    monkeypatch.setattr(model_weights, '_download_file', fail)
    with pytest.raises(CheckpointError) as error:
        rfdetr_package.fetch_weights('nano')
    text = str(error.value)
    assert '\n' not in text
    assert 'https://storage.googleapis.com/rfdetr/rf-detr-seg-n-ft.pth' in text
    assert f'"{tmp_path / "models" / "rf-detr-seg-nano.pt"}"' in text


@pytest.mark.zoo
def test_a_cache_that_cannot_be_written_is_one_line(rfdetr, monkeypatch,
                                                    tmp_path):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('RF_HOME', str(tmp_path / 'file'))
    with pytest.raises(CheckpointError, match='cannot be fetched; download'):
        rfdetr_package.fetch_weights('small')


@pytest.mark.zoo
def test_a_file_in_the_cache_is_used(rfdetr, monkeypatch, tmp_path):
    from rfdetr.assets import model_weights

    def fail(**kwargs):
        raise AssertionError('nothing is to be downloaded')

    monkeypatch.setenv('RF_HOME', str(tmp_path))
    monkeypatch.setattr(model_weights, '_download_file', fail)
    for size in rfdetr_package.SIZES:
        address, path = rfdetr_package.published_weights(size)
        assert osp.dirname(path) == str(tmp_path)
        assert address.endswith(f'rf-detr-seg-{size[0]}-ft.pth')
        with open(path, 'w') as file:  # the user's own
            file.write(size)
        assert rfdetr_package.fetch_weights(size) == path
        with open(path, 'rb') as file:
            assert hashlib.md5(file.read()).hexdigest() == hashlib.md5(
                size.encode()).hexdigest()
