# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The image-level configs: complete, official numbers, they train and test."""
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.structures import InstanceData
from torch import nn

from refinevis_mm.models.frame_level.frame_model_detector import \
    FrameModelDetector
from refinevis_mm.registry import MODELS
from tests.training_checks import assert_trains

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in ROOT.glob('configs/maskdino/*.py'))
R50, SWIN = [256, 512, 1024, 2048], [192, 384, 768, 1536]
HIGH, LOW = 'fine_small', 'coarse_small'  # high2low, low2high
SEG, CDN = 'MaskDINODnQueryGenerator', 'ClipCdnQueryGenerator'
# in_channels, maps into the encoder, levels, encoder FFN, decoder layers,
# anchors, proposals, denoising and its number: the table of the official
# configs and the RefineVIS paper
OFFICIAL = {
    'r50_3s-hid1024': (R50, 3, 3, 1024, 9, 'bitmask', HIGH, SEG, 100),
    'r50_4s-hid2048': (R50, 3, 4, 2048, 9, 'mask2box', LOW, SEG, 100),
    'r50_4s-hid2048-bitmask': (R50, 3, 4, 2048, 9, 'bitmask', LOW, SEG, 100),
    'swin-l_5s-hid2048': (SWIN, 4, 5, 2048, 9, 'bitmask', LOW, SEG, 100),
    'swin-l_5s-hid2048-no-mask-enhance':
    (SWIN, 4, 5, 2048, 9, 'no', LOW, SEG, 100),
    'r50_refinevis-phase1': (R50, 3, 4, 2048, 6, 'bitmask', LOW, CDN, 100),
    'swin-l_refinevis-phase1': (SWIN, 4, 5, 2048, 9, 'bitmask', LOW, CDN, 500),
}


def official(name):
    """Path of an official config."""
    return f'configs/maskdino/maskdino_{name}_16xb1-lsj-50e_coco.py'


def load(path, small=False):
    """A config; a small model has the same structure at a small width."""
    cfg = Config.fromfile(str(ROOT / path))
    cfg.model.backbone.pop('init_cfg', None)
    if small:
        frame_model = cfg.model.frame_model
        if cfg.model.backbone.type == 'SwinTransformer':
            cfg.model.backbone.update(embed_dims=48, window_size=4)
            frame_model.pixel_decoder.in_channels = [48, 96, 192, 384]
        elif cfg.model.backbone.type == 'ResNet':
            cfg.model.backbone.update(base_channels=8)
            frame_model.pixel_decoder.in_channels = [32, 64, 128, 256]
        for part in (frame_model.pixel_decoder, frame_model.decoder,
                     frame_model.head, frame_model.dn_query_generator):
            part.embed_dims = 32
        frame_model.pixel_decoder.update(
            mask_dims=32, feedforward_channels=32, num_layers=1)
        frame_model.decoder.update(feedforward_channels=32)
        frame_model.head.update(mask_dims=32, num_match_points=64)
        frame_model.head.loss_mask.num_points = 64
        frame_model.num_queries = 20
        number = 'num_dn_pairs' if 'num_dn_pairs' in \
            frame_model.dn_query_generator else 'num_dn_queries'
        frame_model.dn_query_generator[number] = 4
    return cfg


def test_official_table_is_complete():
    assert {official(name) for name in OFFICIAL} == {
        path for path in CONFIGS if '16xb1' in path}  # yapf: disable


@pytest.mark.parametrize('path', CONFIGS)
def test_config_is_complete(path):
    cfg = load(path)
    for key in ('train_dataloader', 'val_dataloader', 'test_dataloader',
                'val_evaluator', 'test_evaluator', 'train_cfg', 'val_cfg',
                'test_cfg', 'optim_wrapper', 'param_scheduler'):
        assert cfg.get(key) is not None, key
    assert cfg.default_scope == 'mmdet'
    assert cfg.default_hooks.checkpoint.save_best == 'coco/segm_mAP'
    assert cfg.visualizer.type == 'DetLocalVisualizer'
    assert cfg.val_evaluator.type.endswith('CocoMetric')
    assert Config.fromstring(cfg.pretty_text, '.py').to_dict() == \
        cfg.to_dict()


