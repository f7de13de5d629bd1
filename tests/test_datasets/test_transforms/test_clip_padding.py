# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
from mmdet.structures.mask import BitmapMasks

from refinevis_mm.datasets.transforms.clip_padding import PadClip


def test_frames_get_the_largest_height_and_width():
    sizes = [(4, 7), (6, 5)]
    clip = dict(
        img=[np.ones((*size, 3), np.uint8) for size in sizes],
        img_shape=list(sizes),
        gt_masks=[
            BitmapMasks(np.ones((n, *size), np.uint8), *size)
            for n, size in zip((2, 0), sizes)
        ],
        frame_id=[3, 8])
    out = PadClip(pad_val=dict(img=(9, 8, 7), masks=0))(clip)
    assert [img.shape for img in out['img']] == [(6, 7, 3)] * 2
    assert out['img'][0][:4].min() == 1
    assert (out['img'][0][4:] == (9, 8, 7)).all()
    assert (out['img'][1][:, 5:] == (9, 8, 7)).all()
    assert [masks.masks.shape for masks in out['gt_masks']] == \
        [(2, 6, 7), (0, 6, 7)]
    assert out['gt_masks'][0].masks.sum() == 2 * 4 * 7
    assert out['img_shape'] == sizes
    assert out['frame_id'] == [3, 8]


def test_frames_of_one_size_stay():
    img = np.random.randint(0, 255, (5, 6, 3), np.uint8)
    out = PadClip()(dict(img=[img, img.copy()]))
    assert all(np.array_equal(frame, img) for frame in out['img'])
