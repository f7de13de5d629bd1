# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks

from refinevis_mm.datasets.transforms import ImageCopyPaste

EXACT = dict(
    prob=1,
    max_tracks=1,
    scale_range=(1, 1),
    flip_prob=0,
    aim_prob=1,
    behind_prob=0)


def _image(size, rows, value=0, rest=False):
    """An image; a row is (label, x1, y1, x2, y2), ignored where label < 0.

    With ``rest`` all that is in no row is ignored, too.
    """
    masks = np.zeros((len(rows) + rest, *size), np.uint8)
    boxes = np.zeros((len(rows) + rest, 4), np.float32)
    for i, (_, x1, y1, x2, y2) in enumerate(rows):
        masks[i, y1:y2, x1:x2] = 1
        boxes[i] = x1, y1, x2, y2
    labels = [max(row[0], 0) for row in rows]
    ignored = [row[0] < 0 for row in rows]
    if rest:
        masks[-1] = 1 - masks[:-1].any(0)
        boxes[-1] = 0, 0, size[1], size[0]
        labels, ignored = labels + [0], ignored + [True]
    return dict(
        img=np.full((*size, 3), value, np.uint8),
        img_path='x.jpg',
        gt_bboxes=HorizontalBoxes(boxes),
        gt_bboxes_labels=np.array(labels, np.int64),
        gt_masks=BitmapMasks(masks, *size),
        gt_ignore_flags=np.array(ignored, bool))


def _paste(image, *others, seed=0, **kwargs):
    np.random.seed(seed)
    transform = ImageCopyPaste(**dict(EXACT, **kwargs))
    return transform(dict(image, mix_results=list(others)))


def test_occlusion_by_hand():
    # a 4 x 4 object of class 2 goes over the middle of a 2 x 2 one
    image = _image((8, 10), [(1, 3, 2, 5, 4), (0, 4, 4, 8, 8)])
    other = _image((8, 10), [(2, 6, 4, 10, 8)], value=255)
    seen = set()
    for seed in range(10):
        out = _paste(image, other, seed=seed)
        assert 'mix_results' not in out and out['img_path'] == 'x.jpg'
        assert out['img'].dtype == np.uint8
        boxes = out['gt_bboxes'].tensor.tolist()
        labels = out['gt_bboxes_labels'].tolist()
        assert labels[-1] == 2 and not out['gt_ignore_flags'].any()
        assert len(out['gt_masks']) == len(boxes) == len(labels)
        painted = (out['img'] == 255).all(-1)
        assert np.array_equal(painted, out['gt_masks'].masks[-1])
        if boxes[-1] == [2, 1, 6, 5]:  # hides the first object
            assert labels == [0, 2]
            assert out['gt_masks'].masks[0].sum() == 16 - 2
        else:  # covers the second one exactly, nothing of the first
            assert boxes[-1] == [4, 4, 8, 8] and labels == [1, 2]
            assert out['gt_masks'].masks[0].sum() == 4
        seen.add(tuple(boxes[-1]))
    assert len(seen) == 2
    assert image['gt_masks'].masks.sum() == 4 + 16 and not image['img'].any()


def test_ignored_regions_are_never_pasted():
    image = _image((6, 6), [(1, 0, 0, 2, 2)])
    for other in (_image((6, 6), [(-1, 1, 1, 5, 5)],
                         255), _image((6, 6), [], 255, rest=True)):
        out = _paste(image, other)
        assert not out['img'].any() and len(out['gt_masks']) == 1
    # the object is, the rest of its picture is not
    out = _paste(image, _image((6, 6), [(2, 2, 2, 4, 4)], 255, rest=True))
    assert (out['img'] == 255).all(-1).sum() == 4
    assert out['gt_bboxes_labels'].tolist() == [2]  # hides the other
    assert not out['gt_ignore_flags'].any()


@pytest.mark.parametrize('behind_prob', [0, 1])
def test_pasted_over_the_unlabelled_rest(behind_prob):
    """It is seen, whether before or behind the objects, and known there."""
    image = _image((8, 10), [(1, 3, 2, 5, 4)], rest=True)
    out = _paste(
        image,
        _image((8, 10), [(2, 6, 4, 10, 8)], value=255),
        behind_prob=behind_prob)
    assert out['gt_ignore_flags'].tolist() == \
        ([False, True, False] if behind_prob else [True, False])
    rest, pasted = out['gt_masks'].masks[-2:].astype(bool)
    assert pasted.sum() == 16 - 4 * behind_prob
    assert rest.sum() == 80 - 16
    assert not (rest & pasted).any()
    assert (rest | out['gt_masks'].masks.any(0)).all()
    assert np.array_equal((out['img'] == 255).all(-1), pasted)


def test_never_aims_at_the_rest():
    """The objects are aimed at, not the centre of what is unlabelled."""
    image = _image((9, 9), [(1, 0, 0, 2, 2)], rest=True)
    other = _image((9, 9), [(2, 4, 4, 6, 6)], value=255)
    for seed in range(8):
        out = _paste(image, other, seed=seed)
        assert out['gt_bboxes'].tensor[-1].tolist() == [0, 0, 2, 2]


def test_background():
    """Without objects in either image; without an image to paste from."""
    empty, full = _image((4, 4), []), _image((4, 4), [(1, 1, 1, 3, 3)], 9)
    out = _paste(empty, full)
    assert out['gt_bboxes_labels'].tolist() == [1]
    assert out['gt_bboxes'].tensor.shape == (1, 4)
    for others in ((), (empty, )):
        out = _paste(full, *others)
        assert out['gt_bboxes_labels'].tolist() == [1]
        assert (out['img'] == 9).all()


def test_draws_images():
    assert ImageCopyPaste(prob=0).get_indexes(range(5)) == []
    for _ in range(5):
        indexes = ImageCopyPaste(prob=1, max_clips=3).get_indexes(range(5))
        assert 1 <= len(indexes) <= 3 and set(indexes) <= set(range(5))
    with pytest.raises(ValueError, match='max_tracks must be at least 1'):
        ImageCopyPaste(max_tracks=0)
