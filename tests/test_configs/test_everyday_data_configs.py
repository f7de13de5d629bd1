# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Data of the everyday model: from the files to what the models get."""
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import DATASETS, METRICS
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from tests.tiny_everyday import write_source

ROOT = Path(__file__).parents[2]
PATHS = {
    name: ROOT / f'configs/_base_/datasets/everyday_{name}.py'
    for name in ('images', 'pseudo_video', 'moving')
}
# the data of the moving clips and more; clips of any classes
PATHS['davis'], PATHS['custom'] = (
    next(ROOT.glob(f'configs/refinevis/*_efficientnet-lite0_*{name}.py'))
    for name in ('davis', 'custom-vis'))
CLIPS = ('pseudo_video', 'moving', 'davis')
TOOL = str(ROOT / 'tools/dataset_converters/make_everyday.py')


@pytest.fixture(autouse=True)
def mmdet_scope():
    """Bare names are mmdet's, as in the shipped configs."""
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def data_root(tmp_path_factory):
    """A tiny data set; the first image for training has only a crowd."""
    folder = tmp_path_factory.mktemp('everyday')
    source, out = write_source(folder / 'source'), folder / 'data'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, 'argv',
            [TOOL, str(source),
             str(out), '--valid-images', '1'])
        runpy.run_path(TOOL, run_name='__main__')
    path = out / 'full_train.json'
    content = json.loads(path.read_text())
    first = content['images'][0]['id']
    content['annotations'] = [
        item for item in content['annotations']
        if item['image_id'] != first or item['iscrowd']
    ]
    path.write_text(json.dumps(content))
    return out


def _set(part, **values):
    """Change what is in dicts inside of dicts and lists."""
    if isinstance(part, dict):
        for key in values.keys() & part.keys():
            part[key] = values[key]
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for item in part:
            _set(item, **values)


def _dataloader(cfg, data_root, key='train_dataloader', **values):
    loader = cfg[key]
    _set(loader, data_root=f'{data_root}/', num_workers=0, **values)
    return Runner.build_dataloader(loader, seed=0)


def _config(name):
    return Config.fromfile(str(PATHS[name]))


def _regions(sample, side):
    """Where objects and where ignored regions are; they are well formed."""
    found = []
    for part in (sample.gt_instances, sample.ignored_instances):
        masks = part.masks.masks
        assert masks.shape == (len(part.labels), side, side)
        assert masks.any((1, 2)).all()
        assert len(part.bboxes) == len(masks)
        found.append(masks.any(0))
    return found


def _check_unlabelled(sample, side):
    """All is an object or unknown, but for the padding."""
    seen, ignored = _regions(sample, side)
    known = seen | ignored
    assert not (seen & ignored).any()
    rows, cols = np.flatnonzero(known.any(1)), np.flatnonzero(known.any(0))
    assert known[:rows.max() + 1, :cols.max() + 1].all()
    return ignored.any()


@pytest.mark.parametrize('seed', range(2))
def test_images(data_root, seed):
    cfg = _config('images')
    np.random.seed(seed)
    loader = _dataloader(cfg, data_root)
    side = cfg.image_size[0]
    assert len(loader.dataset) == 3 * cfg.full_times + 2
    assert loader.dataset.metainfo['classes'] == ('person', 'animal',
                                                  'vehicle')
    ids, unknown = set(), 0
    for _, batch in zip(range(20), loader):
        assert len(batch['inputs']) == cfg.batch_size
        for image, sample in zip(batch['inputs'], batch['data_samples']):
            assert image.shape == (3, side, side)
            ids.add(sample.img_id)
            if sample.img_id in (11, 12):
                unknown += _check_unlabelled(sample, side)
            else:
                _regions(sample, side)
    assert unknown > 5
    valid = json.loads((data_root / 'full_valid.json').read_text())
    assert ids == {1, 2, 3, 4, 11, 12} - {valid['images'][0]['id']}


def test_image_with_ignored_objects_only(data_root):
    loader = _dataloader(_config('images'), data_root, prob=0.0)
    ignored = 0
    for _ in range(4):
        sample = loader.dataset[0]['data_samples']
        assert sample.gt_instances.bboxes.shape == (0, 4)
        assert sample.gt_instances.labels.dtype == torch.int64
        ignored += len(sample.ignored_instances)
    assert ignored


