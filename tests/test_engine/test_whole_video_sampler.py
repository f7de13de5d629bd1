# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import pytest

from refinevis_mm.datasets import VISDataset
from refinevis_mm.engine.samplers import WholeVideoSampler, whole_video_sampler
from refinevis_mm.engine.samplers.whole_video_sampler import share_videos
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
    sampler = WholeVideoSampler(data, resume_dir=folder)
    assert frames_of(sampler) == [(video, frame)
                                  for video, length in enumerate([2, 3, 1, 2])
                                  for frame in range(length)]
    for video_id in (9, 30):
        FinishedVideos(folder).add(video_id, [])
    sampler = WholeVideoSampler(data, resume_dir=folder)
    assert frames_of(sampler) == [(0, 0), (0, 1), (2, 0)]


def test_ranks_share_what_is_left(tmp_path, monkeypatch):
    data, folder = dataset(tmp_path), str(tmp_path / 'finished')
    FinishedVideos(folder).add(9, [])
    parts = []
    for rank in range(2):
        monkeypatch.setattr(whole_video_sampler, 'get_dist_info', lambda:
                            (rank, 2))
        parts.append(
            frames_of(WholeVideoSampler(data, seed=0, resume_dir=folder)))
    # 9 and 2 on the first rank, 4 and 30 on the second: four frames each
    assert parts == [[(2, 0)], [(0, 0), (0, 1), (3, 0), (3, 1)]]


@pytest.mark.parametrize('lengths, world_size, shares', [
    ([5, 1, 1, 3], 2, [[0], [1, 2, 3]]),
    ([2, 3], 4, [[1], [0], [], []]),
    ([], 2, [[], []]),
    ([4, 4, 4], 1, [[0, 1, 2]]),
])
def test_ranks_have_about_as_many_frames(lengths, world_size, shares):
    assert share_videos(lengths, world_size) == shares


def test_only_in_tests(tmp_path):
    with pytest.raises(ValueError, match='test_mode=False'):
        WholeVideoSampler(dataset(tmp_path, test_mode=False))
    with pytest.raises(TypeError, match='BaseVideoDataset, got list'):
        WholeVideoSampler([1, 2])
