# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from mmdet.models.losses import DiceLoss
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models.association import CenterPriorCost
from refinevis_mm.models.frame_level.condinst_head import CondInstLayer
from refinevis_mm.models.frame_level.condinst_masks import dynamic_masks
from refinevis_mm.models.frame_level.matching import normalised_meta
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameOutput
from tests.demo_clips import clip_targets, empty_clip, two_object_clip
from tests.tiny_idol import tiny_idol_cfg

HUNGARIAN = dict(
    type='HungarianAssigner',
    match_costs=[
        dict(type='FocalLossCost', weight=2.0),
        dict(type='BBoxL1Cost', weight=5.0, box_format='xywh')
    ])


def _head(**options):
    torch.manual_seed(0)
    cfg = tiny_idol_cfg().model.frame_model.head
    cfg.update(options)
    head = MODELS.build(cfg)
    head.init_weights()
    return head


def _frame(clip, t):
    return clip_targets(clip)[0].frame(t)


def _layer(target, num_queries=12, num_classes=40):
    """Predictions of one frame; queries 3 and 9 are the ground truth."""
    torch.manual_seed(0)
    cls_logits = torch.full((1, num_queries, num_classes), -5.)
    boxes = torch.rand(1, num_queries, 4) * 0.01 + 0.01
    for query, gt in ((3, 1), (9, 0)):
        boxes[0, query] = target.boxes[gt]
        cls_logits[0, query, target.labels[gt]] = 5.
    return CondInstLayer('d0.', cls_logits, boxes,
                         torch.randn(1, num_queries, 169) * 0.01, boxes)


@pytest.mark.parametrize('options', [{}, dict(assigner=HUNGARIAN)])
def test_matching_finds_the_queries_that_are_the_truth(options):
    target = _frame(two_object_clip(), 1)
    match, = _head(**options).match(_layer(target), [target])
    assert match.gt_inds[3] == 1 and match.gt_inds[9] == 0
    assert (match.gt_inds >= 0).sum() == 2
    assert match.best_query.tolist() == [9, 3]


def test_one_object_can_have_several_queries():
    target = _frame(two_object_clip(), 1)
    layer = _layer(target)
    for query in (5, 7):
        layer.boxes[0, query] = target.boxes[1]
        layer.cls_logits[0, query, target.labels[1]] = 4.
    match, = _head().match(layer, [target])
    assert match.gt_inds[[3, 5, 7]].tolist() == [1, 1, 1]
    assert match.best_query.tolist() == [9, 3]


def test_losses_by_hand():
    """Two matched queries: sums over cells and classes, divided by two."""
    head = _head()
    target = _frame(two_object_clip(), 1)
    layer = _layer(target)
    layer.boxes[0, 3, 0] += 0.02
    feats = torch.rand(1, 8, 8, 12)
    losses = head.loss_by_feat(
        FrameOutput(
            layer.mask_embeds,
            layer.cls_logits,
            layer.boxes,
            feats,
            layers=[layer]), [target])
    assert list(losses) == [
        f'd0.loss_{name}' for name in ('cls', 'bbox', 'iou', 'mask', 'dice')
    ]
    assert_close(losses['d0.loss_bbox'], torch.tensor(5 * 0.02 / 2))
    # width w, shifted by s: IoU = GIoU = (w - s) / (w + s)
    width = float(target.boxes[1, 2])
    assert_close(losses['d0.loss_iou'],
                 torch.tensor(2 * (1 - (width - 0.02) / (width + 0.02)) / 2))
    prob = 1 / (1 + math.exp(5))  # of a wrong answer, for every logit
    focal = -math.log(1 - prob) * prob**2
    num_negatives = 12 * 40 - 2
    assert_close(
        losses['d0.loss_cls'],
        torch.tensor(2 * focal * (0.25 * 2 + 0.75 * num_negatives) / 2))
    # masks, object by object
    masks = dynamic_masks(layer.mask_embeds[:, [3, 9]], feats,
                          layer.boxes[:, [3, 9]])[0]
    gt = target.masks[[1, 0]][:, 2::4, 2::4].float()
    prob = masks.sigmoid()
    wrong = (prob - gt).abs()
    alpha = 0.25 * gt + 0.75 * (1 - gt)
    focal = (-(1 - wrong).log() * wrong**2 * alpha).mean((1, 2)).sum()
    assert_close(losses['d0.loss_mask'], 2 * focal / 2)
    overlap = 2 * (prob * gt).sum((1, 2)) + 1
    dice = 1 - overlap / (prob.sum((1, 2)) + gt.sum((1, 2)) + 1)
    assert_close(losses['d0.loss_dice'], 5 * dice.sum() / 2)
    assert isinstance(head.loss_dice, DiceLoss)


