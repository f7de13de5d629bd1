# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Batch normalisation folded into convolutions while a network infers."""
from collections import Counter
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch
from torch import Tensor, nn

Pair = Tuple[nn.Conv2d, nn.Module]


class ConvBNFolding:
    """Runs a network without the passes of its batch normalisation.

    In inference a normalisation with running statistics is a scale and a
    shift, which the weights of the convolution before it can take over. The
    network itself is not changed: its modules, hooks and state dict stay, and
    the folded weights stand in only during a call without gradients.

    Weights that are written in place or replaced are noticed, except through
    ``.data``: call :meth:`clear` then. :meth:`nn.Module.train` is a good
    place, as it is called between training and testing.
    """

    def __init__(self) -> None:
        self._pairs: Optional[List[Pair]] = None
        self._folded: Dict[nn.Module, Tuple[tuple, Tensor, Tensor]] = {}

    def clear(self) -> None:
        """Forget everything that was folded."""
        self._pairs = None
        self._folded.clear()

    def __call__(self, network: nn.Module, images: Tensor) -> Any:
        """Run ``network``, folded in evaluation without gradients.

        Args:
            network (nn.Module): Always the same network.
            images (Tensor): Its input, has shape (B, C, H, W).

        Returns:
            Any: What the network returns.
        """
        if torch.is_grad_enabled() or network.training:
            return network(images)
        if self._pairs is None:
            self._pairs = find_pairs(network, images[:1])
        # Weights in the layout of the input need no conversion at each call.
        layout = torch.contiguous_format
        if images.is_contiguous(memory_format=torch.channels_last):
            layout = torch.channels_last
        with ExitStack() as stack:
            for conv, norm in self._pairs:
                if norm.training:
                    continue
                weight, bias = self._fold(conv, norm, layout)
                convolve = partial(
                    conv._conv_forward, weight=weight, bias=bias)
                stack.enter_context(_replaced_forward(conv, convolve))
                stack.enter_context(_replaced_forward(norm, _identity))
            return network(images)

    def _fold(self, conv: nn.Conv2d, norm: nn.Module,
              layout: torch.memory_format) -> Tuple[Tensor, Tensor]:
        """Weight and bias of both together, computed when they change."""
        tensors = (conv.weight, conv.bias, norm.weight, norm.bias,
                   norm.running_mean, norm.running_var)
        state = (layout, *[
            None if tensor is None else (tensor.data_ptr(), tensor._version)
            for tensor in tensors
        ])
        if conv not in self._folded or self._folded[conv][0] != state:
            with torch.inference_mode(False), torch.no_grad():
                weight, bias = fold(conv, norm)
                self._folded[conv] = (state, weight.to(memory_format=layout),
                                      bias)
        return self._folded[conv][1:]


def fold(conv: nn.Conv2d, norm: nn.Module) -> Tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what two modules do.

    Args:
        conv (nn.Conv2d): Convolution.
        norm (nn.Module): Batch normalisation that follows it, with running
            statistics.

    Returns:
        tuple[Tensor]: Weight and bias (out_channels, ).
    """
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    shift = -norm.running_mean if conv.bias is None else \
        conv.bias - norm.running_mean
    bias = shift * scale
    if norm.bias is not None:
        bias = bias + norm.bias
    return conv.weight * scale.view(-1, 1, 1, 1), bias


@torch.no_grad()
def find_pairs(network: nn.Module, images: Tensor) -> List[Pair]:
    """Convolutions whose output goes straight into a normalisation.

    They are found by watching a forward pass, as the order in which modules
    are defined says little about the order in which they run.

    Args:
        network (nn.Module): Any network.
        images (Tensor): An input, has shape (B, C, H, W).

    Returns:
        list[tuple[nn.Module]]: Convolution and normalisation; only modules
        that run once and are PyTorch's own.
    """
    pairs, calls, last = [], Counter(), [None, None]

    def after_conv(conv: nn.Module, args: tuple, output: Tensor) -> None:
        calls[conv] += 1
        last[:] = conv, output

    def before_norm(norm: nn.Module, args: tuple) -> None:
        calls[norm] += 1
        if args[0] is last[1] and norm.running_mean is not None:
            pairs.append((last[0], norm))

    handles = []
    for module in network.modules():
        if type(module) is nn.Conv2d:
            handles.append(module.register_forward_hook(after_conv))
        elif type(module) in (nn.BatchNorm2d, nn.SyncBatchNorm):
            handles.append(module.register_forward_pre_hook(before_norm))
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return [(conv, norm) for conv, norm in pairs
            if calls[conv] == calls[norm] == 1]


def _identity(x: Tensor) -> Tensor:
    """The normalisation is done already."""
    return x


@contextmanager
def _replaced_forward(module: nn.Module, forward: Any) -> Iterator[None]:
    """Give a module another ``forward`` for a while; hooks still run."""
    module.__dict__['forward'] = forward
    try:
        yield
    finally:
        del module.__dict__['forward']
