# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Weights of mmdet's video head in the head of a frame model."""
import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.config import Config
from torch.testing import assert_close

from refinevis_mm.apis.inference import find_config
from refinevis_mm.registry import MODELS
from tests.tiny_mask2former import TINY_BACKBONE, TINY_HEAD

CONFIG = 'configs/mask2former/mask2former-r50_youtubevis2021.py'
MMDET_CONFIG = \
    'mmdet::mask2former_vis/mask2former_r50_8xb2-8e_youtubevis2021.py'


@pytest.fixture(scope='module')
def video_model():
    """mmdet's model of video, every weight random."""
    cfg = Config.fromfile(find_config(MMDET_CONFIG))
    tiny = dict(backbone=TINY_BACKBONE, track_head=TINY_HEAD)
    cfg.merge_from_dict(dict(model=dict(tiny, init_cfg=None)))
    torch.manual_seed(0)
    model = MMDET_MODELS.build(cfg.model).eval()
    model.init_weights()
    for param in model.track_head.parameters():
        torch.nn.init.normal_(param, std=0.2)
    return model


def frame_model(video_model):
    """A frame model of the shipped config with the same weights."""
    cfg = Config.fromfile(CONFIG)
    tiny = dict(backbone=TINY_BACKBONE, head=TINY_HEAD)
    cfg.merge_from_dict(dict(model=dict(frame_model=tiny)))
    model = MODELS.build(cfg.model.frame_model).eval()
    model.load_state_dict({
        key.replace('track_head.', 'head.'): value
        for key, value in video_model.state_dict().items()
    })
    return model


@pytest.fixture
def one_frame(video_model):
    """Class and mask logits of mmdet's model for a clip of one frame."""
    torch.manual_seed(1)
    image = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        head = video_model.track_head
        cls_logits, mask_logits = head(video_model.backbone(image), None)
    return image, cls_logits[-1], mask_logits[-1][:, :, 0]


def predict(model, image):
    with torch.no_grad():
        frame = model.forward_frames(image)
        return model.classify(frame.embeds), model.segment(
            frame.embeds, frame.mask_features)


def test_a_frame_is_a_clip_of_one_frame(video_model, one_frame):
    """The place in time, the same for all keys, leaves attention as it is."""
    image, cls_logits, mask_logits = one_frame
    model = frame_model(video_model)
    found = predict(model, image)
    assert cls_logits.shape == (1, 12, 41)
    assert mask_logits.shape == (1, 12, 16, 24)
    assert_close(found[0], cls_logits, atol=1e-5, rtol=1e-5)
    assert_close(found[1], mask_logits, atol=1e-5, rtol=1e-5)
    # frames of a batch do not see each other
    both = predict(model, torch.cat([torch.randn(1, 3, 64, 96), image]))
    assert_close(both[0][1:], cls_logits, atol=1e-5, rtol=1e-5)


def test_the_comparison_can_fail(video_model, one_frame):
    image, cls_logits, mask_logits = one_frame
    model = frame_model(video_model)
    encoding = model.head.decoder_positional_encoding
    encoding.forward = lambda mask: torch.zeros(len(mask), 32, *mask.shape[1:])
    found = predict(model, image)
    assert (found[0] - cls_logits).abs().max() > 1e-3
    assert (found[1] - mask_logits).abs().max() > 1e-3
