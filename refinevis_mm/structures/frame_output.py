# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What a frame model hands on, and the shape legend of the whole package.

Shape legend (batch first everywhere):

====== ==============================================================
symbol meaning
====== ==============================================================
bs     clips of a batch
T      frames of a clip
Q      object queries of a frame
S      instance slots of a clip: the union of its instance ids
M      detections of a frame after the tracker's selection
N      tracklets
C      embedding dimensions of the decoder
E      association embedding dimensions
K      classes
L      decoder layers
W      temporal window of TAR, in frames
G      denoising groups
D      denoising queries of a frame
H, W   height and width of the padded network input, in pixels
h, w   height and width of masks: H / 4 and W / 4 (the mask stride)
C'     channels of the mask features: C, in CondInst 8
h', w' height and width of the mask features: h and w (the feature
       stride is 4), in CondInst H / 8 and W / 8
P      numbers that make a mask of mask features: C' kernel weights of
       a dot product, in CondInst 169 parameters of convolutions
====== ==============================================================

A clip's frames are flattened into the batch, clip by clip: row ``b * T + t``
is frame ``t`` of clip ``b``. ``*_logits`` are before the sigmoid, ``*_scores``
after it. Boxes are normalised ``(cx, cy, w, h)`` of the *padded* input unless
said otherwise, in every structure and for every frame model. A model that
masks padding predicts boxes relative to the picture alone: it multiplies them
by ``FrameOutput.picture_shares`` where they leave it, and what depends on the
unit (L1 loss, centre prior of OTA) reads the shares. Ground-truth ids are
called ``instances_ids`` and predicted ids ``instances_id``, as in mmdet.
"""
from dataclasses import dataclass, field
from typing import List, Optional, cast

from torch import Tensor

from .dn_queries import DnQueries


@dataclass
class LayerOutput:
    """Predictions of one prediction set (encoder, initial, or a layer).

    Attributes:
        prefix (str): Prefix of the loss names, ``''`` for the last layer.
        cls_logits (Tensor): Class logits, has shape (bs * T, Q, K).
        boxes (Tensor): Normalised (cx, cy, w, h), has shape (bs * T, Q, 4).
        mask_embeds (Tensor): What makes mask logits of the mask features,
            has shape (bs * T, Q, P).
    """

    prefix: str
    cls_logits: Tensor
    boxes: Tensor
    mask_embeds: Tensor

    def select_frames(self, inds: Tensor) -> 'LayerOutput':
        """Rows ``inds`` (n, ) of the flattened frame dimension."""
        return LayerOutput(self.prefix, self.cls_logits[inds],
                           self.boxes[inds], self.mask_embeds[inds])


@dataclass
class FrameOutput:
    """Frame-level output, the only thing later stages know of a frame model.

    Attributes:
        embeds (Tensor): Object embeddings of the last decoder layer, has
            shape (bs * T, Q, C).
        cls_logits (Tensor): Log-odds of each class, has shape (bs * T, Q, K):
            their sigmoid is the class probability, of softmax models too.
        boxes (Tensor): Normalised (cx, cy, w, h), has shape (bs * T, Q, 4).
        mask_features (Tensor): Per-pixel features, has shape
            (bs * T, C', h', w').
        assoc_embeds (Tensor, optional): Association embeddings, has shape
            (bs * T, Q, E); set by the association stage.
        layers (list[:obj:`LayerOutput`]): Training only: every supervised
            prediction set of the matching queries, the last layer last.
        dn_layers (list[:obj:`LayerOutput`]): Training only: the same for the
            denoising queries.
        dn_embeds (Tensor, optional): Training only: decoder states of the
            denoising queries, has shape (bs * T, D, C).
        dn_queries (:obj:`DnQueries`, optional): Layout of the denoising
            queries.
        mask_boxes (Tensor, optional): Boxes that :meth:`FrameModel.segment`
            places masks by, has the shape of ``boxes``, which they are
            unless given.
        picture_shares (Tensor, optional): Width and height of the pictures
            as shares of the padded input's, in (0, 1], of models that mask
            padding, has shape (bs * T, 2). None where padding counts as
            picture.
    """

    embeds: Tensor
    cls_logits: Tensor
    boxes: Tensor
    mask_features: Tensor
    assoc_embeds: Optional[Tensor] = None
    layers: List[LayerOutput] = field(default_factory=list)
    dn_layers: List[LayerOutput] = field(default_factory=list)
    dn_embeds: Optional[Tensor] = None
    dn_queries: Optional[DnQueries] = None
    mask_boxes: Tensor = cast(Tensor, None)  # `boxes`, once made
    picture_shares: Optional[Tensor] = None

    def __post_init__(self) -> None:
        if self.mask_boxes is None:
            self.mask_boxes = self.boxes

    def select_frames(self, inds: Tensor) -> 'FrameOutput':
        """Rows ``inds`` (n, ) of the flattened frame dimension."""

        def rows(value: Optional[Tensor]) -> Optional[Tensor]:
            return None if value is None else value[inds]

        return FrameOutput(
            embeds=self.embeds[inds],
            cls_logits=self.cls_logits[inds],
            boxes=self.boxes[inds],
            mask_features=self.mask_features[inds],
            mask_boxes=self.mask_boxes[inds],
            picture_shares=rows(self.picture_shares),
            assoc_embeds=rows(self.assoc_embeds),
            layers=[layer.select_frames(inds) for layer in self.layers],
            dn_layers=[layer.select_frames(inds) for layer in self.dn_layers],
            dn_embeds=rows(self.dn_embeds),
            dn_queries=None if self.dn_queries is None else
            self.dn_queries.select_frames(inds))
