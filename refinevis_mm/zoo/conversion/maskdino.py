# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""MaskDINO.

Levels are ordered fine to coarse everywhere in this package. Official models
order them differently in encoder and decoder, depending on ``FEATURE_ORDER``;
deformable attention does not depend on the order, so its weights are
permuted. What the official order still decides is the size of the proposals
on each level: ``proposal_wh_order`` of the model must be that of
:class:`Architecture`. ``anchor_init`` (official: ``INITIALIZE_BOX_TYPE``) is
not in the weights either and must be that of the official config.
"""
import re
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from torch import Tensor

from refinevis_mm.compat.checkpoints import CheckpointError
from .backbones import backbone_rules, count_layers, infer_backbone
from .family import Family, Options
from .rules import ATTENTION, RENAMED, SAMPLING, Rule, drop, rename

# Sampled points per level and head, in every official model.
NUM_POINTS = 4
FLIPPED = 'levels flipped'

HEAD = r'sem_seg_head\.'
PIXELS, OUR_PIXELS = HEAD + r'pixel_decoder\.', 'frame_model.pixel_decoder.'
ENCODER = PIXELS + r'transformer\.encoder\.layers\.(\d+)\.'
OUR_ENCODER = OUR_PIXELS + r'encoder.layers.\1.'
PREDICTOR, OURS = HEAD + r'predictor\.', 'frame_model.'
DECODER = PREDICTOR + r'decoder\.layers\.(\d+)\.'
OUR_DECODER = OURS + r'decoder.layers.\1.'
# of deformable attention: with rows for each level, and without
PER_LEVEL = r'(sampling_offsets|attention_weights)\.(\w+)'

# Keys that share a target are copies of one tensor.
RULES = (
    *backbone_rules(r'backbone\.'),
    rename(ENCODER + r'self_attn\.' + SAMPLING,
           OUR_ENCODER + r'self_attn.\2.\3'),
    rename(ENCODER + r'linear1\.(\w+)', OUR_ENCODER + r'ffn.layers.0.0.\2'),
    rename(ENCODER + r'linear2\.(\w+)', OUR_ENCODER + r'ffn.layers.1.\2'),
    rename(ENCODER + r'norm1\.(\w+)', OUR_ENCODER + r'norms.0.\2'),
    rename(ENCODER + r'norm2\.(\w+)', OUR_ENCODER + r'norms.1.\2'),
    rename(PIXELS + r'adapter_1\.weight',
           OUR_PIXELS + 'lateral_conv.conv.weight'),
    rename(PIXELS + r'adapter_1\.norm\.(\w+)',
           OUR_PIXELS + r'lateral_conv.gn.\1'),
    rename(PIXELS + r'layer_1\.weight', OUR_PIXELS + 'output_conv.conv.weight'),
    rename(PIXELS + r'layer_1\.norm\.(\w+)', OUR_PIXELS + r'output_conv.gn.\1'),
    rename(PIXELS + r'mask_features\.(\w+)', OUR_PIXELS + r'mask_feature.\1'),
    rename(PREDICTOR + r'enc_output\.(\w+)', OURS + r'memory_trans_fc.\1'),
    rename(PREDICTOR + r'enc_output_norm\.(\w+)',
           OURS + r'memory_trans_norm.\1'),
    rename(PREDICTOR + r'label_enc\.weight',
           OURS + 'dn_query_generator.label_embedding.weight'),
    rename(PREDICTOR + r'class_embed\.(\w+)', OURS + r'head.fc_cls.\1'),
    rename(PREDICTOR + r'mask_embed\.layers\.(\d)\.(\w+)',
           OURS + r'head.fc_mask.layers.\1.\2'),
    rename(PREDICTOR + r'(?:_bbox_embed|(?:decoder\.)?bbox_embed\.\d+)'
           r'\.layers\.(\d)\.(\w+)', OURS + r'head.fc_reg.layers.\1.\2'),
    rename(PREDICTOR + r'(?:decoder_norm|decoder\.norm)\.(\w+)',
           OURS + r'decoder.norm.\1'),
    rename(PREDICTOR + r'decoder\.ref_point_head\.layers\.(\d)\.(\w+)',
           OURS + r'decoder.ref_point_head.layers.\1.\2'),
    rename(DECODER + r'self_attn\.' + ATTENTION,
           OUR_DECODER + r'self_attn.attn.\2'),
    rename(DECODER + r'cross_attn\.' + SAMPLING,
           OUR_DECODER + r'cross_attn.\2.\3'),
    rename(DECODER + r'linear1\.(\w+)', OUR_DECODER + r'ffn.layers.0.0.\2'),
    rename(DECODER + r'linear2\.(\w+)', OUR_DECODER + r'ffn.layers.1.\2'),
    # self-attention is first in a layer, but its norm is the second in name
    rename(DECODER + r'norm2\.(\w+)', OUR_DECODER + r'norms.0.\2'),
    rename(DECODER + r'norm1\.(\w+)', OUR_DECODER + r'norms.1.\2'),
    rename(DECODER + r'norm3\.(\w+)', OUR_DECODER + r'norms.2.\2'),
    drop(r'criterion\.empty_weight', 'weight of a background class, which the '
         'sigmoid classifier does not have'),
    drop(PREDICTOR + r'(query_feat|query_embed)\.weight',
         'learned queries; queries are selected from the encoder'),
    drop(r'pixel_mean|pixel_std', 'normalisation belongs to the data '
         'preprocessor'),
)  # yapf: disable


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


def infer_architecture(state_dict: Mapping[str, Tensor],
                       feature_order: Optional[str] = None) -> Architecture:
    """Read the architecture off the shapes of official weights.

    Args:
        state_dict (Mapping[str, Tensor]): Official weights.
        feature_order (str, optional): 'low2high' or 'high2low'. Only needed
            where the shapes do not tell, for a single backbone map.

    Returns:
        :obj:`Architecture`: The architecture.

    Raises:
        CheckpointError: If a key that tells it is missing, or the
            architecture is not supported.
        ValueError: If ``feature_order`` is needed, or contradicts the
            weights.
    """
    pixel_decoder = 'sem_seg_head.pixel_decoder.'
    encoder = pixel_decoder + 'transformer.encoder.layers.'
    predictor = 'sem_seg_head.predictor.'
    decoder = predictor + 'decoder.layers.'

    def shape(key: str) -> Tuple[int, ...]:
        if key not in state_dict:
            raise CheckpointError('not an official MaskDINO checkpoint: it '
                                  f'has no "{key}"')
        return tuple(state_dict[key].shape)

    backbone, in_channels = infer_backbone(state_dict)
    projections = [
        shape(f'{pixel_decoder}input_proj.{i}.0.weight') for i in range(
            count_layers(state_dict, pixel_decoder + r'input_proj\.(\d+)\.'))
    ]
    direct = [size[1] for size in projections if size[2] == 1]
    num_extra_levels = len(projections) - len(direct)
    if num_extra_levels > 1:
        raise CheckpointError(
            'at most one extra level is supported, since the official '
            'position codes of more are out of order; got '
            f'{num_extra_levels}')
    if f'{pixel_decoder}adapter_2.weight' in state_dict:
        raise CheckpointError('the finest map of the encoder must have stride '
                              '4 or 8, got one of 16 or more (adapter_2)')
    order = _feature_order(direct, feature_order)
    unknown = set(direct) - set(in_channels)
    if unknown:
        raise CheckpointError(
            f'input_proj must read maps of {list(in_channels)} channels, got '
            f'{sorted(unknown)}')
    num_levels, embed_dims = shape(pixel_decoder + 'transformer.level_embed')
    if num_levels != len(projections):
        raise CheckpointError(f'level_embed must have {len(projections)} '
                              f'rows, got {num_levels}')

    def layers(prefix: str, attention: str) -> Dict[str, int]:
        rows = shape(f'{prefix}0.{attention}.attention_weights.weight')[0]
        return dict(
            num_layers=count_layers(state_dict,
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


def maskdino_rules(state_dict: Mapping[str, Tensor],
                   options: Options) -> List[Rule]:
    """Rows of the table.

    Args:
        state_dict (Mapping[str, Tensor]): Official weights.
        options (:obj:`Options`): All of them are read.

    Returns:
        list[:obj:`Rule`]: The rows.

    Raises:
        CheckpointError: As of :func:`infer_architecture`.
        ValueError: On a bad option.
    """
    arch = infer_architecture(state_dict, options.feature_order)
    return [
        *_left_out_layers(arch.decoder['num_layers'],
                          options.num_decoder_layers), *_level_rules(arch),
        *RULES
    ]


def maskdino_model(state_dict: Mapping[str, Tensor],
                   options: Options) -> Dict[str, Any]:
    """Config of the model of official weights.

    Args:
        state_dict (Mapping[str, Tensor]): Official weights.
        options (:obj:`Options`): All of them are read.

    Returns:
        dict: With ``frame_model``.

    Raises:
        CheckpointError: As of :func:`infer_architecture`.
        ValueError: On a bad option.
    """
    arch = infer_architecture(state_dict, options.feature_order)
    if options.num_decoder_layers:
        arch.decoder['num_layers'] = options.num_decoder_layers
    return dict(frame_model=frame_model_cfg(arch))


def _left_out_layers(num_layers: int, num_kept: Optional[int]) -> List[Rule]:
    """Rows for decoder layers beyond those that are kept."""
    num_kept = num_layers if num_kept is None else num_kept
    if not 1 <= num_kept <= num_layers:
        raise ValueError(f'num_decoder_layers must lie in 1..{num_layers}, '
                         f'got {num_kept}')
    return [
        drop(PREDICTOR + rf'decoder\.layers\.{i}\..+',
             f'layer beyond the first {num_kept}')
        for i in range(num_kept, num_layers)
    ]


def _level_rules(arch: Architecture) -> List[Rule]:
    """Rows that order levels fine to coarse.

    Officially one of encoder and decoder orders them coarse to fine.
    """
    coarse_first = arch.feature_order == 'high2low'
    num_direct = len(arch.encoder_in_indices)
    rules = []
    for source in range(arch.num_levels):
        moved = coarse_first and source < num_direct
        target = num_direct - 1 - source if moved else source
        rules += [
            rename(PIXELS + rf'input_proj\.{source}\.{i}\.(\w+)',
                   OUR_PIXELS + rf'input_convs.{target}.{part}.\1',
                   'moved to another level' if moved else RENAMED)
            for i, part in enumerate(('conv', 'gn'))
        ]
    embed = PIXELS + r'transformer\.level_embed', OUR_PIXELS + 'level_embed'
    if not coarse_first:
        return rules + [
            rename(*embed),
            rename(DECODER + r'cross_attn\.' + PER_LEVEL,
                   OUR_DECODER + r'cross_attn.\2.\3', FLIPPED,
                   _flip(arch.decoder['num_heads'], arch.num_levels))
        ]
    return rules + [
        rename(*embed, FLIPPED, lambda value: value.flip(0)),
        rename(ENCODER + r'self_attn\.' + PER_LEVEL,
               OUR_ENCODER + r'self_attn.\2.\3', FLIPPED,
               _flip(arch.encoder['num_heads'], arch.num_levels))
    ]


def _flip(num_heads: int, num_levels: int) -> Callable[[Tensor], Tensor]:
    """Permutation of the rows of deformable attention, head by head."""

    def flip(value: Tensor) -> Tensor:
        rows = value.unflatten(0, (num_heads, num_levels, -1))
        return rows.flip(1).flatten(0, 2)

    return flip


MASKDINO = Family('MaskDINO', ('sem_seg_head.predictor.decoder.layers.', ),
                  maskdino_rules, maskdino_model)
