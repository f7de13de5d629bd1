# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import torch
from mmdet.models.layers import MLP
from torch import nn
from torch.testing import assert_close

from refinevis_mm.models.frame_level.deformable_detr_transformer import (
    DeformableDETRDecoder, DeformableDETREncoder, refine_boxes)
from refinevis_mm.models.layers.transformer_layers import level_positions

SIZES = ((6, 8), (3, 4), (2, 2), (1, 1))
SMALL = dict(num_layers=2, embed_dims=32, num_heads=4, feedforward_channels=32)


def _levels(batch=2):
    return [torch.randn(batch, 32, *size) for size in SIZES]


def _branches(num=2):
    torch.manual_seed(1)
    return nn.ModuleList([MLP(32, 32, 4, 3) for _ in range(num)])


def test_refine_boxes_by_hand():
    logit = torch.tensor(3.).log()  # sigmoid = 3/4
    deltas = torch.stack([logit, -logit, logit, -logit])
    assert_close(
        refine_boxes(deltas, torch.tensor([0.5, 0.5])),
        torch.tensor([0.75, 0.25, 0.75, 0.25]))
    assert_close(
        refine_boxes(deltas, torch.tensor([0.25, 0.75, 0.5, 0.25])),
        torch.tensor([0.5, 0.5, 0.75, 0.1]))


def test_encoder_keeps_shapes_and_has_offset_positions():
    encoder = DeformableDETREncoder(**SMALL).eval()
    encoder.init_weights()
    levels = _levels()
    with torch.no_grad():
        encoded = encoder(levels)
    assert [e.shape for e in encoded] == [lvl.shape for lvl in levels]
    # a cell's centre, not its end: of one column, x is 1/2 and not 1
    pos = level_positions(encoder.positional_encoding, levels[3])
    assert_close(pos[0, 0, 16:18], torch.tensor([0., -1.]), atol=1e-4, rtol=0)


def test_dropout_is_on_in_training_only():
    torch.manual_seed(0)
    encoder = DeformableDETREncoder(**SMALL)
    encoder.init_weights()
    levels = _levels()
    once, again = encoder(levels)[0], encoder(levels)[0]
    assert not torch.equal(once, again)
    encoder.eval()
    assert torch.equal(encoder(levels)[0], encoder(levels)[0])


def test_boxes_refine_the_detached_boxes_of_the_layer_before():
    torch.manual_seed(0)
    decoder = DeformableDETRDecoder(num_queries=5, **SMALL).eval()
    decoder.init_weights()
    branches = _branches()
    states, boxes, references = decoder(_levels(), branches)
    assert states[1].shape == (2, 5, 32) and boxes[1].shape == (2, 5, 4)
    points = decoder.reference_points(
        decoder.query_pos_embedding.weight).sigmoid()
    assert_close(boxes[0],
                 refine_boxes(branches[0](states[0]), points.expand(2, 5, 2)))
    assert_close(boxes[1],
                 refine_boxes(branches[1](states[1]), boxes[0].detach()))
    # the second layer's box loss leaves the first layer's box branch alone
    boxes[1].sum().backward()
    assert branches[0].layers[0].weight.grad is None
    assert branches[1].layers[0].weight.grad.abs().sum() > 0


def test_frames_of_a_batch_are_independent():
    torch.manual_seed(0)
    decoder = DeformableDETRDecoder(num_queries=5, **SMALL).eval()
    decoder.init_weights()
    levels, branches = _levels(), _branches()
    with torch.no_grad():
        together = decoder(levels, branches)[1][-1]
        alone = decoder([level[1:] for level in levels], branches)[1][-1]
    assert_close(together[1:], alone, atol=1e-5, rtol=1e-5)
