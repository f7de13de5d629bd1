# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import pytest
from pycocotools import mask as mask_utils

from refinevis_mm.evaluation import evaluate_vis
from refinevis_mm.recording import write_results_json
from refinevis_mm.structures import to_results_json
from tests.tiny_recordings import (SIZE, ResultStream, box, create, kill_half,
                                   random_frames)


def test_rows_are_those_of_video_result(tmp_path):
    stream = ResultStream()
    recording = create(tmp_path / 'recording.sqlite')
    for frame in random_frames(stream, 30, 0):
        recording.add(frame)
    path = tmp_path / 'results.json'
    for view, result in stream.expected.items():
        write_results_json(recording, path, view)
        rows = to_results_json(1, result.tracklets(), [1, 2, 3])
        text = ',\n'.join(json.dumps(row) for row in rows)
        assert path.read_text() == f'[{text}]\n' and len(rows) > 5
    write_results_json(recording, path, None, 7, [30, 20, 10], cls_thr=0.5)
    assert json.loads(path.read_text()) == to_results_json(
        7, stream.expected['online'].tracklets(0.5), [30, 20, 10])


def test_evaluation_reads_it(tmp_path):
    """Id 0 is the object in all frames: AP 1. Id 1 is a better scored mask in
    the frame in which there is none: with it AP is 1/2."""
    stream = ResultStream(['online'])
    recording = create(tmp_path / 'recording.sqlite', ['online'])
    for position in range(3):
        recording.add(
            stream.frame(
                dict(online=[(0, [0., 0.5, 0.], True, box(position))])))
    recording.add(
        stream.frame(dict(online=[(1, [0., 0.75, 0.], True, box(0, 4))])))
    masks = [recording.frame(i).masks[0] for i in range(3)] + [None]
    truth = dict(
        videos=[dict(id=1, height=SIZE[0], width=SIZE[1], length=4)],
        categories=[dict(id=1, name='cat'),
                    dict(id=2, name='dog')],
        annotations=[
            dict(
                id=1,
                video_id=1,
                category_id=2,
                iscrowd=0,
                segmentations=masks,
                areas=[mask and int(mask_utils.area(mask)) for mask in masks])
        ])
    path = tmp_path / 'results.json'
    write_results_json(recording, path)
    assert evaluate_vis(truth, str(path), check_masks=True)['AP'] == 0.5
    path.write_text(json.dumps(json.loads(path.read_text())[:1]))
    ap = evaluate_vis(truth, str(path))['AP']
    assert ap == pytest.approx(1, abs=1e-9)  # official, has an epsilon


def test_no_track(tmp_path):
    recording = create(tmp_path / 'recording.sqlite')
    path = tmp_path / 'results.json'
    write_results_json(recording, path)
    assert path.read_text() == '[]\n'


def test_errors_leave_the_old_file(tmp_path):
    stream = ResultStream()
    recording = create(tmp_path / 'recording.sqlite')
    for frame in random_frames(stream, 5, 0):
        recording.add(frame)
    path = tmp_path / 'out' / 'results.json'
    path.parent.mkdir()
    path.write_text('old')
    with pytest.raises(ValueError, match=r'labels must lie in \[0, 1\)'):
        write_results_json(recording, path, category_ids=[5])
    with pytest.raises(ValueError, match="got 'offline'"):
        write_results_json(recording, path, 'offline')
    assert path.read_text() == 'old'
    assert list(path.parent.iterdir()) == [path]


def test_killed_run_leaves_no_file(tmp_path):
    path = tmp_path / 'out' / 'results.json'
    kill_half(tmp_path, lambda recording: write_results_json(recording, path))
    assert not path.exists()
