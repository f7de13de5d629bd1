# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Deformable DETR with a CondInst mask head, the frame model of IDOL."""
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (ClipTargets, FrameOutput, FrameTargets,
                                     QueryMatch)
from .condinst_head import CondInstLayer
from .condinst_masks import dynamic_masks
from .deformable_detr_padding import (check_sizes, clear_padding,
                                      level_padding, picture_shares)
from .folded_norms import FoldedNorms
from .frame_model import FrameModel


class DeformableDETRFrames(FoldedNorms, BaseModule):
    """What IDOL and SeqFormer do with frames before any query reads them.

    backbone -> neck -> deformable encoder -> mask features; a subclass says
    what decoder and head do.

    Args:
        backbone (dict): Backbone with maps of stride 8, 16 and 32.
        neck (dict): Brings them to one width and adds coarser levels, e.g.
            mmdet's ``ChannelMapper``.
        encoder (dict): :class:`DeformableDETREncoder`.
        decoder (dict): A decoder with ``layers``.
        head (dict): A :class:`BaseCondInstHead`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If decoder and head have different numbers of layers.
    """

    def __init__(self,
                 backbone: ConfigType,
                 neck: ConfigType,
                 encoder: ConfigType,
                 decoder: ConfigType,
                 head: ConfigType,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.backbone = MODELS.build(backbone)
        self.neck = MODELS.build(neck)
        self.encoder = MODELS.build(encoder)
        self.decoder = MODELS.build(decoder)
        self.head = MODELS.build(head)
        num_layers = len(self.decoder.layers)
        if len(self.head.fc_cls) != num_layers:
            raise ValueError(
                'num_layers of head and decoder must be equal, got '
                f'{len(self.head.fc_cls)} and {num_layers}')

    def encode(
        self, images: Tensor, sizes: Sequence[Tuple[int, int]]
    ) -> Tuple[List[Tensor], Optional[List[Tensor]], Tensor]:
        """Encode frames, each by itself.

        Args:
            images (Tensor): Normalised, padded frames, has shape
                (B, 3, H, W).
            sizes (Sequence[tuple[int]]): (h, w) of each frame before padding.

        Returns:
            tuple: Encoded maps, fine to coarse, each (B, C, h_l, w_l); their
            padded cells, each bool (B, h_l, w_l), None if there are none;
            mask features (B, C', h', w').

        Raises:
            ValueError: If ``sizes`` do not fit the images.
        """
        check_sizes(sizes, images)
        feats = self.extract_feat(clear_padding(images, sizes))
        levels = self.neck(feats)
        masks = level_padding(sizes, images, levels, len(feats))
        levels = self.encoder(levels, masks)
        return levels, masks, self.head.mask_branch(levels)


@MODELS.register_module()
class DeformableDETRCondInst(DeformableDETRFrames, FrameModel):
    """The image model of `IDOL <https://arxiv.org/abs/2207.10661>`_.

    backbone -> neck -> deformable encoder -> mask features, and decoder with
    box refinement -> class and box branches of each layer, mask parameters.

    The mask features have stride 8 and few channels; ``segment`` gives masks
    at stride 4. ``LayerOutput.mask_embeds`` holds the parameters of the
    dynamic convolutions. The centres of objects in pixels follow from the
    size of the mask features: exact for inputs padded to a multiple of 8.

    As in IDOL, nothing attends to padded cells, and positions and boxes are
    relative to the picture; they leave the model relative to the padded
    input. Padded cells are encoded all the same, and the convolutions of the
    mask features see them. A mask is placed by the box of the layer before
    (``mask_boxes``), from which its own box is refined; that of the first
    layer is the point where a query starts, which its masks train.

    Args: See :class:`DeformableDETRFrames`; the decoder is a
        :class:`DeformableDETRDecoder`, the head a :class:`CondInstHead`.
    """

    def forward_frames(
            self,
            images: Tensor,
            targets: Optional[List[ClipTargets]] = None,
            sizes: Optional[Sequence[Tuple[int, int]]] = None) -> FrameOutput:
        """See :meth:`FrameModel.forward_frames`.

        Raises:
            ValueError: If ``sizes`` do not fit the images.
        """
        if sizes is None:
            sizes = [images.shape[-2:]]
        levels, masks, mask_features = self.encode(images, sizes)
        states, boxes, references = self.decoder(levels, self.head.fc_reg,
                                                 masks)
        shares = picture_shares(sizes, images)
        scale = shares.repeat(1, 2)[:, None]
        boxes = [layer_boxes * scale for layer_boxes in boxes]
        mask_boxes = [
            torch.cat([points[..., :2] * scale[..., :2], layer_boxes[..., 2:]],
                      -1) for points, layer_boxes in zip(references, boxes)
        ]
        output = FrameOutput(
            embeds=states[-1],
            cls_logits=self.classify(states[-1]),
            boxes=boxes[-1],
            mask_features=mask_features,
            mask_boxes=mask_boxes[-1],
            picture_shares=shares)
        if targets is not None:
            prefixes = [f'd{i}.' for i in range(len(states) - 1)] + ['']
            cls_logits, params = self.head(states)
            output.layers = [
                CondInstLayer(*layer) for layer in zip(
                    prefixes, cls_logits, boxes, params, mask_boxes)
            ]
        return output

    def loss_frames(self, output: FrameOutput,
                    targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """See :meth:`FrameModel.loss_frames`."""
        return self.head.loss_by_feat(output, targets)  # Eq. (2)

    def match(self, output: FrameOutput,
              targets: List[FrameTargets]) -> List[QueryMatch]:
        """See :meth:`FrameModel.match`."""
        return self.head.match(output.layers[-1], targets,
                               output.picture_shares)

    def classify(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.classify`."""
        return self.head.fc_cls[-1](embeds)

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """See :meth:`FrameModel.segment`; ``boxes`` must be given.

        Raises:
            ValueError: If there are no boxes.
        """
        if boxes is None:
            raise ValueError('boxes must be given: the masks depend on the '
                             'centres of the objects, got None')
        return dynamic_masks(
            self.head.controller(embeds), mask_features, boxes)
