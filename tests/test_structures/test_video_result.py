# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from pycocotools import mask as mask_utils

from refinevis_mm.structures.video_result import VideoResult, to_results_json


def add(result, frame_id, ids, scores, detected, masks):
    """Add one frame given as nested lists."""
    num_ids = len(ids)
    result.add_frame(frame_id, ids,
                     torch.tensor(scores).reshape(num_ids, -1),
                     torch.tensor(detected, dtype=torch.bool), masks)


def square(left):
    """Mask (3, 8) with a 2 x 2 square."""
    mask = torch.zeros(3, 8, dtype=torch.bool)
    mask[:2, left:left + 2] = True
    return mask


EMPTY = torch.zeros(3, 8, dtype=torch.bool)


def test_mean_over_detected_frames_by_hand():
    result = VideoResult(4)
    add(result, 0, [7], [[0.5, 0.25]], [True], square(0)[None])
    add(result, 1, [7], [[1.0, 1.0]], [False], square(1)[None])
    add(result, 3, [7], [[0.25, 0.0]], [True], EMPTY[None])
    assert result.running_scores([7]).tolist() == [[0.375, 0.125]]
    first, second = result.tracklets()
    assert (first['instances_id'], first['label'], first['score']) == (7, 0,
                                                                       0.375)
    assert (second['label'], second['score']) == (1, 0.125)
    assert first['segmentations'] is second['segmentations']
    rles = first['segmentations']
    assert [rle is None for rle in rles] == [False, False, True, True]
    assert rles[0]['size'] == [3, 8] and isinstance(rles[0]['counts'], str)
    decoded = torch.from_numpy(mask_utils.decode(rles[1])).bool()
    assert torch.equal(decoded, square(1))


def test_scores_of_clips_count_apart_from_frames():
    """Two clips share a frame; means are over the clips."""
    result = VideoResult(2)
    result.add_scores([3], torch.tensor([[0.5, 0.25]]))
    result.add_scores([3, 4], torch.tensor([[0.25, 0.0], [0.1, 0.9]]))
    for frame_id in range(2):
        add(result, frame_id, [3], [[0.0, 0.0]], [False], square(0)[None])
    assert result.running_scores([3, 4]).tolist() == [[0.375, 0.125],
                                                      pytest.approx([0.1,
                                                                     0.9])]
    # instance 4 is in no frame
    assert [(row['instances_id'], row['score'])
            for row in result.tracklets()] == [(3, 0.375), (3, 0.125)]


def test_threshold_is_exclusive():
    result = VideoResult(1)
    add(result, 0, [0], [[0.5, 0.25]], [True], square(0)[None])
    assert [row['label'] for row in result.tracklets(cls_thr=0.25)] == [0]
    assert not result.tracklets(cls_thr=0.5)


def test_every_class_above_five_percent_is_a_result():
    """As IDOL; mean over detected frames, masks stored once per instance."""
    result = VideoResult(3)
    both = torch.stack([square(0), square(4)])
    add(result, 0, [0, 1], [[0.75, 0.125, 0.0], [0.0, 0.03125, 0.5]],
        [True] * 2, both)
    add(result, 1, [0, 1], [[0.25, 0.0, 0.0], [1.0, 1.0, 1.0]], [True, False],
        both)  # 1 is missed here and recovered
    add(result, 2, [1], [[0.0, 0.0625, 0.25]], [True], both[1:])
    rows = to_results_json(5, result.tracklets(), [3, 9, 11])
    assert [(row['category_id'], row['score']) for row in rows] == [
        (3, 0.5), (9, 0.0625), (11, 0.375)
    ]  # 0.046875 for class 1 of instance 1 is too low
    first, second, third = (row['segmentations'] for row in rows)
    assert first is second and first[2] is None
    assert None not in third


def test_equal_scores_stay_equal():
    result = VideoResult(3)
    for frame_id in range(3):
        ids = [0, 1][:3 - frame_id]
        add(result, frame_id, ids, [[0.3]] * len(ids), [True] * len(ids),
            torch.stack([square(0)] * len(ids)))
    add_once, add_twice = result.tracklets()
    assert add_once['score'] == add_twice['score']


