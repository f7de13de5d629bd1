# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.association import (ContrastiveHead, aux_cosine_loss,
                                             contrastive_loss)
from refinevis_mm.models.association.reference_pairs import (IoUPairSelector,
                                                             OTAPairSelector)
from refinevis_mm.registry import TASK_UTILS
from refinevis_mm.structures import FrameOutput, QueryMatch
from tests.demo_clips import clip_targets, demo_clip, empty_clip

# 100 x 100 frames: boxes in pixels are per cent
LEFT, RIGHT = (10, 10, 30, 30), (60, 60, 80, 80)
FAR = (0, 90, 5, 99)
_targets = partial(clip_targets, height=100, width=100)


def _frames(boxes, embeds=None):
    """boxes: (bs * T, Q, 4) as (x1, y1, x2, y2) in per cent."""
    boxes = torch.tensor(boxes, dtype=torch.float32) / 100
    cxcywh = torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2,
                        boxes[..., 2:] - boxes[..., :2]], -1)
    shape = cxcywh.shape[:2]
    if embeds is None:
        embeds = torch.zeros(*shape, 4)
    return FrameOutput(embeds, torch.zeros(*shape, 2), cxcywh,
                       torch.zeros(shape[0], 4, 2, 2))


def _match(gt_inds, best_query):
    return QueryMatch(torch.tensor(gt_inds), torch.tensor(best_query).long())


def _iou_selector():
    return IoUPairSelector(pos_iou_thr=0.7, neg_iou_thr=0.3)


SELECTORS = pytest.mark.parametrize(
    'selector', [_iou_selector(), OTAPairSelector()], ids=['iou', 'ota'])


def test_bands_by_hand():
    clip = demo_clip([[LEFT, RIGHT]] * 2, [1, 2], [0, 0], 100, 100)
    # reference queries: matched to 1; near duplicate of 1 (IoU 0.81); grey
    # zone of 1 (IoU 0.5); matched to 2; background
    ref = [LEFT, (11, 11, 29, 29), (10, 10, 20, 30), RIGHT, FAR]
    frames = _frames([[LEFT, RIGHT, LEFT, LEFT, LEFT], ref])
    matches = [
        _match([0, 1, -1, -1, -1], [0, 1]),
        _match([0, -1, -1, 1, -1], [0, 3])
    ]
    pairs = _iou_selector()(frames, _targets(clip), matches)
    assert pairs.key_rows.tolist() == [[0, 0], [0, 1]]
    assert pairs.ref_rows.tolist() == [[1, q] for q in range(5)]
    assert pairs.positive.int().tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert pairs.negative.int().tolist() == [[0, 0, 0, 1, 1], [1, 1, 1, 0, 1]]


def test_all_queries_of_one_to_many_matches_are_positive():
    clip = demo_clip([[LEFT, RIGHT]] * 2, [1, 2], [0, 0], 100, 100)
    frames = _frames([[LEFT, RIGHT, LEFT]] * 2)
    # the key queries 0 and 2 fit object 1; query 2 is the cheaper
    match = _match([0, 1, 0], [2, 1])
    pairs = _iou_selector()(frames, _targets(clip), [match, match])
    assert pairs.key_rows.tolist() == [[0, 2], [0, 1]]
    assert pairs.positive.int().tolist() == [[1, 0, 1], [0, 1, 0]]
    assert pairs.negative.int().tolist() == [[0, 1, 0], [1, 0, 1]]


