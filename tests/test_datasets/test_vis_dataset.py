# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy
import gzip
import json
import pickle

import numpy as np
import pycocotools.mask as mask_utils
import pytest
from mmdet.datasets.samplers import TrackImgSampler

from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.occluded_shapes import (CLASSES,
                                                   OccludedShapesGenerator)
from refinevis_mm.vis_json import OVIS, PRESETS, YouTubeVISWriter


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
    """A small JSON: video 5 has 3 frames, an object in the last one and a
    crowd in the last two, video 6 nothing annotated."""
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
                segmentations=[
                    None, None,
                    dict(size=[3, 4], counts=[0, 1, 11])
                ],
                bboxes=[None, None, [0, 0, 1, 1]],
                areas=[None, None, 1],
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
    assert [item['ignore_flag'] for item in third['instances']] == [0, 1]
    assert mask_utils.area(third['instances'][1]['mask']) == 4


def _first_label(dataset):
    return dataset.get_data_info(0)['images'][1]['instances'][0]['bbox_label']


def test_labels_follow_ids_or_the_given_classes(tmp_path):
    _write(tmp_path)
    assert _dataset(tmp_path).metainfo['classes'] == ('a', 'b')
    assert _first_label(_dataset(tmp_path)) == 1
    dataset = _dataset(tmp_path, metainfo=dict(classes=('b', 'a')))
    assert _first_label(dataset) == 0


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


def test_crowds_are_no_objects_to_learn_from(tmp_path):
    """As CVAT writes masks of its brush: each with iscrowd 1."""
    mask = dict(size=[3, 4], counts=[0, 1, 11])
    crowds = [
        dict(
            id=k,
            video_id=video_id,
            category_id=4,
            iscrowd=1,
            segmentations=[mask] * 3)
        for k, video_id in enumerate((5, 5, 6), start=1)
    ]
    _write(tmp_path, annotations=crowds)
    with pytest.raises(
            ValueError,
            match='none of its 2 videos has an object, .* iscrowd must be 0'):
        _dataset(tmp_path)
    assert len(_dataset(tmp_path, test_mode=True)) == 2
    crowds[0]['iscrowd'] = 0
    _write(tmp_path, annotations=crowds)
    dataset = _dataset(tmp_path)
    assert len(dataset) == 1, 'video 6 has but crowds'
    assert dataset._index.count(0, 3) == 3 and dataset._index.count(3, 3) == 0
    flags = [
        item['ignore_flag']
        for item in dataset.get_data_info(0)['images'][0]['instances']
    ]
    assert flags == [0, 1]


def test_backslashes_are_refused_when_read(tmp_path):
    _write(
        tmp_path,
        videos=[
            dict(
                id=5,
                width=4,
                height=3,
                length=3,
                file_names=[f'5\\{t}.jpg' for t in range(3)])
        ])
    with pytest.raises(ValueError, match=r"'5\\\\0.jpg' with a backslash"):
        _dataset(tmp_path)


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


def _write_classes(path, names):
    """A JSON of the given classes, each with one object of one pixel."""
    _write(
        path,
        categories=[dict(id=i, name=name) for i, name in enumerate(names, 1)],
        annotations=[
            dict(
                id=i,
                video_id=5,
                category_id=i,
                segmentations=[dict(size=[3, 4], counts=[0, 1, 11])] * 3)
            for i in range(1,
                           len(names) + 1)
        ])


@pytest.mark.parametrize('preset', list(PRESETS))
def test_presets(tmp_path, preset):
    _write_classes(tmp_path, PRESETS[preset])
    dataset = _dataset(tmp_path, preset=preset)
    assert dataset.metainfo['classes'] == PRESETS[preset]
    image = dataset.get_data_info(0)['images'][0]
    labels = [item['bbox_label'] for item in image['instances']]
    assert labels == list(range(len(PRESETS[preset])))


@pytest.mark.parametrize('last', ['Vehical', 'Vehicle', 'vehicle'])
@pytest.mark.parametrize('asked', [
    dict(preset='ovis'),
    dict(metainfo=dict(classes=OVIS)),
    dict(metainfo=dict(classes=(*OVIS[:24], 'Vehicle'))),
    dict()
])
def test_the_25th_class_of_ovis(tmp_path, last, asked):
    _write_classes(tmp_path, (*OVIS[:24], last))
    dataset = _dataset(tmp_path, **asked)
    assert len(dataset.metainfo['classes']) == 25
    instances = dataset.get_data_info(0)['images'][0]['instances']
    assert [item['bbox_label'] for item in instances] == list(range(25))


