# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Windows of frames: who sees whom."""
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.vita import object_encoder
from refinevis_mm.models.vita.object_encoder import (ObjectEncoder,
                                                     blocked_pairs,
                                                     window_groups)

DIMS = 8


def encoder(window, num_layers=2):
    torch.manual_seed(0)
    return ObjectEncoder(
        num_layers, window,
        dict(
            self_attn_cfg=dict(embed_dims=DIMS, num_heads=2, batch_first=True),
            ffn_cfg=dict(embed_dims=DIMS, feedforward_channels=16))).eval()


def seen_from(model, num_frames, frame):
    """Frames on which the output of a frame depends."""
    tokens = torch.randn(1, num_frames, 2, DIMS, requires_grad=True)
    model(tokens)[0, frame].square().sum().backward()
    return tokens.grad.abs().flatten(2).sum(2)[0].nonzero().flatten().tolist()


def test_blocked_pairs_by_hand():
    # 2 frames of a window of 3, aligned: the third frame is no key
    assert blocked_pairs(2, 3, 3, 0).int().tolist() == [[[0, 0, 1]] * 3]
    # shifted by 2: places hold frames 1, appended, 0
    assert blocked_pairs(2, 3, 3, 2).int().tolist() == [[[0, 1, 1], [1, 1, 1],
                                                         [1, 1, 0]]]
    # without appended frames: only the seam of the first window
    first, second = blocked_pairs(4, 4, 2, 1).int().tolist()
    assert first == [[0, 1], [1, 0]] and second == [[0, 0], [0, 0]]


def test_a_layer_sees_its_window():
    model = encoder(3, num_layers=1)
    assert seen_from(model, 7, 0) == [0, 1, 2]
    assert seen_from(model, 7, 4) == [3, 4, 5]
    assert seen_from(model, 7, 6) == [6]


def test_every_second_layer_is_shifted_at_test_only():
    model = encoder(3)
    # shifted by 2: windows of frames (-, 0), (1, 2, 3), (4, 5, 6)
    assert seen_from(model, 7, 0) == [0, 1, 2]
    assert seen_from(model, 7, 2) == [0, 1, 2, 3, 4, 5]
    assert seen_from(model, 7, 6) == [3, 4, 5, 6]
    model.train()
    assert seen_from(model, 7, 2) == [0, 1, 2]


def test_the_last_frames_do_not_see_the_first():
    # without appended frames they share the first window of shifted layers
    model = encoder(2)
    assert seen_from(model, 6, 0) == [0, 1]
    assert seen_from(model, 6, 5) == [4, 5]
    assert seen_from(model, 6, 2) == [0, 1, 2, 3]


@pytest.mark.parametrize('num_frames', [1, 2, 3, 4])
def test_clips_shorter_than_the_window(num_frames):
    model = encoder(6)
    tokens = torch.randn(2, num_frames, 3, DIMS)
    out = model(tokens)
    assert out.shape == tokens.shape and torch.isfinite(out).all()
    # what is appended changes nothing: aligned layers see all frames
    assert_close(
        encoder(6, 1)(tokens), encoder(0, 1)(tokens), atol=1e-5, rtol=1e-5)


def test_no_window_is_one_window_of_all_frames():
    model = encoder(0)
    assert seen_from(model, 5, 1) == [0, 1, 2, 3, 4]


def test_windows_at_once_change_nothing(monkeypatch):
    model = encoder(2)
    tokens = torch.randn(1, 23, 2, DIMS)
    expected = model(tokens)
    assert window_groups(blocked_pairs(23, 24, 2, 0)) == [(0, 8), (8, 11),
                                                          (11, 12)]
    monkeypatch.setattr(object_encoder, 'WINDOWS_AT_ONCE', 1)
    assert len(window_groups(blocked_pairs(23, 24, 2, 0))) == 12
    assert_close(model(tokens), expected)


def test_clips_of_a_batch_do_not_see_each_other():
    model = encoder(3)
    tokens = torch.randn(2, 7, 2, DIMS)
    assert_close(model(tokens)[1:], model(tokens[1:]))


def test_bad_window():
    with pytest.raises(
            ValueError, match='window must not be negative, got -1'):
        encoder(-1)
