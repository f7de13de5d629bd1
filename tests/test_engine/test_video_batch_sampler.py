# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
from mmengine.runner import Runner

from refinevis_mm.engine.samplers import VideoBatchSampler, WholeVideoSampler
from tests.test_engine.test_whole_video_sampler import dataset


@pytest.mark.parametrize('batch_size, lengths', [
    (1, [1] * 8),
    (2, [2, 2, 1, 1, 2]),
    (8, [2, 3, 1, 2]),
])
def test_no_batch_has_two_videos(tmp_path, batch_size, lengths):
    frames = WholeVideoSampler(dataset(tmp_path))
    batches = VideoBatchSampler(frames, batch_size)
    assert [len(batch) for batch in batches] == lengths
    assert len(batches) == len(lengths)
    assert [frame for batch in batches for frame in batch] == list(frames)
    assert all(len({video for video, _ in batch}) == 1 for batch in batches)


def test_built_by_a_config(tmp_path):
    loader = Runner.build_dataloader(
        dict(
            dataset=dataset(tmp_path),
            batch_size=2,
            num_workers=0,
            sampler=dict(type='refinevis_mm.WholeVideoSampler'),
            batch_sampler=dict(type='refinevis_mm.VideoBatchSampler')))
    assert type(loader.batch_sampler) is VideoBatchSampler
    assert len(loader) == 5


def test_other_samplers_are_refused():
    with pytest.raises(TypeError, match='needs WholeVideoSampler, got list'):
        VideoBatchSampler([(0, 0), (0, 1)], 2)
