# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the shapes of converted weights tell of their model."""
import re
from typing import Mapping, NamedTuple, Optional

from torch import Tensor

from .backbones import DEPTHS, OURS, count_layers

# (width, blocks of the third stage)
SWINS = {
    (96, 6): 'Swin-T',
    (96, 18): 'Swin-S',
    (128, 18): 'Swin-B',
    (192, 18): 'Swin-L'
}
# class rows, and those of "no object" among them
CLASS_BRANCH = re.compile(
    r'frame_model\.head\.(?:fc_cls(?:\.0)?|(cls_embed))\.bias')
QUERIES = ('frame_model.head.query_feat.weight',
           'frame_model.decoder.query_embedding.weight')


class Traits(NamedTuple):
    """What a user knows a model by.

    Attributes:
        backbone (str): Such as 'ResNet-50'; 'unknown backbone' for others.
        num_classes (int, optional): Number of classes, stuff included.
        num_queries (int, optional): Number of learned queries.
    """

    backbone: str
    num_classes: Optional[int]
    num_queries: Optional[int]

    def __str__(self) -> str:
        counts = [(self.num_classes, 'classes'), (self.num_queries, 'queries')]
        return ', '.join(
            [self.backbone] +
            [f'{count} {what}' for count, what in counts if count is not None])


def read_traits(weights: Mapping[str, Tensor]) -> Traits:
    """Read what a model is known by off its weights.

    Args:
        weights (Mapping[str, Tensor]): Weights under our keys.

    Returns:
        :obj:`Traits`: Its traits.
    """
    num_classes = next(
        (len(value) - bool(match[1])
         for match, value in ((CLASS_BRANCH.fullmatch(key), val)
                              for key, val in weights.items()) if match), None)
    num_queries = next(
        (len(weights[key]) for key in QUERIES if key in weights), None)
    return Traits(_backbone_name(weights), num_classes, num_queries)


def _backbone_name(weights: Mapping[str, Tensor]) -> str:
    """Name of the backbone; see :class:`Traits`."""
    prefix = re.escape(OURS)
    blocks = tuple(
        count_layers(weights, prefix + rf'layer{stage}\.(\d+)\.')
        for stage in range(1, 5))
    if blocks in DEPTHS:
        weight = weights[OURS + 'layer1.0.conv2.weight']
        # groups of channels see a part of them only
        kind = 'ResNet' if weight.shape[0] == weight.shape[1] else 'ResNeXt'
        return f'{kind}-{DEPTHS[blocks]}'
    embed = weights.get(OURS + 'patch_embed.projection.weight')
    if embed is None:
        return 'unknown backbone'
    depth = count_layers(weights, prefix + r'stages\.2\.blocks\.(\d+)\.')
    return SWINS.get((len(embed), depth), 'Swin')
