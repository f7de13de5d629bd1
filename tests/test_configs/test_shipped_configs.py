# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One loss and one predict run of every shipped RefineVIS config."""
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from refinevis_mm.registry import MODELS
from tests.demo_clips import demo_clip, two_object_clip
from tests.training_checks import assert_trains

ROOT = Path(__file__).parents[2]


def _find(pattern):
    return sorted(
        path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


# that of mmtrack inherits from its package: tested with its adapter
CONFIGS = [
    path for path in _find('configs/[!_]*/*.py') if 'tar-mmtrack' not in path
]
REFINEVIS_BASES = _find('configs/_base_/models/refinevis_*.py')
# at full size; test_training_step.py has all of them at reduced size
FULL_SIZE = _find('configs/refinevis/refinevis_mobilenet-v2_*.py') + [
    path for path in REFINEVIS_BASES if 'swin-l' not in path
]


def _build(path):
    cfg = Config.fromfile(str(ROOT / path))
    # pretrained weights are not at hand; the network is the same without
    cfg.model.frame_model.backbone.pop('init_cfg', None)
    cfg.model.frame_model.pop('init_cfg', None)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


@pytest.mark.parametrize('path', FULL_SIZE)
def test_loss_and_predict(path):
    model = _build(path).train()
    losses = model.loss(
        torch.randn(1, 2, 3, 64, 96), [two_object_clip(labels=[2, 0])])
    assert_trains(model, losses)
    with torch.no_grad():
        out, = model.eval().predict(
            torch.randn(1, 1, 3, 64, 96),
            [demo_clip([[(8, 8, 40, 40)]], [1], [0])])
    assert isinstance(out.metainfo['pred_tracklets'], list)


@pytest.mark.parametrize('path', CONFIGS)
def test_config_is_complete(path):
    cfg = Config.fromfile(str(ROOT / path))
    import_modules_from_strings(**cfg.custom_imports)
    trained = re.search(r'_\d+xb\d', path) is not None  # GPUs x batch
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper',
                'param_scheduler'):
        assert (cfg.get(key) is not None) == trained, key
    # no videos of COCO's classes to validate on
    is_pseudo = path.endswith('coco-pseudo.py')
    for key in ('val_dataloader', 'val_evaluator', 'val_cfg'):
        assert (cfg.get(key) is not None) == (trained and not is_pseudo), key
    for key in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        assert (cfg[key] is None) == is_pseudo, key
    assert cfg.default_hooks is not None
    assert cfg.default_scope == 'mmdet'
    # mim's gridsearch dumps configs and reads them again
    assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == \
        cfg.to_dict()


def test_inheritance_example_of_the_readme(tmp_path):
    text = (ROOT / 'README.md').read_text()
    example = next(
        block for block in re.findall(r'```python\n(.*?)```', text, re.S)
        if '_base_' in block)
    config = tmp_path / 'mine.py'
    config.write_text(example.replace("'../", f"'{ROOT.as_posix()}/"))
    cfg = Config.fromfile(str(config))
    assert cfg.model.mode == 'offline' and cfg.model.window == 16
    assert cfg.train_dataloader.dataset.data_root == 'data/my_videos/'
    assert cfg.test_evaluator.ann_file == 'data/my_videos/valid.json'
    model = MODELS.build(cfg.model)
    assert model.frame_model.head.fc_cls.out_features == 3
    assert model.tracker.mask_nms_thr == 0.3


@pytest.mark.parametrize('path', REFINEVIS_BASES)
def test_class_numbers_agree(path):
    model = Config.fromfile(str(ROOT / path)).model
    assert model.frame_model.head.num_classes == \
        model.frame_model.dn_query_generator.num_classes
