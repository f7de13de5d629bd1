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


def test_version_of_a_fork_is_its_distribution_s(tmp_path, monkeypatch):
    package = tmp_path / 'toy_fork'
    package.mkdir()
    (package / '__init__.py').write_text('raise RuntimeError("imported")')
    (package / 'version.py').write_text(
        'from importlib.metadata import version\n'
        "__version__ = version('onedl-toy-fork')\n")
    info = tmp_path / 'onedl_toy_fork-2.3.6.dist-info'
    info.mkdir()
    (info / 'METADATA').write_text(
        'Metadata-Version: 2.1\nName: onedl-toy-fork\nVersion: 2.3.6\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    assert versions.installed_version('toy_fork') == '2.3.6'


@pytest.mark.parametrize('mmcv, mmdet, message', [
    ('2.3.6', '3.5.1', None),
    ('2.3.6', '3.3.0', 'mmcv>=2.0.0rc4,<2.2.0 but found 2.3.6'),
    ('2.1.0', '3.5.1', 'mmdet>=3.2.0,<3.4.0 but found 3.5.1'),
    ('2.4.0', '3.5.1', 'mmcv>=2.3.0,<2.4.0 but found 2.4.0'),
])
def test_forks_go_together(mmcv, mmdet, message, monkeypatch):
    found = dict(mmengine='0.10.12', mmcv=mmcv, mmdet=mmdet)
    monkeypatch.setattr(versions, 'installed_version', found.get)
    if message is None:
        versions.check_versions()
        return
    with pytest.raises(ImportError) as error:
        versions.check_versions()
    assert message in str(error.value)
    assert str(error.value).count('but found') == 1


def test_this_environment_is_supported():
    versions.check_versions()


@pytest.mark.parametrize('found, fits', [('3.0.0', False), ('3.2.0', True),
                                         ('3.3.9', True), ('3.4.0', False),
                                         ('3.1.0rc1', False)])
def test_range_is_half_open(found, fits, monkeypatch):
    monkeypatch.setattr(versions, 'installed_version',
                        dict(mmengine='0.10.7', mmcv='2.1.0', mmdet=found).get)
    if fits:
        versions.check_versions()
    else:
        with pytest.raises(ImportError, match='pip install') as error:
            versions.check_versions()
        text = str(error.value)
        assert f'mmdet>=3.2.0,<3.4.0 but found {found}' in text
        assert '"mmdet==3.3.0"' in text and 'mmengine' not in text
        assert '\n' not in text


def test_every_problem_is_named_at_once(monkeypatch):
    monkeypatch.setattr(versions, 'installed_version', lambda name: None)
    with pytest.raises(ImportError) as error:
        versions.check_versions()
    for name in ('mmengine', 'mmcv', 'mmdet'):
        assert f'{name}>=' in str(error.value)


def test_other_mmcv_is_uninstalled_first(monkeypatch):
    monkeypatch.setattr(
        versions, 'installed_version',
        dict(mmengine='0.10.7', mmcv='2.2.0', mmdet='3.3.0').get)
    with pytest.raises(ImportError, match='pip uninstall -y mmcv mmcv-lite'):
        versions.check_versions()
