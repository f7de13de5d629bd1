# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replay of MinVIS's matching and video results recorded officially.

Reads ``tests/data/parity/minvis_matching.npz`` and every file of its kind in
the folder ``REFINEVIS_PARITY_DIR``.
"""
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models.association import QueryMatcher
from refinevis_mm.models.layers.mask_resize import resize_masks
from refinevis_mm.structures import VideoResult
from tests.parity.minvis_fixtures import decode
from tests.parity.recorded_files import parity_files
from tests.parity.replay import Recording, unpack

CASES = [
    pytest.param(path, number, id=f'{path.stem}-{number}')
    for path in parity_files()
    for number, _ in enumerate(Recording(path).meta.get('videos', []))
    if f'video{number}/out_permutation' in Recording(path)
]


def test_there_are_cases():
    assert len(CASES) >= 2


@pytest.mark.parametrize('path, number', CASES)
def test_video(path, number):
    recording = Recording(path)
    data = recording.below(f'video{number}/')
    facts = recording.meta['videos'][number]
    size = tuple(facts['output_size'])
    meta = dict(img_shape=tuple(facts['image_size']), ori_shape=size)
    tracker, permutation = QueryMatcher(), []
    result = VideoResult(facts['frames'], score_average='logits')
    logits = torch.zeros_like(data['out_mean_logits'])
    for frame_id, embeds in enumerate(data['embeds']):
        found = tracker.track(
            InstanceData(
                assoc_embeds=embeds, query_inds=torch.arange(len(embeds))),
            frame_id)
        queries = found.query_inds
        permutation.append(queries)
        logits += data['logits'][frame_id, queries] / facts['frames']
        scores = data['logits'][frame_id, queries].softmax(-1)[:, :-1]
        masks = data['masks_i8'][frame_id, queries].float() / 8 + 0.013
        result.add_frame(frame_id, found.instances_id, scores,
                         torch.ones(len(queries), dtype=torch.bool),
                         resize_masks(masks, meta) > 0)
    assert torch.equal(torch.stack(permutation[1:]), data['out_permutation'])
    assert_close(logits, data['out_mean_logits'], rtol=0, atol=2e-5)

    rows = result.tracklets(0.0, max_per_video=10)
    order = np.lexsort((data['out_top10_labels'], -data['out_top10_scores']))
    rows.sort(key=lambda row: (-row['score'], row['label']))
    assert [row['label'] for row in rows] == \
        data['out_top10_labels'][order].tolist()
    assert_close(
        torch.tensor([row['score'] for row in rows]),
        data['out_top10_scores'][order],
        rtol=0,
        atol=2e-5)
    hw = torch.tensor(size)
    expected = unpack(data['out_top10_masks_packed'][order], size[1])
    for row, masks in zip(rows, expected):
        assert torch.equal(decode(row['segmentations'], hw), masks)
