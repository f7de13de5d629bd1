# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from functools import partial

import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close

from refinevis_mm.models.refinement import (MatchedTrackletBuilder,
                                            TrackedTrackletBuilder)
from refinevis_mm.registry import MODELS, TASK_UTILS
from refinevis_mm.structures import FrameOutput, QueryMatch
from tests.demo_clips import (clip_targets, demo_clip, empty_clip,
                              tiny_model_cfg)
from tests.tiny_idol import tiny_idol_cfg
from tests.tiny_mask2former import TINY_BACKBONE, TINY_HEAD

LEFT, RIGHT = (10, 10, 30, 30), (60, 60, 80, 80)
NUM_QUERIES, NUM_CLASSES = 4, 3
_targets = partial(clip_targets, height=100, width=100)


def _frames(scale=1.0):
    """Query 0 is LEFT with class 1, query 1 RIGHT with class 2."""
    torch.manual_seed(0)
    boxes = torch.tensor([[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2],
                          [0.5, 0.5, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1]])
    logits = torch.full((2, NUM_QUERIES, NUM_CLASSES), -5.0)
    logits[:, 0, 1] = logits[:, 1, 2] = 2.0
    logits[0, 2, 0] = 1.0  # the most confident unmatched query
    assoc = torch.eye(NUM_QUERIES).expand(2, -1, -1) * 10
    embeds = torch.arange(1.0, 1 + 2 * NUM_QUERIES * 3).view(2, NUM_QUERIES, 3)
    return FrameOutput(embeds * scale, logits, boxes.expand(2, -1, -1),
                       torch.zeros(2, 3, 4, 4), assoc)


def _build(frames,
           clip,
           matches,
           score_thr=0.05,
           iou_thr=0.3,
           num_bg=1,
           ignored=((), ())):
    targets = _targets(clip)
    matches = [
        QueryMatch.one_to_one(torch.tensor(m), len(targets[0].frame(t)))
        for t, m in enumerate(matches)
    ]
    for match, queries in zip(matches, ignored):
        match.ignore(torch.tensor([q in queries for q in range(NUM_QUERIES)]))
    build = MatchedTrackletBuilder(score_thr, iou_thr, num_bg)
    return build(frames, targets, matches, None)


def test_positive_and_background_tracklets_by_hand():
    clip = demo_clip([[LEFT, RIGHT], [LEFT, None]], [5, 9], [1, 2],
                     100,
                     100,
                     first_frame=4)
    frames = _frames()
    out = _build(frames, clip, [[0, 1, -1, -1], [0, -1, -1, -1]])
    assert out.num_masked == 2
    assert out.labels.tolist() == [1, 2, NUM_CLASSES]
    assert out.frame_inds.tolist() == [[4, 5]] * 3
    assert out.present.tolist() == [[True, True], [True, False],
                                    [False, False]]
    assert out.masks.flatten(2).sum(-1).tolist() == [[400, 400], [400, 0]]
    assert_close(out.embeds[0], frames.embeds[:, 0])
    assert_close(out.embeds[1, 0], frames.embeds[0, 1])
    assert (out.embeds[1, 1] == 0).all()  # absent: the zero embedding
    # background: query 2, and by association query 2 of the other frame
    assert_close(out.embeds[2], frames.embeds[:, 2])


def test_weak_matches_count_as_missed():
    clip = demo_clip([[LEFT, RIGHT]] * 2, [5, 9], [1, 1], 100, 100)
    # object 9 has class 1 but query 1 says class 2: its score is too low in
    # both frames, so there is nothing to refine
    out = _build(_frames(), clip, [[0, 1, -1, -1]] * 2)
    assert out.num_masked == 1
    # query 2 has no overlap with object 5
    out = _build(_frames(), clip, [[0, -1, 1, -1], [-1, -1, 0, -1]])
    assert out.num_masked == 1
    assert (out.embeds[0, 1] == 0).all() and (out.embeds[0, 0] != 0).all()


def test_background_partner_that_is_matched_becomes_missing():
    clip = demo_clip([[LEFT], [LEFT]], [5], [1], 100, 100)
    # query 1 is the most confident unmatched one, its partner is matched
    out = _build(_frames(), clip, [[0, -1, -1, -1], [-1, 0, -1, -1]])
    assert (out.embeds[1, 0] != 0).all() and (out.embeds[1, 1] == 0).all()


@pytest.mark.parametrize('ignored, query, has_partner', [
    (((), ()), 1, True),
    (((1, ), ()), 2, True),
    (((1, ), (2, )), 2, False),
    (((), (1, 3)), 1, False),
])
def test_ignored_queries_are_no_background(ignored, query, has_partner):
    """Query 1 is the most confident unmatched one, query 2 the next."""
    clip = demo_clip([[LEFT], [LEFT]], [5], [1], 100, 100)
    frames = _frames()
    out = _build(frames, clip, [[0, -1, -1, -1]] * 2, ignored=ignored)
    assert out.num_masked == 1
    assert_close(out.embeds[1, 0], frames.embeds[0, query])
    assert_close(out.embeds[1, 1], frames.embeds[1, query] * has_partner)


def test_fewer_background_queries_than_asked_for():
    clip = demo_clip([[LEFT], [LEFT]], [5], [1], 100, 100)
    frames, matches = _frames(), [[0, -1, -1, -1]] * 2
    out = _build(frames, clip, matches, num_bg=4, ignored=((2, 3), ()))
    assert_close(out.embeds[1:], frames.embeds[:, 1:2].transpose(0, 1))
    out = _build(frames, clip, matches, num_bg=4, ignored=((1, 2, 3), ()))
    assert len(out.embeds) == 1