def test_max_per_video_takes_the_best_pairs():
    result = VideoResult(1)
    add(result, 0, [0, 1], [[0.5, 0.75], [0.625, 0.5]], [True, True],
        torch.stack([square(0), square(4)]))
    best = result.tracklets(max_per_video=3)
    assert [(row['instances_id'], row['label']) for row in best] == [(0, 0),
                                                                     (0, 1),
                                                                     (1, 0)]
    best = result.tracklets(max_per_video=1)
    assert [(row['instances_id'], row['label']) for row in best] == [(0, 1)]
    assert len(result.tracklets(max_per_video=0)) == 0


def test_discard_and_never_detected():
    result = VideoResult(2)
    add(result, 0, [0, 1, 2], [[0.5]] * 3, [True, True, False],
        torch.stack([square(0)] * 3))
    result.discard([1, 99])
    assert [row['instances_id'] for row in result.tracklets()] == [0]
    assert result.running_scores([2]).tolist() == [[0.0]]
    with pytest.raises(ValueError, match='instance 1 '):
        result.running_scores([1])
    add(result, 1, [1], [[0.75]], [True], square(2)[None])
    assert result.tracklets()[-1]['segmentations'][0] is None


def test_empty_video_and_unknown_length():
    result = VideoResult()
    assert result.tracklets() == []
    assert result.running_scores([]).shape == (0, 0)
    result.add_frame(0, [], torch.zeros(0, 5),
                     torch.zeros(0).bool(),
                     torch.zeros(0, 3, 8).bool())
    assert result.tracklets() == []
    assert result.running_scores([]).shape == (0, 5)
    add(result, 1, [0], [[0.5] * 5], [True], square(0)[None])
    result.add_frame(2, [], torch.zeros(0, 5),
                     torch.zeros(0).bool(),
                     torch.zeros(0, 3, 8).bool())
    rles = result.tracklets()[0]['segmentations']
    assert [rle is None for rle in rles] == [True, False, True]


def test_inputs_and_memory_are_untouched():
    result = VideoResult(1)
    scores, masks = torch.rand(1, 2), square(0)[None]
    kept = scores.clone(), masks.clone()
    result.add_frame(0, torch.tensor([3]), scores, torch.ones(1).bool(), masks)
    masks.zero_()
    assert torch.equal(kept[0], scores)
    assert mask_utils.area(result.tracklets(0)[0]['segmentations'][0]) == 4
    assert isinstance(result.tracklets(0)[0]['instances_id'], int)


@pytest.mark.parametrize('frame_id, ids, shape, match', [
    (2, [0], (1, 3), 'video of 2 frames, got 2'),
    (-1, [0], (1, 3), 'got -1'),
    (0, [0, 0], (2, 3), 'once per frame'),
    (0, [0], (2, 3), '1 ids need'),
])
def test_bad_frames(frame_id, ids, shape, match):
    result = VideoResult(2)
    with pytest.raises(ValueError, match=match):
        result.add_frame(frame_id, ids, torch.zeros(shape),
                         torch.ones(shape[0]).bool(),
                         torch.ones(shape[0], 3, 8).bool())


def test_repeated_frame_and_changed_classes():
    result = VideoResult(2)
    add(result, 0, [0], [[0.5]], [True], square(0)[None])
    with pytest.raises(ValueError, match='once per frame'):
        add(result, 0, [0], [[0.5]], [True], square(0)[None])
    with pytest.raises(ValueError, match='1 classes, got 2'):
        add(result, 1, [0], [[0.5, 0.5]], [True], square(0)[None])
    with pytest.raises(ValueError, match='at least 1'):
        VideoResult(0)


def test_to_results_json():
    rles = [None, dict(size=[3, 8], counts='x')]
    tracklets = [dict(instances_id=0, label=1, score=0.5, segmentations=rles)]
    assert to_results_json(4, tracklets, [3, 9]) == [
        dict(video_id=4, category_id=9, score=0.5, segmentations=rles)
    ]
    assert to_results_json(4, [], [3]) == []
    with pytest.raises(ValueError, match=r'\[0, 1\), got 1 in video 4'):
        to_results_json(4, tracklets, [3])
