# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest
from mmcv.transforms import Compose
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.registry import DefaultScope

from refinevis_mm.datasets.transforms import FilterTrackAnnotations

CONFIGS = Path(__file__).parents[3] / 'configs/_base_/datasets'
HEIGHT, WIDTH, NUM = 60, 90, 6


@pytest.fixture(autouse=True)
def mmdet_scope():
    """Bare names are mmdet's, as in the shipped configs."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def _annotations():
    masks = np.zeros((4, 8, 8), np.uint8)
    masks[0, :4, :4] = 1
    masks[2, 0, :3] = 1
    masks[3, :, 5] = 1
    boxes = np.array([[0, 0, 4, 4], [1, 1, 5, 5], [0, 0, 3, 1], [5, 0, 6, 8]],
                     np.float32)
    return dict(
        gt_bboxes=boxes,
        gt_bboxes_labels=np.array([0, 1, 2, 3]),
        gt_masks=BitmapMasks(masks, 8, 8),
        gt_instances_ids=np.array([10, 11, 12, 13]),
        gt_ignore_flags=np.array([False, False, True, False]))


@pytest.mark.parametrize('kwargs, kept', [
    (dict(), [0, 2, 3]),
    (dict(min_mask_area=4), [0, 3]),
    (dict(min_box_size=2), [0]),
    (dict(min_box_size=5), []),
])
def test_keeps_all_lists_aligned(kwargs, kept):
    results = FilterTrackAnnotations(**kwargs)(_annotations())
    full = _annotations()
    assert results['gt_instances_ids'].tolist() == [10 + i for i in kept]
    for key in ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
        assert np.array_equal(results[key], full[key][kept])
    assert np.array_equal(results['gt_masks'].masks,
                          full['gt_masks'].masks[kept])


def _clip(tmp_path, rng):
    """Frames in which instance i paints its pixels with the value 40 * i."""
    frames = []
    for t in range(3):
        image = np.zeros((HEIGHT, WIDTH), np.uint8)
        for i in rng.permutation(np.arange(1, NUM + 1)):
            y, x = rng.integers(0, HEIGHT - 12), rng.integers(0, WIDTH - 12)
            image[y:y + 12, x:x + 12] = 40 * i
        instances = []
        for i in rng.permutation(np.arange(1, NUM + 1)):
            mask = np.asfortranarray(image == 40 * i).astype(np.uint8)
            if not mask.any():
                continue
            rle = mask_utils.encode(mask)
            x, y, w, h = mask_utils.toBbox(rle)
            instances.append(
                dict(
                    bbox=[x, y, x + w, y + h],
                    bbox_label=int(i) - 1,
                    ignore_flag=0,
                    instance_id=int(i),
                    mask=dict(size=rle['size'],
                              counts=rle['counts'].decode())))
        path = str(tmp_path / f'{t}.png')
        cv2.imwrite(path, image)
        frames.append(
            dict(
                img_id=t,
                img_path=path,
                frame_id=t,
                height=HEIGHT,
                width=WIDTH,
                instances=instances))
    return dict(video_id=1, video_length=3, images=frames)


@pytest.mark.parametrize('seed', range(12))
def test_ids_stay_with_their_pixels(tmp_path, seed):
    """Whatever the jitter, mask of id i covers pixels painted by i."""
    rng = np.random.default_rng(seed)
    np.random.seed(seed)
    size = (int(rng.integers(40, 110)), int(rng.integers(40, 110)))
    pipeline = Compose([
        dict(type='refinevis_mm.KeyFirstFrameSample', num_ref_imgs=2),
        dict(
            type='TransformBroadcaster',
            share_random_params=bool(seed % 2),
            transforms=[
                dict(type='refinevis_mm.LoadFrame'),
                dict(type='LoadTrackAnnotations', with_mask=True),
                dict(
                    type='RandomFlip',
                    prob=[0.3, 0.3],
                    direction=['horizontal', 'vertical']),
                dict(
                    type='RandomResize',
                    scale=size,
                    ratio_range=(0.3, 2.0),
                    keep_ratio=True,
                    interpolation='nearest'),
                dict(
                    type='RandomCrop',
                    crop_size=size,
                    allow_negative_crop=True,
                    recompute_bbox=True),
                dict(type='refinevis_mm.FilterTrackAnnotations'),
                dict(type='Pad', size=size, pad_val=dict(img=0, masks=0)),
            ]),
        dict(type='PackTrackInputs')
    ])
    packed = pipeline(_clip(tmp_path, rng))
    assert packed['inputs'].shape == (3, 3, size[1], size[0])
    assert packed['data_samples'].key_frames_inds == [0]
    for image, sample in zip(packed['inputs'], packed['data_samples']):
        gt = sample.gt_instances
        assert sample.img_shape == (size[1], size[0])
        assert len(set(gt.instances_ids.tolist())) == len(gt)
        assert gt.labels.tolist() == [i - 1 for i in gt.instances_ids.tolist()]
        for i, mask, box in zip(gt.instances_ids.tolist(), gt.masks.masks,
                                gt.bboxes.tolist()):
            painted = image[0].numpy() == 40 * i
            assert mask.any()
            union = painted | (mask > 0)
            assert (painted & (mask > 0)).sum() >= 0.5 * union.sum()
            ys, xs = np.nonzero(mask)
            assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        present = set(np.unique(image[0].numpy())) - {0}
        assert present == {40 * i for i in gt.instances_ids.tolist()}
    if seed % 2:
        flips = [(s.flip, s.scale_factor) for s in packed['data_samples']]
        assert flips[0] == flips[1] == flips[2]


@pytest.mark.parametrize('name', ['occluded_shapes', 'custom_vis'])
def test_shipped_pipelines(tmp_path, name):
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    width, height = cfg.image_size
    video = _clip(tmp_path, np.random.default_rng(0))
    packed = Compose(cfg.train_pipeline)(video)
    assert packed['inputs'].shape == (2, 3, height, width)
    frame = {key: [value] for key, value in video['images'][0].items()}
    frame.update(video_id=[1], video_length=[3], ori_video_length=[3])
    sample = Compose(cfg.test_pipeline)(frame)['data_samples'][0]
    assert sample.metainfo['video_length'] == 3
    assert sample.ori_shape == (HEIGHT, WIDTH)
    assert 'instances' not in sample.metainfo


def test_boxes_become_tight():
    results = _annotations()
    results['gt_bboxes'][:] = [0, 0, 8, 8]
    results = FilterTrackAnnotations()(results)
    assert results['gt_bboxes'].dtype == np.float32
    assert results['gt_bboxes'].tolist() == \
        [[0, 0, 4, 4], [0, 0, 3, 1], [5, 0, 6, 8]]
    results['gt_bboxes'] = HorizontalBoxes(np.full((3, 4), 5.0))
    boxes = FilterTrackAnnotations()(results)['gt_bboxes']
    assert isinstance(boxes, HorizontalBoxes)
    assert boxes.tensor.tolist()[0] == [0, 0, 4, 4]


def test_misaligned_annotations_are_refused():
    results = _annotations()
    results['gt_instances_ids'] = results['gt_instances_ids'][:3]
    with pytest.raises(ValueError, match="'gt_instances_ids': 3"):
        FilterTrackAnnotations()(results)
