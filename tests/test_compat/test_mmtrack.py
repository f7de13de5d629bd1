# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import mmcv
import mmdet
import mmdet.models.layers as mmdet_layers
import numpy as np
import pytest
import torch

from refinevis_mm.compat import mmtrack as compat
from refinevis_mm.compat.mmtrack import import_mmtrack
from refinevis_mm.registry import MODELS

ROOT = Path(__file__).parents[2]


def needs_mmtrack(test):
    """Mark a test that imports mmtrack."""
    skip = pytest.mark.skipif(
        find_spec('mmtrack') is None, reason='needs mmtrack (make test-ops)')
    return pytest.mark.ops(skip(test))


@pytest.fixture
def untouched():
    """mmcv, mmdet and numpy are afterwards as they were before."""

    def state():
        return (mmcv.__version__, mmdet.__version__,
                hasattr(mmdet_layers, 'Transformer'), hasattr(np, 'float'))

    before = state()
    yield
    assert state() == before


def _pretend_installed(monkeypatch, version, missing=()):
    """Let a version of mmtrack and all but some of its needs be found."""
    monkeypatch.setattr(compat, 'installed_version', lambda name: version)
    monkeypatch.setattr(compat, 'find_spec', lambda name: None
                        if name in missing else object())


@pytest.mark.parametrize('version, missing, message', [
    (None, (), 'needs mmtrack==1.0.0rc1 but found none. Run: pip install '),
    ('0.14.0', (), 'needs mmtrack==1.0.0rc1 but found 0.14.0. Run'),
    ('1.0.0rc1', ('mmcls', 'sklearn'), 'needs mmcls==1.0.0rc6 but found none; '
     'scikit-learn but found none. Run'),
    (None, ('lap', ), 'needs mmtrack==1.0.0rc1 but found none; lap but found '
     'none. Run'),
])
def test_what_is_missing_is_named(version, missing, message, monkeypatch,
                                  untouched):
    _pretend_installed(monkeypatch, version, missing)
    with pytest.raises(ImportError) as error:
        import_mmtrack()
    text = str(error.value)
    assert message in text and '\n' not in text
    assert text.endswith('&& pip install --no-deps mmtrack==1.0.0rc1')
    assert '"mmcls==1.0.0rc6"' in text and '"scikit-learn"' in text


@pytest.mark.skipif(
    find_spec('mmtrack') is not None, reason='mmtrack is installed')
def test_adapter_tells_that_mmtrack_is_missing():
    with pytest.raises(ImportError, match='needs mmtrack==1.0.0rc1 but found'):
        from refinevis_mm.models.adapters import \
            tar_mmtrack_mask_track_rcnn  # noqa: F401


def test_command_installs_the_requirements_file():
    lines = (ROOT / 'requirements' / 'mmtrack.txt').read_text().splitlines()
    listed = {line for line in lines if not line.startswith('#')}
    assert listed == set(compat.REQUIREMENTS.values())
    assert f'mmtrack=={compat.VERSION}' in lines[0]


def test_failed_import_leaves_nothing_behind(monkeypatch, untouched):
    _pretend_installed(monkeypatch, compat.VERSION)
    real, seen = compat.import_module, []

    def fail_at_mmtrack(name):
        if not name.startswith('mmdet') and name != 'mmcv':
            seen.append((name, mmcv.__version__, mmdet.__version__,
                         mmdet_layers.Transformer))
            raise RuntimeError('broken')
        return real(name)

    monkeypatch.setattr(compat, 'import_module', fail_at_mmtrack)
    with pytest.raises(RuntimeError, match='broken'):
        import_mmtrack()
    assert seen == [('mmcls', '2.0.0rc4', '3.0.0rc5',
                     compat.MissingTransformer)]


def test_attribute_that_was_there_is_put_back(monkeypatch):
    monkeypatch.setattr(mmdet_layers, 'Transformer', int, raising=False)
    with pytest.raises(RuntimeError):
        with compat._replaced('mmdet.models.layers', 'Transformer', str):
            assert mmdet_layers.Transformer is str
            raise RuntimeError
    assert mmdet_layers.Transformer is int


@needs_mmtrack
def test_import_is_repeatable(untouched):
    mmtrack = import_mmtrack()
    assert import_mmtrack() is mmtrack
    assert mmtrack.__version__ == '1.0.0rc1'
    assert issubclass(mmtrack.models.MaskTrackRCNN, torch.nn.Module)


@needs_mmtrack
def test_its_classes_build_from_any_registry():
    mmtrack = import_mmtrack()
    cfg = dict(type='mmtrack.RoIEmbedHead', num_fcs=1, fc_out_channels=8)
    assert isinstance(MODELS.build(cfg), mmtrack.models.RoIEmbedHead)
    # a bare name stays mmdet's, in the scope of the shipped configs
    cfg['type'] = 'RoIEmbedHead'
    assert type(MODELS.build(cfg)).__module__.startswith('mmdet.')


@needs_mmtrack
def test_stark_says_what_it_misses():
    import_mmtrack()
    with pytest.raises(NotImplementedError, match='STARK of mmtrack needs'):
        MODELS.build(dict(type='mmtrack.StarkTransformer'))


@needs_mmtrack
def test_annotations_load_with_the_numpy_of_today():
    transforms = import_mmtrack().datasets.transforms
    loaded = transforms.LoadTrackAnnotations(with_instance_id=True).transform(
        dict(instances=[
            dict(
                bbox=[0, 0, 4, 4], bbox_label=1, ignore_flag=1, instance_id=3)
        ]))
    assert loaded['gt_ignore_flags'].dtype == bool
    assert loaded['gt_instances_id'].tolist() == [3]


@needs_mmtrack
@pytest.mark.parametrize('before', [
    'pass', 'import mmcv, mmdet.models\n'
    'try:\n    import mmtrack\nexcept AssertionError:\n    pass'
])
def test_fresh_interpreter(before):
    """Whatever came first, and without the tests' own imports."""
    code = (f'{before}\n'
            'from refinevis_mm.compat.mmtrack import import_mmtrack\n'
            'from refinevis_mm.compat.versions import installed_version\n'
            'mmtrack = import_mmtrack()\n'
            'import mmcv, mmdet, mmdet.models.layers as layers\n'
            'assert mmcv.__version__ == installed_version("mmcv")\n'
            'assert mmdet.__version__ == installed_version("mmdet")\n'
            'assert not hasattr(layers, "Transformer")\n'
            'print(mmtrack.models.MaskTrackRCNN.__name__)')
    out = subprocess.run([sys.executable, '-c', code],
                         cwd=ROOT,
                         check=True,
                         capture_output=True,
                         text=True).stdout
    assert out.splitlines()[-1] == 'MaskTrackRCNN'
