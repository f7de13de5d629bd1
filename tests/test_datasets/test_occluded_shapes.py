# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.datasets.occluded_shapes import (CLASSES,
                                                   OccludedShapesGenerator,
                                                   hidden_runs, summarize)


@pytest.fixture(scope='module')
def videos():
    generator = OccludedShapesGenerator()
    return [generator.generate((7, i)) for i in range(16)]


def test_same_seed_same_video():
    first = OccludedShapesGenerator().generate((3, 1))
    second = OccludedShapesGenerator().generate((3, 1))
    other = OccludedShapesGenerator().generate((3, 2))
    assert np.array_equal(first.frames, second.frames)
    assert np.array_equal(first.masks, second.masks)
    assert first.frames[0].tobytes() != other.frames[0].tobytes()


def test_promised_statistics(videos):
    stats = summarize([v.visibility for v in videos],
                      [v.labels for v in videos])
    low, _, high = stats['frames_per_video']
    assert 20 <= low <= high <= 60
    assert stats['objects_per_frame'] >= 4
    assert stats['occluded_over_30'] >= 0.4
    assert stats['complete_occlusions'] > 0
    low, high = stats['complete_occlusion_frames']
    assert 2 <= low <= high <= 6
    assert sum(stats['instances_per_class'].values()) == stats['instances']


def test_objects_of_a_video(videos):
    for video in videos:
        num = len(video.labels)
        assert 3 <= num <= 8
        assert max(np.bincount(video.labels)) >= 2, 'twins are missing'
        assert set(video.labels) <= set(range(len(CLASSES)))
        assert video.masks.shape == (num, len(video.frames), 128, 192)
        assert all(f.shape == (128, 192, 3) for f in video.frames)


def test_leaves_and_reenters(videos):
    returns = 0
    for video in videos:
        for row in ~np.isnan(video.visibility):
            changes = np.flatnonzero(np.diff(row.astype(int)))
            returns += any(not row[a + 1] for a in changes[:-1])
    assert returns > 0


def test_masks_are_disjoint_and_match_visibility(videos):
    for video in videos:
        assert video.masks.sum(0).max() <= 1
        seen = np.nan_to_num(video.visibility) > 0
        assert np.array_equal(seen, video.masks.any((2, 3)))


def test_occlusion_changes_the_visible_pixels():
    # a lone object in front of nothing is fully visible: measured by hand
    generator = OccludedShapesGenerator()
    rng = np.random.default_rng(0)
    _, objects, _ = generator._layout(rng, 3, 20)
    masks, visibility = generator._measure(objects[:1], [])
    shown = ~np.isnan(visibility)
    assert np.all(visibility[shown] == 1)
    masks, visibility = generator._measure([objects[0], objects[0]], [])
    assert np.all(np.nan_to_num(visibility[0]) == 0), 'the upper one hides it'
    assert not masks[0].any() and masks[1].any()


def test_other_sizes_and_lengths():
    generator = OccludedShapesGenerator(
        96, 160, num_objects=(3, 4), num_frames=(20, 20))
    video = generator.generate(5)
    assert len(video.frames) == 20
    assert video.frames[0].shape == (96, 160, 3)
    assert len(video.labels) in (3, 4)
    smallest = OccludedShapesGenerator(
        64, 64, num_objects=(2, 2), num_frames=(5, 5), max_hidden=4)
    assert smallest.generate(5).masks.shape == (2, 5, 64, 64)


@pytest.mark.parametrize('kwargs, message', [
    (dict(height=32), 'at least 64 x 64'),
    (dict(num_objects=(5, 4)), 'num_objects'),
    (dict(num_frames=(0, 4)), 'num_frames'),
    (dict(num_objects=(1, 4)), r'num_objects must satisfy 2 <= .* \(1, 4\)'),
    (dict(num_frames=(4, 9)), r'num_frames must satisfy 5 <= .* \(4, 9\)'),
    (dict(min_hidden=2, max_hidden=3), 'max_hidden must be .* 2 and 3'),
    (dict(min_hidden=0), 'max_hidden must be .* 0 and 6'),
])
def test_bad_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        OccludedShapesGenerator(**kwargs)


def test_hidden_runs_and_summary_by_hand():
    nan = np.nan
    visibility = np.array([[1, 0, 0, 0.5, nan, 0], [0.8, 0.7, 0.2, 1, 1, nan]])
    assert hidden_runs(visibility) == [2, 1]
    stats = summarize([visibility])
    assert stats['object_frames'] == 7
    assert stats['objects_per_frame'] == pytest.approx(7 / 6, abs=1e-3)
    # 0, 0, 0.5, 0, 0.2 of 10 object-frames in the frame; 0.7 is not over 30 %
    assert stats['occluded_over_30'] == 0.5
    assert stats['complete_occlusion_frames'] == [1, 2]
