# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Recordings are told apart by what is in them."""
import json

import numpy as np
import pytest

from tests.parity import maskdino_fixtures
from tests.parity.recorded_files import VISIBLE, family_of, parity_files

# what a file of each family has and others have not, beside `runs` and sizes
CONTENTS = dict(
    maskdino=dict(hp=dict(feature_order='low2high'), variants=['no']),
    idol=dict(official_config='projects/IDOL/configs/ytvis19_r50.yaml'),
    vita=dict(hp=dict(vita_enc=3, hidden=32), runs=dict(A={})),
    seqformer=dict(official_config='projects/SeqFormer/configs/base.yaml'),
    minvis=dict(hp=dict(hidden=32), runs=dict(A={})))


def write(path, meta, *names):
    """A recorded file with little in it."""
    np.savez(path, meta_json=json.dumps(meta), **dict.fromkeys(names, 0))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file of each family, whose names tell nothing."""
    monkeypatch.setenv('REFINEVIS_PARITY_DIR', str(tmp_path))
    for i, (family, meta) in enumerate(CONTENTS.items()):
        names = ['video/permutation'] if family == 'minvis' else []
        write(tmp_path / f'{i}.npz', dict(dict(runs={}, hp={}), **meta),
              *names)
    write(tmp_path / 'others.npz', {}, 'a')
    return tmp_path


def test_every_family_has_its_files(folder):
    for i, family in enumerate(CONTENTS):
        others = [path for path in parity_files(family)
                  if path.parent == folder]  # yapf: disable
        assert others == [folder / f'{i}.npz']
    assert family_of(folder / 'others.npz') is None
    assert len(parity_files()) == len(parity_files(None)) >= 6


def test_maskdino_takes_its_own(folder):
    """Runs of training are in the files of MinVIS and VITA too."""
    found = [*maskdino_fixtures.forward_files()]
    found += [path for path, _ in maskdino_fixtures.training_runs()]
    assert folder / '0.npz' in found
    assert all(path == folder / '0.npz' for path in found
               if path.parent == folder)  # yapf: disable


def test_families_of_our_own_files():
    families = {path.stem: family_of(path) for path in VISIBLE.glob('*.npz')}
    assert {name for name, family in families.items() if family is None} == \
        set()
    for name, family in families.items():
        assert name.startswith(family)
