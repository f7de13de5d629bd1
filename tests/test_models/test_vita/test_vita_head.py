# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.vita.vita_head import (VITAHead, best_pairs_of,
                                                similarity_loss)


def tiny_head(**options):
    torch.manual_seed(0)
    cfg = dict(
        num_classes=4,
        num_frame_queries=5,
        num_queries=3,
        in_channels=16,
        embed_dims=16,
        mask_dims=8,
        num_heads=2,
        feedforward_channels=16,
        num_encoder_layers=2,
        num_decoder_layers=2,
        window=3)
    head = VITAHead(**dict(cfg, **options))
    head.init_weights()
    return head


def test_shapes():
    head = tiny_head()
    clips = head(torch.randn(2, 4, 5, 16))
    assert [state.shape for state in clips.states] == [(2, 3, 16)] * 2
    assert clips.tokens.shape == (2, 4, 5, 16)
    assert head.classify(clips.states[-1]).shape == (2, 3, 5)
    assert head.mask_kernels(clips.states[-1]).shape == (2, 3, 8)
    assert head.embed_frame_queries(clips).shape == (2, 4, 5, 16)
    assert head.embed_clip_queries(clips).shape == (2, 3, 16)


def test_nothing_tells_frames_of_a_window_apart():
    """With one window the order of frames does not matter."""
    head = tiny_head(num_encoder_layers=1, window=0)
    queries = torch.randn(1, 4, 5, 16)
    expected = head(queries).states[-1]
    assert_close(
        head(queries.flip(1)).states[-1], expected, atol=1e-5, rtol=1e-5)
    # the number of a frame query does
    other = head(queries.flip(2)).states[-1]
    assert (other - expected).abs().max() > 1e-3


def test_number_of_frame_queries():
    with pytest.raises(
            ValueError,
            match='must be the queries of the frame model, 6, got'
            ' 5'):
        tiny_head()(torch.randn(1, 2, 6, 16))


def test_similarity_by_hand():
    # three queries, two of one object: dot products 4 (self), 2, 0
    embeds = torch.tensor([[2., 0.], [1., 0.], [0., 1.]])
    ids = torch.tensor([7, 7, 9])

    def bce(logit, same):
        return math.log(1 + math.exp(-logit if same else logit))

    expected = (bce(4, True) + 2 * bce(2, True) + bce(1, True) +
                4 * bce(0, False) + bce(1, True)) / 9
    loss = similarity_loss([embeds], [ids])
    assert_close(loss, torch.tensor(expected))
    # pairs of other clips do not count; one of these is right, and sure
    loss = similarity_loss([embeds, torch.full((1, 2), 9.)],
                           [ids, torch.tensor([7])])
    assert_close(loss, torch.tensor(expected * 9 / 10))
    head = tiny_head(sim_weight=0.25)
    assert_close(
        head.loss_similarity([embeds], [ids])['loss_sim'],
        torch.tensor(expected / 4))


def test_similarity_of_nothing():
    embeds = torch.zeros(0, 2, requires_grad=True)
    loss = similarity_loss([embeds], [torch.zeros(0, dtype=torch.long)])
    loss.backward()
    assert loss == 0 and embeds.grad is not None


def test_best_pairs():
    scores = torch.tensor([[0.1, 0.6], [0.5, 0.2]])
    queries, labels = best_pairs_of(scores, 3)
    assert queries.tolist() == [0, 1, 1] and labels.tolist() == [1, 0, 1]
    assert len(best_pairs_of(scores, 10)[0]) == 4
