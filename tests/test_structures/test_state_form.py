# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest
import torch

from refinevis_mm.structures import Values, check_form

FLOATS, BYTES = Values((None, 3)), Values((2, ), torch.uint8)


@pytest.mark.parametrize('value, form', [
    (3, int),
    (3, float),
    (True, bool),
    (np.float64(0.5), float),
    ([1, 2], [int]),
    ((), [int]),
    (None, (None, str)),
    ('a', (None, str)),
    ({
        4: 'a',
        5: 'b'
    }, {
        int: str
    }),
    ({}, {
        int: str
    }),
    (dict(a=1, b=[dict(c='x')]), dict(a=int, b=[dict(c=str)])),
    (torch.zeros(5, 3), FLOATS),
    (torch.zeros(0, 3).half(), FLOATS),
    (torch.zeros(2, dtype=torch.uint8), BYTES),
])
def test_what_fits(value, form):
    check_form(value, form, 'it')


@pytest.mark.parametrize('value, form, match', [
    (True, int, 'it must be int, got True'),
    (2**63, int, 'it must be int, got an integer of 64 bits'),
    (10**4000, float, 'got an integer of 13288 bits'),
    (float('nan'), float, 'it must be float, got nan'),
    (np.int64(3), int, 'got int64'),
    ('a', [str], 'it must be list, got str'),
    ([1, None], [int], 'it must be int, got None'),
    (3, (None, str), 'it must be str'),
    ({
        'a': 'b'
    }, {
        int: str
    }, 'each key of it must be int, got str'),
    ({
        4: 5
    }, {
        int: str
    }, 'it must be str'),
    (dict(a=1), dict(a=int, b=int), "it lacks 'b'"),
    (dict(a='x'), dict(a=int), 'a of it must be int, got str'),
    (dict(a=1, b=2), dict(a=int), r"it must have \['a'\] only, got 2 keys"),
    (torch.zeros(3), FLOATS, r"a floating-point tensor \('n', 3\), got a "
     r'torch.float32 tensor \(3,\)'),
    (torch.zeros(5, 3).long(), FLOATS, 'got a torch.int64 tensor'),
    (torch.zeros(2), BYTES, r'a torch.uint8 tensor \(2,\)'),
    (torch.zeros(5, 3).to_sparse(), FLOATS, 'floating-point tensor'),
    (torch.zeros(5, 3, device='meta'), FLOATS, 'floating-point tensor'),
    (np.zeros((5, 3)), FLOATS, 'got ndarray'),
])
def test_what_does_not(value, form, match):
    with pytest.raises(ValueError, match=match) as error:
        check_form(value, form, 'it')
    assert len(str(error.value)) < 200


def test_tensors_without_memory_are_refused():
    """A million numbers of four bytes in all, as a file can hold them."""
    with pytest.raises(ValueError, match='floating-point tensor'):
        check_form(torch.zeros(1).expand(10**6, 3), FLOATS, 'it')


def test_long_values_are_not_written_out():
    """Ten lists, each of which holds the next ten times."""
    value = 'x'
    for _ in range(12):
        value = [value] * 10
    with pytest.raises(ValueError, match='it must be int, got list'):
        check_form(value, int, 'it')
