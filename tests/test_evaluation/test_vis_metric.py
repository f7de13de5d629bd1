# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import refinevis_mm  # noqa: F401  isort: skip (before mmdet)
import pytest
import torch
import torch.distributed as dist
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.evaluator import Evaluator
from mmengine.registry import DefaultScope

from refinevis_mm.datasets import VISDataset
from refinevis_mm.evaluation import VISMetric, evaluate_vis
from refinevis_mm.evaluation.vis_metric import write_submission
from refinevis_mm.registry import METRICS
from refinevis_mm.structures.video_result import VideoResult
from refinevis_mm.vis_json import OVIS, load_json

CASE = Path(__file__).parents[1] / 'data' / 'metric' / 'medium'
NAMES = ('AP', 'AP50', 'AP75', 'APs', 'APm', 'APl', 'AR1', 'AR10', 'AR100',
         'ARs', 'ARm', 'ARl')


def frame_sample(video_id, frame_id, video_length, tracklets=None):
    """What the model returns for one frame."""
    frame = DetDataSample(
        metainfo=dict(
            frame_id=frame_id,
            video_id=video_id,
            video_length=video_length,
            ori_shape=(8, 8)))
    sample = TrackDataSample(video_data_samples=[frame])
    if tracklets is not None:
        sample.set_metainfo(
            dict(
                video_id=video_id,
                video_length=video_length,
                pred_tracklets=tracklets))
    return sample


def recorded_samples():
    """The recorded results as one list of frame samples per video."""
    gt, rows = load_json(CASE / 'gt.json'), load_json(CASE / 'pred.json')
    label_of = {cat['id']: i for i, cat in enumerate(gt['categories'])}
    videos = []
    for video in gt['videos']:
        tracklets = [
            dict(
                instances_id=i,
                label=label_of[row['category_id']],
                score=row['score'],
                segmentations=row['segmentations'])
            for i, row in enumerate(rows) if row['video_id'] == video['id']
        ]
        length = video['length']
        videos.append([
            frame_sample(video['id'], frame_id, length,
                         tracklets if frame_id == length - 1 else None)
            for frame_id in range(length)
        ])
    return videos


@pytest.fixture
def tiny_gt(tmp_path):
    """Annotation file: videos 5 and 2, two frames, a left and right half."""
    left = VideoResult(2)
    for frame_id in range(2):
        masks = torch.zeros(2, 8, 8, dtype=torch.bool)
        masks[0, :, :4] = masks[1, :, 4:] = True
        left.add_frame(frame_id, [0, 1], torch.ones(2, 1),
                       torch.ones(2).bool(), masks)
    tubes = [row['segmentations'] for row in left.tracklets()]
    gt = dict(
        videos=[
            dict(id=video_id, width=8, height=8, length=2)
            for video_id in (5, 2)
        ],
        categories=[dict(id=30, name='cat'),
                    dict(id=10, name='dog')],
        annotations=[
            dict(
                id=i + 1,
                video_id=video_id,
                category_id=category_id,
                iscrowd=0,
                areas=[32, 32],
                segmentations=tubes[i % 2])
            for i, (video_id,
                    category_id) in enumerate([(5, 30), (5, 10), (2, 10)])
        ])
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(gt))
    return str(path)


def tracklet(gt_path, ann_index, label, score=0.5):
    """A tracklet with the masks of an annotation."""
    ann = load_json(gt_path)['annotations'][ann_index]
    return dict(
        instances_id=ann_index,
        label=label,
        score=score,
        segmentations=ann['segmentations'])


def test_runner_path_equals_recording():
    evaluator = Evaluator(
        dict(type='refinevis_mm.VISMetric', ann_file=str(CASE / 'gt.json')))
    categories = load_json(CASE / 'gt.json')['categories']
    evaluator.dataset_meta = dict(
        classes=tuple(category['name'] for category in categories))
    for video in reversed(recorded_samples()):
        for sample in video:
            evaluator.process(data_samples=[sample], data_batch=None)
    metrics = evaluator.evaluate(1)
    expected = load_json(CASE / 'expected.json')
    assert set(metrics) == {f'vis/{name}' for name in NAMES}
    for name, value in zip(expected['stats_names'], expected['stats']):
        assert metrics[f'vis/{name}'] == pytest.approx(value, abs=1e-12)


def test_builds_from_mmdet_scope():
    cfg = dict(
        type='refinevis_mm.VISMetric',
        ann_file=str(CASE / 'gt.json'),
        prefix='val')
    scope = DefaultScope.get_instance('vis_metric', scope_name='mmdet')
    with DefaultScope.overwrite_default_scope(scope.scope_name):
        metric = METRICS.build(cfg)
    assert isinstance(metric, VISMetric) and metric.prefix == 'val'