def test_ota_candidates_by_hand():
    clip = demo_clip([[LEFT, RIGHT]] * 2, [1, 2], [0, 0], 100, 100)
    # reference queries by IoU with object 1: 1, 0.9, 0.7, 0.5, 0; object 2: 1
    ref = [
        LEFT, (10, 10, 28, 30), (10, 10, 24, 30), (10, 10, 20, 30), RIGHT, FAR
    ]
    frames = _frames([[FAR, RIGHT, LEFT, FAR, FAR, FAR], ref])
    # the matching of the reference frame does not matter
    matches = [
        _match([-1, 1, 0, -1, -1, -1], [2, 1]),
        _match([1] * 6, [-1, 0])
    ]
    selector = OTAPairSelector(num_pos_candidates=2, num_neg_candidates=4)
    pairs = selector(frames, _targets(clip), matches)
    # object 1: floor(1.9) = 1 positive, floor(3.1) = 3 not negative
    assert pairs.key_rows.tolist() == [[0, 2], [0, 1]]
    assert pairs.positive.int().tolist() == [[1, 0, 0, 0, 0, 0],
                                             [0, 0, 0, 0, 1, 0]]
    assert pairs.negative.int().tolist() == [[0, 0, 0, 1, 1, 1],
                                             [1, 1, 1, 1, 0, 1]]


def test_ota_uses_the_classes_of_the_reference_frame():
    clip = demo_clip([[LEFT]] * 2, [1], [1], 100, 100)
    frames = _frames([[LEFT, LEFT]] * 2)
    frames.cls_logits[1] = torch.tensor([[2., -2.], [-2., 2.]])
    matches = [_match([0, -1], [0])] * 2
    pairs = OTAPairSelector(1, 1)(frames, _targets(clip), matches)
    assert pairs.positive.tolist() == [[False, True]]
    assert pairs.negative.tolist() == [[True, False]]


def test_ota_positive_is_never_negative():
    # object 2 covers object 1; with 3 candidates both choose queries 0 and 1,
    # which are cheaper for 2, so that 1 loses query 0, its best, and gets 2
    small, large = (40, 40, 60, 60), (39, 39, 61, 61)
    clip = demo_clip([[small, large]] * 2, [1, 2], [0, 0], 100, 100)
    ref = [(39, 39, 61, 60), large, (37, 39, 61, 61), FAR]
    frames = _frames([[small, large, FAR, FAR], ref])
    matches = [_match([0, 1, -1, -1], [0, 1])] * 2
    target = _targets(clip)
    lost = OTAPairSelector(3, 3)(frames, target, matches)
    assert lost.positive.int().tolist() == [[0, 0, 1, 0], [1, 1, 0, 0]]
    pairs = OTAPairSelector(1, 3)(frames, target, matches)
    assert pairs.positive.int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert pairs.negative.int().tolist() == [[0, 1, 0, 1], [0, 0, 1, 1]]


@SELECTORS
def test_object_absent_in_one_frame_is_no_anchor(selector):
    frames = _frames([[LEFT, RIGHT]] * 2)
    clip = demo_clip([[LEFT, RIGHT], [LEFT, None]], [1, 2], [0, 0], 100, 100)
    matches = [_match([0, 1], [0, 1]), _match([0, -1], [0])]
    pairs = selector(frames, _targets(clip), matches)
    assert pairs.key_rows.tolist() == [[0, 0]]
    # the other way round: object 1 comes in the reference frame only
    clip = demo_clip([[None, RIGHT], [LEFT, RIGHT]], [1, 2], [0, 0], 100, 100)
    matches = [_match([-1, 0], [1]), _match([0, 1], [0, 1])]
    pairs = selector(frames, _targets(clip), matches)
    assert pairs.key_rows.tolist() == [[0, 1]]
    assert pairs.positive.tolist() == [[False, True]]
    assert pairs.negative.tolist() == [[True, False]]


@SELECTORS
def test_key_object_without_query_is_no_anchor(selector):
    # three objects, two queries
    boxes = [LEFT, RIGHT, (40, 10, 60, 30)]
    clip = demo_clip([boxes] * 2, [1, 2, 3], [0] * 3, 100, 100)
    frames = _frames([[LEFT, RIGHT]] * 2)
    matches = [_match([0, 1], [0, 1, -1])] * 2
    pairs = selector(frames, _targets(clip), matches)
    assert pairs.key_rows.tolist() == [[0, 0], [0, 1]]


