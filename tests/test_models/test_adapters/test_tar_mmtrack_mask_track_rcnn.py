# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR in mmtrack's own MaskTrack R-CNN, on data read by mmtrack."""
import os
import os.path as osp
import random
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch.testing import assert_close

from refinevis_mm.compat.mmcv_lite import has_compiled_ops
from refinevis_mm.compat.mmtrack import import_mmtrack
from refinevis_mm.datasets.occluded_shapes import (CLASSES,
                                                   OccludedShapesGenerator)
from refinevis_mm.registry import DATASETS, MODELS
from refinevis_mm.vis_json import YouTubeVISWriter
from tests.tar_checks import assert_equal_instances, hide_frame
from tests.training_checks import assert_trains, total_loss

pytestmark = [
    pytest.mark.ops,
    pytest.mark.skipif(
        find_spec('mmtrack') is None or not has_compiled_ops(),
        reason='needs mmtrack and compiled mmcv (make test-ops)')
]
ROOT = osp.dirname(osp.dirname(osp.dirname(osp.dirname(__file__))))
CONFIG = osp.join(
    ROOT, 'configs/tar_dropin/'
    'tar-mmtrack-masktrack-rcnn_r50_fpn_8xb1-12e_youtubevis2019.py')
HEIGHT, WIDTH = 91, 131  # neither divisible by 4
LENGTH = 6  # frames of the video that most tests see
MISSED = 3  # frame in which a test hides all detections
TAR_OPTIONS = ('mode', 'window', 'tracklet_builder', 'tar_head')
DIMS = 32


def _tiny_model() -> dict:
    """What makes the model of the config tiny."""
    roi = dict(out_channels=DIMS)
    return dict(
        detector=dict(
            init_cfg=None,
            backbone=dict(depth=18, base_channels=8, init_cfg=None),
            neck=dict(in_channels=[8, 16, 32, 64], out_channels=DIMS),
            rpn_head=dict(in_channels=DIMS, feat_channels=DIMS),
            roi_head=dict(
                bbox_roi_extractor=roi,
                mask_roi_extractor=roi,
                bbox_head=dict(
                    in_channels=DIMS,
                    fc_out_channels=DIMS,
                    num_classes=len(CLASSES)),
                mask_head=dict(
                    num_convs=1,
                    in_channels=DIMS,
                    conv_out_channels=DIMS,
                    num_classes=len(CLASSES))),
            # random weights pass
            test_cfg=dict(
                rpn=dict(max_per_img=20),
                rcnn=dict(score_thr=0.0, max_per_img=4))),
        track_head=dict(
            roi_extractor=roi,
            embed_head=dict(in_channels=DIMS, fc_out_channels=DIMS)),
        cls_thr=0.0,
        exclusive_recovery=False,
        tracklet_builder=dict(iou_thr=0.01),
        tar_head=dict(
            embed_dims=DIMS,
            drop_prob=0.0,
            feedforward_channels=DIMS,
            heads=dict(
                num_classes=len(CLASSES), embed_dims=DIMS, mask_dims=DIMS),
            loss_mask=dict(num_points=64)))


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Generated videos in YouTube-VIS form, converted by mmtrack's tool."""
    root = tmp_path_factory.mktemp('shapes')
    generator = OccludedShapesGenerator(
        height=HEIGHT, width=WIDTH, num_frames=(20, 20))
    writer = YouTubeVISWriter(str(root), 'train', CLASSES, 'test')
    for seed in (4, 2):  # objects of all classes, as the tool wants
        video = generator.generate((1, seed))
        writer.add_video(video.frames, video.labels, video.masks,
                         video.visibility)
    writer.save()
    for split in ('valid', 'test'):
        shutil.copy(root / 'train.json', root / f'{split}.json')
    tool = osp.join(
        osp.dirname(find_spec('mmtrack').origin), '.mim', 'tools',
        'dataset_converters', 'youtubevis', 'youtubevis2coco.py')
    subprocess.run([
        sys.executable, tool, '-i', root, '-o', root / 'annotations',
        '--version', '2019'
    ],
                   check=True,
                   capture_output=True)
    return root


