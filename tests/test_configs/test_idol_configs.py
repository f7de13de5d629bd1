# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""IDOL's configs, at reduced size: loss, predict, data and numbers."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose

from refinevis_mm.registry import DATASETS, MODELS
from tests.demo_clips import demo_clip, empty_clip, two_object_clip
from tests.tiny_idol import tiny_idol_cfg
from tests.training_checks import assert_trains

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob('configs/idol/*.py'))
R50 = [path for path in CONFIGS if '_r50_' in path]
# height and width of the drawn videos
SIZE = (45, 80)


def _build(path):
    torch.manual_seed(0)
    model = MODELS.build(tiny_idol_cfg(str(ROOT / path)).model)
    model.init_weights()
    return model


def test_every_data_set_has_both_backbones():
    assert len(CONFIGS) == 6 and len(R50) == 3


@pytest.mark.parametrize('path, clip', [
    *[(path, two_object_clip) for path in CONFIGS],
    (CONFIGS[0], empty_clip),
])
def test_loss(path, clip):
    model = _build(path).train()
    losses = model.loss(torch.randn(2, 2, 3, 64, 96), [clip(), empty_clip()])
    assert sum(key.startswith('loss_assoc') for key in losses) == 2
    assert not any('refine' in key for key in losses)
    assert_trains(model, losses)


@pytest.mark.parametrize('path', CONFIGS)
def test_predict(path):
    model = _build(path).eval()
    # at initialisation no score reaches the thresholds
    torch.nn.init.constant_(model.frame_model.head.fc_cls[-1].bias, 0.)
    boxes = [[(8, 8, 40, 40)]] * 2
    with torch.no_grad():
        for t in range(2):
            out, = model.predict(
                torch.randn(1, 1, 3, 64, 96), [
                    demo_clip(
                        [boxes[t]], [1], [0], first_frame=t, video_length=2)
                ])
    tracklets = out.metainfo['pred_tracklets']
    num_classes = 25 if 'ovis' in path else 40
    assert len(tracklets) >= num_classes
    assert {item['label'] for item in tracklets} <= set(range(num_classes))
    assert all(len(item['segmentations']) == 2 for item in tracklets)


@pytest.mark.parametrize('path', R50)
def test_numbers_of_idol(path):
    cfg = Config.fromfile(str(ROOT / path))
    ovis = 'ovis' in path
    assert cfg.train_cfg.max_iters == 12000
    assert cfg.param_scheduler.milestones == [8000]
    assert 8 * cfg.train_dataloader.batch_size == (16 if ovis else 32)
    tracker = MODELS.build(cfg.model.tracker)
    thresholds = (0.3, 0.3) if ovis else (0.5, 0.2)
    assert (tracker.mask_nms_thr, tracker.new_score_thr) == thresholds
    frame_model = cfg.model.frame_model
    assert frame_model.head.num_classes == (25 if ovis else 40)
    assert frame_model.encoder.num_layers == 6
    assert frame_model.decoder.num_queries == 300
    scales = cfg.train_pipeline[3].transforms[0].scales
    assert len(scales) == 11
    assert {scale[0] for scale in scales} == {1333 if ovis else 768}
    shorts = [scale[1] for scale in scales]
    assert (shorts[0], shorts[-1]) == ((480, 800) if ovis else (320, 640))
    assert cfg.test_pipeline[0].transforms[1].scale == \
        (1333, 720 if ovis else 480)
    assert cfg.train_dataloader.dataset.pipeline == cfg.train_pipeline
    assert cfg.test_dataloader.dataset.pipeline == cfg.test_pipeline
    assert cfg.test_dataloader == cfg.val_dataloader
    assert cfg.test_evaluator == cfg.val_evaluator


@pytest.fixture
def official_files(tmp_path, monkeypatch):
    """One video of six frames in the folders the config names."""
    monkeypatch.chdir(tmp_path)
    height, width = SIZE
    rng = np.random.default_rng(0)

    def make(cfg, num_classes):
        dataset = cfg.train_dataloader.dataset
        names = [f'video/{t:05d}.jpg' for t in range(6)]
        annotations = [
            dict(
                id=obj + 1,
                video_id=1,
                category_id=obj + 1,
                iscrowd=0,
                segmentations=[[[
                    10 * obj + t, 5, 10 * obj + t + 20, 5, 10 * obj + t + 20,
                    35, 10 * obj + t, 35
                ]] for t in range(6)]) for obj in range(3)
        ]
        content = dict(
            videos=[dict(id=1, height=height, width=width, file_names=names)],
            categories=[
                dict(id=i + 1, name=f'class {i}') for i in range(num_classes)
            ],
            annotations=annotations)
        root = tmp_path / dataset.data_root
        for name in names:
            path = root / dataset.data_prefix.img_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = rng.integers(0, 255, (height, width, 3), np.uint8)
            cv2.imwrite(str(path), image)
        ann_file = root / dataset.ann_file
        ann_file.parent.mkdir(parents=True, exist_ok=True)
        ann_file.write_text(json.dumps(content))

    return make


@pytest.mark.parametrize('path', R50)
def test_training_pairs(path, official_files):
    """Flip and resize are shared, the crop is not, sizes agree."""
    cfg = Config.fromfile(str(ROOT / path))
    num_classes = cfg.model.frame_model.head.num_classes
    official_files(cfg, num_classes)
    crop, = cfg.train_pipeline[2].transforms[0].transforms
    crop.crop_size = (20, 30)  # the frames here are smaller than 384
    resize = cfg.train_pipeline[3].transforms[0]
    resize.scales = [(80, 40), (80, 30)]
    cfg.train_dataloader.dataset.pipeline = cfg.train_pipeline
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(dataset.metainfo['classes']) == num_classes
    np.random.seed(0)
    whole = 0
    for _ in range(12):
        item = dataset[0]
        assert item['inputs'].shape[:2] == (2, 3)
        first, second = item['data_samples'].video_data_samples
        assert 1 <= second.frame_id - first.frame_id <= 5
        assert first.flip == second.flip
        sizes = [
            tuple(sample.gt_instances.masks.masks.shape[1:])
            for sample in (first, second)
        ]
        assert sizes == [tuple(item['inputs'].shape[2:])] * 2
        for sample in (first, second):
            gt = sample.gt_instances
            assert len(gt.instances_ids) == len(gt.labels) == len(gt.masks)
            assert (gt.masks.areas > 0).all()
        # an uncropped frame keeps its ratio
        whole += sizes[0] in ((40, 71), (30, 53))
    assert 0 < whole < 12


@pytest.mark.parametrize('path', R50)
def test_test_frames(path, official_files):
    cfg = Config.fromfile(str(ROOT / path))
    official_files(cfg, cfg.model.frame_model.head.num_classes)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    image = dataset.get_data_info(0)['images'][0]
    frame = {key: [value] for key, value in image.items()}
    short = cfg.test_pipeline[0].transforms[1].scale[1]
    out = Compose(cfg.test_pipeline)(
        dict(frame, video_id=[1], video_length=[6], ori_video_length=[6]))
    assert out['inputs'].shape == (1, 3, short, short * 80 // 45)
