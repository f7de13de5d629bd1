# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import torch

from refinevis_mm.models.association.reference_pairs import \
    select_reference_pairs
from refinevis_mm.structures import ClipTargets, FrameOutput
from tests.demo_clips import demo_clip, empty_clip

# 100 x 100 frames: boxes in pixels are per cent
LEFT, RIGHT = (10, 10, 30, 30), (60, 60, 80, 80)


def _targets(*clips):
    return [
        ClipTargets.from_data_sample(clip, torch.zeros(2, 3, 100, 100))
        for clip in clips
    ]


def _frames(boxes):
    """boxes: (bs * T, Q, 4) as (x1, y1, x2, y2) in per cent."""
    boxes = torch.tensor(boxes, dtype=torch.float32) / 100
    cxcywh = torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2,
                        boxes[..., 2:] - boxes[..., :2]], -1)
    shape = cxcywh.shape[:2]
    return FrameOutput(
        torch.zeros(*shape, 4), torch.zeros(*shape, 2), cxcywh,
        torch.zeros(shape[0], 4, 2, 2))


def test_bands_by_hand():
    clip = demo_clip([[LEFT, RIGHT]] * 2, [1, 2], [0, 0], 100, 100)
    # reference queries: matched to 1; near duplicate of 1 (IoU 0.81); grey
    # zone of 1 (IoU 0.5); matched to 2; background
    ref = [LEFT, (11, 11, 29, 29), (10, 10, 20, 30), RIGHT, (0, 90, 5, 99)]
    frames = _frames([[LEFT, RIGHT, LEFT, LEFT, LEFT], ref])
    matches = [
        torch.tensor([0, 1, -1, -1, -1]),
        torch.tensor([0, -1, -1, 1, -1])
    ]
    pairs = select_reference_pairs(frames, _targets(clip), matches, 0.7, 0.3)
    assert pairs.key_rows.tolist() == [[0, 0], [0, 1]]
    assert pairs.ref_rows.tolist() == [[1, q] for q in range(5)]
    assert pairs.positive.int().tolist() == [[1, 1, 0, 0, 0], [0, 0, 0, 1, 0]]
    assert pairs.negative.int().tolist() == [[0, 0, 0, 1, 1], [1, 1, 1, 0, 1]]


def test_object_absent_in_one_frame_is_no_anchor():
    clip = demo_clip([[LEFT, RIGHT], [LEFT, None]], [1, 2], [0, 0], 100, 100)
    frames = _frames([[LEFT, RIGHT]] * 2)
    matches = [torch.tensor([0, 1]), torch.tensor([0, -1])]
    pairs = select_reference_pairs(frames, _targets(clip), matches, 0.7, 0.3)
    assert pairs.key_rows.tolist() == [[0, 0]]


def test_clips_do_not_mix_and_may_be_empty():
    clip = demo_clip([[LEFT]] * 2, [1], [0], 100, 100)
    empty = empty_clip(height=100, width=100)
    frames = _frames([[LEFT, RIGHT]] * 6)
    matched, none = torch.tensor([0, -1]), torch.tensor([-1, -1])
    pairs = select_reference_pairs(frames, _targets(
        clip, empty, clip), [matched, matched, none, none, matched, matched],
                                   0.7, 0.3)
    assert pairs.key_rows.tolist() == [[0, 0], [4, 0]]
    assert pairs.ref_rows[:, 0].tolist() == [1, 1, 3, 3, 5, 5]
    assert pairs.positive.int().tolist() == [[1, 0, 0, 0, 0, 0],
                                             [0, 0, 0, 0, 1, 0]]
    assert pairs.negative.int().tolist() == [[0, 1, 0, 0, 0, 0],
                                             [0, 0, 0, 0, 0, 1]]