@SELECTORS
def test_clips_do_not_mix_and_may_be_empty(selector):
    clip = demo_clip([[LEFT]] * 2, [1], [0], 100, 100)
    empty = empty_clip(height=100, width=100)
    frames = _frames([[LEFT, RIGHT]] * 6)
    matched, none = _match([0, -1], [0]), _match([-1, -1], [])
    pairs = selector(frames, _targets(clip, empty, clip),
                     [matched, matched, none, none, matched, matched])
    assert pairs.key_rows.tolist() == [[0, 0], [4, 0]]
    assert pairs.ref_rows[:, 0].tolist() == [1, 1, 3, 3, 5, 5]
    assert pairs.positive.int().tolist() == [[1, 0, 0, 0, 0, 0],
                                             [0, 0, 0, 0, 1, 0]]
    assert pairs.negative.int().tolist() == [[0, 1, 0, 0, 0, 0],
                                             [0, 0, 0, 0, 0, 1]]


@SELECTORS
def test_several_reference_frames(selector):
    # object 2 is not visible in the last frame, the queries swap in frame 1
    clip = demo_clip([[LEFT, RIGHT], [LEFT, RIGHT], [LEFT, None]], [1, 2],
                     [0, 0], 100, 100)
    frames = _frames([[LEFT, RIGHT], [RIGHT, LEFT], [LEFT, FAR]])
    matches = [
        _match([0, 1], [0, 1]),
        _match([1, 0], [1, 0]),
        _match([0, -1], [0])
    ]
    pairs = selector(frames, _targets(clip), matches)
    assert pairs.key_rows.tolist() == [[0, 0], [0, 1], [0, 0]]
    assert pairs.ref_rows.tolist() == [[1, 0], [1, 1], [2, 0], [2, 1]]
    assert pairs.positive.int().tolist() == [[0, 1, 0, 0], [1, 0, 0, 0],
                                             [0, 0, 1, 0]]
    assert pairs.negative.int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0],
                                             [0, 0, 0, 1]]


@SELECTORS
def test_order_of_objects_does_not_matter(selector):
    boxes, ids = [LEFT, RIGHT, (12, 12, 34, 34)], [5, 3, 9]
    frames = _frames([[LEFT, RIGHT, FAR, (13, 13, 34, 34)],
                      [(12, 12, 34, 33), FAR, RIGHT, (10, 11, 30, 30)]])
    results = []
    for order in ([0, 1, 2], [2, 0, 1]):
        clip = demo_clip([[boxes[i] for i in order]] * 2,
                         [ids[i] for i in order], [0] * 3, 100, 100)
        # slots ascend with the ids 3, 5, 9, whatever the order of the lists
        matches = [
            _match([1, 0, -1, 2], [1, 0, 3]),
            _match([2, -1, 0, 1], [2, 3, 0])
        ]
        pairs = selector(frames, _targets(clip), matches)
        results.append((pairs.key_rows, pairs.positive, pairs.negative))
    for first, second in zip(*results):
        assert torch.equal(first, second)


def _loss(pairs, embeds):
    """Eq. (3) and the auxiliary loss with all negatives."""
    keys = embeds[tuple(pairs.key_rows.T)]
    refs = embeds[tuple(pairs.ref_rows.T)]
    sims = keys @ refs.t()
    cosines = torch.cosine_similarity(keys[:, None], refs[None], -1)
    return (contrastive_loss(sims, pairs.positive, pairs.negative),
            aux_cosine_loss(cosines, pairs.positive, pairs.negative))


@SELECTORS
def test_gradient_by_hand(selector):
    # one anchor, positive 0, negative 1: log(1 + exp(v.n - v.p))
    clip = demo_clip([[LEFT]] * 2, [1], [0], 100, 100)
    frames = _frames([[LEFT, FAR]] * 2, torch.randn(2, 2, 4))
    frames.embeds.requires_grad_()
    frames.boxes.requires_grad_()
    frames.cls_logits.requires_grad_()
    pairs = selector(frames, _targets(clip), [_match([0, -1], [0])] * 2)
    loss, _ = _loss(pairs, frames.embeds)
    loss.backward()
    (v, _), (p, n) = frames.embeds.detach()
    weight = torch.sigmoid(v @ n - v @ p)
    grad = torch.stack([weight * (n - p), 0 * v, -weight * v, weight * v])
    assert_close(frames.embeds.grad.flatten(0, 1), grad)
    assert frames.boxes.grad is None and frames.cls_logits.grad is None


