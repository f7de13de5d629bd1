# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Time attention, and which stream sees what."""
import torch

from refinevis_mm.models.seqformer.seqformer_layer import attend_over_time


def test_attention_over_time_of_numbers():
    logits = torch.tensor([0.0, 3.0]).log().view(1, 2, 1, 1)
    logits[0, 0] = 0.0  # weights 1 and 3
    seen = torch.tensor([[4.0], [8.0]]).view(1, 2, 1, 1)
    torch.testing.assert_close(
        attend_over_time(logits, seen), torch.tensor([[[7.0]]]))


def test_one_frame_is_itself():
    seen = torch.randn(2, 1, 3, 4)
    torch.testing.assert_close(
        attend_over_time(torch.randn(2, 1, 3, 1), seen), seen[:, 0])


def test_order_of_frames_does_not_matter():
    logits, seen = torch.randn(1, 5, 3, 1), torch.randn(1, 5, 3, 4)
    order = torch.randperm(5)
    torch.testing.assert_close(
        attend_over_time(logits[:, order], seen[:, order]),
        attend_over_time(logits, seen))
