# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Each ablation differs from its sibling in what its row says, and trains."""
import re
from pathlib import Path
from unittest.mock import ANY

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.fileio import load
from mmengine.runner import load_checkpoint

from refinevis_mm.registry import MODELS
from tests.demo_clips import demo_clip
from tests.training_checks import assert_trains

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path.stem for path in (ROOT / 'configs' / 'ablation').glob('*.py'))
SUFFIX = '_1xb4-600_occluded-shapes'
SHIPPED = f'refinevis_mobilenet-v2{SUFFIX}-temporal'
# sizes that keep a loss step below a second
SMALL = dict(
    embed_dims=32,
    mask_dims=32,
    feat_channels=32,
    feedforward_channels=32,
    num_queries=12,
    num_dn_pairs=4,
    num_points=64,
    num_match_points=64)
LAYERS = dict(pixel_decoder=1, decoder=2)

PIPELINE = 'train_dataloader.dataset.pipeline'
NUM_REFS = f'{PIPELINE}.0.num_ref_imgs'
TRANSFORMS = f'{PIPELINE}.1.transforms'
NO_TAR = {
    'model.tar_head': (ANY, None),
    'model.tracklet_builder': (ANY, None),
    'model.temporal_cdn': (ANY, None),
    'model.window': (ANY, 0)
}
# what a row changes: setting -> (value in its sibling, its own)
CHANGES = [
    ('table2-assoc-cdn', 'table2-frame-cdn', {
        'model.association_cdn': (None, {
            'type': 'refinevis_mm.AssociationCDN',
            'loss_weight': 1.0
        })
    }),
    ('table2-temporal-cdn', 'table2-assoc-cdn', {
        'model.temporal_cdn': (None, {
            'type': 'refinevis_mm.TemporalCDN',
            'loss_weight': 1.0
        })
    }),
    ('table2-temporal-cdn', SHIPPED, {}),
    ('table3-window', SHIPPED, {
        'model.mode': ('online', 'offline')
    }),
    ('table4-2-frames', SHIPPED, {}),
    ('table4-3-frames', 'table4-2-frames', {
        NUM_REFS: (1, 2)
    }),
    ('table4-5-frames', 'table4-2-frames', {
        NUM_REFS: (1, 4)
    }),
    ('table5-no-tar', SHIPPED, NO_TAR),
    ('table5-no-lsj', SHIPPED, {
        TRANSFORMS: (ANY, ANY)
    }),
    ('table5-no-tar-no-lsj', 'table5-no-lsj', NO_TAR),
    ('table5-no-tar-no-lsj', 'table5-no-tar', {
        TRANSFORMS: (ANY, ANY)
    }),
    ('tar-pe-qk', SHIPPED, {
        'model.tar_head.pe_placement': (None, 'qk')
    }),
    ('tar-mask-missing', SHIPPED, {
        'model.tar_head.mask_missing': (None, True)
    }),
    ('tar-no-drop', SHIPPED, {
        'model.tar_head.drop_prob': (0.3, 0.0)
    }),
    ('tar-no-recursion', SHIPPED, {
        'model.tar_head.recursive_prob': (0.5, 0.0)
    }),
    ('tar-own-heads', SHIPPED, {
        'model.tar_head.heads': (None, ANY)
    }),
    ('tar-tracker', SHIPPED, {
        'model.tracklet_builder.type': ('refinevis_mm.MatchedTrackletBuilder',
                                        'refinevis_mm.TrackedTrackletBuilder'),
        'model.tracklet_builder.tracker': (None, ANY),
        'model.tracklet_builder.score_thr': (ANY, None),
        'model.tracklet_builder.num_background': (ANY, None)
    }),
    ('tar-whole-masks', SHIPPED, {
        'model.exclusive_recovery': (True, False)
    }),
    ('tar-real-scores', SHIPPED, {
        'model.score_missed': (True, False)
    }),
]


def _load(name):
    if name != SHIPPED and not name.startswith('ablation_'):
        name = f'ablation_{name}{SUFFIX}'
    folder = 'refinevis' if name == SHIPPED else 'ablation'
    return Config.fromfile(str(ROOT / 'configs' / folder / f'{name}.py'))


def _differences(own, other, prefix=''):
    """Setting -> (other's value, own value); no setting is as None."""
    if isinstance(own, dict) and isinstance(other, dict):
        found = {}
        for key in {**own, **other}:
            found.update(
                _differences(own.get(key), other.get(key), f'{prefix}.{key}'))
        return found
    if isinstance(own, list) and isinstance(other, list) and \
            len(own) == len(other):
        return _differences(
            dict(enumerate(own)), dict(enumerate(other)), prefix)
    return {} if own == other else {prefix.lstrip('.'): (other, own)}


