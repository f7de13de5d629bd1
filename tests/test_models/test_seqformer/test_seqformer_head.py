# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Losses over clips, against numbers worked out by hand."""
import pytest
import torch

from refinevis_mm.models.frame_level.condinst_head import CondInstLayer
from refinevis_mm.models.seqformer.encoded_frames import EncodedFrames
from refinevis_mm.registry import MODELS
from tests.demo_clips import clip_targets, demo_clip, empty_clip
from tests.tiny_seqformer import tiny_seqformer_cfg

QUERIES, CLASSES = 3, 40
BOX = (8, 8, 40, 40)  # of 96 x 64 pixels
NORMALISED = torch.tensor([24 / 96, 24 / 64, 32 / 96, 32 / 64])


@pytest.fixture
def head():
    torch.manual_seed(0)
    head = MODELS.build(tiny_seqformer_cfg().model.frame_model.head)
    head.init_weights()
    return head


def frames_of(num):
    """Frames of 96 x 64 pixels of which the head reads next to nothing."""
    value = torch.zeros(num, 1, 32)
    return EncodedFrames(value, None,
                         torch.ones(1, 2).long(),
                         torch.zeros(1).long(), torch.ones(num, 1, 2),
                         torch.rand(num, 8, 8, 12), torch.ones(num, 2))


def layer_of(num_clips, num_frames, boxes=None):
    shape = (num_clips * num_frames, QUERIES, 4)
    boxes = torch.full(shape, 0.5) if boxes is None else boxes
    return CondInstLayer(
        '',
        torch.zeros(num_clips, QUERIES, CLASSES).requires_grad_(),
        boxes.requires_grad_(),
        (0.1 * torch.randn(num_clips, QUERIES, 169)).requires_grad_(),
        boxes.detach())


def one_object(*boxes):
    return clip_targets(demo_clip([[box] for box in boxes], [1], [2]))


def test_absent_frames_are_trained_as_boxes_of_zeros(head):
    boxes = torch.full((2, QUERIES, 4), 0.9)
    boxes[:, 1] = NORMALISED
    losses = head.loss_by_feat([layer_of(1, 2, boxes)], frames_of(2),
                               one_object(BOX, None))
    assert set(losses) == {
        f'loss_{name}'
        for name in ('cls', 'bbox', 'iou', 'mask', 'dice')
    }
    # frame 0 is right, frame 1 is off by the box itself; mean over frames
    expected = 5.0 * NORMALISED.sum() / 2
    torch.testing.assert_close(losses['loss_bbox'], expected)
    # 1 - GIoU is 0 and 1 + (hull - union) / hull
    union, hull = 32 * 32, 40 * 40
    expected = 2.0 * (1 + (hull - union) / hull) / 2
    torch.testing.assert_close(losses['loss_iou'], torch.tensor(expected))


def test_class_loss_is_of_the_clip(head):
    """It does not depend on the number of frames."""
    losses = [
        head.loss_by_feat([layer_of(1, num)], frames_of(num),
                          one_object(*[BOX] * num))['loss_cls']
        for num in (1, 4)
    ]
    torch.testing.assert_close(*losses)


def test_losses_are_divided_by_objects_not_by_matches(head):
    """Five objects for three queries: two of them have none."""
    boxes = [(8 * i, 8, 8 * i + 8, 24) for i in range(5)]
    clip = clip_targets(demo_clip([boxes] * 2, list(range(5)), [1] * 5))
    layer = layer_of(1, 2)
    match, = head.match(layer, torch.ones(2, 2), clip)
    assert sorted(match.gt_inds.tolist()) != [-1] * 3
    assert (match.gt_inds >= 0).all() and (match.best_query < 0).sum() == 2
    losses = head.loss_by_feat([layer], frames_of(2), clip)
    l1 = (torch.full((4, ), 0.5) - clip[0].boxes[0]).abs().sum(-1)
    expected = 5.0 * l1[match.gt_inds].sum() / 5
    torch.testing.assert_close(losses['loss_bbox'], expected)


def test_no_object(head):
    layer = layer_of(2, 2)
    losses = head.loss_by_feat([layer], frames_of(4),
                               clip_targets(empty_clip(), empty_clip()))
    assert losses['loss_cls'] > 0
    assert all(losses[f'loss_{name}'] == 0
               for name in ('bbox', 'iou', 'mask', 'dice'))
    sum(losses.values()).backward()
    for name in ('cls_logits', 'boxes', 'mask_embeds'):
        assert torch.isfinite(getattr(layer, name).grad).all()


def test_boxes_are_compared_relative_to_the_pictures(head):
    """A picture of half the padded width: twice the distance along x."""
    targets = one_object((8, 8, 40, 40))
    losses = []
    for share in (1.0, 0.5):
        frames = frames_of(1)
        frames.shares[:, 0] = share
        boxes = NORMALISED.repeat(1, QUERIES, 1)
        boxes[..., 0] += 0.01
        losses.append(
            head.loss_by_feat([layer_of(1, 1, boxes)], frames,
                              targets)['loss_bbox'])
    torch.testing.assert_close(losses[1], 2 * losses[0])


def test_predictions_must_be_finite(head):
    layer = layer_of(1, 1)
    with torch.no_grad():
        layer.boxes[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match='got NaN or Inf in boxes'):
        head.loss_by_feat([layer], frames_of(1), one_object(BOX))
