# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.models.dense_heads import RPNHead
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.compat.mmcv_lite import has_compiled_ops
from refinevis_mm.datasets.occluded_shapes import (CLASSES,
                                                   OccludedShapesGenerator)
from refinevis_mm.models.adapters.class_agnostic_rpn_head import \
    ClassAgnosticRPNHead
from refinevis_mm.models.adapters.roi_refinement import (record_features,
                                                         to_track_instances)
from refinevis_mm.models.adapters.tar_mask_track_rcnn import TARMaskTrackRCNN
from refinevis_mm.registry import DATASETS, MODELS
from refinevis_mm.structures import DecodedFrame, FrameTargets
from refinevis_mm.vis_json import YouTubeVISWriter
from tests.tar_checks import assert_equal_instances, hide_frame
from tests.training_checks import assert_trains

CONFIG = ('configs/tar_dropin/tar-masktrack-rcnn_mobilenet-v2_fpn_2xb2-5k_'
          'occluded-shapes.py')
README = 'configs/tar_dropin/README.md'
HEIGHT, WIDTH = 91, 131  # neither divisible by 4
LENGTH = 5  # frames of the video that the tests see
MISSED = 2  # frame in which a test hides all detections
TAR_OPTIONS = ('mode', 'window', 'tracklet_builder', 'tar_head', 'cls_thr',
               'exclusive_recovery')


def needs_ops(test):
    """Mark a test that calls compiled operators."""
    skip = pytest.mark.skipif(
        not has_compiled_ops(),
        reason='RoIAlign and NMS need compiled mmcv (make test-ops)')
    return pytest.mark.ops(skip(test))


def _cfg(**options):
    """The small config with thresholds that random weights pass."""
    cfg = Config.fromfile(CONFIG)
    cfg.merge_from_dict(
        dict(
            model=dict(
                detector=dict(
                    backbone=dict(init_cfg=None),
                    test_cfg=dict(
                        rpn=dict(max_per_img=20),
                        rcnn=dict(score_thr=0.0, max_per_img=4))),
                cls_thr=0.0,
                exclusive_recovery=False,
                tracklet_builder=dict(iou_thr=0.0),
                tar_head=dict(drop_prob=0.0, loss_mask=dict(num_points=64)))))
    cfg.merge_from_dict({
        f'model.{key}': value
        for key, value in options.items()
    })
    return cfg


def _build(**options):
    torch.manual_seed(0)
    return MODELS.build(_cfg(**options).model)


@pytest.fixture(scope='module')
def trained():
    return _build()


@pytest.fixture
def model(trained, monkeypatch):
    """The model; a test may set its options at test time."""
    monkeypatch.setattr(trained, 'window', 4)
    monkeypatch.setattr(trained, 'mode', 'online')
    monkeypatch.setattr(trained, 'cls_thr', 0.0)
    return trained


