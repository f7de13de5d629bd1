# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The contract that makes the frame-level stage replaceable."""
from abc import ABCMeta, abstractmethod
from typing import Dict, List, Optional, Sequence, Tuple

from mmengine.model import BaseModule
from torch import Tensor

from refinevis_mm.structures import (ClipTargets, FrameOutput, FrameTargets,
                                     QueryMatch)
from .folded_norms import FoldedNorms


class FrameModel(FoldedNorms, BaseModule, metaclass=ABCMeta):
    """Any image model that has one embedding per object query.

    RefineVIS (Sec. 3.2) knows no more of its frame-level module than these
    methods. ``classify`` and ``segment`` are the heads that TAR shares
    (Sec. 4.1).

    Attributes:
        softmax_classes (bool): Whether classes compete in a softmax with "no
            object". Defaults to False, a sigmoid each.
    """

    softmax_classes = False

    @abstractmethod
    def forward_frames(
            self,
            images: Tensor,
            targets: Optional[List[ClipTargets]] = None,
            sizes: Optional[Sequence[Tuple[int, int]]] = None) -> FrameOutput:
        """Run the network on frames.

        :class:`DeformableDETRCondInst` masks padding. In
        :class:`MaskDINO`, :class:`Mask2Former` and :class:`RFDETRSeg`
        padding counts as picture, as in their official code: they ignore
        ``sizes``.

        Args:
            images (Tensor): Normalised, padded frames, has shape
                (bs * T, 3, H, W).
            targets (list[:obj:`ClipTargets`], optional): Ground truth of the
                bs clips, for denoising queries only; None at test.
            sizes (Sequence[tuple[int]], optional): (h, w) of each frame
                before padding, their ``img_shape``, or one for all. None:
                nothing is padding.

        Returns:
            :obj:`FrameOutput`: Predictions; ``layers`` and ``dn_layers`` are
            filled in training.
        """

    @abstractmethod
    def loss_frames(self, output: FrameOutput,
                    targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """Frame losses, Eq. (2).

        Args:
            output (:obj:`FrameOutput`): Output for n frames.
            targets (list[:obj:`FrameTargets`]): Ground truth of the n
                frames.

        Returns:
            dict[str, Tensor]: Weighted scalar losses.
        """

    @abstractmethod
    def match(self, output: FrameOutput,
              targets: List[FrameTargets]) -> List[QueryMatch]:
        """Match the last prediction set to ground truth.

        Args:
            output (:obj:`FrameOutput`): Output for n frames.
            targets (list[:obj:`FrameTargets`]): Ground truth of the n
                frames.

        Returns:
            list[:obj:`QueryMatch`]: Matched queries of each frame.
        """

    @abstractmethod
    def classify(self, embeds: Tensor) -> Tensor:
        """Class logits (..., K) of object embeddings (..., C)."""

    def class_scores(self, embeds: Tensor) -> Tensor:
        """Class probabilities (..., K) of object embeddings (..., C)."""
        return self.classify(embeds).sigmoid()

    def match_embeds(self, embeds: Tensor) -> Tensor:
        """What tells objects apart where there is no association head.

        Args:
            embeds (Tensor): Object embeddings, has shape (..., C).

        Returns:
            Tensor: Compared by their cosine, has shape (..., E). Defaults to
            ``embeds``; where the heads begin with a LayerNorm, what comes
            out of it, as MinVIS compares them.
        """
        return embeds

    def exportable(self) -> 'FrameModel':
        """The same model of operations that exported graphs have.

        Returns:
            FrameModel: Gives the same in evaluation mode. Defaults to the
            model itself.
        """
        return self

    @abstractmethod
    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """Mask logits of object embeddings.

        Args:
            embeds (Tensor): Object embeddings, has shape (B, n, C).
            mask_features (Tensor): Per-pixel features, has shape
                (B, C', h', w').
            boxes (Tensor, optional): Normalised (cx, cy, w, h) of the
                objects, has shape (B, n, 4), for models whose masks depend
                on a position; others ignore them.

        Returns:
            Tensor: Mask logits, has shape (B, n, h, w).
        """
