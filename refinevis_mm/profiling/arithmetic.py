# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""How long the arithmetic alone would take."""
import time
from typing import Any, Callable, Dict, Optional, Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from refinevis_mm.models.layers import (MultiScaleDeformableAttention,
                                        use_attention_backend)
from .stage_timer import StageTimer

# Sides of the matrices: some milliseconds for one product.
SIDES = dict(cpu=1024, cuda=8192)
# Multiply and add for each of four neighbours.
FLOPS_PER_SAMPLE = 8


class FlopCounter:
    """Floating-point operations of products, convolutions and attention.

    A multiplication and an addition are two. Elementwise operators are not
    counted. The sampling of deformable attention is counted by formula,
    whatever computes it: four neighbours of each point, and twice that in
    the backward pass.
    """

    def __init__(self) -> None:
        self._mode = FlopCounterMode(
            display=False,
            custom_mapping={
                torch.ops.aten.convolution_backward: _conv_backward_flops
            })
        self._sampled = 0

    def total(self) -> float:
        """Operations so far."""
        return float(self._mode.get_total_flops() + self._sampled)

    def count(self, timer: StageTimer, run: Callable[[],
                                                     Any]) -> Dict[str, float]:
        """Count one run.

        Args:
            timer (:obj:`StageTimer`): Knows the stages.
            run (Callable): The run.

        Returns:
            dict[str, float]: Operations by stage, and the total.
        """
        owner: Any = MultiScaleDeformableAttention
        sample = owner.sample

        def counted(module: MultiScaleDeformableAttention, *args: Any,
                    **kwargs: Any) -> Tensor:
            output = sample(module, *args, **kwargs)
            flops = FLOPS_PER_SAMPLE * output.numel() * module.num_levels * \
                module.num_points
            self._sampled += flops
            if output.requires_grad:
                output.register_hook(lambda _: self._add(2 * flops))
            return output

        owner.sample = counted
        timer.now = self.total  # type: ignore[method-assign]
        try:
            # a form without products of its own
            with use_attention_backend('embedding_bag'), self._mode:
                return timer.measure(run)
        finally:
            del timer.now
            owner.sample = sample

    def _add(self, flops: int) -> None:
        """Add what a backward pass samples."""
        self._sampled += flops


def _conv_backward_flops(grad: Sequence[int], images: Sequence[int],
                         weight: Sequence[int], *args: Any,
                         **kwargs: Any) -> int:
    """As many as in the forward pass for each gradient that is wanted.

    PyTorch's own formula counts the gradient of a depthwise weight as that
    of a dense one.
    """
    transposed, wanted = args[4], args[7]
    return conv_flop_count(images, weight, grad, transposed) * sum(
        map(bool, wanted[:2]))


def matmul_rate(device: torch.device,
                dtype: Optional[torch.dtype] = None) -> float:
    """Measure one matrix product.

    Args:
        device (torch.device): Where it runs, with PyTorch's threads.
        dtype (torch.dtype, optional): Type of the matrices. Defaults to
            None, float32.

    Returns:
        float: Operations a second; a multiplication and an addition are two.
    """
    side = SIDES.get(device.type, SIDES['cuda'])
    matrix = torch.ones(side, side, device=device, dtype=dtype)
    out = torch.empty_like(matrix)

    def run() -> float:
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        torch.mm(matrix, matrix, out=out)
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    run()  # the first one wakes up threads
    return 2 * side**3 / run()
