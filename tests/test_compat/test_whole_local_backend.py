# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import resource
from contextlib import contextmanager

import pytest
import torch
from mmengine.fileio import dump, load
from mmengine.runner import save_checkpoint

import refinevis_mm  # noqa: F401


@contextmanager
def full_disk():
    """As if there were room for files of 4,096 bytes.

    Only around what is tried: the limit is also that of pytest's own output.
    """
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, old[1]))
    try:
        with pytest.raises(OSError, match='File too large'):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)


def test_a_checkpoint_is_whole_or_not_there(tmp_path):
    small, large = dict(a=torch.ones(1)), dict(a=torch.ones(9999))
    path = tmp_path / 'new' / 'iter_1.pth'
    with full_disk():
        save_checkpoint(large, str(path))
    assert list((tmp_path / 'new').iterdir()) == []
    save_checkpoint(small, str(path))
    with full_disk():
        save_checkpoint(large, str(path))
    assert torch.load(path)['a'] == 1
    assert [file.name for file in path.parent.iterdir()] == ['iter_1.pth']


def test_so_is_text(tmp_path):
    path = str(tmp_path / 'a.json')
    dump([1], path)
    with full_disk():
        dump(list(range(9999)), path)
    assert load(path) == [1]
