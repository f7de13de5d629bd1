# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import codecs
import pickle
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging.history_buffer import HistoryBuffer
from torch import nn

from refinevis_mm.compat.checkpoints import (CheckpointError,
                                             CheckpointMismatchError,
                                             load_checkpoint_strict,
                                             read_bytes, read_checkpoint,
                                             read_file)

resumes = pytest.mark.skipif(
    tuple(int(part) for part in torch.__version__.split('.')[:2]) < (2, 5),
    reason='the allow-list of torch < 2.5 cannot name a second path')


def save(tmp_path, state_dict, **others):
    """Write a checkpoint and return its path."""
    path = str(tmp_path / 'checkpoint.pth')
    torch.save(dict(state_dict=state_dict, **others), path)
    return path


class Payload:
    """Runs a function when it is unpickled without protection."""

    def __init__(self, function, *args, state=None):
        self.call = (function, args, state)

    def __reduce__(self):
        return self.call


@resumes
def test_what_mmengine_writes_is_read(tmp_path):
    buffer = HistoryBuffer()
    for value in (1.0, 3.0):
        buffer.update(value)
    info = OrderedDict(
        steps=np.int64(7),
        best=np.float32(0.5),
        flag=np.bool_(True),
        curve=np.arange(3),
        half=np.float16([[1, 2], [3, 4]]).T)
    path = save(
        tmp_path,
        nn.Linear(2, 2).state_dict(),
        message_hub=dict(log_scalars=dict(loss=buffer), runtime_info=info))
    torch.serialization.clear_safe_globals()  # as forks of mmengine do
    hub = read_checkpoint(path)['message_hub']
    loss = hub['log_scalars']['loss']
    assert loss.mean() == 2.0 and loss.current() == 3.0
    assert loss.statistics('max') == 3.0
    assert hub['runtime_info']['steps'] == 7
    assert hub['runtime_info']['curve'].tolist() == [0, 1, 2]
    half = hub['runtime_info']['half']
    assert half.dtype == np.float16 and half.tolist() == [[1, 3], [2, 4]]
    again = save(tmp_path, nn.Linear(2, 2).state_dict(), half=half)
    assert b'_Array' not in Path(again).read_bytes()  # torch alone reads it
    assert read_checkpoint(again)['half'].tolist() == [[1, 3], [2, 4]]


@pytest.mark.parametrize(
    'payload, reason',
    [
        (Payload(print, 'unsafe'), 'GLOBAL print'),
        (Payload(getattr, HistoryBuffer, '__init__'), '"__init__" of'),
        (Payload(getattr, np.ndarray, 'tofile'), '"tofile" of'),
        # numbers that become addresses of objects
        (Payload(np.dtype, 'O', False, True), "numbers, got 'O'"),
        (Payload(np.dtype, 'V99', False, True), "numbers, got 'V99'"),
        # of any length, in a hundred bytes
        (Payload(bytearray, 10**12), 'GLOBAL bytearray'),
        (Payload(codecs.encode, b'0', 'hex'), "latin1, got 'hex'"),
    ])
def test_protection_stays_on(payload, reason, tmp_path):
    path = save(tmp_path, nn.Linear(2, 2).state_dict(), meta=payload)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    assert path in str(error.value) and reason in str(error.value)
    assert '\n' not in str(error.value)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


def test_half_precision_and_module_prefix(tmp_path):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    path = save(
        tmp_path, {
            f'module.{k}': v.half()
            for k, v in source.state_dict().items()
        },
        meta=dict(epoch=4))
    checkpoint = load_checkpoint_strict(target, path)
    assert checkpoint['meta'] == dict(epoch=4)
    assert target.weight.dtype == torch.float32
    assert torch.equal(target.weight, source.weight.half().float())


def test_bare_state_dict(tmp_path):
    path = str(tmp_path / 'bare.pth')
    model = nn.Linear(3, 2)
    torch.save(model.state_dict(), path)
    assert list(read_checkpoint(path)['state_dict']) == ['weight', 'bias']


def test_other_architecture_is_refused_by_name(tmp_path):
    model = nn.ModuleDict(dict(a=nn.Linear(3, 2), b=nn.Linear(2, 2)))
    before = model['a'].bias.clone()
    other = nn.ModuleDict(dict(a=nn.Linear(4, 2), c=nn.Linear(2, 2)))
    path = save(tmp_path, other.state_dict())
    with pytest.raises(CheckpointMismatchError) as error:
        load_checkpoint_strict(model, path)
    text = str(error.value)
    assert '2 missing keys (b.weight, b.bias)' in text
    assert '2 unexpected keys (c.weight, c.bias)' in text
    assert '1 keys of another shape (a.weight (2, 4) in the checkpoint, ' \
        '(2, 3) in the model)' in text
    assert '\n' not in text and torch.equal(model['a'].bias, before)

    load_checkpoint_strict(model, path, allow_mismatch=True)
    assert torch.equal(model['a'].bias, other['a'].bias)


