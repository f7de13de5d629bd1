# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.structures import ClipTargets
from tests.demo_clips import (add_ignored, demo_clip, empty_clip,
                              two_object_clip)


def _targets(clip, height=64, width=96):
    return ClipTargets.from_data_sample(clip, torch.zeros(2, 3, height, width))


def test_slots_are_the_union_of_ids_in_ascending_order():
    targets = _targets(two_object_clip())
    assert targets.ids.tolist() == [4, 7]
    assert targets.labels.tolist() == [5, 2]
    assert targets.valid.tolist() == [[False, True], [True, True]]
    assert targets.frame_inds.tolist() == [0, 1]


def test_boxes_are_normalised_by_the_padded_size():
    # (8, 8, 40, 40) in a frame padded to 128 x 96
    targets = _targets(two_object_clip(), height=128, width=96)
    assert_close(targets.boxes[0, 1],
                 torch.tensor([24 / 96, 24 / 128, 32 / 96, 32 / 128]))
    assert targets.masks.shape == (2, 2, 128, 96)
    assert targets.masks[0, 1].sum() == 32 * 32
    assert targets.masks[0, 1, 8:40, 8:40].all()


def test_list_order_does_not_matter():
    boxes = [[(8, 8, 40, 40), (50, 5, 60, 15)]] * 2
    first = _targets(demo_clip(boxes, [7, 4], [2, 5]))
    second = _targets(
        demo_clip([frame[::-1] for frame in boxes], [4, 7], [5, 2]))
    for name in ('ids', 'labels', 'valid', 'boxes', 'masks'):
        assert torch.equal(getattr(first, name), getattr(second, name))


def test_instance_with_an_empty_mask_is_absent():
    clip = demo_clip([[(8, 8, 40, 40)], [(8, 8, 40, 40)]], [1], [0])
    clip[1].gt_instances.masks.masks[:] = 0
    targets = _targets(clip)
    assert targets.valid[:, 0].tolist() == [True, False]
    assert len(targets.frame(1)) == 0


def test_visible_instances_keep_their_rows():
    clip = demo_clip([[(8, 8, 40, 40), (9, 9, 9, 9)], [None, (7, 7, 7, 7)]],
                     ids=[5, 2],
                     labels=[1, 3])
    targets = _targets(clip)
    seen = targets.visible()
    assert targets.ids.tolist() == [2, 5] and seen.ids.tolist() == [5]
    assert seen.labels.tolist() == [1]
    assert seen.valid.tolist() == [[True], [False]]
    assert torch.equal(seen.boxes, targets.boxes[:, 1:])
    assert torch.equal(seen.masks, targets.masks[:, 1:])
    assert seen.visible().num_slots == 1


def test_frame_keeps_slots():
    frame = _targets(two_object_clip()).frame(0)
    assert frame.slots.tolist() == [1]
    assert frame.labels.tolist() == [2]


def test_empty_clip():
    targets = _targets(empty_clip())
    assert targets.num_slots == 0
    assert targets.masks.shape == (2, 0, 64, 96)
    assert len(targets.frame(0)) == 0


def test_duplicate_id_is_refused():
    clip = demo_clip([[(1, 1, 5, 5), (9, 9, 20, 20)], [None, None]], [3, 3],
                     [0, 0])
    with pytest.raises(ValueError, match='unique.*frame_0.jpg'):
        _targets(clip)


def test_changing_label_is_refused():
    clip = demo_clip([[(1, 1, 5, 5)], [(1, 1, 5, 5)]], [3], [0])
    clip[1].gt_instances.labels += 1
    with pytest.raises(ValueError, match='instance 3 must keep its label'):
        _targets(clip)


def test_inputs_stay_untouched():
    clip = two_object_clip()
    before = clip[1].gt_instances.masks.masks.copy()
    _targets(clip, height=128, width=128)
    assert np.array_equal(clip[1].gt_instances.masks.masks, before)


def _region(*boxes, height=64, width=96):
    """Bool, True in the boxes (x1, y1, x2, y2)."""
    region = torch.zeros(height, width, dtype=torch.bool)
    for x1, y1, x2, y2 in boxes:
        region[y1:y2, x1:x2] = True
    return region


def test_ignored_pixels_of_a_clip():
    """The union in the first frame; none in the second."""
    clip = two_object_clip()
    boxes = [(50, 0, 96, 20), (60, 10, 70, 64)]
    add_ignored(clip[0], *boxes)
    targets = _targets(clip, height=128, width=100)  # padded
    assert torch.equal(
        targets.frame(0).ignored, _region(*boxes, height=128, width=100))
    assert targets.frame(1).ignored is None
    # they are no objects
    assert targets.ids.tolist() == [4, 7]
    assert len(targets.frame(0)) == 1


def test_ignored_pixels_of_an_image():
    clip = two_object_clip()
    image = torch.zeros(3, 64, 128)
    frame = ClipTargets.from_image(clip[1], image).frame(0)
    assert frame.ignored is None
    box = (0, 40, 30, 64)
    add_ignored(clip[1], box)
    frame = ClipTargets.from_image(clip[1], image).frame(0)
    assert torch.equal(frame.ignored, _region(box, width=128))
    assert frame.labels.tolist() == [2, 5]


def test_image_with_ignored_pixels_only():
    sample = add_ignored(empty_clip()[0], (0, 0, 96, 64))
    frame = ClipTargets.from_image(sample, torch.zeros(3, 64, 96)).frame(0)
    assert len(frame) == 0 and frame.masks.shape == (0, 64, 96)
    assert frame.ignored.all()


@pytest.mark.parametrize('left', ['boxes', 'nothing'])
def test_nothing_is_ignored(left):
    clip = two_object_clip()
    for frame in clip:
        add_ignored(frame, (0, 0, 96, 64))
        if left == 'boxes':  # of which nobody knows the pixels
            del frame.ignored_instances.masks
        else:
            add_ignored(frame)
    targets = _targets(clip)
    assert [targets.frame(t).ignored for t in range(2)] == [None, None]
    image = ClipTargets.from_image(clip[0], torch.zeros(3, 64, 96))
    assert image.frame(0).ignored is None
