# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""VITA's configs: the official numbers, their data, and a whole test."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from refinevis_mm.apis.video_config import as_video_config
from refinevis_mm.registry import DATASETS
from refinevis_mm.vis_json import PRESETS
from tests.tiny_coco import write_coco, write_vis
from tests.tiny_vita import tiny_vita
from tests.training_checks import assert_trains

ROOT = Path(__file__).parents[2] / 'configs' / 'vita'
COCO = sorted(path.stem for path in ROOT.glob('*_coco.py'))
TRAINED = sorted(path.stem for path in ROOT.glob('*xb*.py'))
# clip frames, frame range, share of videos (COCO 1), iterations, drops, top K
NUMBERS = dict(
    youtubevis2019=(5, 20, 0.75, 140000, [75000], 10),
    youtubevis2021=(6, 8, 0.8, 187500, [100000], 10),
    ovis=(6, 8, 0.25, 150000, [50000, 125000], 20))
CLASSES = dict(
    youtubevis2019=PRESETS['youtube_vis_2019'],
    youtubevis2021=PRESETS['youtube_vis_2021'],
    ovis=PRESETS['ovis'])


def read(name):
    return Config.fromfile(ROOT / f'{name}.py')


def data_of(name):
    return name.split('_')[-1]


def test_every_data_set_has_its_backbones():
    assert {(name.split('_')[1], data_of(name))
            for name in TRAINED} == {(backbone, data)
                                     for backbone in ('r50', 'swin-l')
                                     for data in NUMBERS}
    assert COCO == ['vita_r101_coco', 'vita_r50_coco', 'vita_swin-l_coco']


@pytest.mark.parametrize('name', TRAINED + COCO)
def test_model(name):
    model = read(name).model
    num_classes = dict(ovis=25, coco=80).get(data_of(name), 40)
    head = model.frame_model.head
    assert head.num_things_classes == model.clip_head.num_classes == \
        num_classes
    assert len(head.loss_cls.class_weight) == num_classes + 1
    num_queries = 200 if 'swin-l' in name else 100
    assert head.num_queries == model.clip_head.num_frame_queries == num_queries
    assert model.clip_head.num_queries == 100
    assert (model.clip_head.window, model.clip_head.sim_weight) == (6, 0.5)
    assert (model.clip_head.num_encoder_layers,
            model.clip_head.num_decoder_layers) == (6, 3)
    assert (model.num_streams, model.frames_at_once) == (3, 18)


@pytest.mark.parametrize('name', TRAINED)
def test_recipe(name):
    cfg = read(name)
    frames, gap, share, iters, drops, top = NUMBERS[data_of(name)]
    assert cfg.model.max_per_video == top
    assert cfg.train_cfg.max_iters == cfg.train_cfg.val_interval == iters
    assert cfg.param_scheduler.milestones == drops
    assert cfg.optim_wrapper.optimizer.lr == 5e-5
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.05
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.01
    assert cfg.train_dataloader.batch_size == 1  # of 8 GPUs
    assert cfg.train_dataloader.sampler.source_ratio == [share, 1.0]
    videos, images = cfg.train_dataloader.dataset.datasets
    assert PRESETS[videos.preset] == PRESETS[images.preset] == \
        CLASSES[data_of(name)]
    assert (images.num_frames, images.max_gap) == (frames, gap)
    for part in (videos, images):
        sample = part.pipeline[0]
        assert (sample.num_ref_imgs, sample.frame_range) == (frames - 1, gap)
    short = 448 if 'swin-l' in name else 360
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        resize = loader.dataset.pipeline[0].transforms[1]
        assert resize.scale == (1333, short)
        assert loader.dataset.data_root == videos.data_root
    assert cfg.test_evaluator.ann_file.startswith(videos.data_root)


