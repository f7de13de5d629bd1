# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Imports mmtrack 1.0.0rc1, MMTracking's last release, beside mmdet 3.3.

The only module that may import mmtrack. Three things stand in the way:

- mmtrack, and mmcls of which it takes re-identification models, refuse newer
  versions of mmcv and mmdet when they are imported: older ones are shown to
  them during that import.
- mmtrack's STARK derives from ``mmdet.models.layers.Transformer``, which is
  gone: a class that cannot be built stands there during the import.
- mmtrack reads annotations and evaluates with ``np.bool`` and ``np.float``,
  which numpy 1.24 removed: the modules that do so see a numpy that has them.

mmcv, mmdet and numpy themselves are afterwards as they were before, also if
the import fails.
"""
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Dict, Iterator

import numpy as np

from .versions import installed_version

__all__ = ['import_mmtrack']

VERSION = '1.0.0rc1'

# modules that mmtrack imports and their requirement for `pip install`, as in
# requirements/mmtrack.txt
REQUIREMENTS: Dict[str, str] = {
    'lap': 'lap',
    'mmcls': 'mmcls==1.0.0rc6',
    'motmetrics': 'motmetrics',
    'pandas': 'pandas<3',
    'seaborn': 'seaborn',
    'sklearn': 'scikit-learn',
    'tabulate': 'tabulate',
    'trackeval': 'trackeval',
}

# newest versions that mmtrack and mmcls both accept
ACCEPTED: Dict[str, str] = dict(mmcv='2.0.0rc4', mmdet='3.0.0rc5')

# modules that use the removed aliases of numpy
NUMPY_USERS = ('mmtrack.datasets.transforms.loading',
               'mmtrack.evaluation.functional.ytviseval')


class NumpyWithAliases(ModuleType):
    """numpy together with the aliases that mmtrack still uses."""

    bool, float = bool, float

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)


class MissingTransformer:
    """Takes the place of ``mmdet.models.layers.Transformer``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError(
            'STARK of mmtrack needs mmdet.models.layers.Transformer, which '
            'the supported versions of mmdet no longer have')


@contextmanager
def _replaced(module: str, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of a module, and put it back or remove it."""
    owner = import_module(module)
    missing = not hasattr(owner, name)
    before = getattr(owner, name, None)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _check_installed() -> None:
    """Check that mmtrack and what it imports are installed."""
    found = installed_version('mmtrack')
    missing = [name for name in REQUIREMENTS if find_spec(name) is None]
    if found == VERSION and not missing:
        return
    problems = []
    if found != VERSION:
        problems.append(f'mmtrack=={VERSION} but found {found or "none"}')
    problems += [f'{REQUIREMENTS[name]} but found none' for name in missing]
    installs = ' '.join(f'"{item}"' for item in REQUIREMENTS.values())
    raise ImportError(
        f'this model needs {"; ".join(problems)}. Run: pip install {installs} '
        f'&& pip install --no-deps mmtrack=={VERSION}')


def import_mmtrack() -> ModuleType:
    """Import mmtrack and register all of its classes.

    They can then be named ``mmtrack.X`` in any config, and bare where the
    default scope is ``mmtrack``. Repeating the call does no harm.

    Returns:
        ModuleType: mmtrack, with its sub-packages as attributes.

    Raises:
        ImportError: If mmtrack, in the version supported, or a package that
            it imports is not installed; the message has the command that
            installs them.
    """
    _check_installed()
    with _replaced('mmdet.models.layers', 'Transformer', MissingTransformer):
        with _replaced('mmcv', '__version__', ACCEPTED['mmcv']), \
                _replaced('mmdet', '__version__', ACCEPTED['mmdet']):
            import_module('mmcls')
            mmtrack = import_module('mmtrack')
        import_module('mmtrack.utils').register_all_modules(
            init_default_scope=False)
    for name in NUMPY_USERS:
        setattr(import_module(name), 'np', NumpyWithAliases('numpy'))
    return mmtrack
