# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.visualization import (RefinementFigure, panel_scale,
                                        refinement_change)


def square(left):
    mask = np.zeros((10, 20), bool)
    mask[:4, left:left + 4] = True
    return mask


def test_change_is_weighted_and_names_recovered_ids():
    before = {1: square(0), 2: square(0), 3: np.zeros((10, 20), bool)}
    after = {1: square(0), 2: square(2), 3: square(5), 4: square(8)}
    weights = {1: 1.0, 2: 0.6, 3: 0.5, 4: 0.25}
    change, recovered = refinement_change(before, after, weights)
    # id 2: IoU 8 / 24; ids 3 and 4 had no mask before
    assert change == pytest.approx(0.6 * 2 / 3 + 0.5 + 0.25)
    assert recovered == [3, 4]


def test_lost_masks_count_but_are_not_recovered():
    change, recovered = refinement_change({1: square(0)}, {}, {1: 0.5, 9: 1.})
    assert change == 0.5 and recovered == []


def test_most_changed_frames_are_kept_apart():
    figure = RefinementFigure(num_rows=3, min_gap=3)
    drawn = []
    changes = [0.1, 0.9, 0.5, 0.2, 0.3, 0.7, 0.8, 0., 0.6, 0.]

    def draw():
        drawn.append(1)
        return [np.full((6, 8, 3), 50, np.uint8)] * 3

    for frame_id, change in enumerate(changes):
        figure.add(frame_id, change, '', draw)
    # 5 gives way to 6, 8 is too near to it; 9 is far enough
    assert figure.frame_ids == [1, 6, 9]
    assert len(drawn) < len(changes)


def test_ties_keep_the_earlier_frame():
    figure = RefinementFigure(num_rows=1, min_gap=1)
    for frame_id in range(4):
        figure.add(frame_id, 0., '', lambda: [np.zeros(
            (2, 2, 3), np.uint8)] * 3)
    assert figure.frame_ids == [0]


def test_panels_by_time_from_top_to_bottom():
    figure = RefinementFigure(num_rows=2, min_gap=1)
    for frame_id, value in ((5, 10), (2, 20)):
        panels = [
            np.full((60, 80, 3), value + column, np.uint8)
            for column in range(3)
        ]
        figure.add(frame_id, frame_id, 'caption', lambda: panels)
    canvas = figure.draw()
    assert canvas.shape == (26 + 2 * (60 + 26 + 8), 8 + 3 * 88, 3)
    for row, value in enumerate((20, 10)):
        for column in range(3):
            y, x = 52 + row * 94 + 30, 8 + column * 88 + 40
            assert (canvas[y, x] == value + column).all()


@pytest.mark.parametrize('size, scale', [((128, 192), 3), ((720, 1280), 0.45),
                                         ((200, 480), 1.2)])
def test_panel_scale(size, scale):
    assert panel_scale(*size) == pytest.approx(scale)


def test_bad_use():
    with pytest.raises(ValueError, match='num_rows must be positive, got 0'):
        RefinementFigure(num_rows=0)
    with pytest.raises(ValueError, match='at least one frame'):
        RefinementFigure().draw()
