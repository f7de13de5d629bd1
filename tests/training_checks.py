# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the tests of training share."""
from typing import Any, Dict

import torch
from mmdet.structures import TrackDataSample
from torch import Tensor, nn

from tests.demo_clips import clip_targets


def total_loss(losses: Dict[str, Any]) -> Tensor:
    """Sum of what mmengine would train on."""
    return sum(
        sum(value) if isinstance(value, list) else value
        for name, value in losses.items() if 'loss' in name)


def assert_trains(model: nn.Module, losses: Dict[str, Any]) -> None:
    """A backward pass: every trained parameter gets a finite gradient."""
    total = total_loss(losses)
    assert torch.isfinite(total)
    total.backward()
    assert not [
        name
        for name, param in model.named_parameters() if param.requires_grad and
        (param.grad is None or not torch.isfinite(param.grad).all())
    ]


def assert_frames_train(frame_model: nn.Module, clip: TrackDataSample,
                        num_losses: int) -> None:
    """The same for the losses of a frame model on a clip of 96 x 64."""
    frame_model.zero_grad(set_to_none=True)
    targets, = clip_targets(clip)
    frames = torch.randn(len(clip), 3, 64, 96)
    losses = frame_model.loss_frames(
        frame_model.forward_frames(frames, [targets]),
        [targets.frame(t) for t in range(len(clip))])
    assert len(losses) == num_losses
    assert_trains(frame_model, losses)
