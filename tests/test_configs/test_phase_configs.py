# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The phases of the paper: their numbers, data and parents."""
from pathlib import Path

import numpy as np
import pytest
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.runner import Runner

from refinevis_mm.datasets import coco_pseudo_video  # noqa: F401
from refinevis_mm.engine import samplers  # noqa: F401
from refinevis_mm.registry import DATASETS
from refinevis_mm.vis_json import PRESETS
from tests.tiny_coco import write_coco, write_vis

ROOT = Path(__file__).parents[2]
COCO = CocoDataset.METAINFO['classes']
DATA = dict(
    youtubevis2019='youtube_vis_2019',
    youtubevis2021='youtube_vis_2021',
    youtubevis2022='youtube_vis_2022',
    ovis='ovis')
# training side, short side at test, levels, decoder layers, denoising pairs
BACKBONES = {
    'r50': (1024, 480, 4, 6, 100),
    'swin-l': (1280, 720, 5, 9, 500),
}
SMALL = 96  # side of reduced training frames


def load(name):
    """A config of RefineVIS."""
    return Config.fromfile(str(ROOT / 'configs' / 'refinevis' / f'{name}.py'))


def phase2(backbone):
    """Name of the config of phase 2."""
    return f'refinevis_{backbone}_16xb1-lsj-30k_coco-pseudo'


def phase3(backbone, data):
    """Name of a config of phase 3."""
    return f'refinevis_{backbone}_16xb1-lsj-13k_{data}'


def find(pipeline, kind):
    """The steps of a type, inside a broadcaster too."""
    steps = []
    for step in pipeline:
        steps += [step] if step.type.endswith(kind) else []
        steps += find(step.get('transforms', []), kind)
    return steps


def check_numbers(cfg, backbone, num_classes, shared):
    """What all phases on videos have in common."""
    side, _, levels, layers, pairs = BACKBONES[backbone]
    frame_model = cfg.model.frame_model
    assert frame_model.decoder.num_levels == levels
    assert frame_model.decoder.num_layers == layers
    assert frame_model.dn_query_generator.num_dn_pairs == pairs
    assert frame_model.head.num_classes == num_classes
    assert frame_model.dn_query_generator.num_classes == num_classes
    assert cfg.train_dataloader.batch_size == 1  # of 16 GPUs
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr) == ('refinevis_mm.GroupedAdamW',
                                              1e-4)
    assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
    assert cfg.auto_scale_lr.base_batch_size == 16
    pipeline = cfg.train_dataloader.dataset.pipeline
    sample, = find(pipeline, 'KeyFirstFrameSample')
    assert (sample.num_ref_imgs, sample.frame_range) == (1, 10)
    broadcast, = find(pipeline, 'TransformBroadcaster')
    assert broadcast.share_random_params is shared
    resize, = find(pipeline, 'RandomResize')
    assert (resize.scale, resize.ratio_range) == ((side, side), (0.1, 2.0))
    assert find(pipeline, 'RandomCrop')[0].crop_size == (side, side)
    assert find(pipeline, 'Pad')[0].size == (side, side)


@pytest.mark.parametrize('backbone', BACKBONES)
def test_phase_2(backbone):
    cfg = load(phase2(backbone))
    check_numbers(cfg, backbone, 80, shared=False)
    assert cfg.train_cfg.max_iters == 30000
    assert cfg.param_scheduler.milestones == [15000, 25000]
    dataset = cfg.train_dataloader.dataset
    assert (dataset.num_frames, dataset.max_gap) == (2, 10)


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('data', DATA)
def test_phase_3(backbone, data):
    cfg = load(phase3(backbone, data))
    check_numbers(
        cfg, backbone, num_classes=len(PRESETS[DATA[data]]), shared=True)
    assert cfg.train_cfg.max_iters == 13000
    assert cfg.param_scheduler.milestones == [10000]
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        resize, = find(loader.dataset.pipeline, 'Resize')
        assert resize.scale == (1333, BACKBONES[backbone][1])
        assert loader.dataset.preset == DATA[data]
        assert cfg.test_evaluator.ann_file == \
            loader.dataset.data_root + loader.dataset.ann_file
    # IDOL's values
    preset = dict(
        mask_nms_thr=0.3 if data == 'ovis' else 0.5,
        new_score_thr=0.3 if data == 'ovis' else 0.2)
    tracker = cfg.model.tracker
    for key in ('mask_nms_thr', 'new_score_thr'):
        if data == 'ovis':
            assert tracker[key] == preset[key] == 0.3
        else:
            assert key not in tracker


