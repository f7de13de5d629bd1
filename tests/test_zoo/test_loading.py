# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import gzip
import json
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn
from torch.testing import assert_close

from refinevis_mm.apis.inference import find_config, load_classes
from refinevis_mm.apis.video_config import as_video_config
from refinevis_mm.compat.checkpoints import (CheckpointError,
                                             CheckpointMismatchError,
                                             check_state_dict)
from refinevis_mm.models.frame_level.frame_model_detector import \
    FrameModelDetector
from refinevis_mm.registry import MODELS
from refinevis_mm.vis_json import PRESETS
from refinevis_mm.zoo.conversion import KeyUse, convert_state_dict
from refinevis_mm.zoo.loading import OWN, load_checkpoint_renamed
from tests.demo_clips import tiny_model_cfg
from tests.official_weights import official_maskdino
from tests.tiny_mask2former import TINY_BACKBONE, TINY_HEAD

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / 'tests' / 'data' / 'manifests'
IMAGES, VIDEO = 'Mask2Former of mmdet', 'Mask2FormerVideo of mmdet'
# config here, manifest of the official weights, family, tensors
OFFICIAL = [
    ('r50_coco', 'coco_r50', IMAGES, 610),
    ('r101_coco', 'coco_r101', IMAGES, 916),
    ('swin-t_coco', 'coco_swint', IMAGES, 481),
    ('swin-s_coco', 'coco_swins', IMAGES, 649),
    ('swin-b_coco', 'cocopan_swinb_in21k', IMAGES, 649),
    ('swin-l_coco', 'cocopan_swinl', IMAGES, 649),
    ('r50_youtubevis2021', 'vis_ytvis21_r50', VIDEO, 610),
    ('r101_youtubevis2021', 'vis_ytvis21_r101', VIDEO, 916),
    ('swin-l_youtubevis2021', 'vis_ytvis21_swinl', VIDEO, 649),
]


@pytest.fixture
def meta_model(monkeypatch):
    """Builds a shipped config without memory for its weights."""
    linspace = torch.linspace
    # a Swin backbone asks for the numbers of one
    monkeypatch.setattr(
        torch, 'linspace',
        lambda *args, **kwargs: linspace(*args, **dict(kwargs, device='cpu')))

    def build(name):
        cfg = Config.fromfile(ROOT / 'configs' / 'mask2former' /
                              f'mask2former-{name}.py')
        with torch.device('meta'):
            return MODELS.build(cfg.model)

    return build


def official(name):
    """Weights of an official file, without their numbers."""
    path = MANIFESTS / f'mmdet_mask2former_{name}.json.gz'
    manifest = json.loads(gzip.decompress(path.read_bytes()))
    return {
        key: torch.empty(shape, dtype=getattr(torch, dtype), device='meta')
        for key, shape, dtype in manifest['keys']
    }


@pytest.mark.parametrize('config, name, family, num', OFFICIAL)
def test_official_layouts(meta_model, config, name, family, num):
    """Every tensor of the file has its place, every place its tensor."""
    model, weights = meta_model(config), official(name)
    conversion = convert_state_dict(weights, model_keys=model.state_dict())
    uses = conversion.uses
    check_state_dict(model, conversion.state_dict)
    assert conversion.family.name == family
    assert len(uses) == len(weights) == num
    assert [use.source for use in uses] == list(weights)
    assert {use.target for use in uses} == set(model.state_dict())
    assert not any(use.note for use in uses)


@pytest.mark.parametrize('config, name, message', [
    ('swin-t_coco', 'coco_r50', 'missing keys'),
    ('r50_coco', 'coco_r101', r'306 unexpected keys \(frame_model.backbone'),
    ('r50_youtubevis2021', 'coco_r50',
     r'cls_embed.bias \(81,\) in the checkpoint, \(41,\) in the model'),
    ('r50_coco', 'vis_ytvis21_r50', r'\(41,\) in the .*, \(81,\) in the mod'),
])  # yapf: disable
def test_wrong_pairs_are_named_in_one_line(meta_model, config, name, message):
    model = meta_model(config)
    weights = convert_state_dict(
        official(name), model_keys=model.state_dict()).state_dict
    with pytest.raises(CheckpointMismatchError, match=message) as error:
        check_state_dict(model, weights, f'{name}.pth')
    line = str(error.value)
    assert '\n' not in line and len(line) < 2000
    assert line.startswith(f'"{name}.pth" does not fit the model: ')


