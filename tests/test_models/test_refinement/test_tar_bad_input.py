# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tracklets at the edge of what TAR may be given, and beyond."""
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from refinevis_mm.models.layers.temporal_attention import \
    frame_position_encoding
from refinevis_mm.models.refinement.refiners import build_refiner
from refinevis_mm.structures import FrameTracks, TrackletBatch, TrackletMemory
from tests.tiny_tar import DIMS, tiny_tar_head

NUM_CLASSES = 3
MANY_FRAMES = 20000
HALVES = (torch.float16, torch.bfloat16)


class _Heads:
    """Shared heads that start with a LayerNorm, as those of the models."""

    def classify(self, embeds):
        return F.layer_norm(embeds, (DIMS, ))[..., :NUM_CLASSES]

    def class_scores(self, embeds):
        return self.classify(embeds).sigmoid()

    def segment(self, embeds, mask_features, boxes=None):
        return torch.einsum('bnc,bchw->bnhw', F.layer_norm(embeds, (DIMS, )),
                            mask_features)


def _frames(number, length, first=0):
    return torch.arange(first, first + length).expand(number, -1)


def _tracklets(embeds, present=None):
    """Positive tracklets of one clip with these embeddings."""
    number, length = embeds.shape[:2]
    if present is None:
        present = torch.ones(number, length, dtype=torch.bool)
    masks = torch.rand(number, length, 16, 16) > 0.6
    return TrackletBatch(
        embeds=embeds,
        boxes=torch.rand(number, length, 4),
        frame_inds=_frames(number, length),
        clip_inds=torch.zeros(number, dtype=torch.long),
        labels=torch.ones(number, dtype=torch.long),
        present=present,
        masks=masks & present[..., None, None],
        mask_inds=torch.arange(number))


def _train(head, tracklets, context=None, scale=1.0):
    """Losses, after their gradients were checked to be finite."""
    with context or nullcontext():
        losses = head.loss(tracklets,
                           torch.randn(tracklets.embeds.shape[1], DIMS, 4, 4),
                           _Heads())
    (scale * sum(losses.values())).backward()
    for name, param in head.named_parameters():
        assert param.grad is not None, name
        assert torch.isfinite(param.grad).all(), name
    return losses


def _skip_without_support(dtype):
    """Older versions of torch cannot multiply fp16 matrices on a CPU."""
    try:
        torch.baddbmm(*torch.ones(3, 1, 2, 2, dtype=dtype))
        torch.ones(2, 2, dtype=dtype).softmax(-1)
    except RuntimeError:
        pytest.skip(f'no {dtype} on this CPU')


# ---- a tracklet of one frame ----


def test_one_frame_by_hand():
    """A token that sees only itself: attention is its value."""
    head, embeds = tiny_tar_head(), torch.randn(2, 1, DIMS)
    layer = head.layers[0]
    attn = layer.self_attn.attn
    token = embeds + frame_position_encoding(torch.tensor([[7]]), DIMS)
    value = F.linear(token, attn.in_proj_weight[2 * DIMS:],
                     attn.in_proj_bias[2 * DIMS:])
    out = layer.norms[0](embeds + attn.out_proj(value))
    out = layer.norms[1](layer.ffn(out))
    assert_close(head.refine(embeds, _frames(2, 1, first=7)), out)


@pytest.mark.parametrize('mode', ['online', 'offline'])
@pytest.mark.parametrize('window', [1, 10])
def test_video_of_one_frame(mode, window):
    head, embeds = tiny_tar_head(), torch.randn(1, DIMS)
    refiner = build_refiner(head, mode, window)
    frame = FrameTracks(0, {}, [3], embeds, torch.rand(1, 4),
                        torch.ones(1, dtype=torch.bool), torch.zeros(1))
    out, = refiner.push(frame) + refiner.flush()
    assert_close(out.embeds[None], head.refine(embeds[None], _frames(1, 1)))


def test_training_clip_of_one_frame():
    _train(tiny_tar_head(), _tracklets(torch.randn(2, 1, DIMS)))


# ---- nothing but zero rows ----


@pytest.mark.parametrize('mask_missing', [False, True])
@pytest.mark.parametrize('std', [0.0, 0.3])
def test_window_of_only_zero_rows(mask_missing, std):
    head = tiny_tar_head(std, mask_missing=mask_missing)
    embeds = torch.randn(2, 5, DIMS)
    embeds[0] = 0
    detected = torch.tensor([[False], [True]]).expand(2, 5)
    out = head.refine(embeds, _frames(2, 5), detected)
    assert torch.isfinite(out).all()
    assert_close(out[1:], head.refine(embeds[1:], _frames(1, 5), detected[1:]))
    if std == 0:
        assert (out[0] == 0).all()


def test_zero_rows_beside_padding():
    """Masked missed frames and padding never leave nothing to look at."""
    head = tiny_tar_head(mask_missing=True)
    embeds = torch.randn(2, 4, DIMS)
    detected = torch.tensor([[False, False, False, False],
                             [False, False, True, False]])
    padding = torch.tensor([[True, True, False, False]] * 2)
    out = head.refine(embeds * detected[..., None], _frames(2, 4), detected,
                      padding)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize('std', [0.0, 0.3])
def test_training_on_zero_rows(std):
    embeds = torch.randn(3, 2, DIMS)
    embeds[0], embeds[1, 1] = 0, 0
    losses = _train(
        tiny_tar_head(std, drop_prob=0.5).train(), _tracklets(embeds))
    assert all(torch.isfinite(loss) for loss in losses.values())


# ---- unequal lengths ----


def test_unequal_lengths_equal_short_ones():
    """Left padding with anything, in one batch of lengths 1, 4 and 6."""
    head, embeds = tiny_tar_head(), torch.randn(3, 6, DIMS, requires_grad=True)
    lengths, frame_inds = (1, 4, 6), _frames(3, 6, first=30)
    padding = torch.stack([torch.arange(6) < 6 - n for n in lengths])
    out = head.refine(embeds, frame_inds, padding_mask=padding)
    for row, length in enumerate(lengths):
        alone = head.refine(embeds[row:row + 1, -length:],
                            frame_inds[row:row + 1, -length:])
        assert_close(out[row:row + 1, -length:], alone)
    out[~padding].square().sum().backward()
    assert (embeds.grad[padding] == 0).all()
    assert (embeds.grad[~padding] != 0).any(-1).all()


def test_memory_pads_tracklets_born_later():
    memory, video = TrackletMemory(4), torch.randn(5, 2, DIMS)
    for t, embeds in enumerate(video):
        ids = [8, 5] if t >= 3 else [8]
        memory.push(
            FrameTracks(t, {}, ids, embeds[:len(ids)], torch.rand(len(ids), 4),
                        torch.ones(len(ids), dtype=torch.bool), None))
    embeds, frame_inds, detected, padding = memory.batch()
    assert padding.tolist() == [[False] * 4, [True, True, False, False]]
    assert frame_inds[0].tolist() == [1, 2, 3, 4]
    assert frame_inds[1, 2:].tolist() == [3, 4]
    assert detected.equal(~padding)
    head = tiny_tar_head()
    out = head.refine(embeds, frame_inds, detected, padding)
    assert_close(out[:1], head.refine(video[None, 1:, 0], _frames(1, 4, 1)))
    assert_close(out[1:, 2:], head.refine(video[None, 3:, 1], _frames(1, 2,
                                                                      3)))


# ---- very long videos ----


@pytest.mark.parametrize('dims', [16, 128, 256])
@pytest.mark.parametrize('dtype', [torch.float32, *HALVES])
def test_positions_of_20000_frames_are_distinct(dims, dtype):
    """Every pair, in the precision in which the embeddings come."""
    codes = frame_position_encoding(torch.arange(MANY_FRAMES + 1), dims)
    assert codes.dtype == torch.float32
    assert torch.isfinite(codes).all() and codes.abs().max() <= 1
    codes = codes.to(dtype)
    assert len(torch.unique(codes.float(), dim=0)) == MANY_FRAMES + 1
    # neighbours differ as much at the end as at the beginning: by their
    # fastest wave, 2 sin(1 / 2)
    steps = (codes[1:, :2].float() - codes[:-1, :2].float()).norm(dim=1)
    assert_close(
        steps,
        torch.full_like(steps, 0.9588511),
        atol=5e-3 if dtype == torch.bfloat16 else 2e-3,
        rtol=0)


def test_positions_are_exact_far_into_a_video():
    frames = torch.tensor([0, 1, 9999, 10001, MANY_FRAMES])
    waves = 10000.0**-(torch.arange(0, 64, 2, dtype=torch.double) / 64)
    angles = frames[:, None].double() * waves
    expected = torch.stack([angles.sin(), angles.cos()], -1).flatten(1)
    # angles of 20,000 are known to 1e-3 in fp32
    assert_close(
        frame_position_encoding(frames, 64).double(),
        expected,
        atol=2e-3,
        rtol=0)


@pytest.mark.parametrize('dtype', HALVES)
def test_late_frames_differ_in_half_precision(dtype):
    """The encoding is made before the cast: fp16 ends at 65,504."""
    _skip_without_support(dtype)
    head = tiny_tar_head(std=0.6)
    embeds = torch.randn(1, 1, DIMS).expand(3, -1, -1)
    late = torch.tensor([[MANY_FRAMES], [MANY_FRAMES + 1], [70000]])
    full = head.refine(embeds, late).diff(dim=0)
    half = head.to(dtype).refine(embeds.to(dtype), late).float().diff(dim=0)
    assert ((half - full).norm(dim=-1) < 0.2 * full.norm(dim=-1)).all()


def test_online_beyond_10000_frames():
    """The last result of a long video is that of its last window."""
    head, embeds = tiny_tar_head(), torch.randn(4, 1, DIMS)

    def run(first):
        refiner = build_refiner(head, 'online', 2)
        for t in range(4):
            frame = FrameTracks(first + t, {}, [1], embeds[t],
                                torch.rand(1, 4),
                                torch.ones(1, dtype=torch.bool), None)
            out, = refiner.push(frame)
        return out.embeds

    assert torch.isfinite(run(MANY_FRAMES)).all()
    assert not torch.allclose(run(MANY_FRAMES), run(MANY_FRAMES - 1))
    assert_close(run(MANY_FRAMES), run(MANY_FRAMES), rtol=0, atol=0)


# ---- no tracklets ----


@pytest.mark.parametrize('num_frames', [1, 2, 5])
@pytest.mark.parametrize('options', [
    dict(),
    dict(num_layers=2, drop_prob=0.5, recursive_prob=1.0, mask_missing=True),
    dict(
        heads=dict(
            type='refinevis_mm.EmbeddingHeads',
            num_classes=NUM_CLASSES,
            embed_dims=DIMS,
            mask_dims=DIMS))
])
def test_batch_without_tracklets(options, num_frames):
    head = tiny_tar_head(**options).train()
    losses = _train(head, _tracklets(torch.zeros(0, num_frames, DIMS)))
    assert all(loss == 0 for loss in losses.values())
    for name, param in head.named_parameters():
        assert (param.grad == 0).all(), name


def test_refining_no_tracklets():
    assert tiny_tar_head().refine(torch.zeros(0, 4, DIMS),
                                  torch.zeros(0, 4)).shape == (0, 4, DIMS)


# ---- half precision ----


@pytest.mark.parametrize('pe_placement', ['embed', 'qk'])
@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision_weights(dtype, pe_placement):
    _skip_without_support(dtype)
    head = tiny_tar_head(pe_placement=pe_placement)
    embeds = F.layer_norm(torch.randn(4, 6, DIMS), (DIMS, ))
    embeds[1, 2:] = 0
    padding = torch.arange(6).expand(4, -1) < 1
    expected = head.refine(
        embeds, _frames(4, 6, MANY_FRAMES), padding_mask=padding)
    out = head.to(dtype).refine(
        embeds.to(dtype), _frames(4, 6, MANY_FRAMES), padding_mask=padding)
    assert out.dtype == dtype
    error = (out.float() - expected)[~padding].abs()
    assert torch.isfinite(out[~padding]).all()
    assert error.mean() < 4 * torch.finfo(dtype).eps


@pytest.mark.parametrize('dtype', HALVES)
def test_half_precision_training_survives_zero_rows(dtype):
    """Gradients of zero rows are 1e7 at the start, too large for fp16."""
    _skip_without_support(dtype)
    embeds = F.layer_norm(torch.randn(4, 2, DIMS), (DIMS, ))
    embeds[1, 1] = 0
    losses = _train(
        tiny_tar_head(std=0.0),
        _tracklets(embeds),
        torch.autocast('cpu', dtype=dtype),
        scale=1024.)
    assert all(torch.isfinite(loss) for loss in losses.values())


@pytest.mark.parametrize('dtype', HALVES)
def test_autocast_equals_full_precision(dtype):
    _skip_without_support(dtype)
    head = tiny_tar_head()
    embeds = F.layer_norm(torch.randn(4, 6, DIMS), (DIMS, ))
    expected = head.refine(embeds, _frames(4, 6))
    with torch.autocast('cpu', dtype=dtype):
        out = head.refine(embeds, _frames(4, 6))
        half = head.refine(embeds.to(dtype), _frames(4, 6))
    for refined in (out, half):
        error = (refined.float() - expected).abs()
        assert error.mean() < 4 * torch.finfo(dtype).eps


# ---- wrong shapes ----


@pytest.mark.parametrize('embeds, others, message', [
    ((2, 5), dict(), r'embeds must be \(N, W, 16\), got \(2, 5\)'),
    ((2, 5, 8), dict(), r'embeds must be \(N, W, 16\), got \(2, 5, 8\)'),
    ((1, 2, 5, DIMS), dict(), r'got \(1, 2, 5, 16\)'),
    ((2, 5, DIMS), dict(frame_inds=(5, )), r'frame_inds must be \(2, 5\)'),
    ((2, 5, DIMS), dict(frame_inds=(2, 4)), r'as embeds, got \(2, 4\)'),
    ((2, 5, DIMS), dict(detected=(5, 2)),
     r'detected must be \(2, 5\).*\(5, 2\)'),
    ((2, 5, DIMS), dict(padding_mask=(2, 5, 1)), 'padding_mask must be'),
])
def test_wrong_shapes(embeds, others, message):
    values = dict(frame_inds=torch.zeros(2, 5, dtype=torch.long))
    for name, shape in others.items():
        dtype = torch.long if name == 'frame_inds' else torch.bool
        values[name] = torch.zeros(shape, dtype=dtype)
    with pytest.raises(ValueError, match=message):
        tiny_tar_head().refine(torch.zeros(embeds), **values)


def test_heads_are_needed():
    with pytest.raises(ValueError, match='needs shared_heads, got None'):
        tiny_tar_head().loss(
            _tracklets(torch.zeros(0, 2, DIMS)), torch.zeros(2, DIMS, 4, 4))