@SELECTORS
@pytest.mark.parametrize('num_objects', [0, 1])
def test_loss_without_negatives_is_zero(selector, num_objects):
    clip = demo_clip([[LEFT]] * 2, [1], [0], 100, 100)
    match = _match([0], [0])
    if num_objects == 0:
        clip = empty_clip(height=100, width=100)
        match = _match([-1], [])
    frames = _frames([[LEFT]] * 2, torch.randn(2, 1, 16))
    frames.embeds.requires_grad_()
    pairs = selector(frames, _targets(clip), [match] * 2)
    assert pairs.positive.sum() == num_objects and not pairs.negative.any()
    losses = ContrastiveHead(16, 16,
                             16).loss(frames.embeds[tuple(pairs.key_rows.T)],
                                      frames.embeds[tuple(pairs.ref_rows.T)],
                                      pairs.positive, pairs.negative)
    sum(losses.values()).backward()
    assert losses['loss_assoc'] == 0
    assert torch.isfinite(frames.embeds.grad).all()


@SELECTORS
def test_one_object_on_background_is_finite(selector):
    clip = demo_clip([[LEFT]] * 2, [1], [0], 100, 100)
    frames = _frames([[LEFT, RIGHT, FAR]] * 2, torch.randn(2, 3, 16) * 30)
    frames.embeds.requires_grad_()
    pairs = selector(frames, _targets(clip), [_match([0, -1, -1], [0])] * 2)
    assert pairs.negative.tolist() == [[False, True, True]]
    losses = _loss(pairs, frames.embeds)
    sum(losses).backward()
    assert all(torch.isfinite(loss) for loss in losses)
    assert torch.isfinite(frames.embeds.grad).all()


def test_half_precision_predictions():
    clip = demo_clip([[LEFT, RIGHT]] * 2, [1, 2], [0, 0], 100, 100)
    frames = _frames([[LEFT, RIGHT]] * 2)
    frames.cls_logits = frames.cls_logits.bfloat16()
    matches = [_match([0, 1], [0, 1])] * 2
    pairs = OTAPairSelector()(frames, _targets(clip), matches)
    assert pairs.positive.tolist() == [[True, False], [False, True]]


def test_nan_in_the_reference_frame_is_named():
    clip = demo_clip([[LEFT]] * 2, [1], [0], 100, 100)
    frames = _frames([[LEFT, RIGHT]] * 2)
    frames.boxes[1, 1] = torch.nan
    with pytest.raises(FloatingPointError, match='pred_instances.bboxes'):
        OTAPairSelector()(frames, _targets(clip), [_match([0, -1], [0])] * 2)


@SELECTORS
def test_clip_of_one_frame_is_refused(selector):
    clip = demo_clip([[LEFT]], [1], [0], 100, 100)
    with pytest.raises(ValueError, match='got 1 frame'):
        selector(_frames([[LEFT]]), _targets(clip), [_match([0], [0])])


@pytest.mark.parametrize('cfg', [
    dict(type='IoUPairSelector', pos_iou_thr=0.3, neg_iou_thr=0.7),
    dict(type='IoUPairSelector', pos_iou_thr=1.1, neg_iou_thr=0.3),
    dict(type='OTAPairSelector', num_pos_candidates=0),
    dict(type='OTAPairSelector', num_pos_candidates=20, num_neg_candidates=10),
])
def test_bad_arguments(cfg):
    with pytest.raises(ValueError, match='must satisfy'):
        TASK_UTILS.build(dict(cfg, type=f'refinevis_mm.{cfg["type"]}'))
