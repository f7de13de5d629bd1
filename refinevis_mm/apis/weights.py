# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A short name of what a model has learnt."""
import hashlib

import torch
from torch import nn


def weights_digest(model: nn.Module) -> str:
    """Short name of a model's weights, the same wherever they come from.

    Args:
        model (nn.Module): The model.

    Returns:
        str: 16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous().reshape(-1)
        digest.update(name.encode())
        digest.update(value.view(torch.uint8).numpy())
    return digest.hexdigest()[:16]
