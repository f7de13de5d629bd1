# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Convert official MaskDINO checkpoints (detectron2) to this package.

    python tools/model_converters/maskdino_to_refinevis.py \
        maskdino_r50_50ep_300q_hid2048_3sd1_instance.pth maskdino_r50.pth

    python tools/model_converters/maskdino_to_refinevis.py SRC DST \
        --num-decoder-layers 6 --classes 'coco->youtube_vis_2019'

The result serves RefineVIS and the stand-alone detector alike: weights lie
under ``frame_model.``. Every official tensor is either converted or dropped
with a reason, each in one line of the report; a tensor that is neither, and a
model that would lack one, end the program with exit code 1.

Levels are ordered fine to coarse everywhere in this package. Official models
order them differently in encoder and decoder, depending on ``FEATURE_ORDER``;
deformable attention does not depend on the order, so its weights are
permuted. What the official order still decides is the size of the proposals
on each level: the printed ``proposal_wh_order`` must be that of the config.
``anchor_init`` (official: ``INITIALIZE_BOX_TYPE``) is not in the weights
either and must be that of the official config.
"""
import argparse
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import save_checkpoint
from torch import Tensor

from refinevis_mm.compat.checkpoints import (CheckpointError, check_state_dict,
                                             read_file)
from refinevis_mm.registry import MODELS
from refinevis_mm.utils import one_line_errors
from refinevis_mm.version import __version__
from refinevis_mm.vis_json import OVIS, YOUTUBE_VIS_2019, YOUTUBE_VIS_2021

PREFIX = 'frame_model.'
# Sampled points per level and head, in every official model.
NUM_POINTS = 4
MAX_NAMED_KEYS = 10

PIXEL_DECODER = r'sem_seg_head\.pixel_decoder\.'
PREDICTOR = r'sem_seg_head\.predictor\.'
ATTENTION = (r'(sampling_offsets|attention_weights|value_proj|output_proj)'
             r'\.(weight|bias)')
CROSS_ATTENTION = PREDICTOR + r'decoder\.layers\.(\d+)\.cross_attn\.'
ENCODER_ATTENTION = (
    PIXEL_DECODER + r'transformer\.encoder\.layers\.(\d+)\.self_attn\.')

# Official key -> our key. Keys that share a target are copies of one tensor.
RENAMES = (
    (r'backbone\.stem\.conv1\.weight', r'backbone.conv1.weight'),
    (r'backbone\.stem\.conv1\.norm\.(\w+)', r'backbone.bn1.\1'),
    (PIXEL_DECODER + r'transformer\.level_embed',
     r'pixel_decoder.level_embed'),
    (ENCODER_ATTENTION + ATTENTION,
     r'pixel_decoder.encoder.layers.\1.self_attn.\2.\3'),
    (PIXEL_DECODER + r'transformer\.encoder\.layers\.(\d+)\.linear1\.(\w+)',
     r'pixel_decoder.encoder.layers.\1.ffn.layers.0.0.\2'),
    (PIXEL_DECODER + r'transformer\.encoder\.layers\.(\d+)\.linear2\.(\w+)',
     r'pixel_decoder.encoder.layers.\1.ffn.layers.1.\2'),
    (PIXEL_DECODER + r'transformer\.encoder\.layers\.(\d+)\.norm1\.(\w+)',
     r'pixel_decoder.encoder.layers.\1.norms.0.\2'),
    (PIXEL_DECODER + r'transformer\.encoder\.layers\.(\d+)\.norm2\.(\w+)',
     r'pixel_decoder.encoder.layers.\1.norms.1.\2'),
    (PIXEL_DECODER + r'adapter_1\.weight',
     r'pixel_decoder.lateral_conv.conv.weight'),
    (PIXEL_DECODER + r'adapter_1\.norm\.(\w+)',
     r'pixel_decoder.lateral_conv.gn.\1'),
    (PIXEL_DECODER + r'layer_1\.weight',
     r'pixel_decoder.output_conv.conv.weight'),
    (PIXEL_DECODER + r'layer_1\.norm\.(\w+)',
     r'pixel_decoder.output_conv.gn.\1'),
    (PIXEL_DECODER + r'mask_features\.(\w+)',
     r'pixel_decoder.mask_feature.\1'),
    (PREDICTOR + r'enc_output\.(\w+)', r'memory_trans_fc.\1'),
    (PREDICTOR + r'enc_output_norm\.(\w+)', r'memory_trans_norm.\1'),
    (PREDICTOR + r'label_enc\.weight',
     r'dn_query_generator.label_embedding.weight'),
    (PREDICTOR + r'class_embed\.(\w+)', r'head.fc_cls.\1'),
    (PREDICTOR + r'mask_embed\.layers\.(\d)\.(\w+)',
     r'head.fc_mask.layers.\1.\2'),
    (PREDICTOR + r'(?:_bbox_embed|(?:decoder\.)?bbox_embed\.\d+)'
     r'\.layers\.(\d)\.(\w+)', r'head.fc_reg.layers.\1.\2'),
    (PREDICTOR + r'(?:decoder_norm|decoder\.norm)\.(\w+)', r'decoder.norm.\1'),
    (PREDICTOR + r'decoder\.ref_point_head\.layers\.(\d)\.(\w+)',
     r'decoder.ref_point_head.layers.\1.\2'),
    (PREDICTOR + r'decoder\.layers\.(\d+)\.self_attn\.'
     r'(in_proj_weight|in_proj_bias|out_proj\.\w+)',
     r'decoder.layers.\1.self_attn.attn.\2'),
    (CROSS_ATTENTION + ATTENTION, r'decoder.layers.\1.cross_attn.\2.\3'),
    (PREDICTOR + r'decoder\.layers\.(\d+)\.linear1\.(\w+)',
     r'decoder.layers.\1.ffn.layers.0.0.\2'),
    (PREDICTOR + r'decoder\.layers\.(\d+)\.linear2\.(\w+)',
     r'decoder.layers.\1.ffn.layers.1.\2'),
    # self-attention is first in a layer, but its norm is the second in name
    (PREDICTOR + r'decoder\.layers\.(\d+)\.norm2\.(\w+)',
     r'decoder.layers.\1.norms.0.\2'),
    (PREDICTOR + r'decoder\.layers\.(\d+)\.norm1\.(\w+)',
     r'decoder.layers.\1.norms.1.\2'),
    (PREDICTOR + r'decoder\.layers\.(\d+)\.norm3\.(\w+)',
     r'decoder.layers.\1.norms.2.\2'),
)

# Official keys without a place in our model, and why.
DROPS = (
    (r'criterion\.empty_weight', 'weight of a background class, which the '
     'sigmoid classifier does not have'),
    (PREDICTOR + r'(query_feat|query_embed)\.weight',
     'learned queries; queries are selected from the encoder'),
    (r'pixel_mean|pixel_std', 'normalisation belongs to the data '
     'preprocessor'),
)

# Target data sets: their classes in label order, and the names under which
# COCO knows a class where the two differ (spaces and case aside). COCO's mouse
# is a computer mouse, that of YouTube-VIS is an animal: nothing to copy.
OTHER_NAMES = {
    'sedan': 'car',
    'vehical': 'car',
    'motorbike': 'motorcycle',
    'flying disc': 'frisbee',
    'mouse': None
}
CLASSES = {
    'coco->youtube_vis_2019': YOUTUBE_VIS_2019,
    'coco->youtube_vis_2021': YOUTUBE_VIS_2021,
    'coco->ovis': OVIS
}


@dataclass
class Architecture:
    """What the shapes of an official checkpoint tell of its model.

    Attributes:
        backbone (dict): Config of mmdet's backbone.
        in_channels (tuple[int]): Channels of its maps, fine to coarse.
        encoder_in_indices (tuple[int]): Maps that enter the encoder.
        num_extra_levels (int): Levels made by stride-2 convolutions.
        feature_order (str): 'low2high' or 'high2low', the official
            ``FEATURE_ORDER``.
        embed_dims (int): Width of encoder and decoder.
        mask_dims (int): Width of the mask features.
        num_classes (int): Number of classes K.
        encoder (dict): ``num_layers``, ``num_heads`` and
            ``feedforward_channels`` of the encoder.
        decoder (dict): The same of the decoder.
    """

    backbone: Dict[str, Any]
    in_channels: Tuple[int, ...]
    encoder_in_indices: Tuple[int, ...]
    num_extra_levels: int
    feature_order: str
    embed_dims: int
    mask_dims: int
    num_classes: int
    encoder: Dict[str, int] = field(default_factory=dict)
    decoder: Dict[str, int] = field(default_factory=dict)

    @property
    def num_levels(self) -> int:
        """int: Feature levels of encoder and decoder."""
        return len(self.encoder_in_indices) + self.num_extra_levels

    @property
    def proposal_wh_order(self) -> str:
        """str: Option of :class:`MaskDINO` for the official level order."""
        return 'coarse_small' if self.feature_order == 'low2high' else \
            'fine_small'


class ReportRow(NamedTuple):
    """What became of one tensor.

    Attributes:
        source (str): Official key, '-' for a tensor we add.
        target (str): Our key, '-' for a tensor that is dropped.
        shape (tuple[int]): Shape as written, or as read if dropped.
        action (str): What was done.
    """

    source: str
    target: str
    shape: Tuple[int, ...]
    action: str


def infer_architecture(state_dict: Dict[str, Tensor],
                       feature_order: Optional[str] = None) -> Architecture:
    """Read the architecture off the shapes of an official state dict.

    Args:
        state_dict (dict[str, Tensor]): Official weights.
        feature_order (str, optional): 'low2high' or 'high2low'. Only needed
            where the shapes do not tell, for a single backbone map.

    Returns:
        :obj:`Architecture`: The architecture.

    Raises:
        ValueError: If a key that tells it is missing, if the architecture is
            not supported, or if ``feature_order`` contradicts the weights.
    """
    pixel_decoder = 'sem_seg_head.pixel_decoder.'
    encoder = pixel_decoder + 'transformer.encoder.layers.'
    predictor = 'sem_seg_head.predictor.'
    decoder = predictor + 'decoder.layers.'

    def shape(key: str) -> Tuple[int, ...]:
        if key not in state_dict:
            raise ValueError('not an official MaskDINO checkpoint: it has no '
                             f'"{key}"')
        return tuple(state_dict[key].shape)

    backbone, in_channels = _infer_backbone(state_dict)
    projections = [
        shape(f'{pixel_decoder}input_proj.{i}.0.weight') for i in range(
            _count(state_dict, pixel_decoder + r'input_proj\.(\d+)\.'))
    ]
    direct = [size[1] for size in projections if size[2] == 1]
    num_extra_levels = len(projections) - len(direct)
    if num_extra_levels > 1:
        raise ValueError(
            'at most one extra level is supported, since the official '
            'position codes of more are out of order; got '
            f'{num_extra_levels}')
    if f'{pixel_decoder}adapter_2.weight' in state_dict:
        raise ValueError('the finest map of the encoder must have stride 4 '
                         'or 8, got one of 16 or more (adapter_2)')
    order = _feature_order(direct, feature_order)
    unknown = set(direct) - set(in_channels)
    if unknown:
        raise ValueError(
            f'input_proj must read maps of {list(in_channels)} channels, got '
            f'{sorted(unknown)}')
    num_levels, embed_dims = shape(pixel_decoder + 'transformer.level_embed')
    if num_levels != len(projections):
        raise ValueError(f'level_embed must have {len(projections)} rows, '
                         f'got {num_levels}')

    def layers(prefix: str, attention: str) -> Dict[str, int]:
        rows = shape(f'{prefix}0.{attention}.attention_weights.weight')[0]
        return dict(
            num_layers=_count(state_dict,
                              re.escape(prefix) + r'(\d+)\.'),
            num_heads=rows // (num_levels * NUM_POINTS),
            feedforward_channels=shape(f'{prefix}0.linear1.weight')[0])

    return Architecture(
        backbone=backbone,
        in_channels=in_channels,
        encoder_in_indices=tuple(sorted(map(in_channels.index, direct))),
        num_extra_levels=num_extra_levels,
        feature_order=order,
        embed_dims=embed_dims,
        mask_dims=shape(pixel_decoder + 'mask_features.weight')[0],
        num_classes=shape(predictor + 'class_embed.weight')[0],
        encoder=layers(encoder, 'self_attn'),
        decoder=layers(decoder, 'cross_attn'))


def _count(state_dict: Dict[str, Tensor], pattern: str) -> int:
    """One more than the largest index that ``pattern`` captures."""
    matches = (re.match(pattern, key) for key in state_dict)
    return 1 + max((int(match[1]) for match in matches if match), default=-1)


def _feature_order(channels: List[int], given: Optional[str]) -> str:
    """Level order from the channels that the projections read."""
    fine_first = sorted(channels)
    orders = dict(low2high=fine_first, high2low=fine_first[::-1])
    possible = [name for name in orders if orders[name] == channels]
    if given is None and len(possible) == 1:
        return possible[0]
    if given is None and possible:
        raise ValueError('one backbone map does not tell the level order: '
                         '--feature-order must be given')
    if given not in possible:
        raise ValueError(
            f'feature_order must be {" or ".join(possible) or "of official"}, '
            f'as the channels {channels} of input_proj say, got {given}')
    return given


def _infer_backbone(
        state_dict: Dict[str,
                         Tensor]) -> Tuple[Dict[str, Any], Tuple[int, ...]]:
    """Config of mmdet's backbone and the channels of its maps."""
    if 'backbone.stem.conv1.weight' in state_dict:
        return _infer_resnet(state_dict)
    if 'backbone.patch_embed.proj.weight' in state_dict:
        return _infer_swin(state_dict)
    raise ValueError('the backbone must be a ResNet (backbone.stem.*) or a '
                     'Swin Transformer (backbone.patch_embed.*)')


