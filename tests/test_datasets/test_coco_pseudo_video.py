# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Images with COCO annotations as two-frame videos."""
import json
from collections import Counter

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.dataset import ConcatDataset

from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.coco_pseudo_video import CocoPseudoVideoDataset
from refinevis_mm.vis_json import PRESETS
from tests.tiny_coco import write_coco, write_vis

COCO = CocoDataset.METAINFO['classes']
PIPELINE = [
    dict(type='refinevis_mm.KeyFirstFrameSample'),
    dict(
        type='TransformBroadcaster',
        transforms=[
            dict(type='refinevis_mm.LoadFrame'),
            dict(type='LoadTrackAnnotations', with_mask=True),
            dict(type='RandomFlip', prob=0.5),
        ]),
    dict(type='PackTrackInputs')
]


@pytest.fixture
def files(tmp_path):
    write_coco(tmp_path / 'train.json', tmp_path / 'images', COCO)
    return dict(
        ann_file=str(tmp_path / 'train.json'),
        data_prefix=dict(img_path=str(tmp_path / 'images')))


def _edit(files, change):
    """Change the JSON."""
    with open(files['ann_file']) as file:
        content = json.load(file)
    change(content)
    with open(files['ann_file'], 'w') as file:
        json.dump(content, file)


def test_instances(files):
    # in image 14: a box without mask, a mask outside the image
    _edit(
        files, lambda content: content['annotations'].extend([
            dict(content['annotations'][4], id=200, segmentation=[]),
            dict(content['annotations'][4], id=201, bbox=[80, 10, 5, 5]),
        ]))
    dataset = CocoPseudoVideoDataset(**files)
    # a crowd, or nothing, is not enough
    assert [dataset[i]['video_id'] for i in range(len(dataset))] == [11, 14]
    assert dataset.metainfo['classes'] == COCO
    video = dataset[0]
    assert len(video['images']) == dataset.get_len_per_video(0) == 2
    for frame in video['images']:
        assert [(item['instance_id'], item['bbox_label'], item['ignore_flag'])
                for item in frame['instances']] == [(1, 0, 0), (2, 0, 1),
                                                    (3, 79, 0)]
    instance, = dataset[1]['images'][1]['instances']
    assert instance['bbox'] == [60, 10, 80, 40]  # inside the image
    assert instance['bbox_label'] == 1


def test_frame_ids(files):
    dataset = CocoPseudoVideoDataset(**files, max_gap=10, max_start=3)
    np.random.seed(0)
    gaps, starts = Counter(), Counter()
    for _ in range(400):
        video = dataset[0]
        first, second = (frame['frame_id'] for frame in video['images'])
        assert video['video_length'] == second + 1
        gaps[second - first] += 1
        starts[first] += 1
    assert set(gaps) == set(range(1, 11)) and min(gaps.values()) > 15
    assert set(starts) == set(range(4)) and min(starts.values()) > 60
    dataset = CocoPseudoVideoDataset(**files, num_frames=4, max_gap=3)
    ids = [frame['frame_id'] for frame in dataset[0]['images']]
    assert np.diff(ids).tolist() == [1, 1, 1]
    dataset = CocoPseudoVideoDataset(**files, num_frames=1)
    assert len(dataset[0]['images']) == 1


def test_pipeline_keeps_objects_aligned(files):
    dataset = CocoPseudoVideoDataset(**files, pipeline=PIPELINE)
    np.random.seed(0)
    flips = set()
    for _ in range(8):
        item = dataset[0]
        assert item['inputs'].shape == (2, 3, 60, 80)
        first, second = item['data_samples'].video_data_samples
        flips.add((first.flip, second.flip))
        assert 1 <= second.frame_id - first.frame_id <= 10
        for sample in (first, second):
            gt = sample.gt_instances
            assert gt.instances_ids.tolist() == [1, 3]
            assert gt.labels.tolist() == [0, 79]
            assert sample.ignored_instances.instances_ids.tolist() == [2]
            left = 80 - 35 if sample.flip else 5
            assert gt.bboxes[0].tolist() == [left, 5, left + 30, 35]
            columns = gt.masks.masks[0].any(0).nonzero()[0]
            assert abs(columns.min() - left) <= 1
    assert len(flips) > 2  # drawn for each frame