@pytest.mark.parametrize('backbone', BACKBONES)
def test_each_phase_starts_from_the_one_before(backbone):
    folder = ROOT / 'configs'
    for name in (phase2(backbone), *(phase3(backbone, data) for data in DATA)):
        cfg = load(name)
        _, parent, checkpoint = cfg.load_from.split('/')
        path, = folder.glob(f'*/{parent}.py')
        parent = Config.fromfile(str(path))
        assert checkpoint == f'iter_{parent.train_cfg.max_iters}.pth'
        assert parent.default_hooks.checkpoint.get('save_last', True)
        # the same frame model but for classes and matching
        own = cfg.model.frame_model.to_dict()
        theirs = parent.model.frame_model.to_dict()
        theirs.setdefault('backbone', parent.model.get('backbone'))
        for model in (own, theirs):
            model['head'].pop('assigner')
            model['head'].pop('num_classes')
            model['dn_query_generator'].pop('num_classes')
        assert own == theirs
        assert cfg.default_hooks.class_rows.type == \
            'refinevis_mm.ClassRowsHook'


def _reduce(dataset):
    """Small frames for a data set's pipeline."""
    for kind, key in (('RandomResize', 'scale'), ('RandomCrop', 'crop_size'),
                      ('Pad', 'size')):
        for step in find(dataset.pipeline, kind):
            step[key] = (SMALL, SMALL)


def _write(dataset, tmp_path):
    """The files that a data set asks for, in miniature."""
    root = tmp_path / dataset.data_root
    is_coco = 'Coco' in dataset.type
    write, classes = (write_coco,
                      COCO) if is_coco else (write_vis,
                                             PRESETS[dataset.preset])
    write(root / dataset.ann_file, root / dataset.data_prefix.img_path,
          classes)


@pytest.mark.parametrize(
    'name', [phase2('r50'), *(phase3('r50', data) for data in DATA)])
def test_training_clips(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load(name)
    dataset = cfg.train_dataloader.dataset
    _write(dataset, tmp_path)
    _reduce(dataset)
    dataset = DATASETS.build(dataset)
    np.random.seed(0)
    alike, gaps = [], set()
    for _ in range(12):
        item = dataset[0]
        assert item['inputs'].shape == (2, 3, SMALL, SMALL)
        first, second = item['data_samples'].video_data_samples
        gaps.add(second.frame_id - first.frame_id)
        alike.append(first.scale_factor == second.scale_factor
                     and first.flip == second.flip)
        for sample in (first, second):
            gt = sample.gt_instances
            assert len(gt.instances_ids) == len(gt.labels) == len(gt.masks)
            assert (gt.masks.areas > 0).all()
            for label, instance in zip(gt.labels, gt.instances_ids):
                last = len(dataset.metainfo['classes']) - 1
                assert label == (0 if instance == 1 else last)
    assert min(gaps) >= 1 and max(gaps) <= 10 and len(gaps) > 3
    assert all(alike) == ('pseudo' not in name)


@pytest.mark.parametrize('data', DATA)
def test_test_frames(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = load(phase3('r50', data)).test_dataloader.dataset
    _write(dataset, tmp_path)
    dataset = DATASETS.build(dataset)
    item = dataset[(0, 3)]
    assert item['inputs'].shape == (1, 3, 480, 640)
    sample, = item['data_samples'].video_data_samples
    assert (sample.frame_id, sample.ori_shape) == (3, (60, 80))


def test_joint_training(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = load('refinevis_r50_16xb1-lsj-13k_coco-youtubevis2021')
    loader = cfg.train_dataloader
    assert loader.sampler.type == 'refinevis_mm.SourceRatioSampler'
    assert loader.sampler.source_ratio == [1, 1]
    for part in loader.dataset.datasets:
        _write(part, tmp_path)
        _reduce(part)
    dataset = DATASETS.build(loader.dataset)
    # a video and an image; the bicycle of the other has no class here
    assert len(dataset) == 2
    assert dataset.metainfo['classes'] == PRESETS['youtube_vis_2021']
    loader.update(dataset=dataset, batch_size=6, num_workers=0)
    batch = next(iter(Runner.build_dataloader(loader, seed=0)))
    assert {inputs.shape
            for inputs in batch['inputs']} == {(2, 3, SMALL, SMALL)}
    videos = [
        sample.video_data_samples[0].video_id
        for sample in batch['data_samples']
    ]
    assert set(videos) == {1, 11}  # the video, the image
    alone = load(phase3('r50', 'youtubevis2021'))
    for key in ('model', 'optim_wrapper', 'train_cfg', 'val_dataloader',
                'load_from', 'default_hooks'):
        assert cfg[key] == alone[key], key
