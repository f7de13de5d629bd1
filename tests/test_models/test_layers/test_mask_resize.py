# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from refinevis_mm.models.layers.mask_resize import resize_masks


def test_a_linear_ramp_stays_linear():
    # logits that grow by 1 per stride-4 cell grow by 1/4 per pixel, from
    # cell centres; 48 x 64 pixels of which 40 x 60 are the image
    logits = torch.arange(16.0).expand(1, 12, 16)
    out = resize_masks(logits, dict(img_shape=(40, 60), ori_shape=(40, 60)))
    assert out.shape == (1, 40, 60)
    pixels = (torch.arange(60) + 0.5) / 4 - 0.5
    assert_close(out[0], pixels.clamp(min=0).expand(40, 60))


def test_padding_is_cut_before_the_second_resize():
    logits = torch.full((1, 8, 8), -5.0)
    logits[:, :, :4] = 5.0  # the left half of a 32 x 32 input is the image
    meta = dict(img_shape=(32, 14), ori_shape=(64, 28))
    assert (resize_masks(logits, meta) > 0).all()


@pytest.mark.parametrize('ori_shape', [(40, 60), (80, 120), (17, 33)])
def test_equals_two_plain_interpolations(ori_shape):
    torch.manual_seed(0)
    logits = torch.randn(3, 12, 16)
    out = resize_masks(logits, dict(img_shape=(40, 60), ori_shape=ori_shape))
    step = F.interpolate(logits[None], size=(48, 64), mode='bilinear')
    step = F.interpolate(
        step[..., :40, :60], size=ori_shape, mode='bilinear')[0]
    assert_close(out, step)


def test_an_input_not_divisible_by_the_stride():
    # 50 x 70 pixels give 13 x 18 cells, which cover 52 x 72
    out = resize_masks(
        torch.ones(2, 13, 18), dict(img_shape=(50, 70), ori_shape=(50, 70)))
    assert_close(out, torch.ones(2, 50, 70))


def test_no_masks():
    out = resize_masks(
        torch.zeros(0, 12, 16), dict(img_shape=(40, 60), ori_shape=(80, 120)))
    assert out.shape == (0, 80, 120)


def test_nearest_second_step():
    """Every second pixel of the first step, whose masks are as they are."""
    torch.manual_seed(0)
    logits, size = torch.randn(3, 12, 16), (40, 60)
    whole = resize_masks(logits, dict(img_shape=size, ori_shape=size))
    half = resize_masks(logits, dict(img_shape=size, ori_shape=(20, 30)),
                        'nearest')
    assert torch.equal(half, whole[:, ::2, ::2])