def test_video_result_through_the_metric_by_hand(tiny_gt):
    # label = position in the JSON's categories: 0 is id 30, 1 is id 10
    metric = VISMetric(tiny_gt)
    result = VideoResult(2)
    for frame_id in range(2):
        mask = torch.zeros(1, 8, 8, dtype=torch.bool)
        mask[..., :4] = True
        result.add_frame(frame_id, [0], torch.tensor([[0.9, 0.0]]),
                         torch.ones(1).bool(), mask)
    metric.process(None, [frame_sample(5, 0, 2)])
    metric.process(None, [frame_sample(5, 1, 2, result.tracklets())])
    metric.process(None, [frame_sample(2, 1, 2, []).to_dict()])
    assert len(metric.results) == 2
    stats = metric.evaluate(999)
    assert stats['vis/AP'] == pytest.approx(0.5)  # cat 1, dog 0
    assert stats['vis/AR1'] == pytest.approx(0.5)
    assert not metric.results


def test_first_copy_of_a_video_counts(tiny_gt):
    metric = VISMetric(tiny_gt)
    good = [tracklet(tiny_gt, 0, 0), tracklet(tiny_gt, 1, 1)]
    metric.process(None, [
        frame_sample(5, 1, 2, good),
        frame_sample(2, 1, 2, [tracklet(tiny_gt, 2, 1)]),
        frame_sample(5, 1, 2, []),
    ])
    assert metric.evaluate()['vis/AP'] == pytest.approx(1)


def test_tracking_numbers(tiny_gt):
    samples = [
        frame_sample(5, 1, 2, [tracklet(tiny_gt, 0, 0)]),
        frame_sample(2, 1, 2, [])
    ]
    metric = VISMetric(tiny_gt, tracking=True)
    metric.process(None, samples)
    stats = metric.evaluate()
    assert stats['vis/num_gt'] == sum(
        len(ann['segmentations']) for ann in load_json(tiny_gt)['annotations'])
    assert stats['vis/id_switches'] == 0
    assert stats['vis/idtp'] == stats['vis/num_pred'] == 2
    assert stats['vis/mota'] == pytest.approx(2 / stats['vis/num_gt'])
    assert 0 < stats['vis/hota'] < 1 and 'vis/per_video' not in stats
    # mmengine's JSON file has null for an int
    assert {type(value) for value in stats.values()} == {float}
    metric = VISMetric(tiny_gt)
    metric.process(None, samples)
    assert len(metric.evaluate()) == len(NAMES)


def test_best_tracklet_and_numbers_of_classes(tiny_gt, monkeypatch):
    lines = []
    monkeypatch.setattr(f'{VISMetric.__module__}.print_log',
                        lambda line, **kwargs: lines.append(line))
    metric = VISMetric(tiny_gt, best_tracklet=True)
    metric.process(None, [
        frame_sample(5, 1, 2, [tracklet(tiny_gt, 0, 0)]),
        frame_sample(2, 1, 2, [])
    ])
    stats = metric.evaluate()
    assert stats['vis/J'] == pytest.approx(1 / 3)  # one of three objects
    assert len(stats) == len(NAMES) + 1
    assert lines == [
        'AP (AP50) by class: dog 0.0000 (0.0000), cat 1.0000 (1.0000)'
    ]


def test_missing_video(tiny_gt):
    samples = [frame_sample(5, 1, 2, [tracklet(tiny_gt, 0, 0)])]
    metric = VISMetric(tiny_gt)
    metric.process(None, samples)
    with pytest.raises(
            ValueError, match=r'1 of 2 videos .* video_id 2 \(no files\);'):
        metric.evaluate()
    metric = VISMetric(tiny_gt, allow_missing=True)
    metric.process(None, samples)
    assert metric.evaluate()['vis/AP'] == pytest.approx(0.5)
    assert metric.evaluate()['vis/AP'] == 0  # no results at all


@pytest.mark.parametrize('video_id, change, match', [
    (8, dict(), 'unknown video_id 8'),
    (5, dict(label=2), r'\[0, 2\), got 2 in video 5'),
    (5, dict(segmentations=[None]), 'video 5.* 2 frames, but got 1'),
    (5, dict(score=float('inf')), 'score must be .* got inf'),
])
def test_bad_tracklets(tiny_gt, video_id, change, match):
    metric = VISMetric(tiny_gt, allow_missing=True)
    row = dict(tracklet(tiny_gt, 0, 0), **change)
    metric.process(None, [frame_sample(video_id, 1, 2, [row])])
    with pytest.raises(ValueError, match=match):
        metric.evaluate()