@pytest.fixture(scope='module')
def parent(trained):
    """mmdet's own MaskTrackRCNN with the weights of the model."""
    cfg = _cfg().model
    for name in TAR_OPTIONS:
        cfg.pop(name)
    parent = MODELS.build(dict(cfg, type='MaskTrackRCNN'))
    parent.load_state_dict({
        key: value
        for key, value in trained.state_dict().items()
        if not key.startswith('tar_')
    })
    return parent


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A generated video."""
    root = tmp_path_factory.mktemp('shapes')
    generator = OccludedShapesGenerator(
        height=HEIGHT, width=WIDTH, num_frames=(20, 20))
    video = generator.generate((1, 5))
    writer = YouTubeVISWriter(str(root), 'train', CLASSES, 'test')
    writer.add_video(video.frames, video.labels, video.masks, video.visibility)
    writer.save()
    return root


def _dataset(root, loader):
    dataset = _cfg()[loader].dataset
    dataset.update(
        data_root=str(root),
        ann_file='train.json',
        data_prefix=dict(img_path='train/JPEGImages/'))
    return DATASETS.build(dataset)


@pytest.fixture
def clips(root, trained):
    """Two training clips; the key frame of the second one comes last."""
    np.random.seed(0)
    dataset = _dataset(root, 'train_dataloader')
    data = trained.data_preprocessor(
        pseudo_collate([dataset[(0, 2)], dataset[(0, 9)]]), training=True)
    data['data_samples'][1].set_metainfo(
        dict(key_frames_inds=[1], ref_frames_inds=[0]))
    return data['inputs'], data['data_samples']


@pytest.fixture(scope='module')
def video(root, trained):
    """The first frames of the video as one sample, for testing."""
    data = trained.data_preprocessor(
        pseudo_collate([_dataset(root, 'test_dataloader')[0]]))
    sample, = data['data_samples']
    sample.video_data_samples = list(sample)[:LENGTH]
    for frame in sample:
        frame.set_metainfo(dict(ori_video_length=LENGTH, video_length=LENGTH))
    return data['inputs'][:, :LENGTH], sample


def _predict(model, video):
    """The whole video in one call."""
    inputs, sample = video
    with torch.no_grad():
        return model.eval().predict(inputs, [sample.clone()])[0]


def _predict_frames(model, video):
    """One frame a call, as mmdet's loader hands them over."""
    inputs, sample = video
    outs = []
    for t, frame in enumerate(sample):
        single = TrackDataSample()
        single.video_data_samples = [frame.clone()]
        single[0].set_metainfo(dict(video_length=1))
        with torch.no_grad():
            outs += model.eval().predict(inputs[:, t:t + 1], [single])
    return outs


# Training


def test_without_tar():
    """No layers of TAR, no losses of it, and the parent's results only."""
    model = _build(tar_head=None, tracklet_builder=None, window=0)
    assert not any(name.startswith('tar_') for name in model.state_dict())
    assert model.num_classes == len(CLASSES)
    assert model.loss_refinement([], [], []) == {}
    for options, reason in [
        (dict(tar_head=None, window=4), 'window must be 0 without tar_head'),
        (dict(tracklet_builder=None), 'tracklet_builder must be given'),
    ]:
        with pytest.raises(ValueError, match=reason):
            _build(**options)


@needs_ops
def test_loss_is_the_parent_s_and_tar_s(model, parent, clips):
    inputs, samples = clips
    torch.manual_seed(1)
    expected = parent.train().loss(inputs, samples)
    model.train()
    model.zero_grad(set_to_none=True)
    torch.manual_seed(1)
    losses = model.loss(inputs, samples)
    assert set(losses) - set(expected) == {
        'loss_refine_cls', 'loss_refine_mask', 'loss_refine_dice'
    }
    for name, value in expected.items():
        assert_close(losses[name], value)
    assert_trains(model, losses)
    assert model.tar_roi_embed[1].weight.grad.abs().sum() > 0
    assert model.tar_box_embed.layers[0].weight.grad.abs().sum() > 0
    assert model.tar_mask_feature[0].conv.weight.grad.abs().sum() > 0


def _empty(sample):
    for frame in sample:
        frame.gt_instances = frame.gt_instances[:0]


def _seen_once(sample):
    sample[1].gt_instances = sample[1].gt_instances[:0]


def _without_area(sample):
    for frame in sample:
        frame.gt_instances.bboxes[:, 2:] = frame.gt_instances.bboxes[:, :2]


@needs_ops
@pytest.mark.parametrize('change', [_empty, _seen_once, _without_area])
def test_poor_ground_truth_trains(change, model, clips):
    inputs, samples = clips
    for sample in samples:
        change(sample)
    model.train()
    model.zero_grad(set_to_none=True)
    losses = model.loss(inputs, samples)
    refine = sum(losses[name] for name in losses if 'refine' in name)
    assert torch.isfinite(refine)
    refine.backward()
    for name, param in model.named_parameters():
        if name.startswith('tar_'):
            assert torch.isfinite(param.grad).all(), name


