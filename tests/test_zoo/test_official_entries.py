# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Named weights of official code bases against lists of their keys.

The lists lie outside of the repository, in ``REFINEVIS_MANIFEST_DIR``.
"""
import gzip
import json
import math
import os
from pathlib import Path

import pytest
import torch

from refinevis_mm.zoo.official_entries import OFFICIAL_ENTRIES

ROOT = Path(__file__).parents[2]
FOLDER = Path(
    os.environ.get('REFINEVIS_MANIFEST_DIR',
                   ROOT.parent / 'shared' / 'fixtures' / 'manifests'))
needs_lists = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f'{FOLDER.name} of official models not there')


def lists_of(entry):
    """Official models whose weights may be those of an entry."""
    found = []
    for path in sorted(FOLDER.glob('*.json.gz')):
        manifest = json.loads(gzip.decompress(path.read_bytes()))
        addresses = [
            address.replace('/blob/', '/resolve/')
            for address in manifest['meta'].get('checkpoint_files', [])
        ]
        if entry.address in addresses:
            found.append(manifest)
    return found


def unique_bytes(manifest):
    """Bytes of the tensors of a state dict, shared ones once."""
    return sum(
        math.prod(shape) * getattr(torch, dtype).itemsize
        for key, shape, dtype in manifest['keys']
        if key not in manifest['meta']['aliases'])


@needs_lists
@pytest.mark.parametrize(
    'entry', OFFICIAL_ENTRIES, ids=lambda entry: entry.name)
def test_facts_are_those_of_the_official_model(entry):
    manifests = lists_of(entry)
    assert entry.tensor_bytes in [unique_bytes(item) for item in manifests]
    for manifest in manifests:
        meta = manifest['meta']
        assert meta['num_classes'] == len(entry.classes)
        assert ('NC' in meta['licence_weights']) == entry.non_commercial


def test_what_forbids_commerce_says_so():
    for entry in OFFICIAL_ENTRIES:
        assert ('-NC' in entry.licence) == entry.non_commercial
        assert entry.untried and entry.licence_note
