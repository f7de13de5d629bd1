# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The tables name what is there."""
import re

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from refinevis_mm.apis.inference import find_config
from refinevis_mm.apis.video_config import as_video_config
from refinevis_mm.profiling.stages import (FUNCTION_STAGES, MODEL_STAGES,
                                           ORDER, find_owner)
from refinevis_mm.registry import MODELS
from tests.tiny_exports import KINDS, tiny_model


@pytest.mark.parametrize('stage, path, name', FUNCTION_STAGES)
def test_functions_are_there(stage, path, name):
    assert callable(getattr(find_owner(path), name))
    assert stage in ORDER


def test_an_older_checkout_may_lack_a_module():
    assert find_owner('apis.no_such_module:Class') is None
    assert find_owner('apis.render:NoSuchClass') is None


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """All frame models, a detector and a tracked one of mmdet."""
    found = [tiny_model(kind) for kind in KINDS]
    init_default_scope('mmdet')
    found.append(
        MODELS.build(
            dict(
                type='refinevis_mm.FrameModelDetector',
                frame_model=found[0].cfg.model.frame_model)))
    cfg = Config.fromfile(find_config('mmdet::solo/solo_r50_fpn_1x_coco.py'))
    cfg.model.backbone.init_cfg = None
    found.append(MODELS.build(as_video_config(cfg).model))
    return found


@pytest.mark.parametrize('stage, pattern, method', MODEL_STAGES)
def test_parts_of_models_are_there(models, stage, pattern, method):
    assert stage in ORDER
    assert any(
        re.fullmatch(pattern, path)
        and callable(getattr(module, method, None)) for model in models
        for path, module in model.named_modules())
