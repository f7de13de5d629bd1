# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Instances of a video out of overlapping clips."""
import pytest
import torch

from refinevis_mm.models.seqformer.clip_matcher import (ClipMatcher,
                                                        clip_starts, soft_iou)

HIGH = 40.0  # logit of a probability of 1 in float32


def blobs(*columns, width=6):
    """Mask logits of n instances, (n, 2, width): a column is inside."""
    masks = torch.full((len(columns), 2, width), -HIGH)
    for row, column in enumerate(columns):
        masks[row, :, column] = HIGH
    return masks


@pytest.mark.parametrize(
    'args, starts',
    [
        ((6, 3, 1), [0, 1, 2, 3]),
        ((6, 5, 1), [0, 1]),  # a frame more than a clip
        ((9, 4, 2), [0, 2, 4, 5]),  # the last one is moved back
        ((6, 3, 3), [0, 3]),
        ((5, 5, 1), [0]),
        ((1, 5, 1), [0]),
    ])
def test_starts(args, starts):
    assert clip_starts(*args) == starts


def test_soft_iou_of_numbers():
    masks = torch.tensor([[0.5, 1.0], [0.0, 0.0]])
    others = torch.tensor([[1.0, 0.0]])
    # 0.5 / (0.5 + 1 + 1 - 0.5), and nothing of nothing
    torch.testing.assert_close(
        soft_iou(masks, others), torch.tensor([[0.25], [0.0]]))


def test_instances_keep_their_ids_in_another_order():
    matcher = ClipMatcher(2)
    assert matcher.add([0, 1], [blobs(0, 2), blobs(1, 3)]) == [0, 1]
    # frame 1 is shared: column 3 is instance 1, column 5 is new
    assert matcher.add([1, 2], [blobs(3, 5, 1), blobs(3, 5, 1)]) == [1, 2, 0]
    assert matcher.num_instances == 3


def test_clips_without_a_common_frame_share_nothing():
    matcher = ClipMatcher(2)
    assert matcher.add([0, 1], [blobs(0), blobs(0)]) == [0]
    assert matcher.add([2, 3], [blobs(0), blobs(0)]) == [1]


def test_overlap_of_a_hundredth_is_too_little():
    matcher = ClipMatcher(1)
    base = torch.full((1, 1, 200), -HIGH)
    wide, narrow = base.clone(), base.clone()
    wide[..., :] = HIGH
    narrow[..., :2] = HIGH  # 2 of 200 pixels: 0.01, not above it
    assert matcher.add([0], [wide]) == [0]
    assert matcher.add([0], [narrow]) == [1]
    narrow[..., :3] = HIGH
    matcher = ClipMatcher(1)
    matcher.add([0], [wide])
    assert matcher.add([0], [narrow]) == [0]


def test_logits_are_means_over_the_clips_of_a_frame():
    matcher = ClipMatcher(2)
    first, second = blobs(0), blobs(0) / 2
    matcher.add([0, 1], [first, first])
    assert [frame for frame, _, _ in matcher.take(1)] == [0]
    matcher.add([1, 2], [second, blobs(0)])
    (frame, ids, masks), (last, _, _) = matcher.take(3)
    assert (frame, last, ids) == (1, 2, [0])
    torch.testing.assert_close(masks, (first + second) / 2)
    assert list(matcher.take(3)) == []


def test_memory_does_not_grow():
    matcher = ClipMatcher(3)
    for start in range(30):
        matcher.add([start, start + 1, start + 2], [blobs(0, 3)] * 3)
        list(matcher.take(start + 1))
    assert matcher.num_instances == 2
    assert len(matcher._clips) == 3 and len(matcher._sums) == 2