@pytest.mark.parametrize('name, numbers', OFFICIAL.items())
def test_official_numbers(name, numbers):
    cfg = load(official(name))
    model = cfg.model.frame_model
    encoder, decoder, head = model.pixel_decoder, model.decoder, model.head
    dn = model.dn_query_generator
    (in_channels, num_maps, num_levels, encoder_ffn, num_layers, anchors,
     proposals, dn_type, num_dn) = numbers
    assert encoder.in_channels == in_channels
    assert encoder.encoder_in_indices == tuple(range(4))[-num_maps:]
    assert num_maps + encoder.num_extra_levels == num_levels
    assert decoder.num_levels == num_levels
    assert (encoder.num_layers, decoder.num_layers) == (6, num_layers)
    assert encoder.feedforward_channels == encoder_ffn
    assert decoder.feedforward_channels == 2048
    assert model.anchor_init == anchors
    assert model.proposal_wh_order == proposals
    assert dn.type == f'refinevis_mm.{dn_type}'
    if dn_type == SEG:
        assert model.empty_mask_anchor == 'official'
        assert (dn.num_dn_queries, dn.label_noise_scale,
                dn.box_noise_scale) == (num_dn, 0.4, 0.4)
    else:
        assert (dn.num_dn_pairs, dn.label_noise_scale,
                dn.box_noise_scale) == (num_dn, 0.5, 1.0)
    for part in (encoder, decoder):
        assert (part.embed_dims, part.num_heads, part.num_points) == (256, 8,
                                                                      4)
    assert head.embed_dims == head.mask_dims == encoder.mask_dims == 256
    assert head.num_classes == dn.num_classes == 80
    assert head.get('cls_prior') is None
    assert head.num_match_points == head.loss_mask.num_points == 12544
    assert model.num_queries == 300
    assert cfg.model.test_cfg.max_per_img == 100
    costs = [cost.weight for cost in head.assigner.match_costs]
    assert costs == [4, 5, 2, 5, 5]
    assert [
        head.loss_cls.loss_weight, head.loss_bbox.loss_weight,
        head.loss_iou.loss_weight, head.loss_mask.mask_weight,
        head.loss_mask.dice_weight
    ] == costs


@pytest.mark.parametrize('name', OFFICIAL)
def test_official_schedule(name):
    cfg = load(official(name))
    assert cfg.train_cfg.max_iters == 368750
    assert cfg.param_scheduler.milestones == [327778, 355092]
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.01
    assert cfg.auto_scale_lr.base_batch_size == 16
    assert cfg.train_dataloader.batch_size == 1  # of 16 GPUs


@pytest.mark.parametrize('name', OFFICIAL)
def test_official_models_are_built(name):
    # at full size, without memory for the weights of Swin
    cfg = load(official(name))
    if 'swin' in name:
        cfg.model.backbone.update(embed_dims=48)
        cfg.model.frame_model.pixel_decoder.in_channels = [48, 96, 192, 384]
        model = MODELS.build(cfg.model)
    else:
        with torch.device('meta'):
            model = MODELS.build(cfg.model)
    assert isinstance(model, FrameModelDetector)
    levels = model.frame_model.pixel_decoder.num_levels
    assert model.frame_model.decoder.layers[0].cross_attn.num_levels == levels


@pytest.mark.parametrize('path', CONFIGS)
def test_loss_and_predict(path):
    torch.manual_seed(0)
    model = MODELS.build(load(path, small=True).model).train()
    masks = np.zeros((1, 64, 96), np.uint8)
    masks[:, 8:40, 8:40] = 1
    sample = DetDataSample(
        metainfo=dict(img_shape=(64, 96), ori_shape=(128, 192)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8.0, 40.0, 40.0]]),
        labels=torch.tensor([2]),
        masks=BitmapMasks(masks, 64, 96))
    losses = model.loss(torch.randn(1, 3, 64, 96), [sample])
    assert_trains(model, losses)
    with torch.no_grad():
        out, = model.eval().predict(torch.randn(1, 3, 64, 96), [sample])
    num_results = min(20 * model.frame_model.head.num_classes, 100)
    assert out.pred_instances.masks.shape == (num_results, 128, 192)


@pytest.mark.parametrize(
    'path', [official('r50_3s-hid1024'),
             official('swin-l_5s-hid2048')])
