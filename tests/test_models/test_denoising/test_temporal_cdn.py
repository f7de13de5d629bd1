# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.denoising.temporal_cdn import TemporalCDN
from refinevis_mm.models.refinement import TARHead
from refinevis_mm.registry import TASK_UTILS
from refinevis_mm.structures import DnQueries, collate_slots
from tests.demo_clips import clip_targets, demo_clip, empty_clip

NUM_CLASSES = 7
HEIGHT, WIDTH = 64, 96
BOXES = [(8, 8, 40, 40), (60, 20, 90, 50), (10, 44, 30, 60)]


def _one_and_three():
    """Two clips: object 9; objects 2, 5 (in frame 1 only) and 8."""
    one = demo_clip([BOXES[:1], BOXES[1:2]], ids=[9], labels=[4])
    three = demo_clip([[BOXES[0], None, BOXES[2]], BOXES],
                      ids=[2, 5, 8],
                      labels=[1, 3, 6],
                      first_frame=30)
    return clip_targets(one, three)


def _queries(targets, num_groups, num_signs=2, dims=3):
    """Embeddings and layout; embedding = (frame row, query, 1)."""
    valid = collate_slots(targets)[2]
    num_queries = num_groups * num_signs * valid.shape[1]
    inds = torch.arange(num_queries)
    embeds = torch.ones(len(valid), num_queries, dims)
    embeds[..., 0] = torch.arange(len(valid))[:, None]
    embeds[..., 1] = inds
    boxes = torch.rand(len(valid), num_queries, 4)
    slot_valid = valid.repeat(1, num_groups * num_signs)
    boxes[~slot_valid] = 0.5
    return embeds, DnQueries(
        torch.zeros(len(valid), num_queries, 1), boxes, valid, num_groups,
        num_signs)


def _tracklets(targets, num_groups=2, **kwargs):
    embeds, queries = _queries(targets, num_groups)
    return TemporalCDN(**kwargs).tracklets(embeds, queries, targets,
                                           NUM_CLASSES)


def _tar_head(dims=16):
    torch.manual_seed(0)
    return TARHead(
        embed_dims=dims,
        num_heads=2,
        feedforward_channels=16,
        loss_cls=dict(
            type='mmdet.FocalLoss',
            use_sigmoid=True,
            gamma=2.0,
            alpha=0.25,
            loss_weight=4.0),
        loss_mask=dict(num_points=32),
        heads=dict(
            type='refinevis_mm.EmbeddingHeads',
            num_classes=NUM_CLASSES,
            embed_dims=dims,
            mask_dims=8))


def test_layout_by_hand():
    # S = 3 slots, G = 2 groups: query (2 g + sign) * 3 + slot
    tracklets = _tracklets(_one_and_three(), num_groups=2)
    # per row: clip, embeddings (row, query) or 0 of both frames, label
    expected = [
        (0, (0, 0), (1, 0), 4),  # object 9, group 0, positive
        (0, (0, 3), (1, 3), 7),  # its negative
        (0, (0, 6), (1, 6), 4),  # group 1
        (0, (0, 9), (1, 9), 7),
        (1, (2, 0), (3, 0), 1),  # object 2 is slot 0 of clip 1
        (1, (2, 3), (3, 3), 7),
        (1, (2, 6), (3, 6), 1),
        (1, (2, 9), (3, 9), 7),
        (1, None, (3, 1), 3),  # object 5 is absent in the first frame
        (1, None, (3, 4), 7),
        (1, None, (3, 7), 3),
        (1, None, (3, 10), 7),
        (1, (2, 2), (3, 2), 6),
        (1, (2, 5), (3, 5), 7),
        (1, (2, 8), (3, 8), 6),
        (1, (2, 11), (3, 11), 7),
    ]
    embeds = torch.tensor([[(*query, 1) if query else (0, 0, 0)
                            for query in row[1:3]] for row in expected])
    assert_close(tracklets.embeds, embeds.float())
    assert tracklets.clip_inds.tolist() == [row[0] for row in expected]
    assert tracklets.labels.tolist() == [row[3] for row in expected]
    assert tracklets.frame_inds.tolist() == [[0, 1]] * 4 + [[30, 31]] * 12
    assert tracklets.detected.tolist() == [[row[1] is not None, True]
                                           for row in expected]
    assert tracklets.present.tolist() == [[
        row[1] is not None and row[3] < NUM_CLASSES, row[3] < NUM_CLASSES
    ] for row in expected]
    assert tracklets.mask_inds.tolist() == [
        0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1
    ]


