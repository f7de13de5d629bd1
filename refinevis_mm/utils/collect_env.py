# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Report of the versions and the attention backend in use.

Run ``python -m refinevis_mm.utils.collect_env`` and paste its output into an
issue.
"""
from typing import Dict

import torch

from ..compat.mmcv_lite import has_compiled_ops
from ..compat.versions import installed_version
from ..version import __version__

__all__ = ['collect_env']


def collect_env() -> Dict[str, str]:
    """Collect versions, devices and deformable-attention backends.

    Returns:
        dict[str, str]: mmcv's report plus MMDetection, refinevis_mm, whether
        mmcv has compiled operators, and the backend of multi-scale
        deformable attention per device.
    """
    from mmcv.utils import collect_env as mmcv_collect_env

    from refinevis_mm.models.layers import select_backend

    env = {key: str(value) for key, value in mmcv_collect_env().items()}
    env['MMCV compiled ops'] = str(has_compiled_ops())
    env['MMDetection'] = str(installed_version('mmdet'))
    env['refinevis_mm'] = __version__
    devices = ['cpu'] + ['cuda'] * torch.cuda.is_available()
    for device in devices:
        env[f'Deformable attention, {device}'] = select_backend(
            torch.device(device))
    return env


if __name__ == '__main__':
    for name, value in collect_env().items():
        print(f'{name}: {value}')
