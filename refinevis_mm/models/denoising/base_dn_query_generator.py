# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What all generators of denoising queries have in common."""
from abc import ABCMeta, abstractmethod
from typing import List

from mmdet.utils import OptMultiConfig
from mmengine.model import BaseModule
from torch import nn

from refinevis_mm.structures import ClipTargets, DnQueries


class BaseDnQueryGenerator(BaseModule, metaclass=ABCMeta):
    """Noised ground truth as decoder queries.

    Args:
        num_classes (int): Number of classes K.
        embed_dims (int): Width of the queries.
        label_noise_scale (float): Twice the probability of replacing a
            label by a random class.
        box_noise_scale (float): Scale of the noise of boxes.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 num_classes: int,
                 embed_dims: int,
                 label_noise_scale: float,
                 box_noise_scale: float,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.label_noise_scale = label_noise_scale
        self.box_noise_scale = box_noise_scale
        self.label_embedding = nn.Embedding(num_classes, embed_dims)

    @abstractmethod
    def forward(self, targets: List[ClipTargets]) -> DnQueries:
        """Draw the queries of a batch.

        Args:
            targets (list[:obj:`ClipTargets`]): Ground truth of bs clips of T
                frames.

        Returns:
            :obj:`DnQueries`: Queries of the bs * T frames; zero queries for
            a batch without any object.
        """
