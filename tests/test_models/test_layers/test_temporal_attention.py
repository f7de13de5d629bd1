# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import torch
from torch.testing import assert_close

from refinevis_mm.models.layers import frame_position_encoding
from refinevis_mm.models.layers.temporal_attention import \
    TemporalAttentionLayer


def test_encoding_by_hand():
    encoding = frame_position_encoding(torch.tensor([[0, 3]]), 4)
    assert encoding.shape == (1, 2, 4)
    assert_close(encoding[0, 0], torch.tensor([0.0, 1.0, 0.0, 1.0]))
    # wavelengths 1 and 10000 ** (2 / 4) = 100
    assert_close(
        encoding[0, 1],
        torch.tensor(
            [math.sin(3),
             math.cos(3),
             math.sin(0.03),
             math.cos(0.03)]))


def test_encoding_of_long_videos_is_finite_and_distinct():
    frames = torch.arange(12000)
    encoding = frame_position_encoding(frames, 128)
    assert torch.isfinite(encoding).all()
    assert len(torch.unique(encoding, dim=0)) == len(frames)


def test_a_new_layer_changes_nothing_without_being_asked():
    layer = TemporalAttentionLayer(
        self_attn_cfg=dict(embed_dims=16, num_heads=4, dropout=0.0),
        ffn_cfg=dict(
            embed_dims=16, feedforward_channels=32, num_fcs=2, ffn_drop=0.0))
    embeds = torch.randn(2, 3, 16)
    once = torch.nn.functional.layer_norm(embeds, (16, ))
    assert_close(
        layer(embeds, torch.randn(2, 3, 16)),
        torch.nn.functional.layer_norm(once, (16, )))
