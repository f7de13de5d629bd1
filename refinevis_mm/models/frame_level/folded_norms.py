# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Backbones that leave out their BatchNorm at inference."""
import copy
from typing import Any, Sequence, Tuple

import torch
from mmcv.cnn import fuse_conv_bn
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class FoldedNorms(nn.Module):
    """Part of a model with a ``backbone``."""

    # Not among the modules: state, parameters and training do not know it.
    _folded: Tuple[nn.Module, ...] = ()

    def fold_norms(self) -> None:
        """Let inference without gradients run without BatchNorm.

        Its factors and shifts go into the convolutions of a copy of the
        backbone, which is used until the model is trained, loaded or moved,
        on a CPU with channels last in memory. Its maps are the same up to
        rounding. Backbones without BatchNorm stay as they are.
        """
        backbone = getattr(self, 'backbone', nn.Identity())
        if any(isinstance(part, _BatchNorm) for part in backbone.modules()):
            self._folded = (fuse_conv_bn(copy.deepcopy(backbone)), )

    def extract_feat(self, images: Tensor) -> Sequence[Tensor]:
        """Feature maps of the backbone.

        Args:
            images (Tensor): Normalised, padded frames, has shape
                (B, 3, H, W).

        Returns:
            Sequence[Tensor]: Fine to coarse, each (B, C_i, h_i, w_i).
        """
        if (not self._folded or torch.is_grad_enabled()
                or torch.compiler.is_compiling()):
            return self.backbone(images)
        if images.device.type == 'cpu':  # the faster layout there
            images = images.contiguous(memory_format=torch.channels_last)
        return self._folded[0](images)

    def train(self, mode: bool = True) -> 'FoldedNorms':
        """See :class:`nn.Module`."""
        if mode:
            self._folded = ()
        return super().train(mode)

    def _apply(self, *args: Any, **kwargs: Any) -> 'FoldedNorms':
        """See :class:`nn.Module`."""
        self._folded = ()
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """See :class:`nn.Module`."""
        self._folded = ()
        super()._load_from_state_dict(*args, **kwargs)