@pytest.fixture(scope='module')
def cfg(root):
    """The shipped config with a tiny model and the generated videos."""
    cfg = Config.fromfile(CONFIG)
    data = dict(
        data_root=str(root),
        ann_file='annotations/youtube_vis_2019_train.json',
        data_prefix=dict(img_path='train/JPEGImages'),
        metainfo=dict(CLASSES=CLASSES))
    loader = dict(num_workers=0, persistent_workers=False, dataset=data)
    cfg.merge_from_dict(
        dict(
            model=_tiny_model(),
            train_dataloader=loader,
            val_dataloader=loader,
            test_dataloader=loader,
            train_cfg=dict(
                _delete_=True,
                type='IterBasedTrainLoop',
                max_iters=2,
                val_begin=3),
            default_hooks=dict(
                logger=dict(interval=1), checkpoint=dict(by_epoch=False))))
    for pipeline in (cfg.train_dataloader.dataset.pipeline[0].transforms,
                     cfg.test_dataloader.dataset.pipeline):
        assert pipeline[2].type == 'mmdet.Resize'
        pipeline[2].scale = (WIDTH, HEIGHT)
    cfg.val_evaluator = cfg.test_evaluator = [
        dict(type='refinevis_mm.VISMetric', ann_file=str(root / 'train.json')),
        dict(type='mmtrack.YouTubeVISMetric', metric='youtube_vis_ap')
    ]
    return cfg


@pytest.fixture
def model(cfg):
    torch.manual_seed(0)
    return MODELS.build(cfg.model)


@pytest.fixture
def parent(cfg, model):
    """mmtrack's own MaskTrackRCNN with the weights of the model."""
    options = cfg.model.copy()
    for name in (*TAR_OPTIONS, 'cls_thr', 'exclusive_recovery'):
        options.pop(name)
    parent = MODELS.build(dict(options, type='mmtrack.MaskTrackRCNN'))
    assert type(parent) is import_mmtrack().models.MaskTrackRCNN
    parent.load_state_dict({
        key: value
        for key, value in model.state_dict().items()
        if not key.startswith('tar_')
    })
    return parent


@pytest.fixture
def clips(cfg, model):
    """Two training clips; the reference frame of the second comes first."""
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    random.seed(0)
    data = []
    for sign in (1, -1):
        sample = dataset[10]
        while (sample['data_samples'].ref_frame_id - 10) * sign < 0:
            sample = dataset[10]
        data.append(sample)
    data = model.data_preprocessor(pseudo_collate(data), training=True)
    return data['inputs'], data['data_samples']


@pytest.fixture
def video(cfg, model):
    """The first frames of a video, each as mmtrack's loader gives it."""
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    frames = [
        model.data_preprocessor(pseudo_collate([dataset[t]]))
        for t in range(LENGTH)
    ]
    for frame in frames:
        frame['data_samples'][0].set_metainfo(dict(video_length=LENGTH))
    return frames


def _predict(model, video):
    """One frame after the other."""
    model.eval()
    outs = []
    for frame in video:
        with torch.no_grad():
            outs += model.predict(
                frame['inputs'],
                [sample.clone() for sample in frame['data_samples']])
    return outs


def test_config_adds_tar_to_mmtrack_s():
    theirs = Config.fromfile(
        osp.join(
            osp.dirname(find_spec('mmtrack').origin), '.mim', 'configs', 'vis',
            'masktrack_rcnn', 'masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_'
            'youtubevis2019.py')).to_dict()
    ours = Config.fromfile(CONFIG).to_dict()
    assert ours['default_scope'] == 'mmtrack'
    for name in TAR_OPTIONS:
        ours['model'].pop(name)
    assert ours['model'].pop('type') == 'refinevis_mm.TARMMTrackMaskTrackRCNN'
    assert theirs['model'].pop('type') == 'MaskTrackRCNN'

    def without_scope(value):
        if isinstance(value, dict):
            return {
                key: without_scope(item)
                for key, item in value.items() if key != '_scope_'
            }
        if isinstance(value, (list, tuple)):
            return [without_scope(item) for item in value]
        return value

    for key in set(theirs) - {'val_evaluator', 'test_evaluator'}:
        assert without_scope(ours[key]) == without_scope(theirs[key]), key


def test_full_size_model_of_the_config():
    cfg = Config.fromfile(CONFIG)
    cfg.model.detector.init_cfg = None
    model = MODELS.build(cfg.model)
    assert model.num_classes == 40
    assert {name.split('.')[0].split('_')[0]
            for name in model.state_dict()} == {'detector', 'track', 'tar'}


def test_loss_is_the_parent_s_and_tar_s(model, parent, clips):
    inputs, samples = clips
    torch.manual_seed(1)
    expected = parent.train().loss(inputs, samples)
    torch.manual_seed(1)
    losses = model.train().loss(inputs, samples)
    assert set(losses) - set(expected) == {
        'loss_refine_cls', 'loss_refine_mask', 'loss_refine_dice'
    }
    for name, value in expected.items():
        assert_close(losses[name], value)
    assert_trains(model, losses)
    for param in (model.tar_head.layers[0].ffn.layers[1].weight,
                  model.tar_roi_embed[1].weight,
                  model.tar_mask_feature[0].conv.weight):
        assert param.grad.abs().sum() > 0


