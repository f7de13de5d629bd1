# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch

from refinevis_mm.models.refinement.decoding import leave_out_hidden


def logits(*columns):
    """Masks of one row of six pixels: those that are filled."""
    masks = torch.full((len(columns), 1, 6), -1.)
    for mask, filled in zip(masks, columns):
        mask[0, list(filled)] = 1.
    return masks


@pytest.mark.parametrize('thr, drawn', [(0.2, True), (0.5, True),
                                        (0.6, False)])
def test_a_mask_behind_detected_objects_is_left_out(thr, drawn):
    """Of four pixels two are covered, by two objects that overlap."""
    masks = logits((0, 1), (1, 2), (1, 2, 3, 4))
    found = leave_out_hidden(masks, torch.tensor([True, True, False]), thr)
    assert bool((found[2] > 0).any()) == drawn
    if drawn:
        assert torch.equal(found, masks)
    assert torch.equal(found[:2], masks[:2])


def test_recovered_masks_do_not_hide_each_other():
    masks = logits((1, 2), (1, 2))
    detected = torch.tensor([False, False])
    assert torch.equal(leave_out_hidden(masks, detected, 1.), masks)


def test_empty_masks_and_no_instances():
    masks = logits((), (0, ))
    found = leave_out_hidden(masks, torch.tensor([False, True]), 0.5)
    assert torch.equal(found, masks)
    none = torch.zeros(0, 2, 3)
    assert leave_out_hidden(none, torch.zeros(0, dtype=torch.bool),
                            0.5).shape == (0, 2, 3)
