# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest

from refinevis_mm.compat import versions


def make_package(folder, name, version):
    """Write a package that only tells its version."""
    package = folder / name
    package.mkdir()
    (package / '__init__.py').write_text('raise RuntimeError("imported")')
    (package / 'version.py').write_text(f'__version__ = \'{version}\'\n')


def test_installed_version_does_not_import(tmp_path, monkeypatch):
    make_package(tmp_path, 'toy_versioned', '1.2.3rc1')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert versions.installed_version('toy_versioned') == '1.2.3rc1'
    assert versions.installed_version('toy_absent') is None


def test_this_environment_is_supported():
    versions.check_versions()


@pytest.mark.parametrize('found, fits', [('3.0.0', False), ('3.1.0', True),
                                         ('3.3.9', True), ('3.4.0', False),
                                         ('3.1.0rc1', False)])
def test_range_is_half_open(found, fits, monkeypatch):
    real = versions.installed_version
    monkeypatch.setattr(versions, 'installed_version', lambda name: found
                        if name == 'mmdet' else real(name))
    if fits:
        versions.check_versions()
    else:
        with pytest.raises(ImportError, match='pip install') as error:
            versions.check_versions()
        text = str(error.value)
        assert f'mmdet>=3.1.0,<3.4.0 but found {found}' in text
        assert '"mmdet==3.3.0"' in text and 'mmengine' not in text
        assert '\n' not in text


def test_every_problem_is_named_at_once(monkeypatch):
    monkeypatch.setattr(versions, 'installed_version', lambda name: None)
    with pytest.raises(ImportError) as error:
        versions.check_versions()
    for name in ('mmengine', 'mmcv', 'mmdet'):
        assert f'{name}>=' in str(error.value)


def test_other_mmcv_is_uninstalled_first(monkeypatch):
    real = versions.installed_version
    monkeypatch.setattr(versions, 'installed_version', lambda name: '2.2.0'
                        if name == 'mmcv' else real(name))
    with pytest.raises(ImportError, match='pip uninstall -y mmcv mmcv-lite'):
        versions.check_versions()
