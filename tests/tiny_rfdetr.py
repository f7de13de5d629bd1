# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RF-DETR-Seg for tests: the package's network, and a tiny nano."""
from types import ModuleType

import pytest
import torch
from torch import nn

SIDE = 96


def use_tiny_nano(monkeypatch: pytest.MonkeyPatch) -> type:
    """'nano' becomes a network of 96 x 96 pixels, 20 queries and 2 layers.

    Returns:
        type: Its config class.
    """
    config = need_rfdetr().config

    class TinyConfig(config.RFDETRSegNanoConfig):
        resolution: int = SIDE
        positional_encoding_size: int = SIDE // 12
        num_queries: int = 20
        num_select: int = 20
        dec_layers: int = 2

    monkeypatch.setattr(config, 'RFDETRSegNanoConfig', TinyConfig)
    return TinyConfig


def need_rfdetr() -> ModuleType:
    """The package; skips where it is not installed."""
    return pytest.importorskip('rfdetr', exc_type=ImportError)


def package_network(size: str, **options) -> nn.Module:
    """The package's own network, at random where it would start with zeros.

    Args:
        size (str): Such as 'nano'.
        **options: Of the package's config, such as ``num_classes``.
    """
    from rfdetr import config
    from rfdetr.models.lwdetr import build_model_from_config
    cls = getattr(config, f'RFDETRSeg{size.capitalize()}Config')
    torch.manual_seed(0)
    network = build_model_from_config(cls(device='cpu', **options))
    for name, param in network.named_parameters():
        if param.dim() == 1 or 'bbox_embed' in name or 'refpoint' in name:
            mean = float('norm' in name and name.endswith('weight'))
            nn.init.normal_(param, mean, 0.1)
    return network.eval()