@needs_ops
def test_training_queries_belong_to_their_frame(model, clips, monkeypatch):
    inputs, samples = clips
    model.train()
    seen = []
    build = model.tracklet_builder.__class__.__call__
    monkeypatch.setattr(
        model.tracklet_builder.__class__, '__call__',
        lambda self, *args: seen.append(args) or build(self, *args))
    with torch.no_grad():
        model.loss(inputs, samples)
    frames, targets, matches = seen[0][:3]
    assert targets[1].frame_inds.tolist() == \
        [frame.frame_id for frame in samples[1]]
    size = frames.boxes.new_tensor(inputs.shape[-2:]).flip(0).repeat(2)
    for row, image in enumerate(inputs.flatten(0, 1)):
        num = int(matches[row].background.sum() +
                  (matches[row].best_query >= 0).sum())
        boxes = frames.boxes[row, :num]
        corners = torch.cat(
            [boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2],
            1) * size
        with torch.no_grad():
            feats = model.detector.extract_feat(image[None])
            expected, = model._roi_embeds(feats, [corners])
        assert_close(
            frames.assoc_embeds[row, :num], expected, rtol=1e-3, atol=1e-3)


def test_features_in_the_order_of_the_clip(model):
    samples = []
    for key in (0, 1):
        samples.append(TrackDataSample())
        samples[-1].set_metainfo(dict(key_frames_inds=[key]))
    # clip 0 has frames 1, 2 and clip 1 frames 3, 4; its key is 4
    key_feats = [torch.tensor([1., 4.]).view(2, 1, 1, 1)]
    ref_feats = [torch.tensor([2., 3.]).view(2, 1, 1, 1)]
    feats, = TARMaskTrackRCNN._in_clip_order([key_feats, ref_feats], samples)
    assert feats.flatten().tolist() == [1, 2, 3, 4]


def test_proposals_by_hand(model):
    proposals = InstanceData(
        bboxes=torch.tensor([[0., 0, 10, 10], [50, 50, 60, 60], [0, 0, 10, 8],
                             [20, 20, 40, 40], [70, 0, 80, 10]]),
        scores=torch.tensor([0.1, 0.2, 0.9, 0.8, 0.7]))
    target = FrameTargets(
        labels=torch.tensor([3, 1]),
        boxes=torch.tensor([[5., 5, 10, 10], [30, 30, 20, 20]]) / 100,
        masks=torch.ones(2, 100, 100, dtype=torch.bool),
        slots=torch.tensor([0, 1]))
    inds, match = model._select_proposals(proposals, target, (100, 100))
    # the best of each object, then the free ones by score; 2 is half taken
    assert inds.tolist() == [0, 3, 4, 1]
    assert match.gt_inds.tolist() == [0, 1, -1, -1]
    assert match.best_query.tolist() == [0, 1]
    inds, match = model._select_proposals(proposals[:0], target, (100, 100))
    assert len(inds) == len(match.gt_inds) == 0
    assert match.best_query.tolist() == [-1, -1]