@pytest.mark.parametrize('name', CLIPS)
def test_clips(data_root, name):
    cfg = _config(name)
    np.random.seed(0)
    loader = _dataloader(cfg, data_root)
    side, unknown, davis = cfg.image_size[0], 0, 0
    for _, batch in zip(range(8), loader):
        assert len(batch['inputs']) == cfg.batch_size
        for clip, sample in zip(batch['inputs'], batch['data_samples']):
            assert clip.shape == (cfg.num_frames, 3, side, side)
            for frame in sample:
                assert len(frame.gt_instances.instances_ids) == len(
                    frame.gt_instances)
                davis += 'clips' in frame.img_path
                if 'clips' in frame.img_path or frame.img_id in (11, 12):
                    unknown += _check_unlabelled(frame, side)
                else:
                    _regions(frame, side)
    assert unknown and (davis > 0) == (name == 'davis')


def test_davis_clips_of_one_frame(data_root):
    """The frame is shown twice; objects of other clips may be pasted."""
    cfg = _config('davis')
    davis = cfg.train_dataloader.dataset.datasets[-1]
    _set(davis, data_root=f'{data_root}/')
    dataset = DATASETS.build(davis)
    lengths = set()
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        lengths.add(sample[0].video_length)
        frame_ids = [frame.frame_id for frame in sample]
        assert frame_ids == sorted(frame_ids)
        if sample[0].video_length == 1:
            assert frame_ids == [0, 0]
    assert lengths == {1, 2}


def test_fine_tuning_on_clips_of_other_classes(data_root):
    """The classes are those of the file."""
    cfg = _config('custom')
    np.random.seed(0)
    for key, split in (('train', 'train'), ('val', 'valid')):
        loader = _dataloader(
            cfg,
            data_root,
            f'{key}_dataloader',
            ann_file=f'fine_tune_{split}.json',
            data_prefix=dict(img_path='clips/'))
        assert loader.dataset.metainfo['classes'] == ('person', 'animal',
                                                      'vehicle', 'rider')
        if key == 'val':
            assert len(loader.dataset) == 7
            continue
        assert len(loader.dataset) == 10
        labels = set()
        for _, batch in zip(range(20), loader):
            for clip, sample in zip(batch['inputs'], batch['data_samples']):
                assert clip.shape == (2, 3, *cfg.image_size)
                assert sample[0].scale_factor == sample[1].scale_factor
                for frame in sample:
                    _check_unlabelled(frame, cfg.image_size[0])
                    labels.update(frame.gt_instances.labels.tolist())
        assert labels == {0, 1, 2, 3}


@pytest.mark.parametrize('name', ['images', *CLIPS])
def test_validation(data_root, name):
    cfg = _config(name)
    loader = _dataloader(cfg, data_root, 'val_dataloader')
    batch = next(iter(loader))
    scale = cfg.test_scale[0]
    if name == 'images':
        assert len(loader.dataset) == 1
        assert batch['inputs'][0].shape == (3, scale * 24 // 32, scale)
    else:
        assert len(loader.dataset) == 5
        assert batch['inputs'][0].shape == (1, 3, scale * 12 // 16, scale)
    assert cfg.test_dataloader == _config(name).val_dataloader
    name = Path(cfg.val_evaluator.ann_file).relative_to('data/everyday')
    METRICS.build(
        dict(cfg.val_evaluator, ann_file=(data_root / name).as_posix()))


def _sides(part, found):
    """Sizes in a config by transform."""
    if isinstance(part, dict):
        for kind, key in (('RandomResize', 'scale'),
                          ('RandomCrop', 'crop_size'), ('Pad', 'size')):
            if part.get('type') == kind:
                found.setdefault(kind, set()).add(tuple(part[key]))
        part = list(part.values())
    if isinstance(part, (list, tuple)):
        for item in part:
            _sides(item, found)
    return found


@pytest.mark.parametrize('name', ['images', *CLIPS])
def test_another_size_as_the_comment_says(tmp_path, name):
    path = PATHS[name]
    described = PATHS['moving'] if name == 'davis' else path
    example = [
        line.removeprefix('#     ')
        for line in described.read_text().splitlines()
        if line.startswith('#     ')
    ]
    child = tmp_path / 'child.py'
    child.write_text('\n'.join([f"_base_ = ['{path.as_posix()}']", *example]))
    cfg = Config.fromfile(str(child))
    size = tuple(cfg.image_size)
    assert size != tuple(_config(name).image_size)
    assert _sides(cfg.train_dataloader._to_lazy_dict(), {}) == dict(
        RandomResize={size}, RandomCrop={size}, Pad={size})