# ---- tiny models with weights ----


def tiny_detector(kind='', num_things=80, num_stuff=0):
    """mmdet's Mask2Former, tiny; config and model with random weights."""
    cfg = Config.fromfile(
        find_config('mmdet::mask2former/'
                    f'mask2former_r50_8xb2-lsj-50e_coco{kind}.py'))
    num_rows = num_things + num_stuff
    head = dict(
        TINY_HEAD,
        num_things_classes=num_things,
        num_stuff_classes=num_stuff,
        loss_cls=dict(class_weight=[1.0] * num_rows + [0.1]))
    head.pop('train_cfg')  # that of the detector
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=TINY_BACKBONE,
                panoptic_head=head,
                panoptic_fusion_head=dict(
                    num_things_classes=num_things,
                    num_stuff_classes=num_stuff))))
    torch.manual_seed(0)
    detector = MODELS.build(cfg.model).eval()
    detector.init_weights()
    for param in detector.panoptic_head.parameters():
        nn.init.normal_(param, std=0.2)
    return cfg, detector


def save(path, model, **content):
    torch.save(dict(state_dict=model.state_dict(), **content), path)
    return str(path)


def follower(cfg):
    return MODELS.build(as_video_config(cfg).model).eval()


def logits_of(detector, image):
    """Class and mask logits of the last layer."""
    with torch.no_grad():
        classes, masks = detector.panoptic_head(detector.backbone(image), None)
    return classes[-1], masks[-1]


def test_detector_of_mmdet_gives_the_same(tmp_path):
    cfg, detector = tiny_detector()
    path = save(tmp_path / 'a.pth', detector, meta=dict(epoch=3))
    model = follower(cfg)
    loaded = load_checkpoint_renamed(model, path)
    assert loaded.family == IMAGES and loaded.checkpoint['meta']['epoch'] == 3
    num = len(detector.state_dict())
    assert loaded.summary == (f'{num} tensors (Mask2Former of mmdet): {num} '
                              'used, 0 dropped')
    image = torch.randn(1, 3, 64, 96)
    classes, masks = logits_of(detector, image)
    with torch.no_grad():
        frame = model.frame_model.forward_frames(image)
        found = model.frame_model.segment(frame.embeds, frame.mask_features)
    assert_close(frame.cls_logits.sigmoid(), classes.softmax(-1)[..., :80])
    assert_close(found, masks)
    assert masks.std() > 0.1 and (classes.softmax(-1).std(1) > 0).all()


def test_of_panoptic_weights_the_things_are_found(tmp_path):
    """Stuff competes in the softmax, so a wall is not a sure chair."""
    cfg, detector = tiny_detector('-panoptic', 80, 53)
    path = save(tmp_path / 'a.pth', detector)
    model = follower(cfg)
    load_checkpoint_renamed(model, path)
    image = torch.randn(1, 3, 64, 96)
    classes, masks = logits_of(detector, image)
    with torch.no_grad():
        frame = model.frame_model.forward_frames(image)
        scores = model.frame_model.class_scores(frame.embeds)
        found = model.frame_model.segment(frame.embeds, frame.mask_features)
    assert classes.shape[-1] == 134
    expected = classes.softmax(-1)[..., :80]
    assert_close(scores, expected)
    assert_close(frame.cls_logits.sigmoid(), expected)
    assert_close(found, masks)
    with pytest.raises(ValueError, match='num_stuff_classes must be 0 in'):
        model.frame_model.loss_frames(frame, [])


def test_other_rows_are_another_architecture(tmp_path):
    _, detector = tiny_detector('-panoptic', 80, 52)
    cfg, _ = tiny_detector()
    path = save(tmp_path / 'a.pth', detector)
    with pytest.raises(CheckpointMismatchError, match='133,.*81,'):
        load_checkpoint_renamed(follower(cfg), path)


def test_own_checkpoints_keep_their_keys(tmp_path):
    torch.manual_seed(0)
    model = MODELS.build(tiny_model_cfg())
    path = save(tmp_path / 'a.pth', model)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    nn.init.zeros_(next(model.parameters()))
    loaded = load_checkpoint_renamed(model, path)
    assert loaded.family == OWN
    assert [use.target for use in loaded.uses] == list(weights)
    assert all(use.source == use.target for use in loaded.uses)
    for key, value in model.state_dict().items():
        assert torch.equal(value, weights[key])


