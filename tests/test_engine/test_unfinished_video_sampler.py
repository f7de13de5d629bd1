# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import pytest
from mmdet.datasets.samplers import track_img_sampler

from refinevis_mm.datasets import VISDataset
from refinevis_mm.engine.samplers import UnfinishedVideoSampler
from refinevis_mm.evaluation.finished_videos import FinishedVideos

LENGTHS = {4: 2, 9: 3, 2: 1, 30: 2}  # frames by video id, in file order


def dataset(tmp_path, test_mode=True):
    """Four videos without annotations."""
    videos = [
        dict(
            id=video_id,
            width=8,
            height=8,
            length=length,
            file_names=[f'{video_id}/{i}.jpg' for i in range(length)])
        for video_id, length in LENGTHS.items()
    ]
    path = tmp_path / 'gt.json'
    path.write_text(
        json.dumps(dict(videos=videos, categories=[dict(id=1, name='a')])))
    return VISDataset(
        ann_file=str(path),
        test_mode=test_mode,
        pipeline=[],
        filter_cfg=dict(filter_empty_gt=False))


def frames_of(sampler):
    """What a sampler gives, as plain integers."""
    frames = [tuple(map(int, index)) for index in sampler]
    assert len(sampler) == len(frames)
    return frames


def test_skips_finished_videos(tmp_path):
    data, folder = dataset(tmp_path), str(tmp_path / 'finished')
    sampler = UnfinishedVideoSampler(data, resume_dir=folder)
    assert frames_of(sampler) == [(video, frame)
                                  for video, length in enumerate([2, 3, 1, 2])
                                  for frame in range(length)]
    for video_id in (9, 30):
        FinishedVideos(folder).add(video_id, [])
    sampler = UnfinishedVideoSampler(data, resume_dir=folder)
    assert frames_of(sampler) == [(0, 0), (0, 1), (2, 0)]


def test_ranks_share_what_is_left(tmp_path, monkeypatch):
    data, folder = dataset(tmp_path), str(tmp_path / 'finished')
    for video_id in (2, 30):
        FinishedVideos(folder).add(video_id, [])
    parts = []
    for rank in range(2):
        monkeypatch.setattr(track_img_sampler, 'get_dist_info', lambda:
                            (rank, 2))
        parts.append(
            frames_of(UnfinishedVideoSampler(data, seed=0, resume_dir=folder)))
    assert parts == [[(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)], []]


def test_only_in_tests(tmp_path):
    with pytest.raises(ValueError, match='only tests'):
        UnfinishedVideoSampler(
            dataset(tmp_path, test_mode=False), resume_dir=str(tmp_path))