def test_long_lists_are_cut(tmp_path):
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(10)])
    path = save(tmp_path, nn.ModuleDict(dict(x=nn.Linear(1, 1))).state_dict())
    with pytest.raises(CheckpointMismatchError) as error:
        load_checkpoint_strict(model, path)
    assert '20 missing keys (0.weight, ' in str(error.value)
    assert '4.bias, ...)' in str(error.value)


@pytest.mark.parametrize('content', [b'', b'bad', b'not a checkpoint'])
def test_damaged_file(content, tmp_path):
    path = tmp_path / 'damaged.pth'
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match='damaged.pth') as error:
        read_checkpoint(str(path))
    assert '\n' not in str(error.value)


def test_cut_file(tmp_path):
    path = save(tmp_path, nn.Linear(100, 100).state_dict())
    with open(path, 'r+b') as file:
        file.truncate(1000)
    with pytest.raises(CheckpointError, match='cannot be read|damaged'):
        read_checkpoint(path)


def test_missing_file_and_missing_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match='does not exist'):
        read_checkpoint(str(tmp_path / 'absent.pth'))
    with pytest.raises(CheckpointError, match='"state_dict" of tensors'):
        read_checkpoint(save(tmp_path, dict(step=1)))


@resumes
def test_a_file_may_hold_harmless_classes_if_asked_for(tmp_path):
    path = tmp_path / 'file.pth'
    torch.save(dict(args=Namespace(lr=1.0)), path)
    with pytest.raises(CheckpointError, match='argparse.Namespace'):
        read_file(path)
    assert read_file(path, allowed=(Namespace, ))['args'].lr == 1.0
    with pytest.raises(CheckpointError):  # for that one file only
        read_file(path)


@resumes
@pytest.mark.parametrize('payload', [
    Payload(np.ndarray, (1, ), 'O', b'address.'),
    Payload(np.dtype, 'f8', False, True, state=(3, '<', None, -1, -1, 0)),
    Payload(
        np.dtype, 'i8', False, True, state=(3, '|', *[None] * 3, 8, 8, 63))
])
def test_numpy_is_not_asked_to_believe_a_file(payload, tmp_path):
    """It crashed, or took numbers for objects."""
    content = read_checkpoint(
        save(tmp_path, nn.Linear(2, 2).state_dict(), other=payload))
    found = content['other']
    assert not isinstance(found, np.ndarray) or found.size == 0
    assert not isinstance(found, np.dtype)


def test_packed_files_are_refused(tmp_path):
    path = save(tmp_path, dict(a=torch.zeros(10**6)))
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert Path(path).stat().st_size < 2e4
    with pytest.raises(CheckpointError, match='more than its length'):
        read_checkpoint(path)


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """Each entry of the directory is one more copy of the same bytes."""
    path = tmp_path / 'shared.pth'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a/data/0', bytes(10**5))
        for index in range(50):
            item = zipfile.ZipInfo(f'a/data/{index + 1}')
            first = archive.infolist()[0]
            item.CRC, item.file_size = first.CRC, first.file_size
            item.compress_size = first.compress_size
            item.header_offset = first.header_offset
            archive.filelist.append(item)
            archive.NameToInfo[item.filename] = item
        archive._didModify = True
    with pytest.raises(CheckpointError, match='more than its length'):
        read_file(str(path))


@pytest.mark.parametrize('state_dict, others', [
    ({1: torch.zeros(1)}, {}),
    (dict(a=torch.zeros(3).to_sparse()), {}),
    (dict(a=torch.empty(3, device='meta')), {}),
    (dict(a=torch.zeros(1)), dict(meta=['a'])),
    (dict(a=torch.zeros(1)), dict(meta=dict(dataset_meta=3))),
    (dict(a=torch.zeros(1)), dict(meta=dict(dataset_meta=dict(classes=3)))),
    (dict(a=torch.zeros(1)), dict(meta=dict(CLASSES=('a', 1)))),
])  # yapf: disable
@pytest.mark.filterwarnings('ignore:Sparse invariant')
def test_weights_and_meta_have_a_form(state_dict, others, tmp_path):
    with pytest.raises(CheckpointError, match='must hold a ') as error:
        read_checkpoint(save(tmp_path, state_dict, **others))
    assert '\n' not in str(error.value)


