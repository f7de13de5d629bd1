# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Lets mmdet import on mmcv-lite, the pure-Python wheel of mmcv.

``mmcv.ops`` asks for the compiled module ``mmcv._ext`` when it is imported,
and mmdet imports ``mmcv.ops``. On mmcv-lite a stand-in takes the place of
``mmcv._ext``: every operator exists by name. NMS and RoIAlign are computed by
torchvision (:mod:`.torchvision_ops`), all others raise when they are called.
Where mmcv brings its compiled operators nothing is touched.
"""
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Callable

from .torchvision_ops import OPERATORS, missing_message

__all__ = ['has_compiled_ops', 'install_stub', 'MMCVExtensionStub']

EXTENSION = 'mmcv._ext'


class MMCVExtensionStub(ModuleType):
    """Stand-in for ``mmcv._ext``; operators that it lacks raise when called.

    Its spec has no loader, so ``pkgutil.find_loader('mmcv._ext')``, by which
    mmengine tells compiled mmcv from mmcv-lite, still finds none.
    """

    def __init__(self) -> None:
        super().__init__(EXTENSION, 'Stand-in for the operators of mmcv.')
        self.__spec__ = ModuleSpec(EXTENSION, loader=None)
        self.__package__ = 'mmcv'

    def __getattr__(self, name: str) -> Callable:
        if name.startswith('__'):
            raise AttributeError(f'{EXTENSION} has no attribute {name}')
        if name in OPERATORS:
            return OPERATORS[name]

        def missing_op(*args: Any, **kwargs: Any) -> None:
            raise NotImplementedError(missing_message(name))

        missing_op.__name__ = missing_op.__qualname__ = name
        return missing_op

    @staticmethod
    def get_compiler_version() -> str:
        """Answer mmcv's environment report."""
        return 'n/a (mmcv-lite)'

    @staticmethod
    def get_compiling_cuda_version() -> str:
        """Answer mmcv's environment report."""
        return 'n/a (mmcv-lite)'


def has_compiled_ops() -> bool:
    """Whether mmcv brings its compiled operators.

    Returns:
        bool: True for compiled mmcv, False for mmcv-lite with or without the
        stand-in installed.
    """
    module = sys.modules.get(EXTENSION)
    if module is not None:
        return not isinstance(module, MMCVExtensionStub)
    return find_spec(EXTENSION) is not None


def install_stub() -> bool:
    """Put the stand-in in place if mmcv has no compiled operators.

    Returns:
        bool: True if the stand-in is in place afterwards.
    """
    if has_compiled_ops():
        return False
    if EXTENSION not in sys.modules:
        import mmcv
        stub = MMCVExtensionStub()
        sys.modules[EXTENSION] = stub
        mmcv._ext = stub
    return True
