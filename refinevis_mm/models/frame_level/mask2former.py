# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Mask2Former as the frame-level module of RefineVIS."""
import copy
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmdet.utils import ConfigType, OptMultiConfig
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (ClipTargets, FrameOutput, FrameTargets,
                                     LayerOutput, QueryMatch)
from .frame_model import FrameModel
from .mask2former_pixel_decoder import Mask2FormerPixelDecoder
from .maskdino import masks_to_boxes


@MODELS.register_module()
class Mask2Former(FrameModel):
    """`Mask2Former <https://arxiv.org/abs/2112.01527>`_ on frames.

    RefineVIS Table 7. backbone -> pixel decoder and transformer decoder of
    mmdet's :class:`Mask2FormerHead`. The embedding of an object is the state
    of its query before the decoder's last LayerNorm.

    There are no boxes and no anchors: boxes are those of the masks, and there
    is no denoising, so neither ``association_cdn`` nor ``temporal_cdn``.

    Classes compete in a softmax with "no object". ``classify`` gives its
    K + 1 logits, as the losses want them, ``class_scores`` the K
    probabilities, and ``FrameOutput.cls_logits`` the log-odds of these, whose
    sigmoid is the probability, as of every frame model.

    Of a panoptic model only the things are found: stuff competes in the
    softmax and is left out behind it. Such a model cannot be trained here.

    Checkpoints of mmdet's detector of the same name load as they are. Weights
    of its :class:`Mask2FormerVideo` give what they give for a clip of one
    frame: its positions differ by a constant, to which attention is blind.

    Args:
        backbone (dict): Backbone with maps of stride 4, 8, 16 and 32.
        head (dict): :class:`Mask2FormerHead`.
        init_cfg (dict, optional): Initialisation config.
    """

    softmax_classes = True

    def __init__(self,
                 backbone: ConfigType,
                 head: ConfigType,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(head)
        self.num_classes = self.head.num_things_classes

    def forward_frames(
            self,
            images: Tensor,
            targets: Optional[List[ClipTargets]] = None,
            sizes: Optional[Sequence[Tuple[int, int]]] = None) -> FrameOutput:
        """See :meth:`FrameModel.forward_frames`."""
        states, mask_features = self.head.forward_states(
            self.extract_feat(images))
        embeds = states[-1]
        cls_logits = self.classify(embeds)
        boxes = self.mask_boxes(embeds, mask_features)
        output = FrameOutput(
            embeds=embeds,
            cls_logits=softmax_log_odds(
                cls_logits.detach())[..., :self.num_classes],
            boxes=boxes,
            mask_features=mask_features)
        if targets is not None:
            # Only the last layer has boxes: those of others are not read.
            output.layers = [
                LayerOutput(f'd{i}.', self.classify(state),
                            torch.zeros_like(boxes),
                            self.head.mask_kernels(state))
                for i, state in enumerate(states[:-1])
            ]
            output.layers.append(
                LayerOutput('', cls_logits, boxes,
                            self.head.mask_kernels(embeds)))
        return output

    def loss_frames(self, output: FrameOutput,
                    targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """See :meth:`FrameModel.loss_frames`.

        Raises:
            ValueError: If the model knows stuff.
        """
        if self.head.num_stuff_classes:
            raise ValueError('num_stuff_classes must be 0 in training, got '
                             f'{self.head.num_stuff_classes}')
        return self.head.loss_frames(output, targets)  # Eq. (2), no boxes

    def match(self, output: FrameOutput,
              targets: List[FrameTargets]) -> List[QueryMatch]:
        """See :meth:`FrameModel.match`."""
        return self.head.match_frames(output.layers[-1], output.mask_features,
                                      targets)

    def classify(self, embeds: Tensor) -> Tensor:
        """Class logits (..., K + 1) of embeddings; see the class."""
        return self.head.classify(embeds)

    def class_scores(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.class_scores`."""
        return self.head.class_scores(embeds)

    def match_embeds(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.match_embeds`."""
        return self.head.transformer_decoder.post_norm(embeds)

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """See :meth:`FrameModel.segment`; boxes are not needed."""
        return self.head.segment(embeds, mask_features)

    def exportable(self) -> 'Mask2Former':
        """See :meth:`FrameModel.exportable`; sizes are numbers."""
        model, head = copy.copy(self), copy.copy(self.head)
        model._modules, head._modules = (dict(self._modules),
                                         dict(self.head._modules))
        head.pixel_decoder = Mask2FormerPixelDecoder(self.head.pixel_decoder)
        model.head = head
        return model

    @torch.no_grad()
    def mask_boxes(self, embeds: Tensor, mask_features: Tensor) -> Tensor:
        """Tight boxes of the masks of embeddings.

        Args:
            embeds (Tensor): Object embeddings, has shape (B, Q, C).
            mask_features (Tensor): Has shape (B, C_mask, h, w).

        Returns:
            Tensor: Normalised (cx, cy, w, h), detached, 0 for empty masks,
            has shape (B, Q, 4).
        """
        boxes, empty = masks_to_boxes(self.segment(embeds, mask_features))
        return boxes.masked_fill(empty[..., None], 0).to(embeds)

    def _load_from_state_dict(self, state_dict: Dict[str, Tensor], prefix: str,
                              *args, **kwargs) -> None:
        """Take checkpoints of mmdet's detector too."""
        old, new = f'{prefix}panoptic_head.', f'{prefix}head.'
        for key in list(state_dict):
            if key.startswith(old):
                state_dict[new + key[len(old):]] = state_dict.pop(key)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def softmax_log_odds(logits: Tensor) -> Tensor:
    r"""Log-odds of the classes of a softmax, each against all the others.

    .. math:: \log\frac{p_k}{1 - p_k}, \quad p = \mathrm{softmax}(z)

    Args:
        logits (Tensor): The last is for "no object", has shape (..., K + 1).

    Returns:
        Tensor: Finite; its sigmoid is the softmax, has shape (..., K).
    """
    log_probs = logits.log_softmax(-1)[..., :-1]
    # the nearest to 1 that a probability may come
    log_probs = log_probs.clamp(max=-torch.finfo(log_probs.dtype).eps)
    return log_probs - (-torch.expm1(log_probs)).log()
