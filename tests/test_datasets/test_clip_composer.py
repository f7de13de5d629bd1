# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest
from mmengine.registry import DefaultScope

from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.clip_composer import ClipComposer, forth_and_back
from refinevis_mm.datasets.transforms.track_pasting import TrackPaster
from refinevis_mm.vis_json import find_defects
from tests.tiny_clips import CATEGORIES, COLORS, GREY, write_rectangles


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    root = tmp_path_factory.mktemp('source')
    write_rectangles(root)
    return root


@pytest.fixture(scope='module')
def unlabelled(tmp_path_factory):
    root = tmp_path_factory.mktemp('unlabelled')
    write_rectangles(root, with_rest=True)
    return root


def _dataset(root):
    return VISDataset(
        ann_file=str(root / 'train.json'),
        data_prefix=dict(img_path=str(root)),
        pipeline=[])


def test_forth_and_back():
    assert forth_and_back(4, 2, 9) == [2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert forth_and_back(1, 0, 3) == [0, 0, 0]
    assert forth_and_back(2, 1, 4) == [1, 0, 1, 0]
    assert forth_and_back(9, 3, 4) == [3, 4, 5, 6]


@pytest.mark.parametrize('seed', range(8))
def test_masks_are_exact(source, seed):
    """An object's mask is where its colour is seen."""
    dataset = _dataset(source)
    composer = ClipComposer(dataset, TrackPaster(max_drift=1.0), (4, 4),
                            (6, 6))
    clip = composer.compose(np.random.default_rng(seed))
    layers = clip.layers
    assert len(clip.labels) == len(layers.masks) == 4
    colors = set()
    for label, masks in zip(clip.labels, layers.masks):
        for mask, frame in zip(masks, layers.frames):
            # at the edge it is blended with what is around
            inside = cv2.erode(
                np.pad(mask, 2).astype(np.uint8), np.ones((5, 5)))
            inside = inside[2:-2, 2:-2] > 0
            seen = {tuple(color) for color in frame[inside].tolist()}
            assert len(seen) <= 1
            if seen:
                color = seen.pop()
                assert COLORS.index(color) % 2 == label
                assert mask[(frame == color).all(-1)].all()
                colors.add(color)
    assert len(colors) >= 3
    assert layers.masks.sum(0).max() == 1
    # by hand: shares of the silhouettes
    visibility = layers.visibility()
    for i, t in np.ndindex(*visibility.shape):
        full, seen = layers.silhouettes[i, t].sum(), layers.masks[i, t].sum()
        assert np.isnan(visibility[i, t]) if full == 0 else \
            visibility[i, t] == seen / full


@pytest.mark.parametrize('seed', range(6))
def test_crowds_are_ground(source, unlabelled, seed):
    """The same clip as without; the crowd is what nothing is pasted over."""
    plain, clip = (
        ClipComposer(
            _dataset(root), TrackPaster(behind_prob=0.5), (4, 4),
            (5, 5)).compose(np.random.default_rng(seed))
        for root in (source, unlabelled))
    assert clip.labels == plain.labels and clip.crowd_labels == [1]
    assert plain.crowd_labels == [] and len(plain.layers.ignored) == 0
    assert np.array_equal(clip.layers.masks, plain.layers.masks)
    assert np.array_equal(clip.layers.frames, plain.layers.frames)
    crowd, = clip.layers.ignored
    assert np.array_equal(crowd, ~clip.layers.masks.any(0))
    for mask, frame in zip(crowd, clip.layers.frames):
        # at the edges of what is pasted it is blended with it
        inside = cv2.erode(
            mask.astype(np.uint8), np.ones((5, 5)), borderValue=1) > 0
        assert (frame[inside] == GREY).all()


def test_crowds_are_written(unlabelled, tmp_path):
    composer = ClipComposer(
        _dataset(unlabelled), TrackPaster(), (2, 2), (3, 3))
    stats = composer.compose_split(str(tmp_path), 'valid', range(2), 7)
    assert stats['seed'] == 7 and stats['instances'] == 4
    content = json.loads((tmp_path / 'valid.json').read_text())
    assert find_defects(content) == []
    tracks = content['annotations']
    assert [track['iscrowd'] for track in tracks] == [0, 0, 1] * 2
    assert [
        CATEGORIES[track['category_id'] - 1]['name'] for track in tracks
        if track['iscrowd']
    ] == ['bar'] * 2
    for track in tracks:
        assert ('visibility' in track) != track['iscrowd']
    for t in range(3):
        masks = [
            mask_utils.decode(mask_utils.frPyObjects(mask, *mask['size']))
            for mask in (track['segmentations'][t] for track in tracks[:3])
            if mask is not None
        ]
        assert (sum(masks) == 1).all()
