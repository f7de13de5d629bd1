# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What is done to a frame before it enters a network."""
from typing import List

from mmengine.config import Config

GEOMETRY = ('Resize', 'Pad')


def geometry_steps(cfg: Config) -> List[dict]:
    """Steps of a test pipeline that bring a frame to the size of the model.

    Args:
        cfg (Config): Config of a model with its test data.

    Returns:
        list[dict]: Resizing and padding, however deeply nested.
    """
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    steps, found = list(dataset.get('pipeline', [])), []
    while steps:
        step = steps.pop(0)
        if step['type'].split('.')[-1] in GEOMETRY:
            found.append(dict(step))
        steps = list(step.get('transforms', [])) + steps
    return found