def test_other_presets_are_refused(tmp_path):
    _write_classes(tmp_path, PRESETS['youtube_vis_2019'])
    with pytest.raises(
            ValueError, match=r"those of preset 'youtube_vis_2019'"):
        _dataset(tmp_path, preset='youtube_vis_2021')
    with pytest.raises(ValueError, match="got 'youtube'"):
        _dataset(tmp_path, preset='youtube')
    with pytest.raises(ValueError, match='exclude each other'):
        _dataset(tmp_path, preset='ovis', metainfo=dict(classes=OVIS))


def test_gzip(tmp_path):
    text = _write(tmp_path).joinpath('train.json').read_bytes()
    (tmp_path / 'train.json.gz').write_bytes(gzip.compress(text))
    (tmp_path / 'cut.json.gz').write_bytes(gzip.compress(text)[:-20])
    dataset = VISDataset(ann_file=str(tmp_path / 'train.json.gz'))
    assert list(dataset.get_data_info(0)['images'][1]) == list(
        _dataset(tmp_path).get_data_info(0)['images'][1])
    with pytest.raises(ValueError, match='cut.json.gz: not a JSON file'):
        VISDataset(ann_file=str(tmp_path / 'cut.json.gz'))


def test_frames_are_made_when_asked_for(tmp_path):
    dataset = _dataset(_write(tmp_path))
    images = dataset.get_data_info(0)['images']
    assert len(images) == 3
    assert [image['frame_id'] for image in images[1:]] == [1, 2]
    assert images[-1] == images[2] and images[-1] is not images[2]
    with pytest.raises(IndexError):
        images[3]
    images[1]['instances'].clear()
    assert len(images[1]['instances']) == 1, 'the index is not changed'
    assert pickle.loads(pickle.dumps(images)) == list(images)
    assert isinstance(copy.deepcopy(images), list)
    subset = dataset.get_subset([0])
    assert list(subset.get_data_info(0)['images']) == list(images)


def test_video_data_are_small(split):
    """What workers unpickle for each frame has no masks."""
    root, videos = split
    dataset = _dataset(root)
    assert len(
        dataset.data_bytes) < 50 * sum(len(video.frames) for video in videos)
    codes = sum(
        len(item['mask']['counts']) for index in range(2)
        for image in dataset.get_data_info(index)['images']
        for item in image['instances'])
    num_masks = dataset._index.count(0, dataset.num_all_imgs)
    assert dataset._index.num_bytes < codes + 60 * num_masks + 1000


def _boxes(tmp_path, boxes):
    _write(
        tmp_path,
        annotations=[
            dict(
                id=1,
                video_id=5,
                category_id=2,
                segmentations=[dict(size=[3, 4], counts=[3, 2, 7])] * 3,
                bboxes=boxes)
        ])
    images = _dataset(tmp_path).get_data_info(0)['images']
    return [item['bbox'] for image in images for item in image['instances']]


def test_boxes_are_clipped_or_taken_from_the_mask(tmp_path):
    # the mask is column 1, rows 0 and 1
    assert _boxes(tmp_path, [[1, 0, 2.5, 2], [-1, -1, 9, 9], None]) == [
        [1, 0, 3.5, 2],
        [0, 0, 4, 3],
        [1, 0, 2, 2],
    ]
    assert _boxes(tmp_path, [[1, 0, 0, 2], [9, 0, 1, 1], [1, 0, 1, 2]]) == [
        [1, 0, 2, 2],
    ] * 3


def test_masks_of_all_kinds_agree(tmp_path):
    full = mask_utils.encode(np.ones((3, 4), np.uint8, order='F'))
    kinds = [
        dict(size=[3, 4], counts=[0, 12]),
        dict(size=[3, 4], counts=full['counts'].decode()),
        [[0, 0, 4, 0, 4, 3, 0, 3]]
    ]
    _write(
        tmp_path,
        annotations=[
            dict(id=i, video_id=5, category_id=2, segmentations=[kind] * 3)
            for i, kind in enumerate([*kinds])
        ] + [dict(id=9, video_id=5, category_id=2, segmentations=kinds)])
    for image in _dataset(tmp_path).get_data_info(0)['images']:
        masks = [item['mask'] for item in image['instances']]
        assert masks == [kinds[1]] * 4


def test_instance_ids_follow_the_file(tmp_path):
    """Annotations of two videos in turns."""
    mask = dict(size=[3, 4], counts=[0, 12])
    _write(
        tmp_path,
        annotations=[
            dict(
                id=i,
                video_id=video,
                category_id=2,
                segmentations=[mask, None, mask])
            for i, video in enumerate([6, 5, 5, 6, 5])
        ])
    dataset = _dataset(tmp_path)
    ids = [[[item['instance_id'] for item in image['instances']]
            for image in dataset.get_data_info(index)['images']]
           for index in range(2)]
    assert ids == [[[1, 2, 3], [], [1, 2, 3]], [[1, 2], [], [1, 2]]]
