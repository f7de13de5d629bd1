# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np

from refinevis_mm.visualization.refinement_figure import draw_panels


def test_panels_stand_in_their_row_and_column():
    rows = [[
        np.full((60, 80, 3), value + column, np.uint8) for column in range(3)
    ] for value in (10, 20)]
    canvas = draw_panels(rows, ['a', 'b', 'c'], ['first', 'second'])
    assert canvas.shape == (26 + 2 * (60 + 26 + 8), 8 + 3 * 88, 3)
    for row, value in enumerate((10, 20)):
        for column in range(3):
            top, left = 52 + row * 94, 8 + column * 88
            panel = canvas[top:top + 60, left:left + 80]
            assert (panel == value + column).all()
            # with a white border
            assert (canvas[top:top + 60, left - 1] == 255).all()
            assert (canvas[top + 60, left:left + 80] == 255).all()


def test_titles_are_written_above():
    rows = [[np.zeros((60, 80, 3), np.uint8)] * 2]
    canvas = draw_panels(rows, ['', 'right'], [''])
    above = (canvas[:26] < 128).all(axis=2)
    assert above[:, 96:].any() and not above[:, :96].any()
    canvas = draw_panels(rows, ['', ''], ['row'])
    assert (canvas[26:52] < 128).any() and (canvas[:26] == 255).all()