def test_no_object_gives_zero_but_for_the_classes():
    head = _head()
    target = _frame(empty_clip(), 0)
    layer = _layer(_frame(two_object_clip(), 1))
    layer.mask_embeds.requires_grad_()
    losses = head.loss_by_feat(
        FrameOutput(
            layer.mask_embeds,
            layer.cls_logits,
            layer.boxes,
            torch.rand(1, 8, 8, 12),
            layers=[layer]), [target])
    assert losses.pop('d0.loss_cls') > 0
    assert all(loss == 0 for loss in losses.values())
    sum(losses.values()).backward()
    assert_close(layer.mask_embeds.grad, torch.zeros(1, 12, 169))


def test_init_follows_deformable_detr():
    head = _head()
    states = [torch.randn(1, 3, 32)] * 2
    cls_logits, params = head(states)
    assert cls_logits[1].shape == (1, 3, 40) and params[1].shape == (1, 3, 169)
    assert_close(head.fc_cls[0].bias.sigmoid(), torch.full((40, ), 0.01))
    assert_close(head.fc_reg[0](states[0]),
                 torch.tensor([0., 0., -2., -2.]).expand(1, 3, 4))
    assert_close(head.fc_reg[1](states[0]), torch.zeros(1, 3, 4))


def test_nan_is_named():
    target = _frame(two_object_clip(), 1)
    layer = _layer(target)
    layer.boxes[0, 0, 0] = float('nan')
    with pytest.raises(FloatingPointError, match='d0.boxes'):
        _head().match(layer, [target])


def test_boxes_are_compared_relative_to_the_picture():
    """The picture is the left half: widths and steps in x count twice."""
    head = _head()
    target = _frame(two_object_clip(), 1)
    layer = _layer(target)
    layer.boxes[0, 3, 0] += 0.02
    losses = head.loss_by_feat(
        FrameOutput(
            layer.mask_embeds,
            layer.cls_logits,
            layer.boxes,
            torch.rand(1, 8, 8, 12),
            picture_shares=torch.tensor([[0.5, 1.0]]),
            layers=[layer]), [target])
    assert_close(losses['d0.loss_bbox'], torch.tensor(5 * 0.04 / 2))
    width = float(target.boxes[1, 2])  # GIoU does not see the unit
    assert_close(losses['d0.loss_iou'],
                 torch.tensor(2 * (1 - (width - 0.02) / (width + 0.02)) / 2))


def test_centre_prior_is_relative_to_the_picture():
    """2.5 / 32 of the picture's width is half of that of the input here."""
    target = _frame(two_object_clip(), 1)
    layer = _layer(target)
    # inside the box and, for a full picture, in the square of its centre
    layer.boxes[0, 3, 0] += 0.06
    prior = CenterPriorCost()
    costs = [
        prior(
            InstanceData(bboxes=bbox_cxcywh_to_xyxy(layer.boxes[0])),
            InstanceData(bboxes=bbox_cxcywh_to_xyxy(target.boxes)),
            normalised_meta(shares))[3, 1] for shares in (None, (0.5, 1.0))
    ]
    assert costs == [0, 100]


def test_masks_are_placed_by_their_own_boxes():
    head = _head()
    target = _frame(two_object_clip(), 1)
    layer = _layer(target)
    feats = torch.rand(1, 8, 8, 12)
    output = FrameOutput(
        layer.mask_embeds,
        layer.cls_logits,
        layer.boxes,
        feats,
        layers=[layer])
    here = head.loss_by_feat(output, [target])
    layer.mask_boxes = layer.boxes + 0.1
    there = head.loss_by_feat(output, [target])
    assert here['d0.loss_mask'] != there['d0.loss_mask']
    assert here['d0.loss_bbox'] == there['d0.loss_bbox']
    assert torch.equal(
        layer.select_frames(torch.tensor([0])).mask_boxes, layer.mask_boxes)
