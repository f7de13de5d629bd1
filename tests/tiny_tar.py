# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A tiny TAR head."""
from typing import Any

import torch

from refinevis_mm.models.refinement import TARHead

DIMS = 16


def tiny_tar_head(std: float = 0.3, **options: Any) -> TARHead:
    """TAR as initialised (``std=0``), or with weights that matter."""
    torch.manual_seed(0)
    settings = dict(
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_mask=dict(num_points=32),
        embed_dims=DIMS,
        num_heads=4,
        feedforward_channels=32)
    head = TARHead(**{**settings, **options})
    head.init_weights()
    for param in head.parameters() if std else ():
        torch.nn.init.normal_(param, std=std)
    return head