def test_classes_must_be_the_categories(tiny_gt):
    metric = VISMetric(tiny_gt, allow_missing=True)
    metric.dataset_meta = dict(classes=('dog', 'bird'))
    with pytest.raises(ValueError, match=r"\['cat', 'dog'\], got"):
        metric.evaluate()
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    assert metric.evaluate()['vis/AP'] == 0


@pytest.mark.parametrize('classes, label', [(('dog', 'cat'), 1),
                                            (('Cat', 'Dog'), 0)])
def test_labels_follow_the_names_of_the_data_set(classes, label, tiny_gt):
    """A reader that sorts by id or is given classes has another order."""
    metric = VISMetric(tiny_gt, allow_missing=True)
    metric.dataset_meta = dict(classes=classes)
    metric.process(
        None,
        [frame_sample(5, 1, 2, [dict(tracklet(tiny_gt, 0, 0), label=label)])])
    assert metric.evaluate()['vis/AP'] == pytest.approx(0.5)


@pytest.mark.parametrize('path, fits', [
    ('data/clips/five/00001.jpg', True),
    ('data/other/00001.jpg', False),
    ('data/five/00000.jpg', False),
])
def test_frames_must_be_those_of_the_file(path, fits, tiny_gt):
    gt = load_json(tiny_gt)
    for video in gt['videos']:
        video['file_names'] = [f'five/{i:05}.jpg' for i in range(2)]
    Path(tiny_gt).write_text(json.dumps(gt))
    metric = VISMetric(tiny_gt, allow_missing=True)
    sample = frame_sample(5, 1, 2, [])
    sample.video_data_samples[0].set_metainfo(dict(img_path=path))
    if fits:
        metric.process(None, [sample.to_dict()])
    else:
        with pytest.raises(
                ValueError,
                match=f'got {path} as the last frame of video_id 5, which is '
                r'five/00001\.jpg in .*gt\.json'):
            metric.process(None, [sample.to_dict()])


def test_format_only_writes_the_submission(tiny_gt, tmp_path):
    gt = load_json(tiny_gt)
    annotations = gt.pop('annotations')
    no_labels = tmp_path / 'valid.json'
    no_labels.write_text(json.dumps(gt))
    prefix = tmp_path / 'new' / 'out'
    metric = VISMetric(
        str(no_labels), format_only=True, outfile_prefix=str(prefix))
    metric.process(None, [
        frame_sample(2, 1, 2, []),
        frame_sample(5, 1, 2, [tracklet(tiny_gt, 1, 1, 0.25)])
    ])
    assert metric.evaluate() == {}
    rows = load_json(f'{prefix}.json')
    assert rows == [
        dict(
            video_id=5,
            category_id=10,
            score=0.25,
            segmentations=annotations[1]['segmentations'])
    ]
    with zipfile.ZipFile(f'{prefix}.zip') as archive:
        entry, = archive.infolist()
        assert entry.date_time[0] == 1980  # equal results are equal files
        assert entry.compress_type == zipfile.ZIP_DEFLATED
        assert archive.namelist() == ['results.json']
        assert json.loads(archive.read('results.json')) == rows
    assert sorted(os.listdir(prefix.parent)) == ['out.json', 'out.zip']
    assert evaluate_vis(tiny_gt, f'{prefix}.json')['AP'] > 0


def test_25th_class_from_the_file_to_the_submission(tmp_path, tiny_gt):
    """The last one of OVIS: read, counted and sent."""
    gt = load_json(tiny_gt)
    gt['videos'] = [dict(gt['videos'][0], file_names=['0.jpg', '1.jpg'])]
    gt['categories'] = [
        dict(id=i, name=name) for i, name in enumerate(OVIS, 1)
    ]
    tube = [None, gt['annotations'][0]['segmentations'][1]]
    gt['annotations'] = [
        dict(
            gt['annotations'][0],
            category_id=25,
            segmentations=tube,
            bboxes=[None, [0, 0, 4, 8]],
            areas=[None, 32])
    ]
    path = tmp_path / 'ovis.json'
    path.write_text(json.dumps(gt))
    dataset = VISDataset(ann_file=str(path), pipeline=[])
    instance, = dataset.get_data_info(0)['images'][1]['instances']
    assert instance['bbox_label'] == 24
    metric = VISMetric(str(path), outfile_prefix=str(tmp_path / 'results'))
    metric.dataset_meta = dataset.metainfo
    metric.process(
        None,
        [frame_sample(5, 1, 2, [tracklet(path, 0, instance['bbox_label'])])])
    assert metric.evaluate()['vis/AP'] == pytest.approx(1)
    with zipfile.ZipFile(tmp_path / 'results.zip') as archive:
        row, = json.loads(archive.read('results.json'))
    assert row == dict(
        video_id=5, category_id=25, score=0.5, segmentations=tube)


