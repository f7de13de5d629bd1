# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""tools/analysis_tools/compare_trackers.py: its table and box trackers."""
import json
import sys

import cv2
import pytest
import torch
from mmdet.registry import MODELS as MMDET_MODELS
from mmengine.structures import InstanceData

from refinevis_mm.apis import VISInferencer
from refinevis_mm.evaluation import evaluate_tracking, evaluate_vis
from refinevis_mm.models import StreamingTracker
from refinevis_mm.recording import write_results_json
from tests.tiny_files import random_frames, write_model_files
from tests.tool_module import load_tool

LENGTHS = (5, 3)  # frames of the videos
NUM_CLASSES = 7  # of the tiny model
OWN = 'ContrastiveTracker, association head'
STREAMING = 'StreamingTracker'
BLIND = 'StreamingTracker, no embeddings'
COLUMNS = [
    'tracker', 'AP', 'AP50', 'HOTA', 'AssA', 'IDF1', 'MOTA', 'switches',
    'fragments', 'ms/frame'
]


@pytest.fixture(scope='module')
def tool():
    return load_tool('analysis_tools/compare_trackers.py')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


def images_of(video):
    """Frames of a video, counted from 0."""
    start = sum(LENGTHS[:video])
    return random_frames(sum(LENGTHS))[start:start + LENGTHS[video]]


def rows_of(inferencer, folder, views=None):
    """Results of both videos by the inferencer."""
    rows = []
    for video in range(len(LENGTHS)):
        path = folder / 'results.json'
        with_ids = inferencer(images_of(video), views)
        write_results_json(with_ids, path, cls_thr=inferencer.model.cls_thr)
        rows += [
            dict(row, video_id=video + 1)
            for row in json.loads(path.read_text())
        ]
    return rows


@pytest.fixture(scope='module')
def videos(files, tmp_path_factory):
    """Two videos with a good part of the model's tracks as labels."""
    folder = tmp_path_factory.mktemp('videos')
    inferencer = VISInferencer(*files, window=0)
    annotations, content = [], []
    for video, length in enumerate(LENGTHS):
        names = [f'{video}/{k}.png' for k in range(length)]
        (folder / str(video)).mkdir()
        for name, image in zip(names, images_of(video)):
            cv2.imwrite(str(folder / name), image)
        content.append(
            dict(
                id=video + 1,
                width=80,
                height=60,
                length=length,
                file_names=names))
    for row in rows_of(inferencer, folder)[::3]:
        annotations.append(
            dict(
                id=len(annotations) + 1,
                video_id=row['video_id'],
                category_id=row['category_id'],
                iscrowd=0,
                segmentations=row['segmentations'],
                areas=[mask and 1 for mask in row['segmentations']]))
    gt = dict(
        videos=content,
        annotations=annotations,
        categories=[
            dict(id=k, name=f'shape {k}') for k in range(1, NUM_CLASSES + 1)
        ])
    (folder / 'gt.json').write_text(json.dumps(gt))
    return folder, gt