def test_learning_rate_and_decay_of_every_parameter(path):
    cfg = load(path, small=True)
    model = MODELS.build(cfg.model)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert isinstance(wrapper.optimizer, torch.optim.AdamW)
    without_decay = {
        id(param)
        for module in model.modules()
        if isinstance(module, (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d,
                               nn.Embedding))
        for param in module.parameters(recurse=False)
    }
    found = {
        id(param): (group['lr'], group['weight_decay'])
        for group in wrapper.optimizer.param_groups
        for param in group['params']
    }
    tables = 0
    for name, param in model.named_parameters():
        if not param.requires_grad:
            continue
        is_table = name.endswith('relative_position_bias_table')
        tables += is_table
        lr = 1e-5 if 'backbone' in name else 1e-4
        decay = 0.0 if id(param) in without_decay or is_table else 0.05
        assert found[id(param)] == (pytest.approx(lr), decay), name
    assert tables == (24 if 'swin' in path else 0)
    assert found[id(model.frame_model.pixel_decoder.level_embed)][1] == 0.05
    batch_norms = [
        param.requires_grad for module in model.modules()
        if isinstance(module, nn.BatchNorm2d) for param in module.parameters()
    ]
    assert not any(batch_norms)


def test_example_of_other_classes_in_the_readme(tmp_path):
    text = (ROOT / 'configs' / 'maskdino' / 'README.md').read_text()
    example = next(
        block for block in re.findall(r'```python\n(.*?)```', text, re.S)
        if '_base_' in block)
    config = tmp_path / 'mine.py'
    folder = (ROOT / 'configs' / 'maskdino').as_posix()
    config.write_text(example.replace("'./", f"'{folder}/"))
    cfg = Config.fromfile(str(config))
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.metainfo.classes == ('apple', 'pear')
        assert dataset.type == 'CocoDataset'
    model = MODELS.build(cfg.model)
    assert model.allow_mismatch
    assert model.frame_model.head.num_classes == \
        model.frame_model.dn_query_generator.num_classes == 2


def run_pipeline(pipeline, seed):
    """The pipeline without its loading, on a 60 x 80 image with a square."""
    steps = [step for step in pipeline if not step['type'].startswith('Load')]
    image = np.full((60, 80, 3), 255, np.uint8)
    masks = np.zeros((1, 60, 80), np.uint8)
    masks[:, 20:50, 20:50] = 1
    np.random.seed(seed)
    data = Compose(steps)(
        dict(
            img=image,
            img_shape=(60, 80),
            ori_shape=(60, 80),
            gt_bboxes=HorizontalBoxes(
                torch.tensor([[20.0, 20.0, 50.0, 50.0]])),
            gt_bboxes_labels=np.array([1]),
            gt_ignore_flags=np.array([False]),
            gt_masks=BitmapMasks(masks, 60, 80)))
    return data['inputs'], data['data_samples']


def test_lsj_recipe():
    cfg = load(official('r50_3s-hid1024'))
    scales, padded = [], 0
    for seed in range(20):
        image, sample = run_pipeline(cfg.train_pipeline, seed)
        assert image.shape == (3, 1024, 1024)
        assert sample.img_shape == (1024, 1024)
        # the white image, then 128 to the right and below
        assert set(image.unique().tolist()) <= {128, 255}
        scales.append(sample.scale_factor[0] * 80 / 1024)
        seen = image[0] == 255
        padded += not seen.all()
        height, width = int(seen[:, 0].sum()), int(seen[0].sum())
        assert seen.sum() == height * width
        masks = sample.gt_instances.masks
        if masks.masks.any():
            # boxes are those of what the crop has left of the masks
            box = masks.get_bboxes('hbox').tensor[0]
            assert torch.equal(sample.gt_instances.bboxes.tensor[0], box)
    assert 0.1 <= min(scales) < 0.4 and 1.6 < max(scales) <= 2.0
    assert 0 < padded < 20
    flips = [step for step in cfg.train_pipeline if 'Flip' in step.type]
    assert flips[0].prob == 0.5


def test_test_recipe():
    cfg = load(official('r50_3s-hid1024'))
    image, sample = run_pipeline(cfg.test_pipeline, 0)
    assert image.shape == (3, 800, 1067)
    assert sample.img_shape == (800, 1067)
    assert sample.ori_shape == (60, 80)


def test_images_without_objects_are_not_trained_on():
    cfg = load(official('r50_3s-hid1024'))
    assert cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt
