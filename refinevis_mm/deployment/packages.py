# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Packages that export and its runtimes need, which are extras."""
import importlib.metadata
from typing import Dict, Optional

from refinevis_mm.compat.versions import VersionRange

# The oldest ones whose graphs were compared with PyTorch.
SUPPORTED: Dict[str, VersionRange] = {
    'torch': VersionRange('2.13', '3', 'torch>=2.13'),
    'onnx': VersionRange('1.23', '2', 'refinevis_mm[export]'),
    'onnxscript': VersionRange('0.7', '1', 'refinevis_mm[export]'),
    'onnxruntime': VersionRange('1.32', '2', 'refinevis_mm[onnxruntime]'),
    'openvino': VersionRange('2026.4', '2027', 'refinevis_mm[openvino]'),
}


def installed(name: str) -> Optional[str]:
    """Version of a package, None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_package(name: str, user: str) -> None:
    """Check that a supported version of a package is installed.

    Args:
        name (str): A key of ``SUPPORTED``.
        user (str): What needs it, for the message.

    Raises:
        ImportError: If it is missing or of another version; one line with
            the command that installs it.
    """
    needed, found = SUPPORTED[name], installed(name)
    # torch 2.13.0+cpu is 2.13
    if found is None or not needed.has(found.split('+')[0]):
        raise ImportError(f'{user} needs {name}>={needed.minimum},'
                          f'<{needed.maximum} but found {found or "none"}. '
                          f'Run: pip install "{needed.install}"')
