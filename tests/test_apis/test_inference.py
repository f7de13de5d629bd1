# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from mmengine.config import Config

from refinevis_mm.apis import init_model, load_classes
from refinevis_mm.apis.inference import find_config
from refinevis_mm.compat.checkpoints import CheckpointMismatchError
from tests.tiny_files import CLASSES, write_model_files


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def model(files):
    return init_model(*files)


def test_init_model(files, model):
    assert model.classes == list(CLASSES)
    assert not model.training
    options = {'model.mode': 'offline', 'model.window': 0}
    other = init_model(*files, cfg_options=options)
    assert (other.mode, other.window) == ('offline', 0)
    assert load_classes(dict(state_dict={})) == []


def test_other_architecture_names_the_keys(files):
    options = {'model.association_head.embed_dims': 16}
    with pytest.raises(
            CheckpointMismatchError, match=r'association_head\..*weight'):
        init_model(*files, cfg_options=options)
    init_model(*files, cfg_options=options, allow_mismatch=True)


@pytest.mark.parametrize('device, reason', [
    ('toaster', 'not one of torch'),
    pytest.param(
        'cuda',
        'torch finds no GPU',
        marks=pytest.mark.skipif(
            torch.cuda.is_available(), reason='there is a GPU')),
])
def test_device_must_exist(files, device, reason):
    with pytest.raises(ValueError, match=reason):
        init_model(*files, device=device)


def test_config_must_describe_a_model(files, tmp_path):
    path = tmp_path / 'data_only.py'
    path.write_text('data = 1')
    with pytest.raises(ValueError, match='data_only.py" must have a "model"'):
        init_model(str(path), files[1])
    other = Config(dict(model=dict(type='mmdet.TrackDataPreprocessor')))
    with pytest.raises(ValueError, match='got TrackDataPreprocessor'):
        init_model(other, files[1])


def test_shipped_config_is_found_by_name(tmp_path, monkeypatch):
    shipped = tmp_path / 'refinevis_mm' / '.mim' / 'configs' / 'some'
    shipped.mkdir(parents=True)
    (shipped / 'model.py').write_text('')
    monkeypatch.setattr('refinevis_mm.__file__',
                        str(tmp_path / 'refinevis_mm' / '__init__.py'))
    assert find_config('model.py') == str(shipped / 'model.py')
    assert find_config('absent.py') == 'absent.py'
    (tmp_path / 'model.py').write_text('')  # a file goes first
    own = str(tmp_path / 'model.py')
    assert find_config(own) == own