def _runner_settings(name):
    """What the runner reads, without the variables of the config files."""
    cfg = _load(name).to_dict()
    keys = ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader',
            'test_evaluator', 'train_cfg', 'optim_wrapper', 'param_scheduler',
            'default_hooks', 'load_from', 'randomness')
    return {key: cfg[key] for key in keys}


def _reduce(cfg):
    """Smaller numbers wherever a config has them, in place."""
    for key, value in cfg.items():
        if key in SMALL:
            cfg[key] = SMALL[key]
        elif key == 'in_channels' and isinstance(value, int):
            cfg[key] = SMALL['embed_dims']
        elif isinstance(value, dict):
            if key in LAYERS:
                value['num_layers'] = LAYERS[key]
            _reduce(value)


def _build(cfg):
    cfg.frame_model.backbone.init_cfg = None
    _reduce(cfg)
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    return model


@pytest.mark.parametrize('name, sibling, changes', CHANGES)
def test_row_changes_what_it_says(name, sibling, changes):
    assert _differences(_runner_settings(name),
                        _runner_settings(sibling)) == changes


def test_every_config_is_compared():
    names = {name for name, *_ in CHANGES} | {'table2-frame-cdn'}
    assert CONFIGS == sorted(f'ablation_{name}{SUFFIX}' for name in names)


def test_every_config_is_listed():
    folder = ROOT / 'configs' / 'ablation'
    models = load(str(folder / 'metafile.yml'))['Models']
    assert sorted(model['Name'] for model in models) == CONFIGS
    links = re.findall(r'\]\((ablation_.*?)\.py\)',
                       (folder / 'README.md').read_text())
    assert sorted(links) == CONFIGS


def test_frames_without_jitter():
    jittered, fixed = ([
        transform.type for transform in _load(
            name).train_dataloader.dataset.pipeline[1]['transforms']
    ] for name in (SHIPPED, 'table5-no-lsj'))
    assert 'RandomResize' in jittered and 'RandomCrop' in jittered
    jittered.remove('RandomCrop')
    assert fixed == [
        'Resize' if kind == 'RandomResize' else kind for kind in jittered
    ]


def test_training_tracker_is_that_of_inference():
    model = _load('tar-tracker').model
    own, inference = model.tracklet_builder.tracker, model.tracker
    differences = _differences(own.to_dict(), inference.to_dict())
    assert set(differences) == {
        'select_score_thr', 'init_score_thr', 'new_score_thr',
        'min_track_frames'
    }
    assert own.select_score_thr == 0.05 and own.min_track_frames == 1


@pytest.mark.parametrize('name', CONFIGS)
def test_loss(name):
    cfg = _load(name)
    assert '_delete_' not in str(cfg.to_dict())
    pipeline = cfg.train_dataloader.dataset.pipeline
    Compose(pipeline)
    num_frames = 1 + pipeline[0].num_ref_imgs
    boxes = [[(8 + 2 * t, 8, 40, 40), (60, 20, 90, 50) if t else None]
             for t in range(num_frames)]
    model = _build(cfg.model).train()
    losses = model.loss(
        torch.randn(1, num_frames, 3, 64, 96),
        [demo_clip(boxes, ids=[7, 4], labels=[2, 5])])
    stages = {
        key: any(name.startswith(key) for name in losses)
        for key in ('loss_refine_cls', 'loss_refine_cdn')
    }
    assert stages == dict(
        loss_refine_cls=model.tar_head is not None,
        loss_refine_cdn=model.temporal_cdn is not None)
    assert_trains(model, losses)


@pytest.mark.parametrize('name, missing, unexpected', [
    ('tar-own-heads', 'tar_head.heads.', None),
    ('table5-no-tar', None, 'tar_head.'),
    ('tar-pe-qk', None, None),
])
def test_first_phase_is_loaded(name, missing, unexpected, capsys):
    cfg = _load(name)
    model = MODELS.build(cfg.model)
    load_checkpoint(model, str(ROOT / cfg.load_from), map_location='cpu')
    text = capsys.readouterr().out
    for kind, prefix in (('missing keys', missing), ('unexpected key',
                                                     unexpected)):
        found = re.search(rf'{kind} in source state_dict: (.*)', text)
        # what does not fit is reported, and is nothing else
        assert (found is not None) == (prefix is not None)
        if found:
            assert all(key.startswith(prefix) for key in found[1].split(', '))
