# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.denoising import MaskDINODnQueryGenerator
from tests.demo_clips import clip_targets, empty_clip, two_object_clip

DIMS = 8


def _generator(**kwargs):
    torch.manual_seed(0)
    return MaskDINODnQueryGenerator(
        num_classes=6, embed_dims=DIMS, **{
            'num_dn_queries': 5,
            **kwargs
        })


def test_layout_without_noise():
    """Two slots (ids 4 and 7) in two groups; object 4 is absent at first."""
    generator = _generator(label_noise_scale=0.0, box_noise_scale=0.0)
    targets = clip_targets(two_object_clip())
    dn = generator(targets)
    assert (dn.num_groups, dn.num_signs, dn.num_queries) == (2, 1, 4)
    assert dn.valid.tolist() == [[False, True], [True, True]]
    table = generator.label_embedding.weight
    assert_close(dn.content[1], table[torch.tensor([5, 2, 5, 2])])
    assert (dn.content[0, [0, 2]] == 0).all()  # absent: an empty slot
    assert (dn.boxes[0, [0, 2]] == 0.5).all()
    assert_close(dn.boxes[1], targets[0].boxes[1].repeat(2, 1))
    assert dn.query_inds(torch.tensor([1]), negative=False).tolist() == [1, 3]
    assert dn.query_inds(torch.tensor([1]), negative=True).tolist() == []


def test_box_noise_stays_within_its_reach():
    generator = _generator(num_dn_queries=400, box_noise_scale=0.4)
    targets = clip_targets(two_object_clip())
    dn = generator(targets)
    boxes = dn.boxes[1].view(-1, 2, 4)
    shift = (boxes - targets[0].boxes[1]).abs()
    size = targets[0].boxes[1][:, 2:]
    assert (shift[..., :2] <= 0.4 * size / 2 + 1e-6).all()
    assert (shift[..., 2:] <= 0.4 * size + 1e-6).all()
    assert shift.max() > 0.05  # and it does move


def test_label_noise_replaces_one_in_five():
    generator = _generator(num_dn_queries=4000, label_noise_scale=0.4)
    dn = generator(clip_targets(two_object_clip()))
    table = generator.label_embedding.weight
    kept = (dn.content[1].view(-1, 2, DIMS)[:, 1] == table[2]).all(-1)
    # a random label is the true one in one case of six
    assert kept.float().mean() == pytest.approx(1 - 0.2 * 5 / 6, abs=0.03)


def test_more_objects_than_queries_switches_denoising_off():
    dn = _generator(num_dn_queries=1)(clip_targets(two_object_clip()))
    assert dn.num_groups == 0 and dn.num_queries == 0


@pytest.mark.parametrize('clip', [two_object_clip(), empty_clip()])
def test_gradient_reaches_the_label_embedding(clip):
    generator = _generator()
    generator(clip_targets(clip)).content.sum().backward()
    assert generator.label_embedding.weight.grad is not None


def test_number_of_queries_must_be_positive():
    with pytest.raises(ValueError, match='must be positive, got 0'):
        _generator(num_dn_queries=0)
