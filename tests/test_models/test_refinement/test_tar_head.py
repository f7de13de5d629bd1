# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from refinevis_mm.structures import FrameTracks, TrackletBatch
from tests.tiny_tar import DIMS, tiny_tar_head
from tests.training_checks import assert_trains

FOCAL = dict(type='FocalLoss', use_sigmoid=True, loss_weight=4.0)


def _head(**options):
    return tiny_tar_head(std=0, **{'loss_cls': FOCAL, **options})


def _trained_head():
    """Residual branches that do something."""
    return tiny_tar_head().eval()


def _frames(num_tracklets, num_frames, first=0):
    return torch.arange(first, first + num_frames).expand(num_tracklets, -1)


def test_starts_as_two_layer_norms():
    embeds = torch.randn(3, 5, DIMS)
    once = F.layer_norm(embeds, (DIMS, ))
    assert_close(_head().refine(embeds, _frames(3, 5)),
                 F.layer_norm(once, (DIMS, )))


def test_tracklets_do_not_see_each_other():
    head, embeds = _trained_head(), torch.randn(3, 5, DIMS)
    out = head.refine(embeds, _frames(3, 5))
    order = torch.tensor([2, 0, 1])
    assert_close(head.refine(embeds[order], _frames(3, 5)), out[order])
    assert_close(head.refine(embeds[:1], _frames(1, 5)), out[:1])


def test_frames_see_each_other_and_positions_are_absolute():
    head, embeds = _trained_head(), torch.randn(1, 5, DIMS)
    out = head.refine(embeds, _frames(1, 5))
    moved = embeds.clone()
    moved[0, 4] += 1
    assert not torch.allclose(
        head.refine(moved, _frames(1, 5))[0, 0], out[0, 0])
    assert not torch.allclose(head.refine(embeds, _frames(1, 5, first=9)), out)


def test_padding_changes_nothing():
    head, embeds = _trained_head(), torch.randn(2, 3, DIMS)
    out = head.refine(embeds, _frames(2, 3, first=4))
    padded = torch.cat([torch.randn(2, 2, DIMS), embeds], 1)
    frame_inds = torch.cat([torch.zeros(2, 2), _frames(2, 3, first=4)], 1)
    mask = torch.tensor([[True, True, False, False, False]] * 2)
    assert_close(head.refine(padded, frame_inds, None, mask)[:, 2:], out)


def test_window_of_only_zero_rows_is_finite():
    assert torch.isfinite(_trained_head().refine(
        torch.zeros(1, 4, DIMS), _frames(1, 4))).all()


class _Heads:
    """Shared heads with an answer that is easy to compute."""

    def classify(self, embeds):
        return embeds[..., :3]

    def segment(self, embeds, mask_features, boxes=None):
        return torch.einsum('bnc,bchw->bnhw', embeds, mask_features)


def _tracklets(num_positives, num_background):
    total = num_positives + num_background
    return TrackletBatch(
        embeds=torch.randn(total, 2, DIMS),
        boxes=torch.rand(total, 2, 4),
        frame_inds=_frames(total, 2),
        clip_inds=torch.zeros(total, dtype=torch.long),
        labels=torch.tensor(
            [1] * num_positives + [3] * num_background, dtype=torch.long),
        present=torch.arange(total)[:, None].expand(-1, 2) < num_positives,
        masks=torch.ones(num_positives, 2, 16, 16, dtype=torch.bool),
        mask_inds=torch.arange(num_positives))


def test_absent_object_has_no_class_loss():
    head, tracklets = _head(), _tracklets(2, 0)
    tracklets.present = torch.tensor([[True, False], [True, True]])
    logits = torch.randn(2, 2, 3)
    masks = torch.zeros(2, 2, 4, 4)
    first = head.loss_by_feat(logits, masks, tracklets)
    logits[0, 1] = 50.0
    second = head.loss_by_feat(logits, masks, tracklets)
    assert_close(first['cls'], second['cls'])


def test_class_loss_by_hand():
    # p = .5 everywhere: focal loss of a positive .25 * .25 * log 2, of a
    # negative .75 * .25 * log 2; 2 positive and 2 background rows, 3 classes
    out = _head().loss_by_feat(
        torch.zeros(2, 2, 3), torch.zeros(1, 2, 4, 4), _tracklets(1, 1))
    log2 = torch.log(torch.tensor(2.0))
    expected = 4 * log2 * 0.25 * (2 * (0.25 + 2 * 0.75) + 2 * 3 * 0.75) / 2
    assert_close(out['cls'], expected)


@pytest.mark.parametrize('sizes', [(0, 0), (0, 2), (2, 1)])
def test_every_parameter_gets_a_gradient(sizes):
    head = _head()
    losses = head.loss(
        _tracklets(*sizes), torch.randn(2, DIMS, 4, 4), _Heads())
    assert set(losses) == {
        'loss_refine_cls', 'loss_refine_mask', 'loss_refine_dice'
    }
    assert_trains(head, losses)