def test_masks_are_those_of_the_objects():
    targets = _one_and_three()
    tracklets = _tracklets(targets)
    expected = torch.zeros(4, 2, HEIGHT, WIDTH, dtype=torch.bool)
    boxes = [[BOXES[0], BOXES[1]], [BOXES[0], BOXES[0]], [None, BOXES[1]],
             [BOXES[2], BOXES[2]]]
    for mask, tube in zip(expected, boxes):
        for frame, box in zip(mask, tube):
            if box is not None:
                x1, y1, x2, y2 = box
                frame[y1:y2, x1:x2] = True
    assert torch.equal(tracklets.masks, expected)


def test_negatives_never_have_a_mask_or_a_class():
    for seed in range(5):
        torch.manual_seed(seed)
        tracklets = _tracklets(_one_and_three(), max_mask_pairs=5)
        negative = tracklets.labels == NUM_CLASSES
        assert negative.tolist() == [False, True] * 8
        assert (
            tracklets.mask_inds[negative[:tracklets.num_masked]] == -1).all()
        assert (tracklets.mask_inds[~negative[:tracklets.num_masked]]
                >= 0).all()
        assert not tracklets.present[negative].any()


def test_order_of_the_ground_truth_does_not_matter():
    swapped = clip_targets(
        demo_clip([BOXES[:1], BOXES[1:2]], ids=[9], labels=[4]),
        demo_clip([[BOXES[2], None, BOXES[0]], [BOXES[2], BOXES[1], BOXES[0]]],
                  ids=[8, 5, 2],
                  labels=[6, 3, 1],
                  first_frame=30))
    torch.manual_seed(0)
    expected = _tracklets(_one_and_three())
    torch.manual_seed(0)
    tracklets = _tracklets(swapped)
    for name, value in vars(expected).items():
        assert torch.equal(getattr(tracklets, name), value), name


def test_boxes_of_absent_frames_come_from_the_other_frames():
    targets = _one_and_three()
    embeds, queries = _queries(targets, num_groups=2)
    boxes = TemporalCDN().tracklets(embeds, queries, targets,
                                    NUM_CLASSES).boxes
    assert torch.equal(boxes[9, 0], queries.boxes[3, 4])
    assert torch.equal(boxes[9, 1], queries.boxes[3, 4])
    assert torch.equal(boxes[15, 0], queries.boxes[2, 11])


def test_object_that_is_never_visible_makes_no_tracklet():
    targets = clip_targets(
        demo_clip([[(8, 8, 8, 8), BOXES[1]], [(8, 8, 8, 8), BOXES[1]]],
                  ids=[1, 2],
                  labels=[0, 5]))
    assert targets[0].num_slots == 2
    tracklets = _tracklets(targets, num_groups=3)
    assert tracklets.labels.tolist() == [5, NUM_CLASSES] * 3
    assert tracklets.mask_inds.tolist() == [0, -1] * 3
    # slot 1: queries 1, 3 of group 0, 5, 7 of group 1, ...
    assert tracklets.embeds[:, 0, 1].tolist() == [1, 3, 5, 7, 9, 11]


def test_cap_chooses_pairs_at_random():
    targets = _one_and_three()
    every = _tracklets(targets)
    chosen = torch.zeros(8)
    for seed in range(200):
        torch.manual_seed(seed)
        tracklets = _tracklets(targets, max_mask_pairs=3)
        assert tracklets.num_masked == 6
        # the same pairs in another order
        assert sorted(tracklets.embeds.flatten(1).tolist()) == sorted(
            every.embeds.flatten(1).tolist())
        for part in (tracklets.clip_inds[:6], tracklets.clip_inds[6:]):
            assert (part.diff() >= 0).all()
        for row, mask_ind in enumerate(tracklets.mask_inds.tolist()):
            match = (every.embeds == tracklets.embeds[row]).all(2).all(1)
            match = match.nonzero().item()
            assert every.mask_inds[match] == mask_ind
            assert every.labels[match] == tracklets.labels[row]
            assert torch.equal(every.present[match], tracklets.present[row])
            chosen[match // 2] += 0.5
    # 75 of 200 each; the standard deviation is 6.8
    assert chosen.sum() == 600
    assert chosen.min() > 45 and chosen.max() < 105


def test_no_mask_losses_with_a_cap_of_zero():
    tracklets = _tracklets(_one_and_three(), max_mask_pairs=0)
    assert tracklets.num_masked == 0
    assert len(tracklets.embeds) == 16


def test_gradient_reaches_the_queries_of_both_frames_where_visible():
    targets = _one_and_three()
    embeds, queries = _queries(targets, num_groups=2)
    embeds.requires_grad_()
    tracklets = TemporalCDN().tracklets(embeds, queries, targets, NUM_CLASSES)
    tracklets.embeds.sum().backward()
    # all queries of visible slots, once; nothing from empty slots
    expected = queries.valid.repeat(1, 4).float()
    assert_close(embeds.grad, expected[..., None].expand_as(embeds))


def test_groups_do_not_see_each_other():
    # TAR attends inside a tracklet: group 1 changes, group 0 does not
    targets = _one_and_three()
    embeds, queries = _queries(targets, num_groups=2, dims=16)
    changed = embeds.clone()
    changed[:, 6:] += torch.randn_like(changed[:, 6:])
    head = _tar_head().eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    group = torch.tensor([0, 0, 1, 1] * 4)
    refined = []
    for values in (embeds, changed):
        tracklets = TemporalCDN().tracklets(values, queries, targets,
                                            NUM_CLASSES)
        refined.append(
            head.refine(tracklets.embeds, tracklets.frame_inds,
                        tracklets.detected))
    same = (refined[0] == refined[1]).flatten(1).all(1)
    assert same[group == 0].all()
    assert not same[group == 1].any()


def test_batch_without_objects():
    targets = clip_targets(empty_clip(), empty_clip())
    embeds, queries = _queries(targets, num_groups=4, dims=16)
    embeds.requires_grad_()
    tracklets = TemporalCDN().tracklets(embeds, queries, targets, NUM_CLASSES)
    assert tracklets.embeds.shape == (0, 2, 16)
    assert tracklets.boxes.shape == (0, 2, 4)
    assert tracklets.masks.shape == (0, 2, HEIGHT, WIDTH)
    assert tracklets.num_masked == len(tracklets.labels) == 0
    head = _tar_head()
    losses = head.loss(tracklets, torch.randn(4, 8, 16, 24))
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in head.parameters())
    assert embeds.grad is not None


