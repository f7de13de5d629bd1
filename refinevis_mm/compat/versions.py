# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Version ranges of the OpenMMLab libraries, checked before mmdet asserts.

Modules are looked up with :func:`importlib.util.find_spec`, never by the name
of a distribution: mmcv, mmcv-lite and forks install the same module.
"""
import importlib.metadata
import os.path as osp
import re
from importlib.util import find_spec
from typing import Dict, NamedTuple, Optional

from packaging.version import Version

__all__ = ['VersionRange', 'SUPPORTED', 'installed_version', 'check_versions']


class VersionRange(NamedTuple):
    """A half-open range of versions and the line that installs one of them.

    Attributes:
        minimum (str): Lowest version that is supported.
        maximum (str): First version that is no longer supported.
        install (str): Requirement for ``pip install`` that fits the range.
    """

    minimum: str
    maximum: str
    install: str

    def has(self, version: Optional[str]) -> bool:
        """Whether a version lies in the range; None does not."""
        return version is not None and (Version(
            self.minimum) <= Version(version) < Version(self.maximum))


# The libraries belong together: mmdet refuses other versions of mmcv.
SUPPORTED: Dict[str, Dict[str, VersionRange]] = {
    'OpenMMLab': {
        'mmengine': VersionRange('0.10.0', '0.11.0', 'mmengine==0.10.7'),
        'mmcv': VersionRange('2.0.0rc4', '2.2.0', 'mmcv-lite==2.1.0'),
        'mmdet': VersionRange('3.2.0', '3.4.0', 'mmdet==3.3.0'),
    },
    'OneDL': {
        'mmengine': VersionRange('0.10.0', '0.11.0',
                                 'onedl-mmengine==0.10.12'),
        'mmcv': VersionRange('2.3.0', '2.4.0', 'onedl-mmcv==2.3.6'),
        'mmdet': VersionRange('3.5.0', '3.6.0', 'onedl-mmdetection==3.5.1'),
    },
}


def installed_version(module: str) -> Optional[str]:
    """Read a top-level module's version without importing it.

    Args:
        module (str): Name of a package that has a ``version.py``.

    Returns:
        str | None: The version; None if the module is not installed or does
        not tell its version.
    """
    spec = find_spec(module)
    if spec is None or not spec.origin:
        return None
    path = osp.join(osp.dirname(spec.origin), 'version.py')
    if not osp.isfile(path):
        return None
    with open(path, encoding='utf-8') as file:
        found = re.search(
            r'^__version__\s*=\s*(version\()?[\'"]([^\'"]+)[\'"]', file.read(),
            re.MULTILINE)
    if found is None:
        return None
    asked, text = found.groups()  # forks ask for their distribution's version
    return importlib.metadata.version(text) if asked else text


def check_versions() -> None:
    """Check that mmengine, mmcv and mmdet are installed and fit together.

    Raises:
        ImportError: If one is missing or outside its range; the message
            names every such module and the command that installs them.
    """
    found = {name: installed_version(name) for name in SUPPORTED['OpenMMLab']}
    wrong = min(({
        name: supported
        for name, supported in ranges.items() if not supported.has(found[name])
    } for ranges in SUPPORTED.values()),
                key=len)
    if not wrong:
        return
    problems = [
        f'{name}>={supported.minimum},<{supported.maximum} but found '
        f'{found[name] or "none"}' for name, supported in wrong.items()
    ]
    installs = [f'"{supported.install}"' for supported in wrong.values()]
    uninstall = ''
    if 'mmcv' in wrong and find_spec('mmcv') is not None:
        # mmcv and mmcv-lite write to the same folder
        uninstall = 'pip uninstall -y mmcv mmcv-lite && '
    raise ImportError(f'refinevis_mm needs {"; ".join(problems)}. '
                      f'Run: {uninstall}pip install {" ".join(installs)}')