def test_drop_prob_zeroes_frames_but_never_a_whole_tracklet():
    head = _head(drop_prob=0.7).train()
    embeds = torch.ones(400, 2, DIMS)
    detected = torch.ones(400, 2, dtype=torch.bool)
    dropped, left = head._drop_frames(embeds, detected)
    kept = dropped.abs().sum(-1) > 0
    assert kept.equal(left)
    assert kept.any(1).all()
    # both frames dropped (.49) falls back to both kept
    assert abs((~kept).float().mean() - 0.21) < 0.05
    assert head.eval()._drop_frames(embeds, detected)[0] is embeds


def test_encoding_may_stay_out_of_the_values():
    head = _trained_head()
    bare = _head(pe_placement='qk')
    bare.load_state_dict(head.state_dict())
    bare.eval()
    embeds = torch.zeros(1, 3, DIMS)
    # values of zero rows are zero without the encoding: every frame alike
    out = bare.refine(embeds, _frames(1, 3))
    assert_close(out[0, 0], out[0, 2])
    out = head.refine(embeds, _frames(1, 3))
    assert not torch.allclose(out[0, 0], out[0, 2])


def test_masked_missing_frames_are_not_looked_at():
    head = _head(mask_missing=True)
    head.load_state_dict(_trained_head().state_dict())
    head.eval()
    embeds = torch.randn(1, 3, DIMS)
    embeds[0, 1] = 0
    detected = torch.tensor([[True, False, True]])
    out = head.refine(embeds, _frames(1, 3), detected)
    short = head.refine(embeds[:, [0, 2]], _frames(1, 3)[:, [0, 2]])
    assert_close(out[:, [0, 2]], short)
    none = head.refine(
        torch.zeros(1, 3, DIMS), _frames(1, 3), ~detected & detected)
    assert torch.isfinite(none).all()


def test_recursive_refinement_is_the_online_loop():
    head, embeds = _trained_head(), torch.randn(2, 3, DIMS)
    # the key frame comes first in a clip, the reference frames around it
    frame_inds = torch.tensor([[4, 1, 6], [3, 7, 5]])
    detected = torch.tensor([[True, True, True], [True, True, False]])
    embeds[1, 2] = 0
    out = head._refine_recursively(embeds, frame_inds, detected)
    for row, order in enumerate(([1, 0, 2], [0, 2, 1])):
        memory = []
        for t, column in enumerate(order, 1):
            window = torch.stack([*memory, embeds[row, column]])[None]
            inds = frame_inds[row, order[:t]][None]
            refined = head.refine(window, inds)[0, -1]
            assert_close(out[row, column], refined)
            memory.append(refined * detected[row, column])


def test_own_heads_replace_the_shared_ones():
    heads = dict(
        type='refinevis_mm.EmbeddingHeads',
        num_classes=3,
        embed_dims=DIMS,
        mask_dims=8)
    head, features = _head(heads=heads), torch.randn(2, 8, 4, 4)
    losses = head.loss(_tracklets(1, 1), features)
    sum(losses.values()).backward()
    assert head.heads.fc_mask.layers[0].weight.grad.abs().sum() > 0
    tracks = FrameTracks(0, {}, [4], torch.randn(1, DIMS), torch.rand(1, 4),
                         torch.tensor([True]), features[0])
    scores, masks = head.predict(tracks, _Heads())
    assert scores.shape == (1, 3) and masks.shape == (1, 4, 4)
    assert (scores - 0.01).abs().max() < 0.05  # the prior of the own heads
    with pytest.raises(ValueError, match='needs shared_heads, got None'):
        _head().predict(tracks)


def test_softmax_loss_has_a_background_column():
    loss_cls = dict(
        type='CrossEntropyLoss',
        use_sigmoid=False,
        loss_weight=2.0,
        class_weight=[1.0] * 3 + [0.1])
    head = _head(loss_cls=loss_cls)
    # one object in two frames, one background tracklet, uniform logits:
    # 2 * log 4 * (2 * 1 + 2 * 0.1) / (2 * 1 + 2 * 0.1)
    out = head.loss_by_feat(
        torch.zeros(2, 2, 4), torch.zeros(1, 2, 4, 4), _tracklets(1, 1))
    assert_close(out['cls'], 2 * torch.log(torch.tensor(4.0)))


def test_masks_of_many_tracklets_of_one_object():
    """Two tracklets share a target, a third must be empty."""
    head, tracklets = _head(), _tracklets(2, 1)
    tracklets.masks = torch.ones(1, 2, 16, 16, dtype=torch.bool)
    tracklets.mask_inds = torch.tensor([0, 0, -1])
    sure = torch.full((3, 2, 4, 4), 50.0)
    sure[2] = -50.0
    out = head.loss_by_feat(torch.zeros(3, 2, 3), sure, tracklets)
    # nothing but the soft borders of the sampled targets
    assert out['mask'] < 15
    sure[2] = 50.0
    wrong = head.loss_by_feat(torch.zeros(3, 2, 3), sure, tracklets)
    # 2 masks of about 50 each, over 4 visible object-frames, weight 5
    assert 60 < wrong['mask'] - out['mask'] <= 5 * 2 * 50 / 4


@pytest.mark.parametrize('options, message', [
    (dict(drop_prob=1.0), r'drop_prob must be in \[0, 1\)'),
    (dict(recursive_prob=1.5), r'recursive_prob must be in \[0, 1\]'),
    (dict(pe_placement='q'), "pe_placement must be one of .* got 'q'"),
])
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        _head(**options)
