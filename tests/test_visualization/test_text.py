# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import os.path as osp
import shutil

import matplotlib
import numpy as np
import pytest
from matplotlib import font_manager

from refinevis_mm.visualization import text as text_module
from refinevis_mm.visualization.text import draw_text, fit_text, text_size

FONTS = osp.join(matplotlib.get_data_path(), 'fonts', 'ttf')
# signs that STIX has, and DejaVu Sans not
TWO_SIGNS = '\u1d81', '\u1d84'
CLASSES = ('\u732b', '\u72ac', '\uc790', '\u306d',
           '\U0001f469\u200d\U0001f680', '\U0001f469', 'a\x00', 'a\x01',
           '\ud800', 'U+')


@pytest.fixture
def fonts(monkeypatch):
    """Sets the fonts of the system; gives what is said of them."""
    said = []

    def set_fonts(*paths):
        monkeypatch.setattr(text_module, 'print_log',
                            lambda text, **_: said.append(text))
        monkeypatch.setattr(font_manager, 'findSystemFonts',
                            lambda: list(map(str, paths)))
        for cached in (fit_text, text_module._find_font, text_module._warn):
            cached.cache_clear()
        return said

    yield set_fonts
    set_fonts()  # nothing that a test has found is kept


def picture(text, bold=False):
    canvas = np.full((30, 300, 3), 255, np.uint8)
    draw_text(canvas, text, (2, 2), 16, bold=bold)
    return canvas


def test_names_without_a_font_can_be_told_apart(fonts):
    said = fonts()
    for bold in (False, True):
        pictures = {picture(name, bold).tobytes() for name in CLASSES}
        assert len(pictures) == len(CLASSES)
    np.testing.assert_array_equal(picture('\u732b #3'), picture('U+732B #3'))
    assert text_size('\u732b', 16) == text_size('U+732B', 16)
    assert len(said) == 1 and 'no font of this computer' in said[0]


def test_names_that_the_own_font_can_write(fonts):
    said = fonts(osp.join(FONTS, 'STIXGeneral.ttf'))
    for name in ('dog #3 0.87', '\u00e9\u00df\u0416', 'caf\u00e9 \u2026'):
        assert fit_text(name) == (osp.join(FONTS, 'DejaVuSans.ttf'), name)
    assert fit_text('a\nb\u3000c')[1] == 'a b c'
    assert not said


def test_font_of_the_system(fonts, tmp_path):
    """Those that lack a sign, or are none, are left out."""
    path = osp.join(FONTS, 'STIXGeneral.ttf')
    broken = tmp_path / 'a.ttf'
    broken.write_bytes(b'no font')
    placeholders = tmp_path / 'LastResort.ttf'
    shutil.copy(path, placeholders)
    said = fonts(broken, placeholders, osp.join(FONTS, 'cmr10.ttf'), path)
    for sign in TWO_SIGNS:
        assert fit_text(f'{sign} #3 0.87') == (path, f'{sign} #3 0.87')
    first, second = map(picture, TWO_SIGNS)
    assert (first < 255).any() and (first != second).any()
    assert not said


def test_a_line_is_in_one_font(fonts):
    fonts(osp.join(FONTS, 'STIXGeneral.ttf'))
    assert fit_text(f'{TWO_SIGNS[0]} \u732b')[1] == 'U+1D81 U+732B'


def test_long_lines_are_cut():
    assert fit_text('a' * 200)[1] == 'a' * 200
    assert fit_text('a' * 10**6)[1] == 'a' * 199 + '…'
