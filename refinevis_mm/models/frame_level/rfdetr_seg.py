# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RF-DETR-Seg as the frame-level module of RefineVIS."""
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmdet.utils import OptMultiConfig
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (ClipTargets, FrameOutput, FrameTargets,
                                     LayerOutput, QueryMatch)
from ..layers.mask_resize import MASK_STRIDE
from .frame_model import FrameModel
from .matching import check_finite
from .rfdetr_package import (COCO_ROWS, SIZES, build_criterion, build_network,
                             coco_category_ids, model_config, pack_images)
from .rfdetr_weights import load_rfdetr_weights


@dataclass
class RFDETRLayer(LayerOutput):
    """Predictions of one layer, whose masks have their own features.

    Attributes:
        mask_features (Tensor): Has shape (bs * T, C, h, w). Mask logits are
            their dot product with ``mask_embeds``, plus the bias of the mask
            head.
    """

    mask_features: Tensor

    def select_frames(self, inds: Tensor) -> 'RFDETRLayer':
        """Rows ``inds`` (n, ) of the flattened frame dimension."""
        return RFDETRLayer(self.prefix, self.cls_logits[inds],
                           self.boxes[inds], self.mask_embeds[inds],
                           self.mask_features[inds])


@MODELS.register_module()
class RFDETRSeg(FrameModel):
    """`RF-DETR-Seg <https://arxiv.org/abs/2511.09554>`_ on frames.

    DINOv2 with windowed attention -> query selection -> decoder, all of the
    rfdetr package (extra ``rfdetr``; code and weights Apache-2.0). Frames are
    squares of a fixed side: ``Resize`` with ``keep_ratio=False``.

    The embedding of an object is the state of its query before the decoder's
    last LayerNorm, as in :class:`Mask2Former`. The queries are chosen from
    the picture, so they stand for other objects in every frame.

    ============ ==== ======= ======
    size         side queries layers
    ============ ==== ======= ======
    nano         312  100     4
    small        384  100     4
    medium       432  200     5
    large        504  200     5
    ============ ==== ======= ======

    Losses and matcher are the package's. It trains with thirteen groups of
    queries, here there is one. There is no denoising, so neither
    ``association_cdn`` nor ``temporal_cdn``.

    Args:
        size (str): 'nano', 'small', 'medium' or 'large'.
        num_classes (int, optional): Number of own classes K. Defaults to
            None: the 80 of COCO in the order of mmdet, from class heads with
            a row for each of COCO's category ids, as published.
        weights (str, optional): Weights at the start of training, see
            :func:`load_rfdetr_weights`: 'coco' or a file of the package.
            With own classes the class heads of others are cut or repeated.
            Defaults to None, random ones.
        frozen (bool): Train nothing of this model, only what uses it.
            Defaults to False.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``size`` or ``num_classes`` is not allowed.
        ImportError: If rfdetr is missing or of another version.
    """

    def __init__(self,
                 size: str,
                 num_classes: Optional[int] = None,
                 weights: Optional[str] = None,
                 frozen: bool = False,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg=init_cfg)
        if size not in SIZES:
            raise ValueError(f'size must be one of {SIZES}, got {size!r}')
        if num_classes is not None and num_classes < 1:
            raise ValueError(f'num_classes must be >= 1, got {num_classes}')
        # as the package: one more row than there are own classes
        rows = COCO_ROWS if num_classes is None else num_classes + 1
        self.network = build_network(size, rows)
        self.criterion = build_criterion(size, rows)
        self.size = size
        self.weights = weights
        self.frozen = frozen
        self.own_classes = num_classes is not None
        class_rows = range(num_classes) if self.own_classes else \
            coco_category_ids()
        self.num_classes = len(class_rows)
        self.resolution: int = model_config(size, rows).resolution
        self.register_buffer(
            '_class_rows', torch.tensor(class_rows), persistent=False)
        # moved to the heads, which TAR shares: they begin with it
        decoder = self.network.transformer.decoder
        self.norm, decoder.norm = decoder.norm, nn.Identity()
        for name, param in self.network.named_parameters():
            # DINOv2's, of its own training: DDP wants gradients of the others
            if frozen or name.endswith('embeddings.mask_token'):
                param.requires_grad_(False)
        self.norm.requires_grad_(not frozen)

    def init_weights(self) -> None:
        """Load the weights that training starts from."""
        super().init_weights()
        if self.weights is not None:
            load_rfdetr_weights(
                self, self.weights, other_classes=self.own_classes)

    def forward_frames(
            self,
            images: Tensor,
            targets: Optional[List[ClipTargets]] = None,
            sizes: Optional[Sequence[Tuple[int, int]]] = None) -> FrameOutput:
        """See :meth:`FrameModel.forward_frames`.

        Raises:
            ValueError: If the frames are not squares of ``resolution``.
        """
        side = self.resolution
        if images.shape[-2:] != (side, side):
            raise ValueError(
                f'RF-DETR-Seg {self.size} needs frames of {side} x {side} '
                f'(Resize with keep_ratio=False), got {images.shape[-1]} x '
                f'{images.shape[-2]}')
        feats, states, anchors, proposals, proposal_boxes = self._decode(
            images)
        maps = self._mask_features(feats, every=targets is not None)
        embeds = states[-1]
        output = FrameOutput(
            embeds=embeds,
            cls_logits=self.classify(embeds),
            boxes=self._boxes(self.norm(embeds), anchors),
            mask_features=maps[-1])
        if targets is not None:
            enc_head = self.network.transformer.enc_out_class_embed[0]
            encoder = RFDETRLayer('enc_', self._select(enc_head(proposals)),
                                  proposal_boxes,
                                  self._mask_kernels(proposals), maps[0])
            output.layers = [
                encoder, *self._predict(states, anchors, maps[1:])
            ]
        return output

    def loss_frames(self, output: FrameOutput,
                    targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """See :meth:`FrameModel.loss_frames`; none of a frozen model."""
        if self.frozen:
            return {}
        for layer in output.layers:
            check_finite(layer)
        encoder, *hidden, last = map(self._package_output, output.layers)
        losses = self.criterion(
            dict(last, aux_outputs=hidden, enc_outputs=encoder),
            _package_targets(targets))
        return {
            name: weight * losses[name]
            for name, weight in self.criterion.weight_dict.items()
        }

    @torch.no_grad()
    def match(self, output: FrameOutput,
              targets: List[FrameTargets]) -> List[QueryMatch]:
        """See :meth:`FrameModel.match`."""
        layer = output.layers[-1]
        check_finite(layer)
        pairs = self.criterion.matcher(
            self._package_output(layer), _package_targets(targets))
        matches = []
        for target, (queries, objects) in zip(targets, pairs):
            gt_inds = target.labels.new_full((layer.boxes.shape[1], ), -1)
            gt_inds[queries] = objects.to(gt_inds.device)
            matches.append(QueryMatch.one_to_one(gt_inds, len(target)))
        return matches

    def classify(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.classify`."""
        return self._select(self.network.class_embed(self.norm(embeds)))

    def match_embeds(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.match_embeds`."""
        return self.norm(embeds)

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """See :meth:`FrameModel.segment`; boxes are not needed."""
        kernels = self._mask_kernels(self.norm(embeds))
        return torch.einsum('bchw,bnc->bnhw', mask_features,
                            kernels) + self.network.segmentation_head.bias

    def _decode(self, images: Tensor) -> Tuple[Tensor, ...]:
        """Backbone, query selection and decoder.

        Returns:
            tuple[Tensor]: Features (B, C, H / 12, W / 12), decoder states
            before the last LayerNorm (L, B, Q, C), anchors (B, Q, 4),
            proposals (B, Q, C) and their boxes (B, Q, 4).
        """
        net = self.network
        levels, positions, _ = net.backbone(pack_images(images))
        feats, masks = zip(*(level.decompose() for level in levels))
        states, anchors, proposals, boxes = net.transformer(
            list(feats), list(masks), positions, net.refpoint_embed.weight,
            net.query_feat.weight)[:4]
        # one set of anchors for all layers
        return feats[0], states, anchors[0], proposals, boxes

    def _predict(self, states: Tensor, anchors: Tensor,
                 maps: List[Tensor]) -> List[RFDETRLayer]:
        """Prediction sets of the decoder.

        Args:
            states (Tensor): Before the last LayerNorm, has shape
                (L, B, Q, C).
            anchors (Tensor): Has shape (B, Q, 4).
            maps (list[Tensor]): Mask features of each layer, (B, C, h, w).

        Returns:
            list[:obj:`RFDETRLayer`]: One of each layer, the last one last.
        """
        prefixes = [f'd{i}.' for i in range(len(states) - 1)] + ['']
        normed = self.norm(states)
        return [
            RFDETRLayer(*parts)
            for parts in zip(prefixes, self.classify(states),
                             self._boxes(normed, anchors),
                             self._mask_kernels(normed), maps)
        ]

    def _mask_features(self, feats: Tensor, every: bool) -> List[Tensor]:
        """Features of the masks at stride 4.

        Args:
            feats (Tensor): Features of the backbone, (B, C, H / 12, W / 12).
            every (bool): Those of the proposals and of all layers, else
                those of the last layer only.

        Returns:
            list[Tensor]: Each (B, C, h, w), the last layer last.
        """
        head = self.network.segmentation_head
        size = (self.resolution // MASK_STRIDE, ) * 2
        feats = F.interpolate(
            feats, size=size, mode='bilinear', align_corners=False)
        maps = [feats]
        for block in head.blocks:  # a block more for each layer
            maps.append(block(maps[-1]))
        return [
            head.spatial_features_proj(feats)
            for feats in (maps if every else maps[-1:])
        ]

    def _mask_kernels(self, states: Tensor) -> Tensor:
        """Kernels (..., C) of masks from normalised states (..., C)."""
        head = self.network.segmentation_head
        return head.query_features_proj(head.query_features_block(states))

    def _boxes(self, states: Tensor, anchors: Tensor) -> Tensor:
        """Boxes (..., 4) of normalised states, relative to anchors."""
        delta = self.network.bbox_embed(states)
        centre = delta[..., :2] * anchors[..., 2:] + anchors[..., :2]
        return torch.cat([centre, delta[..., 2:].exp() * anchors[..., 2:]], -1)

    def _select(self, logits: Tensor) -> Tensor:
        """Logits (..., K) of the classes among those of all rows."""
        return logits[..., self._class_rows]

    def _package_output(self, layer: RFDETRLayer) -> Dict[str, Any]:
        """A prediction set as the package's losses read it."""
        return dict(
            pred_logits=layer.cls_logits,
            pred_boxes=layer.boxes,
            pred_masks=dict(
                spatial_features=layer.mask_features,
                query_features=layer.mask_embeds,
                bias=self.network.segmentation_head.bias))


def _package_targets(targets: List[FrameTargets]) -> List[Dict[str, Tensor]]:
    """Ground truth as the package's losses read it."""
    return [
        dict(labels=target.labels, boxes=target.boxes, masks=target.masks)
        for target in targets
    ]