@pytest.mark.parametrize('max_mask_pairs', [100, 3, 0])
def test_losses_train_queries_of_both_frames(max_mask_pairs):
    targets = _one_and_three()
    embeds, queries = _queries(targets, num_groups=2, dims=16)
    embeds = torch.randn_like(embeds).requires_grad_()
    tracklets = TemporalCDN(max_mask_pairs=max_mask_pairs).tracklets(
        embeds, queries, targets, NUM_CLASSES)
    head = _tar_head()
    losses = head.loss(
        tracklets, torch.randn(4, 8, 16, 24), prefix='loss_refine_cdn')
    assert list(losses) == [
        'loss_refine_cdn_cls', 'loss_refine_cdn_mask', 'loss_refine_cdn_dice'
    ]
    sum(losses.values()).backward()
    visible = queries.valid.repeat(1, 4)
    reached = embeds.grad.ne(0).any(-1)
    assert torch.equal(reached, visible)


def test_negatives_are_taught_no_class_and_empty_masks():
    # of the losses that depend on the negative queries only, the gradient
    # lowers every class logit and the masks
    targets = _one_and_three()
    tracklets = _tracklets(targets, num_groups=1)
    negative = tracklets.labels == NUM_CLASSES
    logits = torch.zeros(8, 2, NUM_CLASSES, requires_grad=True)
    masks = torch.zeros(8, 2, 16, 24, requires_grad=True)
    losses = _tar_head().loss_by_feat(logits, masks, tracklets)
    sum(losses.values()).backward()
    assert (logits.grad[negative] > 0).all()
    assert (masks.grad[negative] >= 0).all()
    assert masks.grad[negative].flatten(2).any(2).all()
    # a positive: its class goes up, its mask inside of the object too
    assert logits.grad[0, 0, 4] < 0 < logits.grad[0, 0, 3]
    assert masks.grad[0, 0, 2:10, 2:10].sum() < 0
    # the object that is absent in its first frame: mask only, and empty
    assert not logits.grad[4, 0].any() and logits.grad[4, 1].any()
    assert (masks.grad[4, 0] >= 0).all() and masks.grad[4, 0].any()


def test_is_registered():
    cdn = TASK_UTILS.build(
        dict(
            type='refinevis_mm.TemporalCDN', loss_weight=0.5,
            max_mask_pairs=7))
    assert (cdn.loss_weight, cdn.max_mask_pairs) == (0.5, 7)


def test_refuses_denoising_without_negatives():
    targets = _one_and_three()
    embeds, queries = _queries(targets, num_groups=2, num_signs=1)
    with pytest.raises(ValueError, match='positive and negative.*got posit'):
        TemporalCDN().tracklets(embeds, queries, targets, NUM_CLASSES)


@pytest.mark.parametrize('shape', [(4, 11, 3), (3, 12, 3), (4, 12)])
def test_refuses_embeddings_of_another_layout(shape):
    targets = _one_and_three()
    _, queries = _queries(targets, num_groups=2)
    with pytest.raises(ValueError, match=r'must be \(4, 12, C\)'):
        TemporalCDN().tracklets(
            torch.zeros(shape), queries, targets, NUM_CLASSES)


@pytest.mark.parametrize('name', ['loss_weight', 'max_mask_pairs'])
def test_refuses_negative_arguments(name):
    with pytest.raises(ValueError, match=f'{name} must be >= 0, got -1'):
        TemporalCDN(**{name: -1})