def test_failed_write_leaves_nothing(tiny_gt, tmp_path, monkeypatch):
    gt, prefix = load_json(tiny_gt), tmp_path / 'sent' / 'out'
    write_submission([], str(prefix), gt)
    before = Path(f'{prefix}.zip').read_bytes()

    def full(*args, **kwargs):
        raise OSError('No space left on device')

    monkeypatch.setattr(zipfile.ZipFile, 'writestr', full)
    with pytest.raises(OSError, match='No space'):
        write_submission([], str(prefix), gt)
    assert Path(f'{prefix}.zip').read_bytes() == before
    assert sorted(os.listdir(prefix.parent)) == ['out.json', 'out.zip']


def test_submission_is_validated(tiny_gt, tmp_path):
    row = dict(
        video_id=5,
        category_id=30,
        score=0.5,
        segmentations=[dict(size=[8, 8], counts='05'), None])
    prefix = tmp_path / 'sent' / 'out'
    with pytest.raises(ValueError, match='results: result 0, video 5'):
        write_submission([row], str(prefix), load_json(tiny_gt))
    assert not prefix.parent.exists()


def test_options_of_evaluate_vis(tiny_gt):
    metric = VISMetric(
        tiny_gt,
        allow_missing=True,
        options=dict(class_agnostic=True, short_videos=2))
    metric.process(None, [frame_sample(5, 1, 2, [tracklet(tiny_gt, 0, 1)])])
    stats = metric.evaluate()
    assert stats['vis/AP'] == 0 and stats['vis/AR100_agnostic'] > 0
    assert stats['vis/AP_short'] == 0 and stats['vis/AP_long'] == -1


def test_finished_videos_count(tiny_gt, tmp_path):
    folder = str(tmp_path / 'finished')
    samples = [
        frame_sample(5, 1, 2, [tracklet(tiny_gt, 0, 0, 1 / 3)]),
        frame_sample(2, 1, 2, [tracklet(tiny_gt, 2, 1, 0.7)])
    ]
    metric = VISMetric(tiny_gt)
    metric.process(None, samples)
    expected = metric.evaluate()
    killed = VISMetric(tiny_gt, resume_dir=folder)
    killed.process(None, samples[:1])
    assert sorted(os.listdir(folder)) == ['5.json']
    metric = VISMetric(tiny_gt, resume_dir=folder)
    with pytest.raises(ValueError, match='video_id 2'):
        metric.evaluate()
    metric.process(None, samples[1:])
    assert metric.evaluate() == expected
    # a video that comes again replaces what was kept of it
    metric.process(None, [frame_sample(5, 1, 2, []), samples[1]])
    assert metric.evaluate() != expected


def test_bad_arguments(tiny_gt, tmp_path):
    with pytest.raises(ValueError, match='needs an outfile_prefix'):
        VISMetric(tiny_gt, format_only=True)
    with pytest.raises(FileNotFoundError, match='ann_file does not exist'):
        VISMetric(str(tmp_path / 'none.json'))


def evaluate_rank(rank, store, ann_file, collect_dir, out):
    """Run one of two ranks; rank 1 has one video and a copy of another."""
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    metric = VISMetric(ann_file, collect_dir=collect_dir)
    videos = recorded_samples()
    mine = videos[:-1] if rank == 0 else [videos[-1], videos[0]]
    for video in mine:
        for sample in video:
            metric.process(None, [sample.to_dict()])
    Path(f'{out}.{rank}').write_text(json.dumps(metric.evaluate(len(videos))))
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks(tmp_path):
    args = [
        str(tmp_path / 'store'),
        str(CASE / 'gt.json'),
        str(tmp_path / 'parts'),
        str(tmp_path / 'out')
    ]
    env = dict(os.environ, PYTHONPATH=str(Path(__file__).parents[2]))
    ranks = [
        subprocess.Popen([sys.executable, __file__,
                          str(rank), *args], env=env) for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    expected = load_json(CASE / 'expected.json')
    for rank in range(2):
        stats = load_json(tmp_path / f'out.{rank}')
        for name, value in zip(expected['stats_names'], expected['stats']):
            assert stats[f'vis/{name}'] == pytest.approx(value, abs=1e-12)


if __name__ == '__main__':
    evaluate_rank(int(sys.argv[1]), *sys.argv[2:])
