# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import dataclasses
import hashlib
import socket
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from refinevis_mm.apis import VISInferencer
from refinevis_mm.apis import inference as inference_module
from refinevis_mm.apis import init_model, load_classes
from refinevis_mm.apis.inference import find_config
from refinevis_mm.compat.checkpoints import CheckpointMismatchError
from refinevis_mm.zoo import DownloadError, UnknownNameError, find_entry
from tests.tiny_detectors import tiny_solov2_cfg, write_detector
from tests.tiny_files import CLASSES, random_frames, write_model_files


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
    assert find_config('*.py') == '*.py'  # no pattern
    (tmp_path / 'model.py').write_text('')  # a file goes first
    own = str(tmp_path / 'model.py')
    assert find_config(own) == own


def test_config_of_mmdet_is_found_by_name():
    path = find_config('mmdet::solov2/solov2_r50_fpn_1x_coco.py')
    assert Config.fromfile(path).model.type == 'SOLOv2'
    with pytest.raises(OSError, match='no-such.py') as error:
        init_model('mmdet::solov2/no-such.py', 'a.pth')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('meta, expected', [
    (dict(dataset_meta=dict(classes=('a', 'b'))), ['a', 'b']),
    (dict(dataset_meta=dict(CLASSES=['a', 'b'])), ['a', 'b']),
    (dict(CLASSES=('a', 'b')), ['a', 'b']),
    (dict(dataset_meta=dict(palette=[]), CLASSES=('a', )), ['a']),
    (dict(dataset_meta=None), []),
    (None, []),
])
def test_classes_of_new_and_old_checkpoints(meta, expected):
    assert load_classes(dict(meta=meta)) == expected


# ---- names of weights ----


@pytest.fixture
def zoo(files, tmp_path, monkeypatch):
    """Puts weights of a name into the zoo; returns what is said."""
    monkeypatch.setenv('REFINEVIS_MM_CACHE', str(tmp_path / 'cache'))
    said = []
    monkeypatch.setattr(inference_module, 'print_log',
                        lambda text, *args, **kwargs: said.append(text))

    def add(config=files[0], checkpoint=files[1], **facts):
        content = Path(checkpoint).read_bytes()
        entry = dataclasses.replace(
            find_entry('mask2former-r50_youtubevis2021'),
            **dict(
                dict(
                    name='some-name',
                    config=config,
                    address=Path(checkpoint).as_uri(),
                    file_name='weights.pth',
                    sha256=hashlib.sha256(content).hexdigest()[:8],
                    tensor_bytes=None,
                    licence='CC-BY-NC-4.0',
                    non_commercial=True), **facts))
        monkeypatch.setattr('refinevis_mm.zoo.names.ENTRIES', (entry, ))
        return said

    return add


def test_weights_by_name(zoo, tmp_path, files):
    said = zoo()
    frames = random_frames(2)
    inferencer = VISInferencer('some-name', mode='offline', window=2)
    path = tmp_path / 'cache' / 'weights.pth'
    assert inferencer.model.weights == str(path)
    assert path.read_bytes() == Path(files[1]).read_bytes()
    assert (inferencer.model.mode, inferencer.model.window) == ('offline', 2)
    licences = [line for line in said if 'CC-BY-NC-4.0' in line]
    assert len(licences) == 1 and '\n' not in licences[0]
    assert licences[0].startswith('some-name: weights under CC-BY-NC-4.0')
    assert licences[0].endswith('NOT FOR COMMERCIAL USE')
    # the checkpoint names four classes, which are not those of the entry
    alone = VISInferencer(*files, mode='offline', window=2)
    for frame, other in zip(inferencer.stream(frames), alone.stream(frames)):
        assert frame.ids == other.ids and frame.masks == other.masks


def test_weights_are_fetched_once_and_the_licence_said_each_time(
        zoo, files, tmp_path):
    source = tmp_path / 'source.pth'
    source.write_bytes(Path(files[1]).read_bytes())
    said = zoo(checkpoint=source)
    for num in (1, 2):
        VISInferencer('Some-Name')  # in any case
        assert sum('CC-BY-NC-4.0' in line for line in said) == num
        source.unlink(missing_ok=True)


def test_classes_of_names(zoo, tmp_path):
    """A panoptic file names stuff as well."""
    names = [f'own {i}' for i in range(60)]
    zoo(*write_detector(tmp_path, tiny_solov2_cfg(40), CLASSES=names))
    classes = init_model('some-name').classes
    assert classes == list(find_entry('some-name').classes)
    assert len(classes) == 40 and 'person' in classes


def test_names_may_have_dots(zoo):
    """As mmdet's mask-rcnn_regnetx-3.2GF_fpn_1x_coco."""
    zoo(name='some-3.2gf_name')
    VISInferencer('some-3.2GF_name')


def test_mismatch_under_a_name_is_one_line(zoo, tmp_path):
    """A checkpoint of 80 classes with a config of 40."""
    for num in (40, 80):
        folder = tmp_path / str(num)
        folder.mkdir()
        write_detector(folder, tiny_solov2_cfg(num))
    zoo(str(tmp_path / '40' / 'detector.py'), tmp_path / '80' / 'detector.pth')
    with pytest.raises(
            CheckpointMismatchError,
            match=r'weights.pth" .*conv_cls.* \(80, .* \(40, ') as error:
        init_model('some-name')
    assert '\n' not in str(error.value)


def test_name_without_a_network(zoo, files, tmp_path):
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        address = f'http://127.0.0.1:{unused.getsockname()[1]}/weights.pth'
    zoo(address=address)
    with pytest.raises(DownloadError) as error:
        VISInferencer('some-name')
    line = str(error.value)
    assert '\n' not in line and isinstance(error.value, OSError)
    for part in (f'cannot reach {address}', str(tmp_path / 'cache')):
        assert part in line
    # put there by hand
    path = tmp_path / 'cache' / 'weights.pth'
    path.write_bytes(Path(files[1]).read_bytes())
    VISInferencer('some-name')


def test_names_that_are_none(tmp_path, monkeypatch):
    with pytest.raises(
            UnknownNameError, match='mask2former-r50_coco') as error:
        VISInferencer('mask2former-r50_cooc')
    assert '\n' not in str(error.value)
    with pytest.raises(ValueError, match='must be given with the config file'):
        init_model('configs/mask2former/mask2former-r50_coco.py')
    with pytest.raises(ValueError, match='must be given with a config, got N'):
        init_model(Config(dict(model=dict(type='refinevis_mm.RefineVIS'))))


def test_a_folder_of_the_name_is_no_config(zoo, tmp_path, monkeypatch):
    """Such as the outputs of an earlier run."""
    zoo()
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'some-name').mkdir()
    VISInferencer('some-name')


def test_config_of_named_weights():
    path = find_config('mask2former-r50_coco')
    assert path.endswith('configs/mask2former/mask2former-r50_coco.py')
    assert Config.fromfile(path).model.type == 'refinevis_mm.RefineVIS'
    with pytest.raises(ValueError, match='no weights of the name "absent"'):
        find_config('absent')
