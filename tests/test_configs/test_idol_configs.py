# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""IDOL's configs, at reduced size: loss, predict, data and numbers."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
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
COCO = [path for path in CONFIGS if '_coco' in path]
IMAGES = [path for path in COCO if 'image' in path]
TRAINED = [path for path in CONFIGS if path not in COCO]
R50 = [path for path in TRAINED if '_r50_' in path]
# height and width of the drawn videos
SIZE = (45, 80)


def _build(path):
    torch.manual_seed(0)
    model = MODELS.build(tiny_idol_cfg(str(ROOT / path)).model)
    model.init_weights()
    return model


def test_every_data_set_has_its_backbones():
    names = {
        Path(path).stem.split('_')[1] + Path(path).stem.split('_')[-1]
        for path in CONFIGS
    }
    assert names == {
        backbone + data
        for backbone in ('r50', 'r101', 'swin-l')
        for data in ('youtubevis2019', 'youtubevis2021', 'ovis', 'coco')
    } - {'r101ovis'}  # there are no official weights of it
    assert len(IMAGES) == 3 and len(COCO) == 6 and len(TRAINED) == 8


@pytest.mark.parametrize('path, clip', [
    *[(path, two_object_clip) for path in TRAINED],
    (TRAINED[0], empty_clip),
])
def test_loss(path, clip):
    model = _build(path).train()
    losses = model.loss(torch.randn(2, 2, 3, 64, 96), [clip(), empty_clip()])
    assert sum(key.startswith('loss_assoc') for key in losses) == 2
    assert not any('refine' in key for key in losses)
    assert_trains(model, losses)


@pytest.mark.parametrize('path',
                         [path for path in CONFIGS if path not in IMAGES])
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
    num_classes = 25 if 'ovis' in path else 80 if path in COCO else 40
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


@pytest.mark.parametrize('path', COCO)
def test_numbers_of_coco(path):
    cfg = Config.fromfile(str(ROOT / path))
    short = 800 if 'swin-l' in path else 640
    pipeline = cfg.test_dataloader.dataset.pipeline
    resize = pipeline[1] if path in IMAGES else pipeline[0].transforms[1]
    assert cfg.test_pipeline == pipeline
    assert resize.scale == cfg.test_scale == (1333, short)
    assert resize.backend == 'pillow'
    assert cfg.model.frame_model.head.num_classes == 80
    if path in IMAGES:
        assert cfg.model.type == 'refinevis_mm.CondInstDetector'
        assert cfg.model.test_cfg == dict(max_per_img=100, nms_iou_thr=0.7)
    else:
        assert cfg.model.mask_resize == 'nearest'


def test_backbones():

    def of(name):
        cfg = Config.fromfile(str(ROOT / f'configs/idol/{name}.py')).model
        return cfg.get('backbone') or cfg.frame_model.backbone

    assert of('idol-image_r50_coco') == of('idol_r50_8xb2-12k_ovis')
    for name in ('idol-image_r101_coco', 'idol_r101_coco',
                 'idol_r101_8xb4-12k_youtubevis2019'):
        assert of(name).depth == 101 and '101' in of(name).init_cfg.checkpoint
    assert of('idol-image_swin-l_coco') == of('idol_swin-l_8xb2-12k_ovis')


@pytest.mark.parametrize('path', IMAGES)
def test_images(path):
    model = _build(path)
    sample = DetDataSample(
        metainfo=dict(img_shape=(60, 90), ori_shape=(30, 45)))
    out, = model.eval().predict(torch.randn(1, 3, 64, 96), [sample])
    found = out.pred_instances
    assert found.masks.shape[1:] == (30, 45) and found.labels.max() < 80
    assert 0 < len(found) <= 100  # of the 960 pairs of 12 queries


def test_detectors_of_images_share_weights_with_those_of_videos():
    image, video = (
        MODELS.build(
            tiny_idol_cfg(str(ROOT / f'configs/idol/{name}.py')).model)
        for name in ('idol-image_r50_coco', 'idol_r50_coco'))
    missing, unexpected = image.load_state_dict(
        video.state_dict(), strict=False)
    assert missing == []
    assert all(key.startswith('association_head.') for key in unexpected)


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
    whole = cropped = 0
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
        # what is picture in the frames of one size
        assert all(
            tuple(sample.img_shape) <= sizes[0] for sample in (first, second))
        cropped += first.img_shape != second.img_shape
        for sample in (first, second):
            gt = sample.gt_instances
            assert len(gt.instances_ids) == len(gt.labels) == len(gt.masks)
            assert (gt.masks.areas > 0).all()
        # an uncropped frame keeps its ratio
        whole += sizes[0] in ((40, 71), (30, 53))
    assert 0 < whole < 12 and cropped > 0


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
