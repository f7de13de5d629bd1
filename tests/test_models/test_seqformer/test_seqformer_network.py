# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames in parts, of any size and in any order, and batches of clips."""
import pytest
import torch

from refinevis_mm.registry import MODELS
from tests.tiny_seqformer import tiny_seqformer_cfg


@pytest.fixture(scope='module')
def network():
    torch.manual_seed(0)
    cfg = tiny_seqformer_cfg().model.frame_model
    network = MODELS.build(cfg)
    network.init_weights()
    for fc_reg in network.head.fc_reg:  # at the start boxes do not move
        torch.nn.init.normal_(fc_reg.layers[-1].weight, std=0.5)
    return network.eval()


def encode(network, num, height=64, width=96, seed=0):
    torch.manual_seed(seed)
    with torch.no_grad():
        return network.encode_frames(
            torch.randn(num, 3, height, width), [(height - 9, width)] * num)


def parts_of(network, num, **kwargs):
    """The frames one by one, encoded together."""
    frames = encode(network, num, **kwargs)
    return [
        type(frames)(frames.value[i:i + 1], frames.padding[i:i + 1],
                     frames.shapes, frames.starts, frames.ratios[i:i + 1],
                     frames.mask_features[i:i + 1], frames.shares[i:i + 1])
        for i in range(num)
    ]


def assert_equal(ours, others):
    for layer, other in zip(ours, others):
        for name in ('cls_logits', 'boxes', 'mask_embeds', 'mask_boxes'):
            torch.testing.assert_close(
                getattr(layer, name),
                getattr(other, name),
                atol=1e-5,
                rtol=1e-4)


@torch.no_grad()
def test_parts_make_no_difference(network):
    frames = encode(network, 4)
    assert_equal(
        network.decode(parts_of(network, 4)), network.decode([frames]))


@torch.no_grad()
def test_clips_of_a_batch_are_apart(network):
    first, second = encode(network, 3), encode(network, 3, seed=1)
    both = network.decode([first, second], num_clips=2)
    for i, frames in enumerate((first, second)):
        for layer, alone in zip(both, network.decode([frames])):
            torch.testing.assert_close(
                layer.cls_logits[i], alone.cls_logits[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(
                layer.boxes[3 * i:3 * i + 3],
                alone.boxes,
                atol=1e-5,
                rtol=1e-4)


@torch.no_grad()
def test_order_of_frames_only_orders_the_boxes(network):
    parts = parts_of(network, 3)
    layers = network.decode(parts)
    for layer, other in zip(layers, network.decode(parts[::-1])):
        torch.testing.assert_close(
            layer.cls_logits, other.cls_logits, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(
            layer.boxes, other.boxes.flip(0), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_frames_may_differ_in_size(network):
    parts = [encode(network, 1), encode(network, 1, 96, 64)]
    layer = network.decode(parts)[-1]
    assert layer.boxes.shape == (2, 12, 4)
    masks = [
        network.segment(layer.mask_embeds[0], part.mask_features[0], boxes)
        for part, boxes in zip(parts, layer.mask_boxes)
    ]
    assert [mask.shape for mask in masks] == [(12, 16, 24), (12, 24, 16)]


@torch.no_grad()
def test_an_object_is_placed_in_each_frame(network):
    """Boxes differ between frames, classes and mask heads do not."""
    layer = network.decode([encode(network, 3)])[-1]
    assert layer.cls_logits.shape == (1, 12, 40)
    assert layer.mask_embeds.shape == (1, 12, 169)
    assert not torch.equal(layer.boxes[0], layer.boxes[1])
    assert layer.boxes[..., 1].max() <= 55 / 64  # inside of the picture
