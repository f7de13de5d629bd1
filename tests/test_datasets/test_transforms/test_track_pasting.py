# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import cv2
import numpy as np
import pytest
from mmdet.structures.mask import BitmapMasks

from refinevis_mm.datasets.transforms.track_pasting import (LayeredClip,
                                                            Placement, Track,
                                                            TrackPaster,
                                                            box_center,
                                                            clip_tracks)


def _mask(text):
    """Mask from rows of '.' and '#'."""
    return np.array([[char == '#' for char in row] for row in text.split()])


def _clip():
    """Two grey frames of 3 x 5; an object in the first, columns 1 and 2."""
    frames = [np.full((3, 5, 3), 10, np.uint8) for _ in range(2)]
    masks = np.stack([_mask('..... .##.. .##..'), _mask('..... ..... .....')])
    return LayeredClip(frames, masks[None])


def _track(*masks, value=200):
    masks = np.stack([_mask(mask) for mask in masks])
    return Track(
        [np.full((*mask.shape, 3), value, np.uint8) for mask in masks], masks,
        4)


def _place(*offsets, size=(2, 2), flip=False):
    return Placement(size, flip, np.array(offsets))


def test_before():
    clip = _clip()
    clip.paste(_track('## #.', '## #.'), _place((2, 1), (4, -1)), False)
    assert np.array_equal(clip.masks[0, 0], _mask('..... .#... .#...'))
    assert np.array_equal(clip.masks[1, 0], _mask('..... ..##. ..#..'))
    # the second frame shows the lower left pixel only
    assert np.array_equal(clip.masks[1, 1], _mask('....# ..... .....'))
    for t in range(2):
        painted = np.where(clip.masks[1, t], 200, 10)
        assert (clip.frames[t] == painted[..., None]).all()
    assert np.array_equal(clip.silhouettes[1], clip.masks[1])
    np.testing.assert_array_equal(clip.visibility(),
                                  [[0.5, np.nan], [1.0, 1.0]])


def test_behind():
    clip = _clip()
    clip.paste(_track('## #.', '## ##'), _place((2, 1), (5, 0)), True)
    assert np.array_equal(clip.masks[0], _clip().masks[0])
    assert np.array_equal(clip.masks[1, 0], _mask('..... ...#. .....'))
    assert np.array_equal(clip.silhouettes[1, 0], _mask('..... ..##. ..#..'))
    painted = np.where(clip.masks[1, 0], 200, 10)
    assert (clip.frames[0] == painted[..., None]).all()
    # 1 of 3 pixels is seen; the second frame lies outside
    np.testing.assert_allclose(clip.visibility(),
                               [[1, np.nan], [1 / 3, np.nan]])


def test_hidden_by_two_later_tracks():
    clip = _clip()
    clip.paste(_track('## ##', '.. ..'), _place((0, 1), (0, 1)), False)
    clip.paste(
        _track('## ##', '.. ..', value=90), _place((2, 1), (2, 1)), False)
    assert not clip.masks[0].any()
    np.testing.assert_array_equal(clip.visibility()[:, 0], [0, 1, 1])
    assert clip.frames[0][2, :, 0].tolist() == [200, 200, 90, 90, 10]
    # the masks of a frame never overlap
    assert clip.masks.sum(0).max() == 1


def test_input_is_not_changed():
    frames = [np.zeros((3, 5, 3), np.uint8)]
    masks = np.ones((1, 1, 3, 5), bool)
    clip = LayeredClip(frames, masks)
    clip.paste(_track('## ##'), _place((0, 0)), False)
    assert masks.all() and frames[0].max() == 0


def test_mirrored():
    clip = _clip()
    clip.paste(
        _track('## #.', '.. ..'), _place((0, 0), (0, 0), flip=True), False)
    assert np.array_equal(clip.masks[1, 0], _mask('##... .#... .....'))
    assert not clip.masks[1, 1].any()


def test_shrunk():
    clip = _clip()
    track = _track('##.. ##.. #... #...', '.... .... .... ....')
    track.frames[0][0, 0] = 0
    clip.paste(track, _place((0, 0), (0, 0)), False)
    # blocks of 2 x 2 pixels: shares 1, 0, 2 / 4, 0
    assert np.array_equal(clip.masks[1, 0], _mask('#.... #.... .....'))
    assert clip.frames[0][:2, :2, 0].tolist() == [[150, 10], [105, 10]]


def test_enlarged():
    clip = _clip()
    clip.paste(_track('#', '.'), _place((3, 1), (0, 0), size=(3, 3)), False)
    assert np.array_equal(clip.masks[1, 0], _mask('..... ...## ...##'))


def test_malformed_input_is_refused():
    with pytest.raises(ValueError, match='but got 1 and 2'):
        _clip().paste(_track('##'), _place((0, 0)), False)
    frames = [np.zeros((2, 2, 3)), np.zeros((2, 3, 3))]
    with pytest.raises(ValueError, match='one .height, width., but got'):
        LayeredClip(frames, np.zeros((0, 2, 2, 2), bool))
    for name, value in (('scale_range', (0.5, 0.4)), ('scale_range', (0, 1)),
                        ('flip_prob', 2), ('aim_prob', -1),
                        ('behind_prob', 1.5), ('max_drift', -1)):
        with pytest.raises(ValueError, match=name):
            TrackPaster(**{name: value})


def _moving_square(size, corners, side):
    """A square whose upper left corner goes through ``corners`` (x, y)."""
    masks = np.zeros((len(corners), *size), bool)
    for mask, (x, y) in zip(masks, corners):
        mask[y:y + side, x:x + side] = True
    return Track([np.full((*size, 3), 77, np.uint8)] * len(masks), masks, 0)


