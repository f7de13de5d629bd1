# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""MaskDINO as the frame-level module of RefineVIS."""
from typing import Dict, List, Optional, Sequence, Tuple

import torch
from mmdet.models.layers import inverse_sigmoid
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (ClipTargets, FrameOutput, FrameTargets,
                                     LayerOutput, QueryMatch)
from ..layers.transformer_layers import flatten_levels
from .frame_model import FrameModel
from .maskdino_decoder import LOGIT_EPS

# Side of the smallest proposals, relative to the image; it doubles from
# level to level (Deformable DETR, two-stage variant).
PROPOSAL_SIZE = 0.05
# Proposals with a coordinate outside this open interval are not used.
PROPOSAL_RANGE = (0.01, 0.99)
PROPOSAL_WH_ORDERS = ('fine_small', 'coarse_small')
# What the official code makes of an empty mask, (cx, cy, w, h).
OFFICIAL_EMPTY_ANCHORS = dict(
    bitmask=(0.0, 0.0, 0.0, 0.0), mask2box=(1.0, 1.0, 0.0, 0.0))
ANCHOR_INITS = ('no', *OFFICIAL_EMPTY_ANCHORS)
EMPTY_MASK_ANCHORS = ('box', 'official')


@MODELS.register_module()
class MaskDINO(FrameModel):
    """`MaskDINO <https://arxiv.org/abs/2206.02777>`_ (RefineVIS Sec. 4.1).

    backbone -> pixel decoder -> query selection with mask-initialised
    anchors -> decoder with box refinement -> one head for all prediction
    sets.

    Args:
        backbone (dict): Backbone with maps of stride 4 and up.
        pixel_decoder (dict): :class:`MaskDINOPixelDecoder`.
        decoder (dict): :class:`MaskDINODecoder`.
        head (dict): :class:`MaskDINOHead`.
        num_queries (int): Matching queries Q. Defaults to 300.
        anchor_init (str): Anchors of the decoder: 'bitmask' and 'mask2box'
            take the box of a token's mask, with the last cell counted or
            not, 'no' takes the token's own box. A checkpoint wants the way
            it was trained. Defaults to 'bitmask'.
        empty_mask_anchor (str): Where a token's mask is empty: 'box' takes
            the token's own box, 'official' a box without size in a corner
            of the image, as the official code. Defaults to 'box'.
        proposal_wh_order (str): Which level has the smallest proposals:
            'fine_small', or 'coarse_small' for official checkpoints with
            ``FEATURE_ORDER: low2high``. Defaults to 'fine_small'.
        dn_query_generator (dict, optional): Denoising query generator; None
            trains without.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If an option is none of the allowed ones.
    """

    def __init__(self,
                 backbone: ConfigType,
                 pixel_decoder: ConfigType,
                 decoder: ConfigType,
                 head: ConfigType,
                 num_queries: int = 300,
                 anchor_init: str = 'bitmask',
                 empty_mask_anchor: str = 'box',
                 proposal_wh_order: str = 'fine_small',
                 dn_query_generator: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        for name, value, allowed in (('anchor_init', anchor_init,
                                      ANCHOR_INITS),
                                     ('empty_mask_anchor', empty_mask_anchor,
                                      EMPTY_MASK_ANCHORS),
                                     ('proposal_wh_order', proposal_wh_order,
                                      PROPOSAL_WH_ORDERS)):
            if value not in allowed:
                raise ValueError(
                    f'{name} must be one of {allowed}, got {value!r}')
        self.backbone = MODELS.build(backbone)
        self.pixel_decoder = MODELS.build(pixel_decoder)
        self.decoder = MODELS.build(decoder)
        self.head = MODELS.build(head)
        self.dn_query_generator = None if dn_query_generator is None else \
            MODELS.build(dn_query_generator)
        self.num_queries = num_queries
        self.anchor_init = anchor_init
        self.empty_mask_anchor = empty_mask_anchor
        self.proposal_wh_order = proposal_wh_order
        dims = self.decoder.embed_dims
        self.memory_trans_fc = nn.Linear(dims, dims)
        self.memory_trans_norm = nn.LayerNorm(dims)

    def init_weights(self) -> None:
        """Xavier for the decoder, then each part's own initialisation."""
        for param in self.decoder.parameters():
            if param.dim() > 1:
                nn.init.xavier_uniform_(param)
        for layer in self.decoder.layers:
            layer.cross_attn.init_weights()
        nn.init.xavier_uniform_(self.memory_trans_fc.weight)
        super().init_weights()

    def forward_frames(
            self,
            images: Tensor,
            targets: Optional[List[ClipTargets]] = None,
            sizes: Optional[Sequence[Tuple[int, int]]] = None) -> FrameOutput:
        """See :meth:`FrameModel.forward_frames`."""
        if images.device.type == 'cpu':  # the faster layout there
            images = images.contiguous(memory_format=torch.channels_last)
        feats = self.extract_feat(images)
        mask_features, levels = self.pixel_decoder(feats)
        value, shapes, starts, ratios = flatten_levels(levels)
        content, enc_boxes, _ = self.select_queries(value, shapes)
        enc_layer = self._predict('enc_', content, enc_boxes)
        query = content.detach()
        boxes = self.init_anchors(enc_layer, mask_features)
        attn_mask, dn = None, None
        if targets is not None and self.dn_query_generator is not None:
            dn = self.dn_query_generator(targets)
            attn_mask = dn.attn_mask(query.shape[1])
            query = torch.cat([dn.content, query], 1)
            boxes = torch.cat([_away_from_border(dn.boxes), boxes], 1)
        states, layer_boxes = self.decoder(
            query,
            value,
            boxes,
            shapes,
            starts,
            ratios,
            self.head.fc_reg,
            attn_mask,
            last_only=targets is None)
        num_dn = 0 if dn is None else dn.num_queries
        embeds = states[-1][:, num_dn:]
        output = FrameOutput(
            embeds=embeds,
            cls_logits=self.classify(embeds),
            boxes=layer_boxes[-1][:, num_dn:],
            mask_features=mask_features)
        if targets is not None:
            states, layer_boxes = [query] + states, [boxes] + layer_boxes
            output.layers = [enc_layer] + self._predict_layers(
                [state[:, num_dn:] for state in states],
                [box[:, num_dn:] for box in layer_boxes], '')
        if dn is not None:
            output.dn_queries = dn
            output.dn_embeds = states[-1][:, :num_dn]
            output.dn_layers = self._predict_layers(
                [state[:, :num_dn] for state in states],
                [box[:, :num_dn] for box in layer_boxes], 'dn_')
        return output

    def loss_frames(self, output: FrameOutput,
                    targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """See :meth:`FrameModel.loss_frames`."""
        return self.head.loss_by_feat(output, targets)  # Eq. (2)

    def match(self, output: FrameOutput,
              targets: List[FrameTargets]) -> List[QueryMatch]:
        """See :meth:`FrameModel.match`."""
        return self.head.match(output.layers[-1:], output.mask_features,
                               targets)[0]

    def classify(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.classify`."""
        # NOTE: embeddings are normalised once by the decoder and once more
        # here, as in the official code.
        return self.head.fc_cls(self.decoder.norm(embeds))

    def match_embeds(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.match_embeds`."""
        return self.decoder.norm(embeds)

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """See :meth:`FrameModel.segment`."""
        kernels = self.head.fc_mask(self.decoder.norm(embeds))
        return torch.einsum('bqc,bchw->bqhw', kernels, mask_features)

    def select_queries(
            self, value: Tensor,
            spatial_shapes: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Take the encoder tokens that look most like an object.

        Args:
            value (Tensor): Encoded levels, has shape (B, num_values, C).
            spatial_shapes (Tensor): (h, w) of each level, has shape
                (levels, 2).

        Returns:
            tuple[Tensor]: Selected tokens (B, Q, C), their boxes,
            normalised (cx, cy, w, h), (B, Q, 4), and their positions in
            ``value``, by descending score, (B, Q). Q is the number of tokens
            where an image has fewer than ``num_queries``.
        """
        proposals, valid = generate_proposals(
            spatial_shapes, self.proposal_wh_order == 'coarse_small')
        memory = self.memory_trans_norm(
            self.memory_trans_fc(value * valid[:, None]))
        scores = self.head.fc_cls(memory).max(-1).values
        num_queries = min(self.num_queries, scores.shape[1])
        inds = scores.topk(num_queries, dim=1).indices
        selected = torch.gather(
            memory, 1, inds[..., None].expand(-1, -1, memory.shape[-1]))
        proposal_logits = inverse_sigmoid(proposals[inds], eps=LOGIT_EPS)
        boxes = (self.head.fc_reg(selected) + proposal_logits).sigmoid()
        return selected, boxes, inds

    @torch.no_grad()
    def init_anchors(self, layer: LayerOutput,
                     mask_features: Tensor) -> Tensor:
        """Anchors of the selected tokens, usually from their masks.

        Args:
            layer (:obj:`LayerOutput`): Predictions of the selected tokens.
            mask_features (Tensor): Has shape (B, mask_dims, h, w).

        Returns:
            Tensor: Normalised (cx, cy, w, h), detached, has shape (B, Q, 4).
        """
        if self.anchor_init == 'no':
            return layer.boxes.detach()
        mask_logits = torch.einsum('bqc,bchw->bqhw', layer.mask_embeds,
                                   mask_features)
        boxes, empty = masks_to_boxes(
            mask_logits, count_last=self.anchor_init == 'bitmask')
        fallback = layer.boxes
        if self.empty_mask_anchor == 'official':
            fallback = boxes.new_tensor(
                OFFICIAL_EMPTY_ANCHORS[self.anchor_init])
        return _away_from_border(
            torch.where(empty[..., None], fallback, boxes))

    def _predict(self, prefix: str, states: Tensor,
                 boxes: Tensor) -> LayerOutput:
        """Class logits and mask kernels of one prediction set."""
        cls_logits, mask_embeds = self.head(self.decoder.norm(states))
        return LayerOutput(prefix, cls_logits, boxes, mask_embeds)

    def _predict_layers(self, states: List[Tensor], boxes: List[Tensor],
                        kind: str) -> List[LayerOutput]:
        """Prediction sets from the initial queries to the last layer."""
        last = len(states) - 1
        prefixes = ['init.'] + [f'd{i}.' for i in range(last - 1)] + ['']
        return [
            self._predict(prefix + kind, state, box)
            for prefix, state, box in zip(prefixes, states, boxes)
        ]


def _away_from_border(boxes: Tensor) -> Tensor:
    """Boxes whose logits are finite, as the decoder sees them."""
    return inverse_sigmoid(boxes, eps=LOGIT_EPS).sigmoid()


def generate_proposals(spatial_shapes: Tensor,
                       coarse_small: bool = False) -> Tuple[Tensor, Tensor]:
    """One square box per encoder token, its size given by the level.

    Args:
        spatial_shapes (Tensor): (h, w) of each level, fine to coarse, has
            shape (levels, 2).
        coarse_small (bool): Whether coarse levels have the small boxes
            instead of fine levels. Defaults to False.

    Returns:
        tuple[Tensor]: Boxes, normalised (cx, cy, w, h), (num_values, 4) and
        whether each is usable, bool (num_values, ).
    """
    proposals = []
    device = spatial_shapes.device
    last = len(spatial_shapes) - 1
    for level, (height, width) in enumerate(spatial_shapes.tolist()):
        y = (torch.arange(height, device=device) + 0.5) / height
        x = (torch.arange(width, device=device) + 0.5) / width
        centre_y, centre_x = torch.meshgrid(y, x, indexing='ij')
        step = last - level if coarse_small else level
        size = torch.full_like(centre_x, PROPOSAL_SIZE * 2**step)
        proposals.append(
            torch.stack([centre_x, centre_y, size, size], -1).flatten(0, 1))
    proposals = torch.cat(proposals)
    low, high = PROPOSAL_RANGE
    return proposals, ((proposals > low) & (proposals < high)).all(-1)


def masks_to_boxes(mask_logits: Tensor,
                   count_last: bool = True) -> Tuple[Tensor, Tensor]:
    """Tight boxes of the cells above 0, vectorised.

    The maximum of a row tells whether it has such a cell, so the masks
    themselves are never made.

    Args:
        mask_logits (Tensor): Mask logits, has shape (..., h, w).
        count_last (bool): Whether a box ends behind its last cell (as
            mmdet's ``mask2bbox``) or at it. Defaults to True.

    Returns:
        tuple[Tensor]: Boxes, normalised (cx, cy, w, h), (..., 4), and whether
        a mask is empty, bool (...); boxes of empty masks are meaningless.
    """
    height, width = mask_logits.shape[-2:]
    columns, rows = mask_logits.amax(-2) > 0, mask_logits.amax(-1) > 0
    left, right = _first_and_last(columns)
    top, bottom = _first_and_last(rows)
    if not count_last:
        right, bottom = right - 1, bottom - 1
    boxes = torch.stack([(left + right) / (2 * width),
                         (top + bottom) / (2 * height), (right - left) / width,
                         (bottom - top) / height], -1)
    return boxes, ~rows.any(-1)


def _first_and_last(hits: Tensor) -> Tuple[Tensor, Tensor]:
    """First True position and one past the last, of (..., n) bool."""
    hits = hits.long()
    return hits.argmax(-1), hits.shape[-1] - hits.flip(-1).argmax(-1)
