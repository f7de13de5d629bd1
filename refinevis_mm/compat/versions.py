# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Version ranges of the OpenMMLab libraries, checked before mmdet asserts.

Modules are looked up with :func:`importlib.util.find_spec`, never by the name
of a distribution: mmcv, mmcv-lite and forks install the same module.
"""
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


SUPPORTED: Dict[str, VersionRange] = {
    'mmengine': VersionRange('0.10.0', '0.11.0', 'mmengine==0.10.7'),
    'mmcv': VersionRange('2.0.0rc4', '2.2.0', 'mmcv-lite==2.1.0'),
    'mmdet': VersionRange('3.1.0', '3.4.0', 'mmdet==3.3.0'),
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
        found = re.search(r'^__version__\s*=\s*[\'"]([^\'"]+)[\'"]',
                          file.read(), re.MULTILINE)
    return found.group(1) if found else None


def check_versions() -> None:
    """Check that mmengine, mmcv and mmdet are installed and supported.

    Raises:
        ImportError: If one is missing or outside its range; the message
            names every such module and the command that installs them.
    """
    problems, installs, uninstall = [], [], ''
    for module, supported in SUPPORTED.items():
        version = installed_version(module)
        if version is not None and (Version(supported.minimum) <=
                                    Version(version) < Version(
                                        supported.maximum)):
            continue
        problems.append(
            f'{module}>={supported.minimum},<{supported.maximum} but found '
            f'{"none" if version is None else version}')
        installs.append(f'"{supported.install}"')
        if module == 'mmcv' and find_spec('mmcv') is not None:
            # mmcv and mmcv-lite write to the same folder
            uninstall = 'pip uninstall -y mmcv mmcv-lite && '
    if problems:
        raise ImportError(f'refinevis_mm needs {"; ".join(problems)}. '
                          f'Run: {uninstall}pip install {" ".join(installs)}')