def test_frames_are_refined_in_the_order_of_the_video(model, clips,
                                                      monkeypatch):
    """Features, targets and frame numbers of a clip belong together."""
    inputs, samples = clips
    seen = {}

    def remember(feats, targets, metas):
        seen.update(feats=feats, targets=targets, metas=metas)
        return {}

    monkeypatch.setattr(model, 'loss_refinement', remember)
    model.train()
    with torch.no_grad():
        model.loss(inputs, samples)
    ids = [sorted([s.frame_id, s.ref_frame_id]) for s in samples]
    assert samples[0].frame_id < samples[0].ref_frame_id
    assert samples[1].frame_id > samples[1].ref_frame_id
    assert [t.frame_inds.tolist() for t in seen['targets']] == ids
    assert [meta['frame_id'] for meta in seen['metas']] == sum(ids, [])
    frames = torch.stack([
        inputs['img'][0, 0], inputs['ref_img'][0, 0], inputs['ref_img'][1, 0],
        inputs['img'][1, 0]
    ])
    for actual, expected in zip(seen['feats'],
                                model.detector.extract_feat(frames)):
        assert_close(actual, expected)
    for target, sample in zip(seen['targets'], samples):
        late = int(sample.frame_id > sample.ref_frame_id)
        for t, gt in ((late, sample.gt_instances), (1 - late,
                                                    sample.ref_gt_instances)):
            assert target.ids[target.valid[t]].tolist() == \
                sorted(gt.instances_id.tolist())


def _empty(sample):
    sample.gt_instances = sample.gt_instances[:0]
    sample.ref_gt_instances = sample.ref_gt_instances[:0]


def _empty_reference(sample):
    sample.ref_gt_instances = sample.ref_gt_instances[:0]


@pytest.mark.parametrize('change', [_empty, _empty_reference])
def test_poor_ground_truth_trains(change, model, clips):
    inputs, samples = clips
    for sample in samples:
        change(sample)
    losses = model.train().loss(inputs, samples)
    total = total_loss(losses)
    assert torch.isfinite(total)
    total.backward()
    for name, param in model.named_parameters():
        if name.startswith('tar_'):
            assert torch.isfinite(param.grad).all(), name


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_predict(mode, model, parent, video):
    model.mode = mode
    outs = _predict(model, video)
    expected = _predict(parent, video)
    for out, frame in zip(outs, expected):
        found = out.pred_track_instances
        assert len(found) > 0
        assert found.masks.shape[1:] == (HEIGHT, WIDTH)
        assert ('detected' in found) == (mode == 'online')
        if mode == 'offline':  # refined too late for the frame's own sample
            assert_equal_instances(found, frame.pred_track_instances)
    assert all('pred_tracklets' not in out.metainfo for out in outs[:-1])
    tracklets = outs[-1].metainfo['pred_tracklets']
    assert len(tracklets) > 0
    assert all(len(row['segmentations']) == LENGTH for row in tracklets)


def test_window_zero_is_the_parent(model, parent, video):
    model.window = 0
    outs, expected = _predict(model, video), _predict(parent, video)
    for out, frame in zip(outs, expected):
        assert_equal_instances(out.pred_track_instances,
                               frame.pred_track_instances)
    assert len(outs[-1].metainfo['pred_tracklets']) > 0


def test_missed_objects_are_recovered(model, video, monkeypatch):
    hide_frame(model.tracker, MISSED, monkeypatch)
    outs = _predict(model, video)
    missed = outs[MISSED].pred_track_instances
    assert len(missed) > 0 and not missed.detected.any()
    assert outs[MISSED - 1].pred_track_instances.detected.any()


def test_rescale_is_needed(model, video):
    with pytest.raises(ValueError, match='rescale must be True'):
        model.predict(**video[0], rescale=False)


@pytest.mark.timeout(300)
def test_tools_train_and_test(cfg, tmp_path):
    config = tmp_path / 'tiny.py'
    cfg.dump(str(config))
    env = dict(os.environ, PYTHONPATH=ROOT)

    def run(tool, *args):
        done = subprocess.run(
            [sys.executable,
             osp.join(ROOT, 'tools', tool), config, *args],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    out = run('train.py', '--work-dir', 'run')
    assert 'loss_refine_mask' in out
    out = run('test.py', 'run/iter_2.pth', '--work-dir', 'run')
    assert 'vis/AP' in out and 'youtube_vis/segm_mAP' in out