class Wrapped(nn.Module):
    """A model whose detector lies where TrackedSegmenter has it."""

    def __init__(self, detector):
        super().__init__()
        self.segmenter = nn.Module()
        self.segmenter.detector = detector


def plain_detector():
    return nn.ModuleDict(
        dict(backbone=nn.Conv2d(3, 4, 3), mask_head=nn.Conv2d(4, 2, 1)))


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_other_detectors_get_a_prefix(tmp_path, prefix):
    detector, model = plain_detector(), Wrapped(plain_detector())
    weights = {
        prefix + key: value
        for key, value in detector.state_dict().items()
    }
    torch.save(weights, tmp_path / 'a.pth')  # bare weights, too
    loaded = load_checkpoint_renamed(model, str(tmp_path / 'a.pth'))
    assert loaded.family == 'detector of mmdet'
    assert [use.target for use in loaded.uses] == [
        f'segmenter.detector.{key}' for key in detector.state_dict()
    ]
    for key, value in model.segmenter.detector.state_dict().items():
        assert torch.equal(value, detector.state_dict()[key])
    # what this project has saved of it is its own
    again = load_checkpoint_renamed(model, save(tmp_path / 'b.pth', model))
    assert again.family == OWN


def test_every_tensor_is_reported_where_others_are_allowed(tmp_path):
    detector, model = plain_detector(), Wrapped(plain_detector())
    weights = detector.state_dict()
    weights['rpn_head.weight'] = torch.ones(3)
    weights['mask_head.weight'] = torch.ones(7, 4, 1, 1)
    del weights['backbone.bias']
    torch.save(weights, tmp_path / 'a.pth')
    before = model.segmenter.detector.backbone.bias.clone()
    with pytest.raises(CheckpointMismatchError) as error:
        load_checkpoint_renamed(model, str(tmp_path / 'a.pth'))
    for part in ('1 missing keys (segmenter.detector.backbone.bias)',
                 '1 unexpected keys (segmenter.detector.rpn_head.weight)',
                 'segmenter.detector.mask_head.weight (7, 4, 1, 1) in the'):
        assert part in str(error.value)
    loaded = load_checkpoint_renamed(
        model, str(tmp_path / 'a.pth'), allow_mismatch=True)
    assert loaded.summary == ('4 tensors (detector of mmdet): 2 used, 2 '
                              'dropped')
    unfit = 'does not fit the model'
    assert loaded.uses == [
        KeyUse('backbone.weight', 'segmenter.detector.backbone.weight'),
        KeyUse('mask_head.weight', None, unfit),
        KeyUse('mask_head.bias', 'segmenter.detector.mask_head.bias'),
        KeyUse('rpn_head.weight', None, unfit)
    ]
    assert torch.equal(model.segmenter.detector.backbone.bias, before)


def test_weights_of_something_else(tmp_path):
    """No key of the model, and none of a known family."""
    torch.save(dict(weight=torch.ones(2)), tmp_path / 'a.pth')
    model = MODELS.build(tiny_model_cfg())
    with pytest.raises(
            CheckpointMismatchError,
            match='a.pth" is of no known family: its first keys are weight; '
            'known are VITA, CTVIS, MaskDINO, '):
        load_checkpoint_renamed(model, str(tmp_path / 'a.pth'))
    loaded = load_checkpoint_renamed(
        model, str(tmp_path / 'a.pth'), allow_mismatch=True)
    assert loaded.summary == '1 tensors (refinevis_mm): 0 used, 1 dropped'
    with pytest.raises(FileNotFoundError, match='absent.pth" does not exist'):
        load_checkpoint_renamed(model, str(tmp_path / 'absent.pth'))
    (tmp_path / 'b.pth').write_bytes(b'half a file')
    with pytest.raises(CheckpointError, match='b.pth" '):
        load_checkpoint_renamed(model, str(tmp_path / 'b.pth'))


# ---- official files ----


def maskdino(official):
    """The model that official weights are those of, with other weights."""
    frame_model = convert_state_dict(official).model['frame_model']
    return FrameModelDetector(
        frame_model=frame_model,
        data_preprocessor=dict(type='DetDataPreprocessor'))


LAYOUTS = dict(
    trainer=lambda weights: dict(
        model=weights, optimizer=dict(state={}), iteration=9),
    command_line=lambda weights: dict(model=weights, args=Namespace(lr=1e-4)),
    distributed=lambda weights: dict(model={
        f'module.{key}': value
        for key, value in weights.items()
    }),
    half=lambda weights: {key: value.half()
                          for key, value in weights.items()},
    averages=lambda weights: dict(model=weights, ema_state=dict(weights)),
    only_averages=lambda weights: dict(ema_state=weights))  # yapf: disable