@pytest.fixture
def official_files(tmp_path, monkeypatch):
    """A video and four images in the folders that configs name."""
    monkeypatch.chdir(tmp_path)
    init_default_scope('mmdet')

    def make(cfg, classes):
        videos, images = cfg.train_dataloader.dataset.datasets
        root = Path(videos.data_root)
        for split in (videos, cfg.test_dataloader.dataset):
            write_vis(root / split.ann_file, root / split.data_prefix.img_path,
                      classes)
        root = Path(images.data_root)
        write_coco(root / images.ann_file, root / images.data_prefix.img_path,
                   CocoDataset.METAINFO['classes'])

    return make


@pytest.mark.parametrize('name', [name for name in TRAINED if '_r50_' in name])
def test_training_clips(name, official_files):
    """Videos are cropped as a whole, the frames of an image each by itself.
    """
    cfg = read(name)
    classes = CLASSES[data_of(name)]
    official_files(cfg, classes)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    assert tuple(dataset.metainfo['classes']) == classes
    num_frames = NUMBERS[data_of(name)][0]
    videos, images = dataset.datasets
    np.random.seed(0)
    moves = []
    for part in (videos, images):
        shapes = set()
        for _ in range(4):
            item = part[0]
            assert item['inputs'].shape[:2] == (num_frames, 3)
            frames = item['data_samples'].video_data_samples
            ids = [frame.frame_id for frame in frames]
            assert ids == sorted(ids) and len({f.flip for f in frames}) == 1
            shapes |= {len({frame.img_shape for frame in frames})}
            for frame in frames:
                gt = frame.gt_instances
                assert len(gt.instances_ids) == len(gt.labels) == len(gt.masks)
                assert (gt.masks.areas > 0).all()
                assert gt.masks.masks.shape[1:] == item['inputs'].shape[2:]
        moves.append(max(shapes))
    # frames of one size, and frames of several, padded
    assert moves[0] == 1 < moves[1]


def test_a_training_step(official_files):
    """A clip of each data set through pipeline, preprocessor and losses."""
    name = 'vita_r50_8xb1-150k_ovis'
    cfg = read(name)
    official_files(cfg, CLASSES['ovis'])
    for part in cfg.train_dataloader.dataset.datasets:
        part.pipeline[-3].transforms[0].scales = [(128, 64)]
    model = tiny_vita(str(ROOT / f'{name}.py')).train()
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    np.random.seed(0)
    for index in (0, len(dataset) - 1):
        batch = model.data_preprocessor(
            pseudo_collate([dataset[index]]), training=True)
        losses = model(**batch, mode='loss')
        assert_trains(model, losses)
        assert float(losses['clip.loss_mask'].detach()) > 0


@pytest.mark.parametrize(
    'name', ['vita_r50_8xb1-150k_ovis', 'vita_r50_8xb1-140k_youtubevis2019'])
def test_a_whole_test(name, official_files, tmp_path):
    """The test loop of mmengine, with the frames one by one."""
    cfg = read(name)
    classes = CLASSES[data_of(name)]
    official_files(cfg, classes)
    loader = cfg.test_dataloader
    loader.num_workers = 0
    loader.dataset.pipeline[0].transforms[1].scale = (96, 64)
    cfg.test_evaluator.outfile_prefix = str(tmp_path / 'results')
    model = tiny_vita(str(ROOT / f'{name}.py')).eval()
    loader = Runner.build_dataloader(loader)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    for batch in loader:
        with torch.no_grad():
            evaluator.process(
                data_samples=model.test_step(batch), data_batch=batch)
    evaluator.evaluate(len(loader.dataset))
    rows = json.loads((tmp_path / 'results.json').read_text())
    assert len(rows) == NUMBERS[data_of(name)][-1]
    assert {row['video_id'] for row in rows} == {1}
    assert all(len(row['segmentations']) == 14 for row in rows)
    assert all(1 <= row['category_id'] <= len(classes) for row in rows)


def test_it_cannot_stream():
    cfg = read('vita_r50_coco')
    with pytest.raises(
            ValueError,
            match='results when the video ends and '
            r'cannot stream, VITA: run tools/test\.py$') as error:
        as_video_config(cfg)
    assert '\n' not in str(error.value)