def _infer_resnet(
        state_dict: Dict[str,
                         Tensor]) -> Tuple[Dict[str, Any], Tuple[int, ...]]:
    """See :func:`_infer_backbone`; bottleneck ResNets only."""
    blocks = tuple(
        _count(state_dict, rf'backbone\.res{stage}\.(\d+)\.')
        for stage in range(2, 6))
    depths = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
    last = [f'backbone.res{stage}.0.conv3.weight' for stage in range(2, 6)]
    if blocks not in depths or any(key not in state_dict for key in last):
        raise ValueError('the ResNet must be one of depth 50, 101 or 152, got '
                         f'{blocks} blocks')
    backbone = dict(
        type='ResNet',
        depth=depths[blocks],
        base_channels=state_dict['backbone.stem.conv1.weight'].shape[0],
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch')
    return backbone, tuple(state_dict[key].shape[0] for key in last)


def _infer_swin(
        state_dict: Dict[str,
                         Tensor]) -> Tuple[Dict[str, Any], Tuple[int, ...]]:
    """See :func:`_infer_backbone`."""
    num_stages = _count(state_dict, r'backbone\.layers\.(\d+)\.')
    embed_dims, _, patch_size, _ = state_dict[
        'backbone.patch_embed.proj.weight'].shape
    block = 'backbone.layers.{}.blocks.0.'
    tables = [
        state_dict[block.format(i) + 'attn.relative_position_bias_table']
        for i in range(num_stages)
    ]
    backbone = dict(
        type='SwinTransformer',
        embed_dims=embed_dims,
        patch_size=patch_size,
        strides=(patch_size, ) + (2, ) * (num_stages - 1),
        # a table has (2 * window - 1) ** 2 rows
        window_size=(round(len(tables[0])**0.5) + 1) // 2,
        mlp_ratio=state_dict[block.format(0) + 'mlp.fc1.weight'].shape[0] //
        embed_dims,
        depths=tuple(
            _count(state_dict, rf'backbone\.layers\.{i}\.blocks\.(\d+)\.')
            for i in range(num_stages)),
        num_heads=tuple(table.shape[1] for table in tables),
        out_indices=tuple(range(num_stages)),
        qkv_bias=block.format(0) + 'attn.qkv.bias' in state_dict,
        patch_norm='backbone.patch_embed.norm.weight' in state_dict)
    return backbone, tuple(embed_dims * 2**i for i in range(num_stages))


def frame_model_cfg(arch: Architecture, **options: Any) -> Dict[str, Any]:
    """Config of the frame model that the converted weights fit.

    Args:
        arch (:obj:`Architecture`): The architecture.
        **options: Further arguments of :class:`MaskDINO`.

    Returns:
        dict: Config with the official losses and matching costs.
    """
    loss_cls = dict(
        type='FocalLoss',
        use_sigmoid=True,
        gamma=2.0,
        alpha=0.25,
        loss_weight=4.0)
    costs = [
        dict(type='FocalLossCost', weight=4.0),
        dict(type='BBoxL1Cost', weight=5.0, box_format='xywh'),
        dict(type='refinevis_mm.GIoUCost', weight=2.0),
        dict(type='CrossEntropyLossCost', weight=5.0, use_sigmoid=True),
        dict(type='DiceCost', weight=5.0, pred_act=True, eps=1.0)
    ]
    cfg = dict(
        type='refinevis_mm.MaskDINO',
        proposal_wh_order=arch.proposal_wh_order,
        backbone=arch.backbone,
        pixel_decoder=dict(
            type='refinevis_mm.MaskDINOPixelDecoder',
            in_channels=arch.in_channels,
            encoder_in_indices=arch.encoder_in_indices,
            num_extra_levels=arch.num_extra_levels,
            embed_dims=arch.embed_dims,
            mask_dims=arch.mask_dims,
            num_points=NUM_POINTS,
            **arch.encoder),
        decoder=dict(
            type='refinevis_mm.MaskDINODecoder',
            embed_dims=arch.embed_dims,
            num_levels=arch.num_levels,
            num_points=NUM_POINTS,
            **arch.decoder),
        head=dict(
            type='refinevis_mm.MaskDINOHead',
            num_classes=arch.num_classes,
            embed_dims=arch.embed_dims,
            mask_dims=arch.mask_dims,
            assigner=dict(type='HungarianAssigner', match_costs=costs),
            loss_cls=loss_cls,
            loss_bbox=dict(type='L1Loss', loss_weight=5.0),
            loss_iou=dict(type='refinevis_mm.GIoULoss', loss_weight=2.0),
            loss_mask=dict(mask_weight=5.0, dice_weight=5.0)),
        dn_query_generator=dict(
            type='refinevis_mm.MaskDINODnQueryGenerator',
            num_classes=arch.num_classes,
            embed_dims=arch.embed_dims))
    cfg.update(options)
    return cfg


def convert_tensor(key: str, value: Tensor,
                   arch: Architecture) -> Optional[Tuple[str, Tensor, str]]:
    """Convert one official tensor.

    A gradient converts like its parameter.

    Args:
        key (str): Official key.
        value (Tensor): Official tensor.
        arch (:obj:`Architecture`): Architecture of its model.

    Returns:
        tuple | None: Our key without prefix, the tensor and what was done;
        None for a key that the official model does not have.
    """
    if key.startswith('backbone.') and arch.backbone['type'] != 'ResNet':
        return _convert_swin(key, value)
    match = re.fullmatch(
        r'backbone\.res(\d)\.(\d+)\.(conv|shortcut)(\d?)\.(norm\.)?(\w+)', key)
    if match:
        stage, block, kind, index, norm, leaf = match.groups()
        name = {
            'conv': f'{"bn" if norm else "conv"}{index}',
            'shortcut': f'downsample.{int(bool(norm))}'
        }[kind]
        return (f'backbone.layer{int(stage) - 1}.{block}.{name}.{leaf}', value,
                'renamed')
    match = re.fullmatch(PIXEL_DECODER + r'input_proj\.(\d+)\.([01])\.(\w+)',
                         key)
    if match:
        index, part = int(match[1]), ('conv', 'gn')[int(match[2])]
        num_direct = len(arch.encoder_in_indices)
        flip = arch.feature_order == 'high2low' and index < num_direct
        index = num_direct - 1 - index if flip else index
        return (f'pixel_decoder.input_convs.{index}.{part}.{match[3]}', value,
                'moved to another level' if flip else 'renamed')
    for pattern, template in RENAMES:
        match = re.fullmatch(pattern, key)
        if match:
            flip = _level_flip(key, arch)
            if flip is None:
                return match.expand(template), value, 'renamed'
            return match.expand(template), flip(value), 'levels flipped'
    return None


def _level_flip(key: str,
                arch: Architecture) -> Optional[Callable[[Tensor], Tensor]]:
    """Permutation of the levels that a tensor needs, None for none.

    Officially one of encoder and decoder orders levels coarse to fine.
    """
    per_level = r'(sampling_offsets|attention_weights)\.\w+'
    if arch.feature_order == 'low2high':
        coarse_first = CROSS_ATTENTION + per_level
        num_heads = arch.decoder['num_heads']
    else:
        if re.fullmatch(PIXEL_DECODER + r'transformer\.level_embed', key):
            return lambda value: value.flip(0)
        coarse_first = ENCODER_ATTENTION + per_level
        num_heads = arch.encoder['num_heads']
    if re.fullmatch(coarse_first, key) is None:
        return None

    def flip(value: Tensor) -> Tensor:
        rows = value.unflatten(0, (num_heads, arch.num_levels, -1))
        return rows.flip(1).flatten(0, 2)

    return flip


def _convert_swin(key: str,
                  value: Tensor) -> Optional[Tuple[str, Tensor, str]]:
    """Convert a tensor of the backbone with mmdet's converter."""
    from mmdet.models.backbones.swin import swin_converter
    name = key[len('backbone.'):]
    if not re.match(r'(patch_embed|layers\.\d+|norm\d)\.', name):
        return None
    (target, tensor), = swin_converter({name: value}).items()
    merged = re.search(r'downsample\.(reduction|norm)', name)
    return target, tensor, 'neighbours reordered' if merged else 'renamed'


def convert_state_dict(
        state_dict: Dict[str, Tensor],
        feature_order: Optional[str] = None,
        num_decoder_layers: Optional[int] = None,
        classes: Optional[str] = None,
        seed: int = 0
) -> Tuple[Dict[str, Tensor], List[ReportRow], Architecture]:
    """Convert official weights.

    Args:
        state_dict (dict[str, Tensor]): Official weights.
        feature_order (str, optional): See :func:`infer_architecture`.
        num_decoder_layers (int, optional): Keep the first layers only, which
            is possible since all layers share heads and are supervised. All
            by default.
        classes (str, optional): A key of ``CLASSES``: rows of the class
            branch and of the label embedding are copied by name and the rest
            drawn at random. The classes stay as they are by default.
        seed (int): Seed of the random rows. Defaults to 0.

    Returns:
        tuple: Our weights, one :obj:`ReportRow` for each tensor, and the
        :obj:`Architecture` of the result.

    Raises:
        ValueError: If a tensor is neither converted nor dropped for a reason,
            if copies of one tensor differ, or on a bad option.
    """
    arch = infer_architecture(state_dict, feature_order)
    num_layers = arch.decoder['num_layers']
    keep = num_layers if num_decoder_layers is None else num_decoder_layers
    if not 1 <= keep <= num_layers:
        raise ValueError(f'num_decoder_layers must lie in 1..{num_layers}, '
                         f'got {keep}')
    converted: Dict[str, Tensor] = {}
    source_of: Dict[str, str] = {}
    report, left_over = [], []
    for key, value in state_dict.items():
        reason = _drop_reason(key, keep)
        result = None if reason else convert_tensor(key, value, arch)
        shape = tuple(value.shape)
        if reason:
            report.append(ReportRow(key, '-', shape, f'dropped: {reason}'))
        elif result is None:
            left_over.append(key)
        elif result[0] in source_of:
            target, tensor, _ = result
            if not torch.equal(tensor, converted[target]):
                raise ValueError(f'"{key}" must equal "{source_of[target]}", '
                                 'since official layers share one head')
            report.append(
                ReportRow(key, '-', shape,
                          f'dropped: copy of {source_of[target]}'))
        else:
            target, tensor, action = result
            converted[target] = tensor.contiguous()
            source_of[target] = key
            report.append(ReportRow(key, target, tuple(tensor.shape), action))
    if left_over:
        names = ', '.join(left_over[:MAX_NAMED_KEYS])
        more = ', ...' if len(left_over) > MAX_NAMED_KEYS else ''
        raise ValueError(f'{len(left_over)} tensors are neither known nor '
                         f'known to be dispensable: {names}{more}')
    arch.decoder['num_layers'] = keep
    if classes is not None:
        actions = _map_classes(converted, classes, seed)
        report = [
            row._replace(
                shape=tuple(converted[row.target].shape),
                action=actions[row.target]) if row.target in actions else row
            for row in report
        ]
        arch.num_classes = len(CLASSES[classes])
    report += _add_step_counters(converted)
    converted = {PREFIX + key: value for key, value in converted.items()}
    report = [
        row._replace(target=PREFIX + row.target) if row.target != '-' else row
        for row in report
    ]
    return converted, report, arch


def _drop_reason(key: str, num_decoder_layers: int) -> Optional[str]:
    """Why a tensor has no place in our model, None if it has one."""
    for pattern, reason in DROPS:
        if re.fullmatch(pattern, key):
            return reason
    match = re.match(PREDICTOR + r'decoder\.layers\.(\d+)\.', key)
    if match and int(match[1]) >= num_decoder_layers:
        return f'layer beyond the first {num_decoder_layers}'
    return None


def _add_step_counters(converted: Dict[str, Tensor]) -> List[ReportRow]:
    """Give batch norms the step counter that frozen ones lack."""
    report = []
    for key in [key for key in converted if key.endswith('.running_var')]:
        counter = key.replace('running_var', 'num_batches_tracked')
        if counter not in converted:
            converted[counter] = torch.tensor(0)
            report.append(
                ReportRow('-', counter, (), 'added: frozen norms count no '
                          'steps'))
    return report


def coco_classes() -> Tuple[str, ...]:
    """Classes of official instance segmentation models, in label order."""
    # NOTE: mmdet is importable on mmcv-lite only after this package.
    from mmdet.datasets import CocoDataset
    return CocoDataset.METAINFO['classes']


def match_classes(classes: str) -> List[Optional[int]]:
    """COCO class of every class of another data set.

    Args:
        classes (str): A key of ``CLASSES``.

    Returns:
        list[int | None]: For each target class the index of COCO's, None
        where COCO has none.

    Raises:
        ValueError: If there is no such key.
    """
    if classes not in CLASSES:
        raise ValueError(
            f'classes must be one of {", ".join(map(repr, CLASSES))}, in '
            f'quotes for the shell, got {classes!r}')
    coco, matches = coco_classes(), []
    for name in CLASSES[classes]:
        name = name.lower().replace('_', ' ')
        name = OTHER_NAMES.get(name, name)
        matches.append(coco.index(name) if name in coco else None)
    return matches


def _map_classes(converted: Dict[str, Tensor], classes: str,
                 seed: int) -> Dict[str, str]:
    """Copy class rows by name, draw the rest at random.

    The weights of new rows are drawn as at the start of official training.
    Their bias is the mean of COCO's: with a bias near 0 an unknown class would
    outscore every known one and take over the selection of queries.

    Returns:
        dict[str, str]: What was done to each tensor that has class rows.
    """
    sources = match_classes(classes)
    rows = [(target, source) for target, source in enumerate(sources)
            if source is not None]
    targets, origins = (torch.tensor(part) for part in zip(*rows))
    generator = torch.Generator().manual_seed(seed)
    num_new = len(sources) - len(rows)
    names = ', '.join(name for name, source in zip(CLASSES[classes], sources)
                      if source is None)
    actions = {}
    for key in ('head.fc_cls.weight', 'head.fc_cls.bias',
                'dn_query_generator.label_embedding.weight'):
        if key not in converted:
            continue
        old = converted[key]
        if len(old) != len(coco_classes()):
            raise ValueError(
                f'{classes} needs {len(coco_classes())} classes in the '
                f'checkpoint, got {len(old)}')
        new = torch.empty((len(sources), *old.shape[1:]))
        if key == 'head.fc_cls.bias':
            new.fill_(old.float().mean())
            filled = 'mean of the old'
        elif key == 'head.fc_cls.weight':
            bound = old.shape[1]**-0.5
            new.uniform_(-bound, bound, generator=generator)
            filled = f'random, seed {seed}'
        else:
            new.normal_(generator=generator)
            filled = f'random, seed {seed}'
        new = new.to(old.dtype)
        new[targets] = old[origins]
        converted[key] = new
        actions[key] = (f'{len(rows)} class rows copied by name, {num_new} '
                        f'new ({filled}): {names}')
    return actions


def read_official(path: str) -> Dict[str, Tensor]:
    """Read the weights of an official checkpoint without running any code.

    Args:
        path (str): A file written by ``torch.save``: detectron2's layout with
            the weights under ``model``, or a plain state dict; numpy arrays
            count as tensors.

    Returns:
        dict[str, Tensor]: The weights, without the prefix ``module.``.

    Raises:
        FileNotFoundError: If the file does not exist.
        CheckpointError: If it is no such file.
    """
    checkpoint = read_file(path)
    if isinstance(checkpoint, dict):
        for key in ('model', 'state_dict'):
            if isinstance(checkpoint.get(key), dict):
                checkpoint = checkpoint[key]
                break
    if not isinstance(checkpoint, dict) or not checkpoint or not all(
            isinstance(key, str) and isinstance(value, (Tensor, np.ndarray))
            for key, value in checkpoint.items()):
        raise CheckpointError(f'checkpoint "{path}" must hold a dict of '
                              'tensors, under "model" or plain')
    return {
        re.sub(r'^module\.', '', key): torch.as_tensor(value)
        for key, value in checkpoint.items()
    }


@one_line_errors
def main() -> None:
    """Convert a file."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('src', help='official checkpoint')
    parser.add_argument('dst', help='file to write')
    parser.add_argument(
        '--num-decoder-layers',
        type=int,
        help='keep this many decoder layers, from the first; default all')
    parser.add_argument(
        '--classes',
        metavar='FROM->TO',
        help='copy class rows by name to another data set: '
        f'{", ".join(map(repr, CLASSES))} (in quotes for the shell)')
    parser.add_argument(
        '--feature-order',
        choices=['low2high', 'high2low'],
        help='official FEATURE_ORDER; only needed where the weights do not '
        'tell')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of random class rows')
    args = parser.parse_args()
    state_dict, report, arch = convert_state_dict(
        read_official(args.src), args.feature_order, args.num_decoder_layers,
        args.classes, args.seed)
    for row in report:
        print(f'{row.source} -> {row.target} {row.shape} {row.action}')
    init_default_scope('mmdet')
    cfg = frame_model_cfg(arch)
    model = torch.nn.ModuleDict(dict(frame_model=MODELS.build(cfg)))
    check_state_dict(model, state_dict, args.src)
    names = CLASSES[args.classes] if args.classes else coco_classes()
    known = len(names) == arch.num_classes
    meta = dict(
        dataset_meta=dict(classes=list(names)) if known else {},
        proposal_wh_order=arch.proposal_wh_order,
        refinevis_mm=__version__)
    save_checkpoint(dict(state_dict=state_dict, meta=meta), args.dst)
    dropped = sum(row.target == '-' for row in report)
    print(f'{len(state_dict)} tensors written to {args.dst}, {dropped} '
          'dropped. Its config needs:')
    for part in ('pixel_decoder', 'decoder'):
        options = ', '.join(f'{key}={value}'
                            for key, value in cfg[part].items()
                            if key != 'type')
        print(f'  {part}: {options}')
    print(f'  num_classes={arch.num_classes}, '
          f'proposal_wh_order={arch.proposal_wh_order!r}, and anchor_init as '
          'in the official config')


if __name__ == '__main__':
    main()
