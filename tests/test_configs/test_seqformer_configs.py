# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""SeqFormer's configs: data and numbers."""
import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from torch.nn.init import constant_

from refinevis_mm.registry import DATASETS
from refinevis_mm.vis_json import PRESETS
from tests.tiny_coco import write_coco, write_vis
from tests.tiny_seqformer import tiny_seqformer_cfg

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob('configs/seqformer/*.py'))
TRAINED = [path for path in CONFIGS if '12k' in path]
JOINT = [path for path in TRAINED if '_coco-' in path]


def _load(path):
    return Config.fromfile(str(ROOT / path))


def test_every_data_set_has_its_backbones():
    names = {
        tuple(Path(path).stem.split('_')[i] for i in (1, -1))
        for path in TRAINED
    }
    assert names == {(backbone, data)
                     for backbone in ('r50', 'swin-l')
                     for data in ('youtubevis2019', 'youtubevis2021', 'ovis',
                                  'coco-youtubevis2019')}


@pytest.mark.parametrize('path', CONFIGS)
def test_numbers(path):
    cfg = _load(path)
    frame_model = cfg.model.frame_model
    assert frame_model.head.num_classes == (25 if 'ovis' in path else 40)
    assert frame_model.decoder.num_queries == 300
    assert cfg.model.get('clip_length') == (5 if 'clips' in path else None)
    short = 480 if 'swin-l' in path else 360
    resize = cfg.test_dataloader.dataset.pipeline[0].transforms[1]
    assert resize.scale == (1333, short)
    name = Path(path).stem.split('_')[-1].replace('coco-', '')
    assert cfg.test_evaluator.outfile_prefix == \
        f'work_dirs/seqformer_{name}/results'


@pytest.mark.parametrize('path', TRAINED)
def test_schedule(path):
    cfg = _load(path)
    assert cfg.train_cfg.max_iters == 12000
    assert cfg.param_scheduler.milestones == [8000]
    assert 8 * cfg.train_dataloader.batch_size == 16
    assert cfg.optim_wrapper.optimizer.lr == 2e-4
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.01
    assert cfg.val_dataloader == cfg.test_dataloader
    dataset = cfg.train_dataloader.dataset
    sample, frames, *_ = dataset.get('pipeline') or \
        dataset.datasets[0].pipeline
    swin = 'swin-l' in path
    assert sample.num_ref_imgs == 4
    assert sample.frame_range == (15 if swin else 10)
    scales = frames.transforms[3].scales
    assert {long for long, _ in scales} == {768 if swin else 1333}
    assert [short for _, short in scales][::10] == [320, 640]


@pytest.mark.parametrize('path', [TRAINED[0], JOINT[0]])
def test_training_clips(path, tmp_path, monkeypatch):
    """Five frames; flip and size are those of the clip, or of each frame."""
    monkeypatch.chdir(tmp_path)
    cfg = _load(path)
    dataset = cfg.train_dataloader.dataset
    parts = dataset.get('datasets') or [dataset]
    for part in parts:
        write = write_coco if 'Coco' in part.type else write_vis
        root = tmp_path / part.data_root
        # of the 40 classes, those that COCO has, too
        names = PRESETS['youtube_vis_2019']
        write(root / part.ann_file, root / part.data_prefix.img_path, names)
    built = DATASETS.build(dataset)
    np.random.seed(0)
    for index, part in enumerate(parts):
        flips, sizes = set(), set()
        for _ in range(6):
            item = built[index]
            samples = item['data_samples'].video_data_samples
            assert item['inputs'].shape[:2] == (5, 3) and len(samples) == 5
            order = [sample.frame_id for sample in samples]
            assert order == sorted(order) and order[-1] - order[0] <= 20
            flips.add(len({sample.flip for sample in samples}))
            sizes.add(len({sample.img_shape for sample in samples}))
            assert all(
                len(sample.gt_instances.labels) == len(
                    sample.gt_instances.masks) for sample in samples)
        if 'Coco' in part.type:
            assert max(flips) == 2 and max(sizes) > 1
        else:
            assert flips == sizes == {1}


def test_test_loop_writes_results(tmp_path, monkeypatch):
    """tools/test.py of a tiny model: rows of the official format."""
    path, = [path for path in CONFIGS if 'clips' in path]
    cfg = tiny_seqformer_cfg(str(ROOT / path))
    monkeypatch.chdir(tmp_path)
    dataset = cfg.test_dataloader.dataset
    root = tmp_path / dataset.data_root
    write_vis(
        root / dataset.ann_file,
        root / dataset.data_prefix.img_path,
        PRESETS['ovis'],
        length=6)  # a frame more than a clip
    dataset.pipeline[0].transforms[1].scale = (96, 64)
    cfg.test_dataloader.update(num_workers=0)
    cfg.work_dir = str(tmp_path / 'work')
    runner = Runner.from_cfg(cfg)
    constant_(runner.model.frame_model.head.fc_cls[-1].bias, 0.)
    runner.test()
    rows = json.loads(
        Path(f'{cfg.test_evaluator.outfile_prefix}.json').read_text())
    assert len(rows) >= 10 * 25
    assert {row['video_id'] for row in rows} == {1}
    assert all(len(row['segmentations']) == 6 for row in rows)
