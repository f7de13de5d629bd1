# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What inference leaves out or computes otherwise changes no result."""
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.frame_level.maskdino import masks_to_boxes
from refinevis_mm.models.layers.transformer_layers import level_positions
from refinevis_mm.registry import MODELS
from tests.demo_clips import clip_targets, empty_clip, tiny_model_cfg


@pytest.fixture
def frame_model():
    torch.manual_seed(0)
    cfg = tiny_model_cfg().frame_model
    cfg.decoder.num_layers = 3
    model = MODELS.build(cfg)
    model.init_weights()
    for param in model.head.fc_reg.parameters():
        torch.nn.init.normal_(param, std=0.2)  # boxes that move
    return model.eval()


IMAGES = torch.linspace(-2, 2, 2 * 3 * 64 * 96).sin().view(2, 3, 64, 96)


@torch.no_grad()
def _infer(model):
    return model.forward_frames(IMAGES)


def test_inference_says_what_training_supervises(frame_model):
    """The short path against all layers with gradients."""
    full = frame_model.forward_frames(IMAGES, clip_targets(empty_clip()))
    short = _infer(frame_model)
    assert len(full.layers) == 5 and not short.layers
    last = full.layers[-1]
    for ours, theirs in ((short.cls_logits, last.cls_logits), (short.boxes,
                                                               last.boxes),
                         (short.embeds, full.embeds), (short.mask_features,
                                                       full.mask_features)):
        assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


def test_one_image_is_a_batch_of_one(frame_model):
    with torch.no_grad():
        alone = frame_model.forward_frames(IMAGES[1:])
    both = _infer(frame_model)
    assert_close(alone.boxes, both.boxes[1:], atol=1e-5, rtol=1e-4)
    assert_close(
        alone.mask_features, both.mask_features[1:], atol=1e-5, rtol=1e-4)


def test_running_again_changes_no_bit(frame_model):
    first, second = _infer(frame_model), _infer(frame_model)
    assert torch.equal(first.boxes, second.boxes)
    assert torch.equal(first.mask_features, second.mask_features)


def test_positions_are_mmdets(frame_model):
    encoding = frame_model.pixel_decoder.positional_encoding
    sine = encoding(torch.zeros(1, 5, 7, dtype=torch.bool))
    assert torch.equal(
        level_positions(encoding, torch.zeros(1, 32, 5, 7)),
        sine.flatten(2).transpose(1, 2))


def test_boxes_of_logits_are_boxes_of_masks():
    logits = torch.randn(4, 3, 6, 9) - 1.5
    logits[0, 0] = -1  # empty
    logits[0, 1] = 0  # not above 0: empty too
    for ours, theirs in zip(
            masks_to_boxes(logits), masks_to_boxes(logits > 0)):
        assert torch.equal(ours, theirs)
    assert masks_to_boxes(logits)[1][0, :2].all()
