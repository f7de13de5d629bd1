# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Backbones of detectron2 as backbones of mmdet."""
import re
from typing import Any, Dict, List, Mapping, Tuple

from torch import Tensor

from refinevis_mm.compat.checkpoints import CheckpointError
from .rules import Rule, rename

OURS = 'frame_model.backbone.'
DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}


def backbone_rules(prefix: str) -> List[Rule]:
    """Rows of a ResNet and of a Swin Transformer.

    The four neighbours that Swin merges lie in another order in mmdet
    (``swin_converter``).

    Args:
        prefix (str): Official keys begin so, as a regular expression.

    Returns:
        list[:obj:`Rule`]: The rows.
    """
    rules = [
        rename(prefix + r'stem\.conv1\.weight', OURS + 'conv1.weight'),
        rename(prefix + r'stem\.conv1\.norm\.(\w+)', OURS + r'bn1.\1')
    ]
    for stage in range(1, 5):
        old, new = prefix + rf'res{stage + 1}\.(\d+)\.', OURS + f'layer{stage}'
        rules += [
            rename(old + r'conv(\d)\.weight', new + r'.\1.conv\2.weight'),
            rename(old + r'conv(\d)\.norm\.(\w+)', new + r'.\1.bn\2.\3'),
            rename(old + r'shortcut\.weight',
                   new + r'.\1.downsample.0.weight'),
            rename(old + r'shortcut\.norm\.(\w+)',
                   new + r'.\1.downsample.1.\2')
        ]
    embed, block = prefix + r'patch_embed\.', prefix + r'layers\.(\d)\.blocks'
    target, merging = OURS + r'stages.\1.blocks.\2.', OURS + r'stages.\1.'
    return rules + [
        rename(embed + r'proj\.(\w+)', OURS + r'patch_embed.projection.\1'),
        rename(embed + r'norm\.(\w+)', OURS + r'patch_embed.norm.\1'),
        rename(block + r'\.(\d+)\.(norm\d\.\w+)', target + r'\3'),
        rename(block + r'\.(\d+)\.attn\.(.+)', target + r'attn.w_msa.\3'),
        rename(block + r'\.(\d+)\.mlp\.fc1\.(\w+)',
               target + r'ffn.layers.0.0.\3'),
        rename(block + r'\.(\d+)\.mlp\.fc2\.(\w+)',
               target + r'ffn.layers.1.\3'),
        rename(prefix + r'layers\.(\d)\.(downsample\.norm\.\w+)',
               merging + r'\2', 'neighbours reordered', _reorder_norm),
        rename(prefix + r'layers\.(\d)\.(downsample\.reduction\.weight)',
               merging + r'\2', 'neighbours reordered', _reorder_reduction),
        rename(prefix + r'(norm\d\.\w+)', OURS + r'\1'),
    ]  # yapf: disable


def _reorder_norm(value: Tensor) -> Tensor:
    """Parameter of the norm before four neighbours are merged."""
    return _swin('layers.0.downsample.norm.weight', value)


def _reorder_reduction(value: Tensor) -> Tensor:
    """Weight by which four neighbours are merged."""
    return _swin('layers.0.downsample.reduction.weight', value)


def _swin(key: str, value: Tensor) -> Tensor:
    """What mmdet's converter makes of a tensor of this name."""
    from mmdet.models.backbones.swin import swin_converter
    (tensor, ) = swin_converter({key: value}).values()
    return tensor


def infer_backbone(
    state_dict: Mapping[str,
                        Tensor]) -> Tuple[Dict[str, Any], Tuple[int, ...]]:
    """Read the backbone off the shapes of official weights.

    Args:
        state_dict (Mapping[str, Tensor]): Official weights, those of the
            backbone below ``backbone.``.

    Returns:
        tuple: Config of mmdet's backbone, and the channels of its maps of
        stride 4, 8, 16 and 32.

    Raises:
        CheckpointError: If it is neither a ResNet nor a Swin Transformer.
    """
    if 'backbone.stem.conv1.weight' in state_dict:
        return _infer_resnet(state_dict)
    if 'backbone.patch_embed.proj.weight' in state_dict:
        return _infer_swin(state_dict)
    raise CheckpointError('the backbone must be a ResNet (backbone.stem.*) or '
                          'a Swin Transformer (backbone.patch_embed.*)')


def count_layers(state_dict: Mapping[str, Tensor], pattern: str) -> int:
    """Number of layers.

    Args:
        state_dict (Mapping[str, Tensor]): Weights.
        pattern (str): Begins their keys and captures the index.

    Returns:
        int: One more than the largest index.
    """
    matches = (re.match(pattern, key) for key in state_dict)
    return 1 + max((int(match[1]) for match in matches if match), default=-1)


def _infer_resnet(
    state_dict: Mapping[str,
                        Tensor]) -> Tuple[Dict[str, Any], Tuple[int, ...]]:
    """See :func:`infer_backbone`; bottleneck ResNets only."""
    blocks = tuple(
        count_layers(state_dict, rf'backbone\.res{stage}\.(\d+)\.')
        for stage in range(2, 6))
    last = [f'backbone.res{stage}.0.conv3.weight' for stage in range(2, 6)]
    if blocks not in DEPTHS or any(key not in state_dict for key in last):
        raise CheckpointError('the ResNet must be one of depth 50, 101 or '
                              f'152, got {blocks} blocks')
    backbone = dict(
        type='ResNet',
        depth=DEPTHS[blocks],
        base_channels=state_dict['backbone.stem.conv1.weight'].shape[0],
        num_stages=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=-1,
        norm_cfg=dict(type='BN', requires_grad=False),
        norm_eval=True,
        style='pytorch')
    return backbone, tuple(state_dict[key].shape[0] for key in last)


def _infer_swin(
    state_dict: Mapping[str,
                        Tensor]) -> Tuple[Dict[str, Any], Tuple[int, ...]]:
    """See :func:`infer_backbone`."""
    num_stages = count_layers(state_dict, r'backbone\.layers\.(\d+)\.')
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
            count_layers(state_dict,
                         rf'backbone\.layers\.{i}\.blocks\.(\d+)\.')
            for i in range(num_stages)),
        num_heads=tuple(table.shape[1] for table in tables),
        out_indices=tuple(range(num_stages)),
        qkv_bias=block.format(0) + 'attn.qkv.bias' in state_dict,
        patch_norm='backbone.patch_embed.norm.weight' in state_dict)
    return backbone, tuple(embed_dims * 2**i for i in range(num_stages))