def test_class_agnostic_rpn():
    cfg = _cfg().model.detector
    options = dict(
        cfg.rpn_head, train_cfg=cfg.train_cfg.rpn, test_cfg=cfg.test_cfg.rpn)
    options.pop('type')
    ours, theirs = ClassAgnosticRPNHead(**options), RPNHead(**options)
    theirs.load_state_dict(ours.state_dict())
    feats = [torch.randn(1, 128, 32 // 2**i, 32 // 2**i) for i in range(5)]

    def loss(head, label):
        sample = DetDataSample(
            metainfo=dict(img_shape=(128, 128), pad_shape=(128, 128)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[20., 20., 60., 60.]]),
            labels=torch.tensor([label]))
        torch.manual_seed(0)
        value = torch.stack(head.loss(feats, [sample])['loss_rpn_cls']).sum()
        assert sample.gt_instances.labels.item() == label
        return value

    assert_close(loss(ours, 3), loss(theirs, 0))
    assert not torch.isclose(loss(theirs, 3), loss(theirs, 0))


# Inference


@needs_ops
@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_predict_refines_every_frame(mode, model, video):
    model.mode = mode
    out = _predict(model, video)
    for frame in out:
        found = frame.pred_track_instances
        assert len(found) > 0
        assert found.masks.shape[1:] == (HEIGHT, WIDTH)
        assert found.masks.flatten(1).any(1).all()
        assert len(set(found.instances_id.tolist())) == len(found)
        assert torch.isfinite(found.scores).all()
        assert (found.bboxes[:, 2:] <= torch.tensor([WIDTH, HEIGHT])).all()
    tracklets = out.metainfo['pred_tracklets']
    assert len(tracklets) > 0 and out.metainfo['video_length'] == LENGTH
    assert all(len(row['segmentations']) == LENGTH for row in tracklets)


@needs_ops
def test_window_zero_is_the_parent(model, parent, video):
    model.window = 0
    out = _predict(model, video)
    expected = _predict(parent, video)
    for actual, frame in zip(out, expected):
        assert_equal_instances(actual.pred_track_instances,
                               frame.pred_track_instances)
    assert len(out.metainfo['pred_tracklets']) > 0


@needs_ops
def test_online_frames_one_by_one(model, video):
    whole = _predict(model, video)
    frames = _predict_frames(model, video)
    for single, frame in zip(frames, whole):
        assert_equal_instances(single[0].pred_track_instances,
                               frame.pred_track_instances)
    assert frames[-1].metainfo['pred_tracklets'] == \
        whole.metainfo['pred_tracklets']
    assert all('pred_tracklets' not in out.metainfo for out in frames[:-1])


@needs_ops
def test_offline_frames_one_by_one_report_all(model, parent, video):
    model.mode = 'offline'
    whole = _predict(model, video)
    frames = _predict_frames(model, video)
    assert frames[-1].metainfo['pred_tracklets'] == \
        whole.metainfo['pred_tracklets']
    # refined too late for the frame's own sample
    expected = _predict(parent, video)
    for single, frame in zip(frames, expected):
        assert_equal_instances(single[0].pred_track_instances,
                               frame.pred_track_instances)


@needs_ops
@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_missed_objects_are_recovered(mode, model, video, monkeypatch):
    model.mode, model.window = mode, 10
    hide_frame(model.tracker, MISSED, monkeypatch)
    out = _predict(model, video)
    before = out[MISSED - 1].pred_track_instances
    missed = out[MISSED].pred_track_instances
    assert before.detected.any()
    assert len(missed) > 0 and not missed.detected.any()
    seen = {
        i
        for frame in out
        for i in frame.pred_track_instances[
            frame.pred_track_instances.detected].instances_id.tolist()
    }
    assert set(missed.instances_id.tolist()) <= seen


@needs_ops
@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_video_without_any_instance(mode, model, video, monkeypatch):
    model.mode = mode
    track = model.tracker.track
    monkeypatch.setattr(model.tracker, 'track',
                        lambda **kwargs: track(**kwargs)[:0])
    out = _predict(model, video)
    assert all(len(frame.pred_track_instances) == 0 for frame in out)
    assert out.metainfo['pred_tracklets'] == []


@needs_ops
def test_weak_recoveries_are_left_out(model, video, monkeypatch):
    model.cls_thr = 0.99
    hide_frame(model.tracker, MISSED, monkeypatch)
    out = _predict(model, video)
    assert len(out[MISSED].pred_track_instances) == 0
    assert len(out[MISSED - 1].pred_track_instances) > 0


@needs_ops
def test_online_ignores_the_future(model, video):
    inputs, sample = video
    changed = inputs.clone()
    changed[:, 4:] = torch.randn_like(changed[:, 4:])
    out, other = _predict(model, video), _predict(model, (changed, sample))
    for t in range(4):
        assert_equal_instances(out[t].pred_track_instances,
                               other[t].pred_track_instances)


def _instances(ids, labels, scores):
    return InstanceData(
        instances_id=torch.tensor(ids, dtype=torch.long),
        bboxes=torch.zeros(len(ids), 4),
        labels=torch.tensor(labels, dtype=torch.long),
        scores=torch.tensor(scores),
        masks=torch.ones(len(ids), 4, 6, dtype=torch.bool))


def test_tracklets_without_refinement_by_hand(model):
    model.window = 0
    metas = [
        dict(frame_id=t, video_id=8, ori_video_length=2, video_length=1)
        for t in range(2)
    ]
    model.refine_frame([], _instances([5], [2], [0.5]), metas[0])
    assert model.video_metainfo(metas[0]) == {}
    # mmdet's tracker may give an id twice; the later one is the better match
    model.refine_frame([], _instances([5, 7, 5], [1, 0, 2], [0.9, 0.4, 0.7]),
                       metas[1])
    report = model.video_metainfo(metas[1])
    assert report['video_id'] == 8 and report['video_length'] == 2
    rows = [(row['instances_id'], row['label'], round(row['score'], 4),
             [segm is None for segm in row['segmentations']])
            for row in report['pred_tracklets']]
    assert rows == [(5, 2, 0.6, [False, False]), (7, 0, 0.4, [True, False])]


def test_a_video_starts_with_its_first_frame(model):
    with pytest.raises(ValueError, match='start with frame_id 0, got 3'):
        model.refine_frame([], _instances([5], [2], [0.5]), dict(frame_id=3))


def test_track_instances_by_hand():
    masks = torch.zeros(3, 6, 8, dtype=torch.bool)
    masks[0, 1:3, 2:7] = True
    masks[2, 5, 0] = True
    found = to_track_instances(
        DecodedFrame(
            frame_id=0,
            ids=[4, 9, 6],
            cls_scores=torch.tensor([[0.1, 0.7], [0.5, 0.4], [0.3, 0.2]]),
            detected=torch.tensor([True, True, False]),
            scored=torch.tensor([True, True, False]),
            masks=masks))
    assert found.instances_id.tolist() == [4, 6]  # 9 has no pixel
    assert found.bboxes.tolist() == [[2, 1, 7, 3], [0, 5, 1, 6]]
    assert found.labels.tolist() == [1, 0]
    assert_close(found.scores, torch.tensor([0.7, 0.3]))
    assert found.detected.tolist() == [True, False]


# Building


def test_checkpoints_of_the_parent_load(model, parent):
    keys = model.load_state_dict(parent.state_dict(), strict=False)
    assert keys.unexpected_keys == []
    assert len(keys.missing_keys) > 0
    assert all(key.startswith('tar_') for key in keys.missing_keys)


@pytest.mark.parametrize('options, message', [
    ({
        'mode': 'both'
    }, "mode must be one of .*, got 'both'"),
    ({
        'window': -1
    }, 'window must be a non-negative int, got -1'),
    ({
        'tar_head.heads': None
    }, 'heads of its own, got None'),
    ({
        'tar_head.heads.num_classes': 9
    }, 'the 7 classes of bbox_head, got 9'),
    ({
        'track_head.embed_head.num_fcs': 0
    }, 'got num_fcs=0'),
    ({
        'track_head.roi_extractor.featmap_strides': [8, 16]
    }, 'must have stride 4, got 8'),
])
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        _build(**options)


def test_features_are_recorded_and_the_detector_left_alone(model):
    detector = model.eval().detector
    image = torch.zeros(1, 3, 32, 32)
    with pytest.raises(RuntimeError), record_features(detector) as recorded:
        feats = detector.extract_feat(image)
        raise RuntimeError
    assert recorded == [feats]
    assert 'extract_feat' not in vars(detector)


def _readme_examples():
    return re.findall(r'```python\n(.*?)```', Path(README).read_text(), re.S)


def test_readme_config(tmp_path):
    (tmp_path / 'mine.py').write_text(_readme_examples()[0])
    cfg = Config.fromfile(str(tmp_path / 'mine.py'))
    model = MODELS.build(cfg.model)
    assert isinstance(model, TARMaskTrackRCNN)
    assert model.tar_head.loss_cls.loss_weight == 4.0
    assert cfg.train_dataloader.dataset.type == 'YouTubeVISDataset'


def test_readme_any_tracker(capsys):
    example = next(code for code in _readme_examples() if 'push' in code)
    exec(example, {})
    printed, promised = capsys.readouterr().out, example.split('# ')[-1]
    assert printed.split() == promised.split()