def test_gradients_reach_both_frames():
    clip = demo_clip([[LEFT], [LEFT]], [5], [1], 100, 100)
    scale = torch.ones((), requires_grad=True)
    out = _build(_frames(scale), clip, [[0, -1, -1, -1]] * 2, num_bg=0)
    grad, = torch.autograd.grad(
        out.embeds[0, 0].sum(), scale, retain_graph=True)
    assert grad != 0
    grad, = torch.autograd.grad(out.embeds[0, 1].sum(), scale)
    assert grad != 0


def test_nothing_to_follow():
    clip = empty_clip(height=100, width=100)
    out = _build(_frames(), clip, [[-1] * 4] * 2, num_bg=0)
    assert out.embeds.shape == (0, 2, 3)
    assert out.masks.shape == (0, 2, 100, 100)


class _BoxModel:
    """Segments the box of a query, as a frame model would."""

    def segment(self, embeds, mask_features, boxes=None):
        grid = (torch.arange(20) + 0.5) / 20
        cx, cy, w, h = boxes.unbind(-1)
        inside_x = (grid - cx[..., None]).abs() < w[..., None] / 2
        inside_y = (grid - cy[..., None]).abs() < h[..., None] / 2
        inside = inside_y[..., None] & inside_x[..., None, :]
        return torch.where(inside, 5.0, -5.0)


def _tracked(frames, clip, iou_thr=0.3):
    tracker = dict(
        type='refinevis_mm.ContrastiveTracker',
        select_score_thr=0.05,
        init_score_thr=0.05,
        new_score_thr=0.05,
        min_track_frames=1)
    build = TrackedTrackletBuilder(tracker, iou_thr)
    frames.mask_features = torch.zeros(2, 3, 20, 20)
    return build(frames, _targets(clip), None, _BoxModel())


def test_tracked_tracklets_by_hand():
    clip = demo_clip([[LEFT, RIGHT], [LEFT, None]], [5, 9], [1, 2], 100, 100)
    frames = _frames()
    out = _tracked(frames, clip)
    # queries 0 and 1 follow the objects, query 2 of the first frame nothing
    assert out.num_masked == 2
    assert sorted(out.labels.tolist()) == [1, 2, NUM_CLASSES]
    rows = out.labels.argsort()
    assert_close(out.embeds[rows[:2]], frames.embeds[:, :2].transpose(0, 1))
    assert out.present[rows].tolist() == [[True, True], [True, False],
                                          [False, False]]
    assert out.detected[rows].tolist() == [[True, True], [True, True],
                                           [True, False]]
    assert out.masks[rows[:2]].flatten(2).sum(-1).tolist() == [[400, 400],
                                                               [400, 0]]


def test_tracked_tracklet_far_from_every_object_is_background():
    clip = demo_clip([[(40, 10, 60, 30)]] * 2, [5], [1], 100, 100)
    out = _tracked(_frames(), clip)
    assert out.num_masked == 0 and (out.labels == NUM_CLASSES).all()


def test_tracked_tracklets_of_a_clip_without_objects():
    out = _tracked(_frames(), empty_clip(height=100, width=100))
    assert out.num_masked == 0 and len(out.masks) == 0
    assert (out.labels == NUM_CLASSES).all()


def _condinst():
    return tiny_idol_cfg().model.frame_model


def _mask2former():
    cfg = Config.fromfile('configs/mask2former/mask2former-r50_coco.py')
    cfg.merge_from_dict({
        'model.frame_model.backbone': TINY_BACKBONE,
        'model.frame_model.head': TINY_HEAD
    })
    return cfg.model.frame_model


def _maskdino():
    return tiny_model_cfg().frame_model


@pytest.mark.parametrize('cfg', [_condinst, _mask2former, _maskdino])
@pytest.mark.parametrize('builder', [
    dict(
        type='refinevis_mm.MatchedTrackletBuilder',
        score_thr=0.0,
        iou_thr=0.0,
        num_background=3),
    dict(
        type='refinevis_mm.TrackedTrackletBuilder',
        tracker=dict(
            type='refinevis_mm.ContrastiveTracker',
            select_score_thr=0.0,
            init_score_thr=0.0,
            new_score_thr=0.0,
            min_track_frames=1))
])
@pytest.mark.parametrize('clip', [
    demo_clip([[(8, 8, 40, 40), (60, 20, 90, 50)]] * 2, [5, 9], [1, 2]),
    empty_clip()
])
def test_every_builder_takes_every_frame_model(cfg, builder, clip):
    torch.manual_seed(0)
    frame_model = MODELS.build(cfg())
    frame_model.init_weights()
    images = torch.randn(1, 2, 3, 64, 96)
    targets = clip_targets(clip)
    frames = frame_model.forward_frames(images[0], targets)
    frames.assoc_embeds = frames.embeds
    matches = frame_model.match(frames, [targets[0].frame(t) for t in (0, 1)])
    out = TASK_UTILS.build(builder)(frames, targets, matches, frame_model)
    num_objects = targets[0].num_slots
    assert out.num_masked <= num_objects and len(out.embeds) > 0
    masks = frame_model.segment(
        out.embeds.transpose(0, 1), frames.mask_features,
        out.boxes.transpose(0, 1))
    assert masks.shape == (2, len(out.embeds), 16, 24)
    masks.sum().backward()
