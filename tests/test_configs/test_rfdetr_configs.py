# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import argparse

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.runner import Runner

from refinevis_mm.apis import Session, init_model
from refinevis_mm.models.frame_level.rfdetr_package import SIZES, model_config
from refinevis_mm.registry import MODELS
from tests.tiny_coco import write_vis
from tests.tiny_rfdetr import SIDE, need_rfdetr, package_network, use_tiny_nano

CONFIG = 'configs/rfdetr/rfdetr-seg-{}_coco.py'
TRAINING = 'configs/rfdetr/refinevis_rfdetr-seg-nano_2xb2-5k_custom-vis.py'


@pytest.fixture
def tiny_nano(monkeypatch):
    return use_tiny_nano(monkeypatch)


def resize_of(pipeline):
    """The square resize of a pipeline."""
    step, = (step for step in pipeline[-2].transforms if step.type == 'Resize')
    assert step.keep_ratio is False
    return step


@pytest.mark.parametrize('size', SIZES)
def test_configs_follow_without_training(size):
    cfg = Config.fromfile(CONFIG.format(size))
    assert cfg.model.frame_model == dict(
        type='refinevis_mm.RFDETRSeg',
        size=size,
        num_classes=None,
        weights=None)
    assert cfg.model.association_head is None and cfg.model.window == 0
    assert cfg.model.tracker == dict(type='refinevis_mm.StreamingTracker')
    width, height = resize_of(cfg.test_dataloader.dataset.pipeline).scale
    assert width == height


@pytest.mark.zoo
def test_frames_have_the_side_of_the_network():
    need_rfdetr()
    for size in SIZES:
        cfg = Config.fromfile(CONFIG.format(size))
        side = model_config(size, 91).resolution
        resize = resize_of(cfg.test_dataloader.dataset.pipeline)
        assert resize.scale == (side, side)
    cfg = Config.fromfile(TRAINING)
    side = model_config('nano', 8).resolution
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        assert resize_of(loader.dataset.pipeline).scale == (side, side)


@pytest.mark.zoo
def test_a_session_follows_frames(tiny_nano):
    cfg = Config.fromfile(CONFIG.format('nano'))
    cfg.model.tracker.update(
        select_score_thr=0.0, high_score_thr=0.0, new_score_thr=0.0)
    resize_of(cfg.test_dataloader.dataset.pipeline).scale = (SIDE, SIDE)
    model = MODELS.build(cfg.model).eval()
    network = package_network('nano')
    model.frame_model.network.class_embed.load_state_dict(
        network.class_embed.state_dict())
    model.cfg = cfg
    model.classes = [f'class {i}' for i in range(80)]
    session = Session(model)
    frame = np.random.default_rng(0).integers(
        0, 255, (60, 84, 3), dtype=np.uint8)
    results = list(session.stream([frame, frame]))
    ids = []
    for result in results:
        found = result.views['frame_level']
        assert found.size == (60, 84)
        assert any(mask is not None for mask in found.masks)
        ids.append(set(found.ids))
    assert ids[0] & ids[1]  # the same picture again


@pytest.mark.zoo
def test_the_name_loads_what_the_package_keeps(tiny_nano, monkeypatch,
                                               tmp_path):
    official = package_network('nano').state_dict()
    monkeypatch.setenv('RF_HOME', str(tmp_path))
    path = tmp_path / 'rf-detr-seg-nano.pt'
    torch.save(dict(model=official, args=argparse.Namespace()), path)
    model = init_model('rfdetr-seg-nano_coco', device='cpu')
    assert model.weights == str(path)
    assert model.classes == list(CocoDataset.METAINFO['classes'])
    assert torch.equal(model.frame_model.network.class_embed.weight,
                       official['class_embed.weight'])


@pytest.mark.zoo
def test_training_on_own_videos(tiny_nano, tmp_path):
    classes, weights = ('cat', 'dog', 'owl'), tmp_path / 'weights.pth'
    ann_file, folder = tmp_path / 'train.json', tmp_path / 'frames'
    write_vis(ann_file, folder, classes, length=4)
    torch.save(dict(model=package_network('nano').state_dict()), weights)
    cfg = Config.fromfile(TRAINING)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        resize_of(loader.dataset.pipeline).scale = (SIDE, SIDE)
        loader.num_workers = 0
        loader.dataset.update(
            data_root='',
            ann_file=str(ann_file),
            data_prefix=dict(img_path=str(folder)))
    cfg.test_dataloader = cfg.val_dataloader
    cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = str(ann_file)
    cfg.model.frame_model.update(num_classes=3, weights=str(weights))
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.default_hooks.checkpoint.interval = 1
    cfg.optim_wrapper.optimizer.lr = 0.0
    cfg.work_dir = str(tmp_path / 'run')
    runner = Runner.from_cfg(cfg)
    runner.train()
    saved = torch.load(tmp_path / 'run' / 'iter_1.pth', weights_only=True)
    assert saved['meta']['dataset_meta']['classes'] == classes
    # it started from the file, of whose 91 class rows 4 were left
    official = torch.load(weights, weights_only=True)['model']
    for key, rows in (('class_embed.weight', 4), ('query_feat.weight', 20),
                      ('bbox_embed.layers.2.weight', 4)):
        assert torch.equal(saved['state_dict'][f'frame_model.network.{key}'],
                           official[key][:rows])
    assert 0 <= runner.message_hub.get_scalar('val/vis/AP').current() <= 1
