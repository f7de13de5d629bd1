# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Ids stay with their pixels, whatever the pipeline.

Each clip goes twice through the same random pipeline with the same seed: with
its instances, and with nothing but its id map (``gt_seg_map``). What is left
of the instances must be what is left of the id map.
"""
import copy

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.structures.bbox import get_box_tensor

KEYS = ('gt_bboxes', 'gt_bboxes_labels', 'gt_masks', 'gt_instances_ids',
        'gt_ignore_flags')
LENGTH, NUM, BACKGROUND = 4, 6, 255
# whether the frames share random numbers, for each block of transforms
_SHARING = ([True], [False], [True, False], [False, True])


def _draw_id_map(rng, height, width):
    """Objects 1..NUM with thin parts; some are absent, some are hidden."""
    id_map = np.full((height, width), BACKGROUND, np.uint8)
    for i in rng.permutation(np.arange(1, NUM + 1)):
        y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
        kind = rng.integers(4)
        if kind == 1:
            cv2.circle(id_map, (int(x), int(y)), 9, int(i), -1)
        if kind > 1:
            id_map[y:y + 10, x:x + 10] = i
            id_map[y, max(0, x - 14):x + 24] = i
    return id_map


def _instances(rng, id_map):
    found = []
    for i in rng.permutation(np.setdiff1d(id_map, [BACKGROUND])):
        rle = mask_utils.encode(np.asfortranarray(id_map == i, np.uint8))
        x, y, w, h = mask_utils.toBbox(rle).tolist()
        found.append(
            dict(
                bbox=[x, y, x + w, y + h],
                bbox_label=int(i) % 3,
                ignore_flag=int(i == NUM),
                instance_id=int(i),
                mask=dict(size=rle['size'], counts=rle['counts'].decode())))
    return found


def _video(rng, folder):
    height, width = (int(n) for n in rng.integers(30, 90, 2))
    frames = []
    for t in range(LENGTH):
        id_map = _draw_id_map(rng, height, width)
        paths = [str(folder / f'{name}{t}.png') for name in ('img', 'ids')]
        cv2.imwrite(paths[0], np.repeat(id_map[..., None], 3, 2))
        cv2.imwrite(paths[1], id_map)
        frames.append(
            dict(
                img_id=t,
                img_path=paths[0],
                seg_map_path=paths[1],
                frame_id=t,
                height=height,
                width=width,
                instances=_instances(rng, id_map)))
    return dict(video_id=1, video_length=LENGTH, images=frames)


def _random_transforms(rng):
    """Some of the transforms that shipped configs use, in any order."""
    side = tuple(int(n) for n in rng.integers(24, 110, 2))
    low, high = sorted(int(n) for n in rng.integers(20, 70, 2))
    part = tuple(rng.uniform(0.4, 1.0, 2).tolist())
    crop = dict(type='RandomCrop', allow_negative_crop=True)
    recompute = bool(rng.integers(2))
    pool = [
        dict(type='RandomFlip', prob=0.5),
        dict(
            type='RandomFlip',
            prob=[0.3, 0.3, 0.3],
            direction=['horizontal', 'vertical', 'diagonal']),
        dict(type='PhotoMetricDistortion'),
        dict(
            type='RandomResize',
            scale=side,
            ratio_range=(0.1, 2.0),
            resize_type='Resize',
            keep_ratio=bool(rng.integers(2))),
        dict(
            type='RandomChoiceResize',
            scales=[(110, n) for n in range(24, 80, 8)],
            keep_ratio=True),
        dict(crop, crop_size=side, recompute_bbox=recompute),
        dict(
            crop,
            crop_type='absolute_range',
            crop_size=(low, high),
            recompute_bbox=recompute),
        dict(
            crop,
            crop_type='relative_range',
            crop_size=part,
            recompute_bbox=recompute),
        dict(type='refinevis_mm.FilterTrackAnnotations'),
    ]
    chosen = rng.choice(len(pool), rng.integers(2, 6), replace=False)
    return [pool[i] for i in chosen]


def _random_pipeline(rng):
    """A random clip pipeline that ends as all shipped ones do."""
    steps = [
        dict(
            type='refinevis_mm.KeyFirstFrameSample',
            num_ref_imgs=int(rng.integers(1, 4))),
        dict(
            type='TransformBroadcaster',
            transforms=[
                dict(type='refinevis_mm.LoadFrame'),
                dict(
                    type='LoadTrackAnnotations', with_mask=True, with_seg=True)
            ])
    ]
    blocks = [
        dict(
            type='TransformBroadcaster',
            share_random_params=shared,
            transforms=_random_transforms(rng))
        for shared in _SHARING[rng.integers(len(_SHARING))]
    ]
    if rng.integers(2):
        blocks[-1] = dict(
            type='RandomApply', prob=0.5, transforms=[blocks[-1]])
    filtering = dict(
        type='TransformBroadcaster',
        transforms=[dict(type='refinevis_mm.FilterTrackAnnotations')])
    return Compose([
        *steps, *blocks, filtering,
        dict(
            type='refinevis_mm.PadClip',
            pad_val=dict(img=0, masks=0, seg=BACKGROUND))
    ])


def _run(pipeline, video, seed):
    np.random.seed(seed)
    torch.manual_seed(seed)
    return pipeline(copy.deepcopy(video))


def _without_instances(video):
    video = copy.deepcopy(video)
    for frame in video['images']:
        frame['instances'] = []
    return video


@pytest.mark.parametrize('seed', range(60))
def test_instances_follow_the_id_map(tmp_path, seed):
    rng = np.random.default_rng(seed)
    video = _video(rng, tmp_path)
    pipeline = _random_pipeline(rng)
    clip = _run(pipeline, video, seed)
    maps = _run(pipeline, _without_instances(video), seed)['gt_seg_map']
    assert len({image.shape for image in clip['img']}) == 1
    for t, id_map in enumerate(maps):
        frame = {key: clip[key][t] for key in KEYS}
        assert len({len(value) for value in frame.values()}) == 1
        ids = frame['gt_instances_ids']
        # a vanished instance is absent, no other is
        assert sorted(ids) == np.setdiff1d(id_map, [BACKGROUND]).tolist()
        assert np.array_equal(frame['gt_bboxes_labels'], ids % 3)
        assert np.array_equal(frame['gt_ignore_flags'], ids == NUM)
        boxes = np.asarray(get_box_tensor(frame['gt_bboxes']))
        for i, mask, box in zip(ids, frame['gt_masks'].masks, boxes):
            assert np.array_equal(mask > 0, id_map == i)
            ys, xs = np.nonzero(mask)
            tight = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            assert np.abs(box - tight).max() <= 1


@pytest.mark.parametrize('seed', range(6))
def test_only_some_frames_are_changed(tmp_path, seed):
    """mmdet adds keys to the frames that it flips, and to no other."""
    pipeline = Compose([
        dict(type='refinevis_mm.KeyFirstFrameSample', num_ref_imgs=3),
        dict(
            type='TransformBroadcaster',
            transforms=[
                dict(type='refinevis_mm.LoadFrame'),
                dict(type='LoadTrackAnnotations', with_mask=True),
                dict(type='RandomFlip', prob=0.5)
            ])
    ])
    clip = _run(pipeline, _video(np.random.default_rng(0), tmp_path), seed)
    for flipped, matrix in zip(clip['flip'], clip['homography_matrix']):
        assert matrix[0, 0] == (-1 if flipped else 1)
