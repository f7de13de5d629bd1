# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.frame_level.deformable_detr_padding import (
    check_sizes, clear_padding, level_padding, picture_shares)
from refinevis_mm.models.layers.transformer_layers import valid_ratio


def _maps(height, width):
    """Maps of stride 8, 16 and 32, and the extra level."""
    sizes = [(height // stride, width // stride) for stride in (8, 16, 32)]
    sizes.append(tuple(-(-side // 2) for side in sizes[-1]))
    return [torch.zeros(1, 1, *size) for size in sizes]


def _real(size, height, width):
    """Real rows and columns of each level."""
    images = torch.zeros(1, 3, height, width)
    masks = level_padding([size], images, _maps(height, width), 3)
    return [(int((~mask[0, :, 0]).sum()), int((~mask[0, 0]).sum()))
            for mask in masks]


def test_cells_by_hand():
    # ceil of the size by the stride: 70 -> 9 of 12, 5 of 6, 3 of 3 rows
    assert _real((70, 100), 96, 128) == [(9, 13), (5, 7), (3, 4), (2, 2)]


def test_extra_level_samples_the_finest():
    # 3 rows of 1/32 become 2; row 1 looks at pixel 56, but at cell
    # floor(1 * 20 / 3) = 6 of the finest level, i.e. pixel 48
    assert _real((50, 160), 160, 160) == [(7, 20), (4, 10), (2, 5), (2, 3)]


def test_ratios_count_cells():
    mask = torch.zeros(1, 12, 16, dtype=torch.bool)
    mask[:, 9:], mask[:, :, 13:] = True, True
    assert_close(valid_ratio(mask), torch.tensor([[13 / 16, 9 / 12]]))


@pytest.mark.parametrize('size', [(96, 128), (90, 124)])
def test_no_masks_where_no_cell_is_padding(size):
    images = torch.zeros(1, 3, 96, 128)
    assert level_padding([size], images, _maps(96, 128), 3) is None


def test_padding_is_cleared():
    images = torch.ones(2, 3, 4, 6)
    cleared = clear_padding(images, [(4, 6), (3, 2)])
    assert torch.equal(cleared[0], images[0])
    assert cleared[1].sum() == 3 * 3 * 2 and cleared[1, :, :3, :2].all()
    assert clear_padding(images, [(4, 6)] * 2) is images


def test_shares_are_width_and_height():
    shares = picture_shares([(48, 96), (64, 24)], torch.zeros(2, 3, 64, 96))
    assert_close(shares, torch.tensor([[1, 0.75], [0.25, 1]]))


def test_one_size_is_that_of_all_frames():
    images = torch.ones(2, 3, 8, 8)
    check_sizes([(4, 6)], images)
    for make in (clear_padding, lambda *args: picture_shares(*args[::-1])):
        both = make(images, [(4, 6)] * 2)
        assert torch.equal(make(images, [(4, 6)]), both)
    levels = [torch.zeros(2, 1, 4, 4)]
    one, = level_padding([(4, 6)], images, levels, 1)
    two, = level_padding([(4, 6)] * 2, images, levels, 1)
    assert torch.equal(one, two) and one.any()


@pytest.mark.parametrize('sizes',
                         [[(64, 96)] * 3, [(64, 96),
                                           (65, 96)], [(64, 96), (0, 96)]])
def test_sizes_must_fit(sizes):
    with pytest.raises(ValueError, match='sizes must be 2 pairs .* 64 x 96'):
        check_sizes(sizes, torch.zeros(2, 3, 64, 96))
