# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Operators of mmcv that torchvision computes as well.

On mmcv-lite the stand-in of :mod:`.mmcv_lite` hands these three to
torchvision, whose wheels have them compiled for every platform: NMS, and
RoIAlign with its gradient. mmcv's Python on top of them, ``batched_nms`` and
``RoIAlign`` among others, then works as with compiled mmcv. torchvision is
imported when one of them is first called, never before.
"""
from functools import lru_cache, partial
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Callable, Dict, Union

import torch
from torch import Tensor

__all__ = ['OPERATORS', 'missing_message']

COMPILED_MMCV = 'mmcv with compiled operators (pip uninstall -y mmcv-lite ' \
    '&& pip install "mmcv>=2.0.0rc4,<2.2.0")'
TORCHVISION = 'torchvision (pip install "refinevis_mm[zoo]")'
AVERAGE = 1  # mmcv's code of pool_mode='avg'


def missing_message(name: str) -> str:
    """What to install for an operator that neither library brings here.

    Args:
        name (str): Name of the operator.

    Returns:
        str: One line with every way out.
    """
    ways = f'{TORCHVISION} or {COMPILED_MMCV}' if name in OPERATORS else \
        COMPILED_MMCV
    return f'the operator "{name}" is not part of mmcv-lite; it needs {ways}'


@lru_cache(maxsize=None)
def _import_ops() -> Union[ModuleType, str]:
    """``torchvision.ops``, or why it cannot be imported.

    Asked once: a torchvision made for another torch leaves torch's registry
    half filled, and the second try fails with something misleading.
    """
    try:
        return import_module('torchvision.ops')
    except (ImportError, OSError, RuntimeError) as error:
        return (str(error).strip() or type(error).__name__).split('\n')[0]


def _torchvision(name: str) -> ModuleType:
    """``torchvision.ops`` for an operator of mmcv."""
    if find_spec('torchvision') is None:
        raise NotImplementedError(missing_message(name))
    ops = _import_ops()
    if isinstance(ops, str):
        raise NotImplementedError(
            f'{missing_message(name)}; the torchvision installed cannot be '
            f'imported beside torch {torch.__version__} ({ops}), install the '
            'one made for it')
    return ops


def nms(bboxes: Tensor, scores: Tensor, iou_threshold: float,
        offset: int) -> Tensor:
    """Stand in for ``mmcv._ext.nms``.

    Of boxes with the same score the first is the better one; compiled mmcv
    leaves that to a sort which is not stable.

    Args:
        bboxes (Tensor): Boxes (x1, y1, x2, y2), has shape (N, 4).
        scores (Tensor): Has shape (N, ).
        iou_threshold (float): A box is removed by a better one if their IoU
            is above this, in [0, 1].
        offset (int): Pixels that a box is wider than x2 - x1; 0 only.

    Returns:
        Tensor: Long indices of the boxes kept, the best first, has shape
        (n, ).

    Raises:
        NotImplementedError: If torchvision cannot be imported, or
            ``offset`` is not 0.
    """
    ops = _torchvision('nms')
    if offset != 0:
        raise NotImplementedError('nms of torchvision needs offset=0, got '
                                  f'{offset}; 1 needs {COMPILED_MMCV}')
    return ops.nms(bboxes, scores, iou_threshold)


def _roi_align(name: str, aligned_height: int, aligned_width: int,
               spatial_scale: float, sampling_ratio: int, pool_mode: int,
               aligned: bool) -> Callable[[Tensor, Tensor], Tensor]:
    """torchvision's RoIAlign with mmcv's arguments, of features and RoIs."""
    ops = _torchvision(name)
    if pool_mode != AVERAGE:
        raise NotImplementedError(
            "RoIAlign of torchvision needs pool_mode='avg', got 'max', which "
            f'needs {COMPILED_MMCV}')
    return partial(
        ops.roi_align,
        output_size=(aligned_height, aligned_width),
        spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio,
        aligned=aligned)


def roi_align_forward(input: Tensor, rois: Tensor, output: Tensor,
                      argmax_y: Tensor, argmax_x: Tensor,
                      **kwargs: Any) -> None:
    """Stand in for ``mmcv._ext.roi_align_forward``.

    Args:
        input (Tensor): Features, has shape (B, C, h, w).
        rois (Tensor): Batch index and (x1, y1, x2, y2), has shape (n, 5).
        output (Tensor): Written to, has shape (n, C, aligned_height,
            aligned_width).
        argmax_y (Tensor): For max pooling, not used.
        argmax_x (Tensor): For max pooling, not used.
        **kwargs: ``aligned_height``, ``aligned_width``, ``spatial_scale``,
            ``sampling_ratio``, ``pool_mode`` (1: average) and ``aligned``.

    Raises:
        NotImplementedError: If torchvision cannot be imported, or for max
            pooling.
    """
    output.copy_(_roi_align('roi_align_forward', **kwargs)(input, rois))


def roi_align_backward(grad_output: Tensor, rois: Tensor, argmax_y: Tensor,
                       argmax_x: Tensor, grad_input: Tensor,
                       **kwargs: Any) -> None:
    """Stand in for ``mmcv._ext.roi_align_backward``.

    Args:
        grad_output (Tensor): Has shape (n, C, aligned_height,
            aligned_width).
        rois (Tensor): As in :func:`roi_align_forward`.
        argmax_y (Tensor): For max pooling, not used.
        argmax_x (Tensor): For max pooling, not used.
        grad_input (Tensor): Written to, has shape (B, C, h, w).
        **kwargs: As in :func:`roi_align_forward`.

    Raises:
        NotImplementedError: If torchvision cannot be imported, or for max
            pooling.
    """
    pool = _roi_align('roi_align_backward', **kwargs)
    # average pooling is linear: its gradient is the same at any input
    with torch.enable_grad():
        features = torch.zeros_like(grad_input, requires_grad=True)
        pooled = pool(features, rois)
    grad_input.copy_(torch.autograd.grad(pooled, features, grad_output)[0])


# names in mmcv._ext
OPERATORS: Dict[str, Callable] = dict(
    nms=nms,
    roi_align_forward=roi_align_forward,
    roi_align_backward=roi_align_backward)
