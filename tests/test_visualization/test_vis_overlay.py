# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.visualization import (display_scale, draw_instances,
                                        instance_color)


def ring_mask():
    mask = np.zeros((40, 60), bool)
    mask[18:38, 10:30] = True
    mask[24:32, 16:24] = False
    return mask


def test_colors_are_stable_and_differ():
    colors = [instance_color(i) for i in range(14)]
    assert colors[0] == (0, 159, 230)
    assert len(set(colors)) == 14
    assert instance_color(14) == colors[0]


def test_masks_are_blended_and_holes_stay():
    image = np.full((40, 60, 3), 100, np.uint8)
    drawn = draw_instances(image, [ring_mask()], [0], [''], alpha=0.5)
    assert (image == 100).all()
    # half of 100 plus half of (0, 159, 230)
    assert drawn[35, 20].tolist() == [50, 129, 165]
    assert drawn[28, 20].tolist() == [100, 100, 100]
    # the outline is smoothed
    outline = np.array([drawn[37, 20], drawn[24, 15]])
    assert np.abs(outline - np.array([0, 159, 230])).max() < 20


def test_highlight_adds_a_white_line():
    image = np.zeros((40, 60, 3), np.uint8)
    drawn = draw_instances(image, [ring_mask()], [0], [''], [True])
    assert drawn[38, 20].min() > 150
    assert drawn[37, 20, 0] < 60 and drawn[37, 20, 2] > 200


def test_scale_enlarges_and_empty_masks_are_skipped():
    image = np.full((40, 60, 3), 7, np.uint8)
    drawn = draw_instances(
        image, np.zeros((2, 40, 60), bool), [0, 1], ['a', 'b'], scale=3)
    assert drawn.shape == (120, 180, 3) and (drawn == 7).all()
    assert draw_instances(image, [], [], []) is not image


def test_labels_do_not_cover_each_other():
    image = np.zeros((400, 400, 3), np.uint8)
    mask = np.zeros((400, 400), bool)
    mask[100:110, 50:60] = True
    one = draw_instances(image, [mask], [0], ['object'])
    two = draw_instances(image, [mask, mask], [0, 0], ['object'] * 2)
    filled = [np.count_nonzero(drawn.any(axis=2)) for drawn in (one, two)]
    assert filled[1] > 1.5 * filled[0]


def test_numbers_must_agree():
    with pytest.raises(ValueError, match='got 1, 0 and 1'):
        draw_instances(
            np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), bool), [1], [])


@pytest.mark.parametrize('size, scale', [((128, 192), 3), ((720, 1280), 1),
                                         ((360, 640), 1), ((359, 640), 2)])
def test_display_scale(size, scale):
    assert display_scale(*size) == scale
