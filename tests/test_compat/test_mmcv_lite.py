# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from refinevis_mm.compat import mmcv_lite
from refinevis_mm.compat.mmcv_lite import MMCVExtensionStub, has_compiled_ops

needs_lite = pytest.mark.skipif(
    has_compiled_ops(), reason='mmcv has its compiled operators')


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and return what it prints."""
    return subprocess.run([sys.executable, '-c', code],
                          check=True,
                          capture_output=True,
                          text=True).stdout.strip()


def test_stub_names_the_missing_operator():
    stub = MMCVExtensionStub()
    with pytest.raises(NotImplementedError, match='"nms_rotated"'):
        stub.nms_rotated(1, key=2)
    assert 'mmcv-lite' in stub.get_compiler_version()
    assert 'mmcv-lite' in stub.get_compiling_cuda_version()
    assert isinstance(stub.__spec__, ModuleSpec)
    assert not hasattr(stub, '__path__')


def test_compiled_mmcv_is_left_alone(monkeypatch):
    compiled = type(sys)(mmcv_lite.EXTENSION)
    monkeypatch.setitem(sys.modules, mmcv_lite.EXTENSION, compiled)
    assert mmcv_lite.install_stub() is False
    assert sys.modules[mmcv_lite.EXTENSION] is compiled


@needs_lite
def test_mmdet_imports_and_mmengine_still_sees_no_operators():
    out = run_python('import pkgutil, refinevis_mm, mmdet.models, mmcv.ops\n'
                     'print(pkgutil.find_loader("mmcv._ext"))')
    assert out.splitlines()[-1] == 'None'


@needs_lite
@pytest.mark.parametrize(
    'before', ['import mmcv', 'import mmdet', 'import mmengine.registry'])
def test_import_order(before):
    assert run_python(f'{before}\nimport refinevis_mm, mmdet.models\n'
                      'print("fine")').endswith('fine')


@needs_lite
def test_failed_import_of_the_operators_is_healed():
    assert run_python('try:\n    import mmcv.ops\n'
                      'except ImportError:\n    print("failed")\n'
                      'import refinevis_mm, mmdet.models\n'
                      'from mmcv.ops import nms\n'
                      'print("fine")') == 'failed\nfine'
