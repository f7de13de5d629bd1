# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config

from refinevis_mm.apis import (init_model, load_classes, stream_video,
                               stream_video_compared)
from refinevis_mm.apis.inference import find_config
from refinevis_mm.compat.checkpoints import CheckpointMismatchError
from tests.tiny_files import CLASSES, random_frames, write_model_files


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def model(files):
    return init_model(*files)


def results_of(model, frames, mode, window):
    model.mode, model.window = mode, window
    return [result for _, result in stream_video(model, frames)]


def assert_same(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert (a.frame_id, a.ids) == (b.frame_id, b.ids)
        assert torch.equal(a.masks, b.masks)
        assert torch.equal(a.cls_scores, b.cls_scores)


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


def test_preprocessing_equals_resize_normalise_pad(model):
    frame = np.full((60, 80, 3), (10, 100, 200), np.uint8)  # BGR
    seen = []
    state = model.init_stream()
    fake = SimpleNamespace(
        cfg=model.cfg,
        data_preprocessor=model.data_preprocessor,
        init_stream=lambda: state,
        flush=lambda state: [],
        track=lambda image, meta, state: seen.append((image, meta)),
        refine=lambda tracks, state: [])
    list(stream_video(fake, [frame]))
    (image, meta), = seen
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    rgb = torch.tensor([(v - m) / s
                        for v, m, s in zip((200., 100., 10.), mean, std)])
    expected = F.pad(rgb[:, None, None].expand(3, 48, 64), (0, 0, 0, 16))
    torch.testing.assert_close(image, expected)
    assert meta == dict(frame_id=0, img_shape=(48, 64), ori_shape=(60, 80))


@pytest.mark.parametrize('mode, window, lag', [('online', 4, 1),
                                               ('online', 0, 1),
                                               ('offline', 4, 4)])
def test_frames_leave_in_order_and_soon(model, mode, window, lag):
    frames, num_read = random_frames(6), 0

    def read():
        nonlocal num_read
        for frame in frames:
            num_read += 1
            yield frame

    model.mode, model.window = mode, window
    for index, (frame, result) in enumerate(stream_video(model, read())):
        assert frame is frames[index] and result.frame_id == index
        assert num_read - index <= lag
        assert result.masks.shape[1:] == (60, 80)
        assert len(result.ids) > 0
    assert index == 5


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_compared_stream_changes_nothing(model, mode):
    frames = random_frames(6)
    refined = results_of(model, frames, mode, 4)
    plain = results_of(model, frames, mode, 0)
    model.mode, model.window = mode, 4
    compared = list(stream_video_compared(model, frames))
    assert_same([after for _, after, _ in compared], refined)
    assert_same([before for _, _, before in compared], plain)
    assert all(
        frame is given for (frame, _, _), given in zip(compared, frames))


def test_two_streams_do_not_share_state(model):
    frames = random_frames(4)
    alone = results_of(model, frames, 'online', 4)
    first, second = (stream_video(model, frames) for _ in range(2))
    interleaved = [pair for pairs in zip(first, second) for pair in pairs]
    assert_same([result for _, result in interleaved[::2]], alone)
    assert_same([result for _, result in interleaved[1::2]], alone)


def test_no_frames(model):
    assert list(stream_video(model, [])) == []


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