def test_bytes_are_read_as_files_are(tmp_path):
    path = Path(save(tmp_path, dict(a=torch.ones(2))))
    content = read_bytes(path.read_bytes(), 'the state')
    assert content['state_dict']['a'].tolist() == [1, 1]
    with pytest.raises(CheckpointError, match='^the state cannot be read: '):
        read_bytes(b'', 'the state')


def test_addresses_are_cached_and_not_unpacked(tmp_path, monkeypatch):
    """torch's own function writes what is in the archive to its folder."""
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path))
    (tmp_path / 'checkpoints').mkdir()
    path = save(tmp_path, dict(a=torch.ones(2)))
    cached = tmp_path / 'checkpoints' / 'weights.pth'
    Path(path).rename(cached)
    address = 'http://no.host/weights.pth'
    assert list(read_checkpoint(address)['state_dict']) == ['a']
    with zipfile.ZipFile(cached, 'w') as archive:
        archive.writestr('inside.pth', b'other')
    with pytest.raises(CheckpointError, match=address):
        read_checkpoint(address)
    assert list(cached.parent.iterdir()) == [cached]


# ---- files of other code bases ----


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_pickles_of_arrays_are_read(protocol, tmp_path):
    """As detectron2's model zoo has them."""
    arrays = OrderedDict(
        a=np.arange(600, dtype=np.float32).reshape(20, 30),
        b=np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        c=np.arange(3, dtype='>f4'),
        d=np.float64(2.5))
    path = tmp_path / 'model.pkl'
    path.write_bytes(
        pickle.dumps(
            dict(model=arrays, __author__='x', matching_heuristics=True),
            protocol=protocol))
    checkpoint = read_checkpoint(str(path))
    assert checkpoint['__author__'] == 'x'
    for key, value in checkpoint['state_dict'].items():
        assert value.numpy().dtype.isnative
        assert np.array_equal(value.numpy(), arrays[key])
    cut = path.read_bytes()[:-300]
    path.write_bytes(cut)
    with pytest.raises(CheckpointError, match='model.pkl" (is|cannot)'):
        read_checkpoint(str(path))


@pytest.mark.parametrize('payload, reason', [
    (lambda path: Payload(Path.touch, path), 'arrays, got pathlib.Path.touch'),
    (lambda path: bytearray(9), 'numbers and arrays, got builtins.bytearray'),
    (lambda path: {1, 2}, 'operation 143 of a pickle'),
    (lambda path: np.array([1, 'a'], object), 'cannot be unpickled'),
    (lambda path: Payload(OrderedDict, state=dict(a=1)), 'only arrays'),
])  # yapf: disable
def test_pickles_of_arrays_hold_nothing_else(payload, reason, tmp_path):
    marker, path = tmp_path / 'ran', tmp_path / 'model.pkl'
    path.write_bytes(
        pickle.dumps(
            dict(model=dict(w=np.zeros(1)), payload=payload(marker)),
            protocol=4))
    with pytest.raises(
            CheckpointError, match=f'more than weights: .*{reason}') as error:
        read_checkpoint(str(path))
    assert not marker.exists() and '\n' not in str(error.value)


@resumes
def test_where_others_have_their_weights(tmp_path):
    """detectron2 and SeqFormer; with averages, with the command line."""
    weights = dict(a=torch.ones(2), b=torch.zeros(()))
    args = Namespace(lr=1e-4, output_dir='out', masks=True)
    path = tmp_path / 'file.pth'
    for content in (
            dict(model=weights, optimizer=dict(state={}), iteration=3),
            dict(model=weights, ema_state=dict(a=torch.zeros(2)), args=args),
            dict(ema_state=weights, iteration=3),
            {f'module.{key}': value for key, value in weights.items()},
            dict(state_dict=weights, model='a name'),
    ):  # yapf: disable
        torch.save(content, path)
        checkpoint = read_checkpoint(str(path))
        assert set(checkpoint['state_dict']) == set(weights)
        assert checkpoint['state_dict']['a'].tolist() == [1, 1]
        assert checkpoint.get('iteration') in (None, 3)


@pytest.mark.parametrize('content, reason', [
    (dict(optimizer=dict(state={}), iteration=3),
     r'got 2 other things \(optimizer \(dict\), iteration \(int\)\)'),
    (dict(model={}), 'got dict'),
    (dict(model=dict(a='text')), r'got 1 other things \(a \(str\)\)'),
    ([torch.ones(1)], 'got list'),
    ({}, 'got dict'),
])  # yapf: disable
def test_files_without_weights_are_told_what_they_hold(content, reason,
                                                       tmp_path):
    path = tmp_path / 'file.pth'
    torch.save(content, path)
    with pytest.raises(
            CheckpointError, match=f'"state_dict" of tensors, {reason}'):
        read_checkpoint(str(path))
