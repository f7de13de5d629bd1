# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from mmdet.datasets.samplers import TrackImgSampler

from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.occluded_shapes import (CLASSES,
                                                   OccludedShapesGenerator)
from refinevis_mm.datasets.vis_writer import YouTubeVISWriter


@pytest.fixture(scope='module')
def split(tmp_path_factory):
    """Two written videos and what was written."""
    root = tmp_path_factory.mktemp('shapes')
    generator = OccludedShapesGenerator(num_frames=(20, 22))
    writer = YouTubeVISWriter(str(root), 'train', CLASSES, 'test')
    videos = [generator.generate((1, i)) for i in range(2)]
    for video in videos:
        writer.add_video(video.frames, video.labels, video.masks,
                         video.visibility)
    writer.save()
    return root, videos


def _dataset(root, **kwargs):
    kwargs = dict(
        ann_file='train.json',
        data_root=str(root),
        data_prefix=dict(img_path='train/JPEGImages'),
        pipeline=[],
        **kwargs)
    return VISDataset(**kwargs)


def _write(path, **changes):
    """A small JSON: video 5 has 3 frames, video 6 nothing annotated."""
    content = dict(
        categories=[dict(id=4, name='b'),
                    dict(id=2, name='a')],
        videos=[
            dict(
                id=i,
                width=4,
                height=3,
                length=3,
                file_names=[f'{i}/{t}.jpg' for t in range(3)]) for i in (5, 6)
        ],
        annotations=[
            dict(
                id=1,
                video_id=5,
                category_id=4,
                segmentations=[None] * 3,
                bboxes=[None] * 3,
                areas=[None] * 3,
                iscrowd=0),
            dict(
                id=2,
                video_id=5,
                category_id=4,
                iscrowd=1,
                segmentations=[
                    None,
                    dict(size=[3, 4], counts=[3, 2, 7]),
                    [[0, 0, 2, 0, 2, 2, 0, 2]]
                ])
        ])
    content.update(changes)
    path.joinpath('train.json').write_text(json.dumps(content))
    return path


def test_round_trip(split):
    root, videos = split
    dataset = _dataset(root)
    assert dataset.metainfo['classes'] == CLASSES
    assert len(dataset) == 2
    hidden = 0
    for index, video in enumerate(videos):
        info = dataset.get_data_info(index)
        assert info['video_length'] == len(video.frames)
        for t, image in enumerate(info['images']):
            assert image['frame_id'] == t
            present = video.masks[:, t].any((1, 2))
            hidden += int((video.visibility[:, t] == 0).sum())
            ids = [item['instance_id'] for item in image['instances']]
            assert ids == (np.flatnonzero(present) + 1).tolist()
            for item in image['instances']:
                mask = mask_utils.decode(item['mask']).astype(bool)
                i = item['instance_id'] - 1
                assert np.array_equal(mask, video.masks[i, t])
                assert item['bbox_label'] == video.labels[i]
                ys, xs = np.nonzero(mask)
                assert item['bbox'] == [
                    xs.min(), ys.min(),
                    xs.max() + 1,
                    ys.max() + 1
                ]
    assert hidden > 0, 'no complete occlusion was tested'


def test_written_json_is_official(split):
    root, videos = split
    content = json.loads((root / 'train.json').read_text())
    video = content['videos'][0]
    assert (root / 'train' / 'JPEGImages' / video['file_names'][0]).is_file()
    for annotation in content['annotations']:
        values = zip(annotation['segmentations'], annotation['bboxes'],
                     annotation['areas'], annotation['visibility'])
        for mask, box, area, visible in values:
            assert (mask is None) == (box is None) == (area is None)
            assert (mask is None) == (not visible)
            if mask is not None:
                assert isinstance(mask['counts'], list)
                assert sum(mask['counts'][1::2]) == area


def test_absence_crowd_polygons_and_missing_boxes(tmp_path):
    dataset = _dataset(_write(tmp_path))
    assert len(dataset) == 1, 'video 6 has no annotation'
    info = dataset.get_data_info(0)
    assert info['video_id'] == 5 and info['video_length'] == 3
    first, second, third = info['images']
    assert first['instances'] == []
    (item, ) = second['instances']
    # columns of 3: pixels 3 and 4 are column 1, rows 0 and 1
    assert item['bbox'] == [1, 0, 2, 2]
    assert (item['instance_id'], item['ignore_flag']) == (2, 1)
    assert mask_utils.area(third['instances'][0]['mask']) == 4


def _first_label(dataset):
    return dataset.get_data_info(0)['images'][1]['instances'][0]['bbox_label']


def test_labels_follow_ids_or_the_given_classes(tmp_path):
    _write(tmp_path)
    assert _dataset(tmp_path).metainfo['classes'] == ('a', 'b')
    assert _first_label(_dataset(tmp_path)) == 1
    dataset = _dataset(tmp_path, metainfo=dict(classes=('b', 'a')))
    assert _first_label(dataset) == 0
    assert dataset.metainfo['category_ids'] == (4, 2)


def test_other_classes_are_refused(tmp_path):
    _write(tmp_path)
    with pytest.raises(
            ValueError, match=r"\['c'\] are not in the JSON and "
            r"\['b'\]"):
        _dataset(tmp_path, metainfo=dict(classes=('a', 'c')))


def test_without_annotations(tmp_path):
    _write(tmp_path, annotations=None)
    dataset = _dataset(tmp_path, test_mode=True)
    assert [len(dataset), dataset.num_all_imgs] == [2, 6]
    with pytest.raises(ValueError, match='none of its 2 videos'):
        _dataset(tmp_path)
    dataset = _dataset(tmp_path, filter_cfg=dict(filter_empty_gt=False))
    assert len(dataset) == 2


def test_frame_wise_testing(tmp_path):
    dataset = _dataset(_write(tmp_path), test_mode=True)
    sampler = TrackImgSampler(dataset, seed=0)
    frames = [dataset[index] for index in sampler]
    assert [f['video_id'] for f in frames] == [[5]] * 3 + [[6]] * 3
    assert [f['frame_id'] for f in frames] == [[0], [1], [2]] * 2
    assert all(f['video_length'] == f['ori_video_length'] == [3]
               for f in frames)
    assert dataset[1]['frame_id'] == [0, 1, 2], 'a whole video'


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='train.json'):
        _dataset(tmp_path)
    (tmp_path / 'train.json').write_text('{"videos": [')
    with pytest.raises(ValueError, match='train.json: not a JSON file'):
        _dataset(tmp_path)
    _write(tmp_path, categories=[dict(id=2, name='a')])
    with pytest.raises(ValueError, match='video 5, annotation 1: category_id'):
        _dataset(tmp_path)
