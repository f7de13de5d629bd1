# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch

from refinevis_mm.models.denoising import ClipCdnQueryGenerator
from tests.demo_clips import (clip_targets, demo_clip, empty_clip,
                              two_object_clip)


def test_layout_groups_and_empty_slots():
    torch.manual_seed(0)
    generator = ClipCdnQueryGenerator(6, 8, num_dn_pairs=6)
    three = demo_clip([[(i * 20, 5, i * 20 + 15, 25) for i in range(3)]] * 2,
                      [1, 2, 3], [0, 1, 2])
    dn = generator(clip_targets(two_object_clip(), three))
    # S = 3 slots -> 6 // 3 = 2 groups of 2 * 3 queries, 2 clips x 2 frames
    assert (dn.num_groups, dn.num_slots, dn.num_queries) == (2, 3, 12)
    assert dn.content.shape == (4, 12, 8)
    # clip 0: slot 0 (id 4) is absent in frame 0, slot 2 does not exist
    assert dn.valid.tolist()[:2] == [[False, True, False], [True, True, False]]
    empty = dn.query_inds(torch.tensor([0, 2]), negative=False)
    assert (dn.content[0, empty] == 0).all()
    assert (dn.boxes[0, empty] == 0.5).all()
    assert dn.query_inds(torch.tensor([1]), negative=False).tolist() == [1, 7]
    assert dn.query_inds(torch.tensor([1]), negative=True).tolist() == [4, 10]


def test_without_noise_positives_are_the_ground_truth():
    generator = ClipCdnQueryGenerator(
        6, 8, num_dn_pairs=2, label_noise_scale=0.0, box_noise_scale=0.0)
    targets = clip_targets(two_object_clip())
    dn = generator(targets)
    torch.testing.assert_close(dn.boxes[1, :2], targets[0].boxes[1])
    labels = torch.tensor([5, 2])
    assert torch.equal(dn.content[1, :2], generator.label_embedding(labels))


def test_a_slot_is_one_object_in_every_frame_group_and_sign():
    """Slots follow the ids: 4, then 7; without noise, by hand."""
    generator = ClipCdnQueryGenerator(
        6, 8, num_dn_pairs=4, box_noise_scale=0.0)
    first, second = [(8, 8, 40, 40), (60, 20, 90, 50)], [(30, 8, 62, 40),
                                                         (2, 20, 32, 50)]
    dn = generator(clip_targets(demo_clip([first, second], [7, 4], [2, 5])))
    expected = torch.tensor([[[75, 35, 30, 30], [24, 24, 32, 32]],
                             [[17, 35, 30, 30], [46, 24, 32, 32]]])
    expected = expected / torch.tensor([96, 64, 96, 64])
    torch.testing.assert_close(dn.boxes, expected.repeat(1, 4, 1))


def test_positive_noise_is_smaller_than_negative_noise():
    torch.manual_seed(0)
    generator = ClipCdnQueryGenerator(6, 8, num_dn_pairs=400)
    box = [(30, 20, 62, 44)]  # far from the border: nothing is clamped
    targets = clip_targets(demo_clip([box, box], [1], [0]))
    dn = generator(targets)
    slot = torch.tensor([0])
    truth = targets[0].boxes[0, 0]
    size = truth[2:].repeat(2) / 2

    def corner_shift(negative):
        boxes = dn.boxes[0, dn.query_inds(slot, negative)]
        low = boxes[:, :2] - boxes[:, 2:].abs() / 2
        high = boxes[:, :2] + boxes[:, 2:].abs() / 2
        true = torch.cat(
            [truth[:2] - truth[2:] / 2, truth[:2] + truth[2:] / 2])
        return ((torch.cat([low, high], 1) - true).abs() / size)

    assert corner_shift(False).max() <= 1 + 1e-5
    assert corner_shift(True).max() <= 2 + 1e-5
    assert corner_shift(True).max() > 1.5


def test_frames_and_groups_draw_independent_noise():
    torch.manual_seed(0)
    generator = ClipCdnQueryGenerator(6, 8, num_dn_pairs=2)
    box = [(30, 20, 62, 44)]
    dn = generator(clip_targets(demo_clip([box, box], [1], [0])))
    assert len(torch.unique(dn.boxes.flatten(0, 1), dim=0)) == 8


def test_attention_mask_by_hand():
    generator = ClipCdnQueryGenerator(6, 8, num_dn_pairs=2)
    box = [(30, 20, 62, 44)]
    dn = generator(clip_targets(demo_clip([box, box], [1], [0])))
    # two groups of 2 queries and 1 matching query
    assert dn.attn_mask(1).int().tolist() == [
        [0, 0, 1, 1, 0],
        [0, 0, 1, 1, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 0],
    ]


def test_batch_without_objects_keeps_the_graph():
    generator = ClipCdnQueryGenerator(6, 8, num_dn_pairs=2)
    dn = generator(clip_targets(empty_clip()))
    assert dn.content.shape == (2, 0, 8)
    dn.content.sum().backward()
    assert generator.label_embedding.weight.grad is not None


def test_num_pairs_must_be_positive():
    with pytest.raises(ValueError, match='num_dn_pairs must be positive'):
        ClipCdnQueryGenerator(6, 8, num_dn_pairs=0)
