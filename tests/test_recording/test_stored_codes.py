# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest

from refinevis_mm.recording import check_codes


def code(counts, size=(3, 4)):
    return dict(size=list(size), counts=counts)


def test_whole_codes_pass():
    check_codes([None, code('336'), code('<')], (3, 4), 'it')
    check_codes([], (2**14, 2**14), 'it')


@pytest.mark.parametrize(
    'mask, match',
    [
        (code('335'), 'a mask of it is damaged: RLE counts cover 11 pixels'),
        (code('33P'), 'a mask of it is damaged'),  # goes on behind its end
        (code(''), 'a mask of it is damaged'),
        (code('336', (4, 3)), r'mask size is \[4, 3\]'),
        (code(b'336'), 'must be str, got bytes'),
        (dict(counts='336'), "lacks 'size'"),
        ('336', 'must be dict, got str'),
    ])
def test_damaged_codes(mask, match):
    with pytest.raises(ValueError, match=match):
        check_codes([None, mask], (3, 4), 'it')


@pytest.mark.parametrize('size', [(3, ), (0, 4), (-3, -4), (3., 4),
                                  (10**6, 10**6), (10**400, 1), '34', None])
def test_sizes_that_no_frame_has(size):
    with pytest.raises(ValueError, match='size of it must be'):
        check_codes([], size, 'it')
