# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR learns what it is for.

Videos of a disc and a square that pass behind a pillar, and a frame model
that is confused by the pillar and loses what is mostly hidden.
"""
import pytest
import torch
import torch.nn.functional as F

from refinevis_mm.models.refinement import (OfflineRefiner, OnlineRefiner,
                                            PassThroughRefiner)
from refinevis_mm.structures import FrameTracks, TrackletBatch
from tests.tiny_tar import tiny_tar_head

NUM_FRAMES, HEIGHT, WIDTH, DIMS = 10, 24, 36, 32


def _tracks(frame_id, ids, embeds, mask_features=None):
    """Detections of one frame."""
    return FrameTracks(frame_id, dict(img_shape=(64, 96), ori_shape=(64, 96)),
                       list(ids), embeds, torch.rand(len(ids), 4),
                       torch.ones(len(ids), dtype=torch.bool), mask_features)


def _play(refiner, video):
    """Refined frames of a video."""
    frames = [frame for tracks in video for frame in refiner.push(tracks)]
    return frames + refiner.flush()


class _Heads:
    """Shared heads without weights: what looks like the embedding."""

    def classify(self, embeds):
        return F.layer_norm(embeds, (DIMS, ))[..., :2]

    def class_scores(self, embeds):
        return self.classify(embeds).sigmoid()

    def segment(self, embeds, mask_features, boxes=None):
        likeness = torch.einsum('bnc,bchw->bnhw', F.layer_norm(
            embeds, (DIMS, )), mask_features) / DIMS
        return 10 * (likeness - 0.5)


def _looks(generator):
    """Appearance of background, disc, square and pillar."""
    always = torch.Generator().manual_seed(7)
    looks = torch.empty(4, DIMS)
    looks[[0, 3]] = torch.randn(2, DIMS, generator=always)
    looks[1:3] = torch.randn(2, DIMS, generator=generator)
    looks[1:3, :2] = 3 * torch.tensor([[1., -1.], [-1., 1.]])  # the class
    return F.layer_norm(looks, (DIMS, ))


def _video(generator):
    """Masks (2, T, H, W), visible shares, embeddings and mask features."""
    radius, start, speed, pillar = torch.rand(4, 2, generator=generator)
    radius, start, speed = 3 + 2 * radius, 4 + 6 * start, 1.5 + .7 * speed
    x = start[:, None] + speed[:, None] * torch.arange(NUM_FRAMES)
    x[1] = WIDTH - 1 - x[1]  # from the right
    across = (torch.arange(WIDTH) - x[..., None]).abs()[:, :, None]
    down = (torch.arange(HEIGHT) - torch.tensor([[6.], [18.]])).abs()
    down = down[:, None, :, None]
    far = torch.stack([
        (across[0]**2 + down[0]**2).sqrt(),  # a disc, then a square
        torch.maximum(*torch.broadcast_tensors(across[1], down[1]))
    ])
    whole = far < radius[:, None, None, None]
    left = int(14 + 4 * pillar[0])
    hidden = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
    hidden[:, left:left + 6] = True
    masks = whole & ~hidden
    share = masks.flatten(2).sum(-1) / whole.flatten(2).sum(-1)

    looks = _looks(generator)
    index = (masks[0] * 1 + masks[1] * 2).masked_fill(hidden, 3)
    features = looks[index].permute(0, 3, 1, 2)
    features = features + 0.5 * torch.randn(
        features.shape, generator=generator)
    # the visible part, mixed with what is in front of it
    embeds = torch.lerp(looks[3], looks[1:3, None], share[..., None])
    embeds = embeds + 0.3 * torch.randn(embeds.shape, generator=generator)
    return dict(masks=masks, share=share, embeds=embeds, features=features)


def _tracklets(videos):
    """Training tracklets of some videos, and their mask features."""
    masks, share, embeds = (
        torch.cat([video[name] for video in videos])
        for name in ('masks', 'share', 'embeds'))
    number = len(masks)
    tracklets = TrackletBatch(
        embeds=embeds * (share > 0.3)[..., None],
        boxes=torch.zeros(number, NUM_FRAMES, 4),
        frame_inds=torch.arange(NUM_FRAMES).expand(number, -1),
        clip_inds=torch.arange(len(videos)).repeat_interleave(2),
        labels=torch.tensor([0, 1]).repeat(len(videos)),
        present=masks.flatten(2).any(-1),
        masks=masks,
        mask_inds=torch.arange(number))
    return tracklets, torch.cat([video['features'] for video in videos])


def _ious(refiner_type, head, window, videos):
    """Mean IoU of clear, half hidden and missed objects."""
    ious = dict(clear=[], hidden=[], missed=[])
    for video in videos:
        found = video['share'] > 0.3
        frames = []
        for t in range(NUM_FRAMES):
            ids = found[:, t].nonzero().flatten().tolist()
            frames.append(
                _tracks(t, ids, video['embeds'][ids, t], video['features'][t]))
        for frame in _play(refiner_type(head, window), frames):
            t, masks = frame.frame_id, head.predict(frame, _Heads())[1] > 0
            for obj in video['masks'][:, t].flatten(1).any(1).nonzero():
                mask = video['masks'][obj.item(), t]
                guess = masks[frame.ids.index(obj)] if obj in frame.ids \
                    else torch.zeros_like(mask)
                kind = 'missed' if not found[obj, t] else \
                    'hidden' if video['share'][obj, t] < 0.7 else 'clear'
                iou = (mask & guess).sum() / (mask | guess).sum()
                ious[kind].append(iou.item())
    assert min(map(len, ious.values())) >= 10
    return {kind: sum(values) / len(values) for kind, values in ious.items()}


def test_trained_tar_sees_behind_occluders(one_thread):
    """Trained on some videos, W = 10 beats W = 0 on others."""
    generator = torch.Generator().manual_seed(0)
    videos = [_video(generator) for _ in range(48)]
    others = [_video(generator) for _ in range(6)]
    head = tiny_tar_head(
        std=0,
        embed_dims=DIMS,
        feedforward_channels=2 * DIMS,
        loss_mask=dict(num_points=64),
        drop_prob=0.2).train()
    refiners = (OnlineRefiner, OfflineRefiner)

    @torch.no_grad()
    def evaluate(refiner_type, window=10):
        head.eval()
        return _ious(refiner_type, head, window, others)

    without = evaluate(PassThroughRefiner, 0)
    for refiner_type in refiners:  # nothing but what is learned
        assert evaluate(refiner_type) == pytest.approx(without, abs=0.02)
    head.train()
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
    for _ in range(250):
        chosen = torch.randperm(len(videos), generator=generator)[:8]
        losses = head.loss(*_tracklets([videos[i] for i in chosen]), _Heads())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    for refiner_type in refiners:
        refined = evaluate(refiner_type)
        assert refined['hidden'] > without['hidden'] + 0.3
        assert refined['missed'] > without['missed'] + 0.3
        assert refined['clear'] > without['clear'] - 0.02