def test_empty_images_can_be_kept(files):
    dataset = CocoPseudoVideoDataset(
        **files, filter_cfg=dict(filter_empty_gt=False), pipeline=PIPELINE)
    assert len(dataset) == 4
    for i in (1, 2):
        for sample in dataset[i]['data_samples'].video_data_samples:
            assert len(sample.gt_instances) == 0


def test_classes_of_a_video_data_set(files):
    dataset = CocoPseudoVideoDataset(**files, preset='ovis')
    assert dataset.metainfo['classes'] == PRESETS['ovis']
    labels = [
        item['bbox_label'] for i in range(len(dataset))
        for item in dataset[i]['images'][0]['instances']
    ]
    # person twice (one a crowd) and bicycle; no toothbrush
    assert labels == [0, 0, PRESETS['ovis'].index('Bicycle')]


def test_classes_of_the_user(tmp_path):
    write_coco(tmp_path / 'a.json', tmp_path / 'images', ('pear', 'plum'))
    dataset = CocoPseudoVideoDataset(
        ann_file=str(tmp_path / 'a.json'),
        metainfo=dict(classes=('plum', 'pear')))
    labels = [
        item['bbox_label'] for item in dataset[0]['images'][0]['instances']
    ]
    assert labels == [1, 1, 0]  # by name, not by order
    with pytest.raises(ValueError, match='none of its categories'):
        CocoPseudoVideoDataset(ann_file=str(tmp_path / 'a.json'))


def test_concatenated_with_videos(files, tmp_path):
    write_vis(tmp_path / 'vis.json', tmp_path / 'frames', PRESETS['ovis'])
    videos = VISDataset(
        ann_file=str(tmp_path / 'vis.json'),
        data_prefix=dict(img_path=str(tmp_path / 'frames')),
        preset='ovis',
        pipeline=PIPELINE)
    images = CocoPseudoVideoDataset(**files, preset='ovis', pipeline=PIPELINE)
    both = ConcatDataset([videos, images])
    assert len(both) == 3
    assert both[0]['data_samples'].video_data_samples[0].video_id == 1
    assert both[2]['data_samples'].video_data_samples[0].video_id == 14
    assert len(both.metainfo['classes']) == 25


def test_refused(files):
    for options, message in [
        (dict(num_frames=12), r'1..max_gap \+ 1 = 11, got 12'),
        (dict(num_frames=0), 'got 0'),
        (dict(max_start=-1), 'max_start must not be negative, got -1'),
        (dict(test_mode=True), 'for training'),
        (dict(preset='coco'), "preset must be one of .* got 'coco'"),
    ]:
        with pytest.raises(ValueError, match=message):
            CocoPseudoVideoDataset(**files, **options)


def test_no_image_is_left(files):
    _edit(files, lambda content: content.update(annotations=[]))
    with pytest.raises(
            ValueError,
            match='none of its 4 images has an object .* iscrowd must be 0'):
        CocoPseudoVideoDataset(**files)


def test_what_is_left_out_is_counted(files, monkeypatch):
    lines = []
    monkeypatch.setattr(f'{CocoPseudoVideoDataset.__module__}.print_log',
                        lambda line, *args: lines.append(line))
    CocoPseudoVideoDataset(**files)
    assert not any('annotations' in line for line in lines)
    _edit(
        files, lambda content: content['annotations'].extend([
            dict(content['annotations'][4], id=200, segmentation=[]),
            dict(content['annotations'][4], id=201, segmentation=[[5, 5]]),
            dict(content['annotations'][4], id=202, bbox=[80, 10, 5, 5]),
        ]))
    CocoPseudoVideoDataset(**files)
    assert any('left out 3 of 8 annotations' in line for line in lines)


def test_backslash_in_a_name(files):
    _edit(files,
          lambda content: content['images'][0].update(file_name='a\\11.jpg'))
    with pytest.raises(ValueError, match='image 11: .* with a backslash'):
        CocoPseudoVideoDataset(**files)


def test_missing_box_is_named(files):
    _edit(files, lambda content: content['annotations'][2].pop('bbox'))
    with pytest.raises(ValueError, match='annotation 102 lacks bbox'):
        CocoPseudoVideoDataset(**files)