@pytest.fixture
def compare(tool, monkeypatch, capsys):
    """Run the tool in this process: cells of its table by name."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [tool.__file__, *map(str, args)])
        tool.main()
        lines = capsys.readouterr().out.splitlines()
        cells = [[cell.strip() for cell in line.strip('|').split('|')]
                 for line in lines if line.startswith('|')]
        assert cells[0] == COLUMNS
        return {row[0]: row[1:] for row in cells[1:]}

    return run


@pytest.fixture
def no_packages(tool, monkeypatch):
    """Neither lap nor motmetrics; collects what is said."""
    said = []
    monkeypatch.setattr(tool, 'find_spec', lambda name: None)
    monkeypatch.setattr(tool, 'print_log', lambda text, _: said.append(text))
    return said


def measures(gt, rows):
    """The columns between name and time."""
    vis = evaluate_vis(gt, rows)
    tracking = evaluate_tracking(gt, rows, score_thr=0.3)
    rates = [vis['AP'], vis['AP50']]
    rates += [tracking[key] for key in ('hota', 'assa', 'idf1', 'mota')]
    return [f'{100 * value:.1f}' for value in rates] + [
        str(tracking[key]) for key in ('id_switches', 'fragmentations')
    ]


def test_table(compare, files, videos, no_packages, tmp_path):
    """Each row says what a model with that tracker alone reaches."""
    folder, gt = videos
    table = compare(*files, folder / 'gt.json', folder)
    assert list(table) == [OWN, STREAMING, BLIND]
    assert len(no_packages) == 1
    assert 'pip install lap motmetrics' in no_packages[0]
    assert all(float(row[-1]) > 0 for row in table.values())

    inferencer = VISInferencer(*files, window=0)
    expected = measures(gt, rows_of(inferencer, tmp_path))
    assert table[OWN][:-1] == expected and float(expected[0]) > 10
    model = inferencer.model
    model.association_head = None
    model.tracker = StreamingTracker()
    expected = measures(gt, rows_of(inferencer, tmp_path))
    assert table[STREAMING][:-1] == expected
    model.frame_model.match_embeds = lambda embeds: embeds[..., :0]
    expected = measures(gt, rows_of(inferencer, tmp_path))
    assert table[BLIND][:-1] == expected


@pytest.mark.zoo
def test_box_trackers_in_the_table(compare, files, videos):
    pytest.importorskip('lap')
    pytest.importorskip('motmetrics')
    folder, _ = videos
    table = compare(*files, folder / 'gt.json', folder)
    assert list(table) == [OWN, STREAMING, BLIND, 'ByteTracker', 'OCSORT']
    for name in ('ByteTracker', 'OCSORT'):
        assert -1 <= float(table[name][2]) <= 100
        assert float(table[name][-1]) > 0


# ---- trackers of boxes ----


@MMDET_MODELS.register_module(name='BackwardsTracker')
class BackwardsTracker:
    """Tracks all but the first detection; the last one comes first."""

    def __init__(self):
        self.resets = 0
        self.seen = []

    def reset(self):
        self.resets += 1

    def track(self, data_sample):
        found = data_sample.pred_instances
        self.seen.append((data_sample.frame_id, found))
        order = torch.arange(len(found)).flip(0)[:max(len(found) - 1, 0)]
        tracks = found[order]
        tracks.instances_id = 10 + tracks.labels
        return tracks


def detections(*rects, scores=None, labels=None):
    """Objects of a frame of 40 x 60 pixels, (x1, y1, x2, y2)."""
    masks = torch.zeros(len(rects), 40, 60, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, rects):
        mask[y1:y2, x1:x2] = True
    corners = torch.tensor(rects).reshape(-1, 4) / torch.tensor(
        [60., 40., 60., 40.])
    boxes = torch.cat([(corners[:, :2] + corners[:, 2:]) / 2,
                       corners[:, 2:] - corners[:, :2]], 1)
    number = len(rects)
    return InstanceData(
        masks=masks,
        boxes=boxes,
        scores=torch.tensor(scores or [0.9] * number),
        labels=torch.tensor(labels or range(number)).long(),
        query_inds=torch.arange(number))


RECTS = ((2, 2, 12, 22), (20, 5, 30, 25), (40, 10, 55, 30))


def test_ids_go_to_the_right_masks(tool):
    tracker = tool.BoxTracker(dict(type='BackwardsTracker'))
    tracker.reset()
    given = detections(*RECTS)
    found = tracker.track(given, 7)
    assert found.instances_id.tolist() == [12, 11]
    assert found.labels.tolist() == [2, 1]
    assert found.query_inds.tolist() == [2, 1]
    assert torch.equal(found.masks, given.masks[[2, 1]])
    assert tracker.discarded_ids == [] and tracker.tracker.resets == 1
    frame_id, sample = tracker.tracker.seen[0]
    assert frame_id == 7
    # pixels of a square picture
    assert sample.bboxes[0].tolist() == pytest.approx(
        [1000 * value for value in (2 / 60, 2 / 40, 12 / 60, 22 / 40)])


def test_masks_with_the_same_box(tool):
    """Halves of a square: boxes of a model need not be those of masks."""
    tracker = tool.BoxTracker(dict(type='BackwardsTracker'))
    given = detections(
        *RECTS[:1], (2, 2, 12, 12), (2, 12, 12, 22), scores=[0.9, 0.8, 0.7])
    given.boxes[1:] = given.boxes[1].clone()
    found = tracker.track(given, 0)
    assert found.instances_id.tolist() == [12, 11]
    assert found.query_inds.tolist() == [2, 1]


def test_mask_nms_goes_before(tool):
    tracker = tool.BoxTracker(dict(type='BackwardsTracker'))
    tracker.track(detections(RECTS[0], (2, 2, 12, 20), *RECTS[1:]), 0)
    _, sample = tracker.tracker.seen[0]
    assert sample.labels.tolist() == [0, 2, 3]


@pytest.mark.parametrize('number', [0, 1])
def test_frames_without_tracks(tool, number):
    tracker = tool.BoxTracker(dict(type='BackwardsTracker'))
    found = tracker.track(detections(*RECTS[:number]), 0)
    assert len(found) == 0 and found.masks.shape == (0, 40, 60)
    assert found.instances_id.tolist() == []


def test_select(tool):
    """Best class score first, those above 0.1."""
    tracker = tool.BoxTracker(dict(type='BackwardsTracker'))
    scores = torch.tensor([[0.05, 0.1], [0.3, 0.2], [0.0, 0.9], [0.2, 0.0]])
    inds = tracker.select(scores, torch.zeros(4, 4))
    assert inds.tolist() == [2, 1, 3]


@pytest.mark.zoo
@pytest.mark.parametrize('name', ['ByteTracker', 'OCSORT'])
def test_rectangles_that_cross(tool, name):
    pytest.importorskip('lap')
    pytest.importorskip('motmetrics')
    tracker = tool.BoxTracker(tool.BOX_TRACKERS[name])
    for _ in range(2):
        tracker.reset()
        for t in range(12):
            rects = [(2 + 4 * t, 2, 12 + 4 * t, 16),
                     (48 - 4 * t, 18, 58 - 4 * t, 38)]
            if t == 5:  # nothing is found
                rects = []
            labels = [0] * len(rects)
            found = tracker.track(
                detections(*rects[::(-1)**t], labels=labels), t)
            ids = found.instances_id
            assert sorted(ids.tolist()) == list(range(len(rects)))
            masks = detections(*rects).masks
            for row, k in enumerate(ids.tolist()):
                assert torch.equal(found.masks[row], masks[k])


# ---- bad input ----


def refuse(compare, *args):
    with pytest.raises(SystemExit) as error:
        compare(*args)
    message = str(error.value.code)
    assert message.startswith('error: ') and '\n' not in message
    return message


def test_bad_input(compare, files, videos, no_packages, tmp_path):
    folder, gt = videos
    assert 'no.json' in refuse(compare, *files, tmp_path / 'no.json', folder)
    for content, reason in (([], 'expected a JSON object'),
                            (dict(gt, videos=[]), 'no videos'),
                            (dict(gt, categories=[]), 'no categories'),
                            (dict(gt, annotations=[]), 'no annotations')):
        (tmp_path / 'gt.json').write_text(json.dumps(content))
        message = refuse(compare, *files, tmp_path / 'gt.json', folder)
        assert reason in message
    message = refuse(compare, *files, folder / 'gt.json', tmp_path)
    assert '0.png' in message


def test_models_without_association_head(compare, files, videos, tool,
                                         monkeypatch):
    model = VISInferencer(*files, window=0).model
    model.association_head = None
    monkeypatch.setattr(tool, 'init_model', lambda *args: model)
    folder, _ = videos
    message = refuse(compare, *files, folder / 'gt.json', folder)
    assert 'must have an association head' in message