@pytest.mark.parametrize('size, fit', [((200, 240), 4), ((400, 480), 8),
                                       ((20, 40), 0.5)])
@pytest.mark.parametrize('seed', range(6))
def test_motion_is_kept(size, fit, seed):
    """One scale and one mirroring for all frames, at any size."""
    middle = np.zeros((1, 4, *size), bool)
    middle[:, :, size[0] // 2, size[1] // 2] = True
    clip = LayeredClip([np.zeros((*size, 3), np.uint8)] * 4, middle)
    track = _moving_square((40, 60), [(5, 6), (9, 7), (13, 5), (17, 9)], 12)
    paster = TrackPaster((0.9, 1.1), aim_prob=1, behind_prob=0)
    paster.paste(clip, track, np.random.default_rng(seed))
    boxes = np.array(
        [cv2.boundingRect(mask.astype(np.uint8)) for mask in clip.masks[1]])
    scale = boxes[:, 2:].mean() / 12
    assert np.abs(boxes[:, 2:] - 12 * scale).max() <= 1
    assert 0.9 * fit - 0.05 <= scale <= 1.1 * fit + 0.05
    steps = np.diff(boxes[:, :2], axis=0)
    mirror = np.sign(steps[:, 0].sum())
    expected = np.array([(4, 1), (4, -2), (4, 4)]) * (mirror * scale, scale)
    assert np.abs(steps - expected).max() <= 1.5  # two rounded corners


def test_drift_is_constant():
    clip = LayeredClip([np.zeros((900, 900, 3), np.uint8)] * 3,
                       np.zeros((0, 3, 900, 900), bool))
    track = _moving_square((900, 900), [(450, 450)] * 3, 9)
    paster = TrackPaster((1, 1), flip_prob=0, max_drift=0.2)
    paster.paste(clip, track, np.random.default_rng(3))
    assert clip.masks[0].any((1, 2)).all()
    first, second = np.diff([box_center(mask) for mask in clip.masks[0]],
                            axis=0)
    assert np.abs(first - second).max() <= 1
    assert 1 < np.abs(first).max() <= 0.2 * 900 / 3 + 1


@pytest.mark.parametrize('seed', range(5))
def test_aims_at_an_object(seed):
    rng = np.random.default_rng(seed)
    masks = np.zeros((1, 2, 60, 80), bool)
    masks[0, 0, 10:16, 50:54] = True
    masks[0, 1, 30:36, 20:24] = True
    clip = LayeredClip([np.zeros((60, 80, 3), np.uint8)] * 2, masks)
    track = _moving_square((60, 80), [(9, 9), (0, 0)], 8)
    track.masks[1] = False
    paster = TrackPaster((1, 1), aim_prob=1, behind_prob=0)
    paster.paste(clip, track, rng)
    assert not clip.masks[0, 0].any()
    assert clip.visibility()[0].tolist() == [0, 1]
    assert np.abs(box_center(clip.masks[1, 0]) - (52, 13)).max() <= 0.5


def test_same_seed_same_clip():
    frames = []
    for _ in range(2):
        clip = _clip()
        TrackPaster().paste(clip, _track('## #.', '## ##'),
                            np.random.default_rng(5))
        frames.append(np.stack(clip.frames))
    assert np.array_equal(*frames)


def test_objects_that_can_be_pasted():

    def masks(*rows):
        return BitmapMasks(np.array(rows, np.uint8).reshape(-1, 1, 3), 1, 3)

    clip = dict(
        img=[np.zeros((1, 3, 3), np.uint8)] * 2,
        gt_instances_ids=[np.array([9, 2]),
                          np.array([5, 9, 3])],
        gt_bboxes_labels=[np.array([1, 0]),
                          np.array([2, 1, 6])],
        gt_ignore_flags=[
            np.array([False, False]),
            np.array([True, False, False])
        ],
        gt_masks=[
            masks([1, 1, 0], [0, 0, 1]),
            masks([1, 1, 1], [0, 1, 0], [0, 0, 0])
        ])
    tracks = clip_tracks(clip)  # 3 has no pixels, 5 is a crowd
    assert [track.label for track in tracks] == [0, 1]
    assert tracks[0].masks.astype(int).tolist() == [[[0, 0, 1]], [[0, 0, 0]]]
    assert tracks[1].masks.astype(int).tolist() == [[[1, 1, 0]], [[0, 1, 0]]]


@pytest.mark.parametrize('behind', [False, True])
def test_ignored_regions_are_ground(behind):
    frames = [np.zeros((3, 5, 3), np.uint8)] * 2
    masks = np.stack([_mask('..... .##.. .##..'), _mask('..... ..... .....')])
    ignored = np.stack(
        [_mask('##### #..## #..##'),
         _mask('#.... ..... .....')])
    clip = LayeredClip(frames, masks[None], ignored[None])
    clip.paste(_track('## ##', '## ##'), _place((2, 0), (0, 0)), behind)
    # seen whole but where the object is, and cut out of the region
    assert np.array_equal(
        clip.masks[1, 0],
        _mask('..##. ...#. .....' if behind else '..##. ..##. .....'))
    assert np.array_equal(clip.masks[1, 1], _mask('##... ##... .....'))
    assert np.array_equal(clip.ignored[0, 0], _mask('##..# #...# #..##'))
    assert not clip.ignored[0, 1].any()
    assert ignored[0, 0, 3]  # the input is not changed
