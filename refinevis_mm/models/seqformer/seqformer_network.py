# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The network of SeqFormer: frames in, queries of the clip out."""
from typing import List, Sequence, Tuple

import torch
from torch import Tensor

from refinevis_mm.registry import MODELS
from ..frame_level.condinst_head import CondInstLayer
from ..frame_level.condinst_masks import dynamic_masks
from ..frame_level.deformable_detr_condinst import DeformableDETRFrames
from ..frame_level.deformable_detr_padding import picture_shares
from .encoded_frames import EncodedFrames


@MODELS.register_module()
class SeqFormerNetwork(DeformableDETRFrames):
    """Encodes frames one by one and decodes clips of any length.

    Backbone, neck, encoder and mask features are those of IDOL's frame
    model. As there, nothing attends to padding, and boxes are relative to the
    pictures until they leave the network.

    Args: See :class:`DeformableDETRFrames`; the decoder is a
        :class:`SeqFormerDecoder`, the head a :class:`SeqFormerHead`.
    """

    def encode_frames(self, images: Tensor,
                      sizes: Sequence[Tuple[int, int]]) -> EncodedFrames:
        """Encode frames, each by itself.

        Args:
            images (Tensor): Normalised, padded frames, has shape
                (n, 3, H, W).
            sizes (Sequence[tuple[int]]): (h, w) of each frame before padding.

        Returns:
            :obj:`EncodedFrames`: The n frames.

        Raises:
            ValueError: If ``sizes`` do not fit the images.
        """
        levels, masks, mask_features = self.encode(images, sizes)
        return EncodedFrames.from_levels(levels, masks, mask_features,
                                         picture_shares(sizes, images))

    def decode(self,
               frames: Sequence[EncodedFrames],
               num_clips: int = 1) -> List[CondInstLayer]:
        """Find the objects of clips.

        Args:
            frames (Sequence[:obj:`EncodedFrames`]): All bs * T frames, clip
                by clip, in parts of any number.
            num_clips (int): Number bs of clips. Defaults to 1.

        Returns:
            list[:obj:`CondInstLayer`]: Predictions of each decoder layer, see
            :class:`SeqFormerHead`.
        """
        decoded = self.decoder(frames, self.head.fc_reg, num_clips)
        shares = torch.cat([part.shares for part in frames])
        scale = shares.repeat(1, 2)[:, None]
        layers = []
        for i, (cls_logits, params, boxes, points) in enumerate(
                zip(*self.head(decoded.states), decoded.boxes,
                    decoded.references)):
            boxes = boxes * scale
            mask_boxes = torch.cat(
                [points[..., :2] * scale[..., :2], boxes[..., 2:]], -1)
            prefix = '' if i == len(decoded.states) - 1 else f'd{i}.'
            layers.append(
                CondInstLayer(prefix, cls_logits, boxes, params, mask_boxes))
        return layers

    @staticmethod
    def segment(params: Tensor, mask_features: Tensor,
                mask_boxes: Tensor) -> Tensor:
        """Mask logits of queries in one frame.

        Args:
            params (Tensor): Parameters of the dynamic convolutions, has shape
                (n, P).
            mask_features (Tensor): Of the frame, has shape (C', h', w').
            mask_boxes (Tensor): What places the masks, has shape (n, 4).

        Returns:
            Tensor: Logits, has shape (n, h, w).
        """
        return dynamic_masks(params[None], mask_features[None],
                             mask_boxes[None])[0]
