# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Every small system trains and follows a video, at its own size."""
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from refinevis_mm.compat.mmcv_lite import has_compiled_ops
from refinevis_mm.registry import MODELS
from tests.demo_clips import demo_clip, empty_clip, two_object_clip
from tests.training_checks import assert_trains

ROOT = Path(__file__).parents[2]
NEEDS_OPS = 'masktrack-rcnn'
CONFIGS = [
    pytest.param(
        path.stem,
        marks=(pytest.mark.ops,
               pytest.mark.zoo) if path.stem.startswith(NEEDS_OPS) else ())
    for path in sorted((ROOT / 'configs/table1').glob('*.py'))
]
LENGTH = 3
# of mmdet's Mask2Former-VIS with TAR's head, but without TAR
UNUSED = 'track_head.frame_proj.'


def read(name):
    return Config.fromfile(str(ROOT / f'configs/table1/{name}.py'))


def build(name):
    """The model without its ImageNet weights."""
    if (name.startswith(NEEDS_OPS) and not has_compiled_ops()
            and find_spec('torchvision') is None):
        pytest.skip('RoIAlign and NMS need compiled mmcv (make test-ops) or '
                    'torchvision (make test-zoo)')
    cfg = read(name)
    model = cfg.model
    backbone = model.get('backbone') or (model.get('frame_model')
                                         or model.detector).backbone
    backbone.init_cfg = None
    torch.manual_seed(0)
    return MODELS.build(model)


def loaded(clip):
    """A clip with what the pipeline and the preprocessor say of its frames."""
    for frame in clip:
        frame.set_metainfo(
            dict(
                pad_shape=(64, 96),
                batch_input_shape=(64, 96),
                scale_factor=(1., 1.)))
    return clip


@pytest.mark.parametrize('name', CONFIGS)
def test_loss(name):
    model = build(name)
    model.init_weights()
    for clip in (two_object_clip(labels=[2, 0]), empty_clip()):
        loaded(clip)
        model.zero_grad()
        clip.set_metainfo(dict(key_frames_inds=[0], ref_frames_inds=[1]))
        losses = model.loss(torch.randn(1, len(clip), 3, 64, 96), [clip])
        if len(clip[0].gt_instances):
            for key, param in model.named_parameters():
                param.requires_grad_(not key.startswith(UNUSED)
                                     and param.requires_grad)
            assert_trains(model, losses)


@pytest.mark.parametrize('name', CONFIGS)
def test_predict(name):
    model = build(name).eval()
    frames = torch.randn(1, LENGTH, 3, 64, 96)
    boxes = [(8, 8, 40, 40)]
    video = loaded(demo_clip([boxes] * LENGTH, [1], [2]))
    with torch.inference_mode():
        result, = model.predict(frames, [video])
    tracklets = result.pred_tracklets
    assert result.video_length == LENGTH
    assert all(
        len(tracklet['segmentations']) == LENGTH
        and 0 <= tracklet['score'] <= 1 and 0 <= tracklet['label'] < 7
        for tracklet in tracklets)