@pytest.mark.parametrize('layout', LAYOUTS)
def test_official_files_need_no_conversion(tmp_path, layout):
    official = official_maskdino()
    path = str(tmp_path / 'official.pth')
    torch.save(LAYOUTS[layout](dict(official)), path)
    model = maskdino(official)
    loaded = load_checkpoint_renamed(model, path)
    assert loaded.family == 'MaskDINO'
    expected = convert_state_dict(official).state_dict
    for key, value in model.state_dict().items():
        value = value.half() if layout == 'half' else value
        assert torch.equal(value, expected[key].to(value.dtype))
    num, used = len(official), len(expected) - 53
    counts = f'{num} tensors (MaskDINO): {used} used, {num - used} dropped'
    notes = '; its averaged weights ("ema_state") are not used' * (
        layout == 'averages')
    assert loaded.summary == counts + notes
    added = [use for use in loaded.uses if not use.source]
    assert len(added) == 53


def test_official_files_of_other_models_are_named(tmp_path):
    path = str(tmp_path / 'official.pth')
    torch.save(dict(model=dict(official_maskdino(num_classes=7))), path)
    model = maskdino(official_maskdino())
    before = model.frame_model.head.fc_cls.bias.clone()
    with pytest.raises(
            CheckpointMismatchError,
            match='3 keys of another shape .*; the file: MaskDINO, ResNet-50, '
            '7 classes; the model: ResNet-50, 5 classes; .*convert_checkpoint'
            '.py --classes copies the rows') as error:
        load_checkpoint_renamed(model, path)
    assert '\n' not in str(error.value)
    assert torch.equal(model.frame_model.head.fc_cls.bias, before)
    loaded = load_checkpoint_renamed(model, path, allow_mismatch=True)
    unfit = [use.source for use in loaded.uses
             if use.note == 'does not fit the model']  # yapf: disable
    assert len(unfit) == 3
    # of an official family, but not for a model of mmdet's detectors
    with pytest.raises(CheckpointMismatchError, match='the file: MaskDINO'):
        load_checkpoint_renamed(Wrapped(plain_detector()), path)


def test_classes_that_a_file_does_not_tell(tmp_path):
    official = official_maskdino(num_classes=40)
    path = str(tmp_path / 'official.pth')
    torch.save(dict(model=dict(official)), path)
    told = load_checkpoint_renamed(maskdino(official), path).summary
    assert told.endswith('; it has 40 classes, as YouTube-VIS 2019 and YouTube'
                         '-VIS 2021: the categories cannot be told from the '
                         'file')
    names = [str(i) for i in range(40)]
    torch.save(dict(model=dict(official), meta=dict(CLASSES=names)), path)
    told = load_checkpoint_renamed(maskdino(official), path).summary
    assert told.endswith('dropped')


def test_classes_that_the_number_tells(tmp_path):
    official = official_maskdino(num_classes=25)
    path = str(tmp_path / 'official.pth')
    torch.save(dict(model=dict(official)), path)
    loaded = load_checkpoint_renamed(maskdino(official), path)
    assert loaded.notes == ['its classes are taken for those of OVIS']
    assert load_classes(loaded.checkpoint) == list(PRESETS['ovis'])
    names = [str(i) for i in range(25)]
    torch.save(dict(model=dict(official), meta=dict(CLASSES=names)), path)
    loaded = load_checkpoint_renamed(maskdino(official), path)
    assert loaded.notes == [] and load_classes(loaded.checkpoint) == names


def test_files_without_weights_and_cut_ones(tmp_path):
    model = maskdino(official_maskdino())
    path = tmp_path / 'official.pth'
    torch.save(dict(optimizer=dict(state={}), iteration=3), path)
    with pytest.raises(CheckpointError, match=r'got .*\(optimizer \(dict\)'):
        load_checkpoint_renamed(model, str(path))
    torch.save(dict(model=dict(official_maskdino())), path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match='official.pth" cannot be read'):
        load_checkpoint_renamed(model, str(path))
    torch.save({'vita_module.query_feat.weight': torch.ones(1)}, path)
    with pytest.raises(CheckpointMismatchError, match='the file: VITA, '):
        load_checkpoint_renamed(model, str(path))
