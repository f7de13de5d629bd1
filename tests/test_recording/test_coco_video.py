# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO

from refinevis_mm.recording import write_coco_video
from tests.tiny_recordings import (CLASSES, ResultStream, box, convert, create,
                                   kill_half, random_frames)


@pytest.fixture
def recording(tmp_path):
    """30 random frames of two views."""
    recording = create(tmp_path / 'recording.sqlite')
    for frame in random_frames(ResultStream(), 30, 0):
        recording.add(frame)
    return recording


def test_by_hand(tmp_path):
    stream = ResultStream(['online'])
    recording = create(tmp_path / 'recording.sqlite', ['online'])
    score = [0.25, 0.5, 0.]
    recording.add(stream.frame({}))
    recording.add(
        stream.frame(
            dict(online=[(8, score, True,
                          box(3, 1)), (9, [0.25, 0., 0.], True,
                                       box(0)), (7, score, False, None)])))
    path = tmp_path / 'coco.json'
    write_coco_video(recording, path, name='clip', score_thr=0.5)
    content = json.loads(path.read_text())
    rle = content['annotations'][0].pop('segmentation')
    assert mask_utils.decode(rle).tolist() == box(3, 1).astype(int).tolist()
    assert content == dict(
        info=dict(description='results of refinevis_mm'),
        categories=[
            dict(id=1, name='cat'),
            dict(id=2, name='dog'),
            dict(id=3, name='owl')
        ],
        videos=[dict(id=1, name='clip', width=8, height=6, fps=10.)],
        images=[
            dict(
                id=i + 1,
                video_id=1,
                frame_id=i,
                file_name=f'00000{i}.jpg',
                width=8,
                height=6) for i in range(2)
        ],
        annotations=[
            dict(
                id=1,
                image_id=2,
                video_id=1,
                instance_id=8,
                category_id=2,
                score=0.5,
                bbox=[3., 1., 2., 2.],
                area=4,
                iscrowd=0)
        ])


def test_back_to_youtube_vis(recording, tmp_path, monkeypatch):
    """Our converter gives the same tracks, with equal run-length codes."""
    names = [f'clip/{2 * i:05d}.png' for i in range(30)]
    for view in recording.views:
        path, out = tmp_path / 'coco.json', tmp_path / f'{view}.json'
        write_coco_video(recording, path, view, names)
        content = convert(monkeypatch, 'coco_video_to_youtubevis', path, out)
        video, = content['videos']
        assert video['file_names'] == names
        assert [item['name'] for item in content['categories']] == CLASSES
        best = {track.id: track.label for track in recording.tracks(view)}
        expected = [(row['label'] + 1, row['segmentations'])
                    for row in recording.tracklets(view, -1)
                    if row['label'] == best[row['instances_id']]
                    and any(row['segmentations'])]
        found = [(row['category_id'], row['segmentations'])
                 for row in content['annotations']]
        assert sorted(found, key=str) == sorted(expected, key=str)
        assert len(found) > 3


def test_coco_tools_read_it(recording, tmp_path):
    path = tmp_path / 'coco.json'
    write_coco_video(recording, path)
    coco = COCO(str(path))
    for annotation in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(annotation)
        assert mask.sum() == annotation['area']
        rows, columns = mask.nonzero()
        x, y, width, height = annotation['bbox']
        assert (x, y) == (columns.min(), rows.min())
        assert (width, height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)


@pytest.mark.parametrize('names', [['a.jpg'] * 30, ['a.jpg']])
def test_file_names_must_fit(recording, tmp_path, names):
    with pytest.raises(ValueError, match='must be 30 different names'):
        write_coco_video(recording, tmp_path / 'coco.json', file_names=names)
    assert not (tmp_path / 'coco.json').exists()


def test_killed_run_leaves_no_file(tmp_path):
    path = tmp_path / 'out' / 'coco.json'
    kill_half(tmp_path, lambda recording: write_coco_video(recording, path))
    assert not path.exists()
