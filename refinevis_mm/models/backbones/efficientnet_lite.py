# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""EfficientNet-Lite as a backbone, small networks for one or two CPU cores."""
import math
from typing import Sequence, Tuple

from mmcv.cnn import ConvModule
from mmdet.models.layers import InvertedResidual
from mmdet.models.utils import make_divisible
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from refinevis_mm.registry import MODELS

STEM_CHANNELS = 32
# Kernel size, channels, blocks, stride and expansion of each stage of lite0.
STAGES = ((3, 16, 1, 1, 1), (3, 24, 2, 2, 6), (5, 40, 2, 2, 6),
          (3, 80, 3, 2, 6), (5, 112, 3, 1, 6), (5, 192, 4, 2, 6), (3, 320, 1,
                                                                   1, 6))
# Width and depth of each network, relative to lite0.
ARCHS = dict(lite0=(1.0, 1.0), lite1=(1.0, 1.1), lite2=(1.1, 1.2))


class StridedConvModule(ConvModule):
    """Convolution, norm and activation that pad as TensorFlow's ``SAME``.

    With a stride of 2 the padding depends on the size of the input: an even
    size gets one row less at the top (column at the left) than at the bottom
    (right). The convolution inside is a plain one without padding.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad, convolve, normalise and activate.

        Args:
            x (Tensor): Has shape (B, C, H, W).

        Returns:
            Tensor: Has shape (B, C', ceil(H / stride), ceil(W / stride)).
        """
        padding = []
        for size, kernel, stride in zip(x.shape[:1:-1],
                                        self.conv.kernel_size[::-1],
                                        self.conv.stride[::-1]):
            covered = (math.ceil(size / stride) - 1) * stride + kernel
            total = max(covered - size, 0)
            padding += [total // 2, total - total // 2]
        return super().forward(F.pad(x, padding))


@MODELS.register_module()
class EfficientNetLite(BaseModule):
    """EfficientNet-Lite 0, 1 and 2.

    The `networks
    <https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite>`_
    are EfficientNet with ReLU6, without squeeze-and-excitation, with a stem
    that does not grow with the network, and a first and a last stage that do
    not get deeper. mmdet's ``EfficientNet`` has squeeze-and-excitation in
    every block and scales every stage, and no option for either, hence a
    class of its own; its blocks are mmdet's.

    The last maps are those of the last stage (stride 32, 320 channels, 352 of
    lite2). The convolution to 1,280 channels that follows in the classifier
    is left out: it looks at one cell at a time, as the first layer of a pixel
    decoder does, and has a seventh of the parameters of lite0.

    Args:
        arch (str): 'lite0', 'lite1' or 'lite2'. Defaults to 'lite0'.
        out_indices (Sequence[int]): Stages whose maps are returned, from 0
            to 6; their strides are 2, 4, 8, 16, 16, 32, 32, their channels
            :attr:`stage_channels`. Defaults to (1, 2, 4, 6).
        frozen_stages (int): The stem and so many stages are not trained, from
            0 to 7; -1 trains all. Defaults to -1.
        norm_cfg (dict): Normalisation. Defaults to batch normalisation as in
            the ImageNet weights.
        norm_eval (bool): Whether norms keep their running statistics in
            training. Defaults to False.
        init_cfg (dict | list[dict], optional): Initialisation; None draws
            convolutions as Kaiming. Defaults to None.

    Attributes:
        stage_channels (list[int]): Channels of the maps of all stages.

    Raises:
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 arch: str = 'lite0',
                 out_indices: Sequence[int] = (1, 2, 4, 6),
                 frozen_stages: int = -1,
                 norm_cfg: ConfigType = dict(
                     type='BN', eps=1e-3, momentum=0.01),
                 norm_eval: bool = False,
                 init_cfg: OptMultiConfig = None) -> None:
        if init_cfg is None:
            init_cfg = [
                dict(type='Kaiming', layer='Conv2d'),
                dict(type='Constant', val=1, layer='_BatchNorm')
            ]
        super().__init__(init_cfg=init_cfg)
        _check_arguments(arch, out_indices, frozen_stages)
        self.out_indices = out_indices
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.layer_cfg = dict(norm_cfg=norm_cfg, act_cfg=dict(type='ReLU6'))
        self.stem = StridedConvModule(
            3, STEM_CHANNELS, 3, stride=2, **self.layer_cfg)
        self.stage_channels = []
        width, depth = ARCHS[arch]
        in_channels = STEM_CHANNELS
        for index, (kernel, channels, blocks, stride,
                    expansion) in enumerate(STAGES):
            channels = make_divisible(channels * width, 8)
            if 0 < index < len(STAGES) - 1:
                blocks = math.ceil(blocks * depth)
            self.add_module(
                f'stage{index + 1}',
                nn.Sequential(*[
                    self._make_block(channels if block else in_channels,
                                     channels, kernel, 1 if block else stride,
                                     expansion) for block in range(blocks)
                ]))
            self.stage_channels.append(channels)
            in_channels = channels
        self._freeze_stages()  # before optimisers and wrappers look

    def _make_block(self, in_channels: int, out_channels: int, kernel: int,
                    stride: int, expansion: int) -> InvertedResidual:
        """Build mmdet's block with the padding of this network."""
        mid_channels = in_channels * expansion
        block = InvertedResidual(
            in_channels,
            out_channels,
            mid_channels,
            kernel_size=kernel,
            stride=stride,
            with_expand_conv=expansion > 1,
            **self.layer_cfg)
        if stride > 1:
            block.depthwise_conv = StridedConvModule(
                mid_channels,
                mid_channels,
                kernel,
                stride=stride,
                groups=mid_channels,
                **self.layer_cfg)
        return block

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Compute the maps of the stages in ``out_indices``.

        Args:
            x (Tensor): Images, has shape (B, 3, H, W).

        Returns:
            tuple[Tensor]: Maps, of shapes (B, C, ceil(H / stride),
            ceil(W / stride)).
        """
        x = self.stem(x)
        outs = []
        for index in range(max(self.out_indices) + 1):
            x = getattr(self, f'stage{index + 1}')(x)
            if index in self.out_indices:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> 'EfficientNetLite':
        """Switch between training and testing; frozen parts stay as tested.

        Args:
            mode (bool): Whether to train. Defaults to True.

        Returns:
            EfficientNetLite: Itself.
        """
        super().train(mode)
        self._freeze_stages()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze_stages(self) -> None:
        """Take the stem and the first stages out of training."""
        names = ['stem'
                 ] + [f'stage{index + 1}' for index in range(len(STAGES))]
        for name in names[:self.frozen_stages + 1]:
            getattr(self, name).eval().requires_grad_(False)


def _check_arguments(arch: str, out_indices: Sequence[int],
                     frozen_stages: int) -> None:
    """Refuse what :class:`EfficientNetLite` cannot build."""
    if arch not in ARCHS:
        raise ValueError(f'arch must be one of {tuple(ARCHS)}, got {arch!r}')
    stages = range(len(STAGES))
    if not out_indices or not all(index in stages for index in out_indices):
        raise ValueError('out_indices must be stages from 0 to '
                         f'{stages[-1]}, got {out_indices}')
    if frozen_stages not in range(-1, len(STAGES) + 1):
        raise ValueError(f'frozen_stages must be from -1 to {len(STAGES)}, '
                         f'got {frozen_stages}')
