# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Class, box and mask head of SeqFormer with its losses over clips."""
from typing import Dict, List

import torch
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets, FrameTargets, QueryMatch
from ..frame_level.base_frame_head import (assigned_rows, join_frames,
                                           name_losses, stack_losses)
from ..frame_level.condinst_head import BaseCondInstHead, CondInstLayer
from ..frame_level.condinst_masks import dynamic_masks, stride_masks
from ..frame_level.matching import check_finite, match_queries
from .encoded_frames import EncodedFrames


@MODELS.register_module()
class SeqFormerHead(BaseCondInstHead):
    """Matches a query to an object of the whole clip and trains it.

    Predictions are those of :class:`CondInstLayer` with one class vector and
    one mask head a clip: ``cls_logits`` (bs, Q, K), ``mask_embeds``
    (bs, Q, P), and ``boxes`` and ``mask_boxes`` (bs * T, Q, 4).

    Args: See :class:`BaseCondInstHead`; the assigner is one-to-one.
    """

    def loss_by_feat(self, layers: List[CondInstLayer], frames: EncodedFrames,
                     targets: List[ClipTargets]) -> Dict[str, Tensor]:
        """Losses of every decoder layer.

        Every loss is divided by the objects of the batch, averaged over
        processes, at least 1; those of boxes and masks are means over the
        frames of a clip. A frame in which an object is absent counts: its box
        is then (0, 0, 0, 0) and its mask empty, as officially.

        Args:
            layers (list[:obj:`CondInstLayer`]): Predictions for bs clips.
            frames (:obj:`EncodedFrames`): Their bs * T frames.
            targets (list[:obj:`ClipTargets`]): Ground truth of the clips.

        Returns:
            dict[str, Tensor]: ``{prefix}loss_{cls,bbox,iou,mask,dice}`` of
            each layer.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        num_frames = len(frames) // len(targets)
        count = frames.shares.new_tensor(
            sum(target.num_slots for target in targets))
        count = reduce_mean(count).clamp(min=1)
        gts, first = join_frames([
            _frame(target, t) for target in targets for t in range(num_frames)
        ])
        matches = [
            self.match(layer, frames.shares, targets) for layer in layers
        ]
        parts = self._loss_boxes(layers, gts, first, matches, frames.shares,
                                 count)
        parts.update(
            stack_losses([
                self._loss_masks(layer, frames.mask_features, targets, match,
                                 count)
                for layer, match in zip(layers, matches)
            ]))
        return name_losses(layers, parts)

    @torch.no_grad()
    def match(self, layer: CondInstLayer, shares: Tensor,
              targets: List[ClipTargets]) -> List[QueryMatch]:
        """Match the predictions of one layer to the objects of clips.

        Args:
            layer (:obj:`CondInstLayer`): Predictions for bs clips.
            shares (Tensor): ``picture_shares`` of the frames, has shape
                (bs * T, 2).
            targets (list[:obj:`ClipTargets`]): Ground truth of the clips.

        Returns:
            list[:obj:`QueryMatch`]: Matched queries of each clip. Where
            objects are more than queries, some have none.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        check_finite(layer)
        scale = shares.repeat(1, 2)[:, None].float()
        size = (len(targets), -1)
        boxes = (layer.boxes.float() / scale).unflatten(0, size)
        scale = scale.unflatten(0, size)
        return [
            match_queries(
                self.assigner,
                InstanceData(
                    scores=layer.cls_logits[i].float(),
                    clip_boxes=boxes[i].transpose(0, 1)),
                InstanceData(
                    labels=target.labels,
                    clip_boxes=(target.boxes / scale[i]).transpose(0, 1)))
            for i, target in enumerate(targets)
        ]

    def _loss_boxes(self, layers: List[CondInstLayer], gts: FrameTargets,
                    first: Tensor, matches: List[List[QueryMatch]],
                    shares: Tensor, count: Tensor) -> Dict[str, Tensor]:
        """Class and box losses, each the mean over the frames, (layers, ).

        Classes are the same in all frames, so that of the clip comes out.
        """
        num_frames = len(shares) // len(matches[0])
        assigned = [
            assigned_rows(
                [match for match in layer_matches
                 for _ in range(num_frames)], first)
            for layer_matches in matches
        ]
        per_frame = [
            CondInstLayer(layer.prefix,
                          layer.cls_logits.repeat_interleave(num_frames, 0),
                          layer.boxes, layer.mask_embeds, layer.mask_boxes)
            for layer in layers
        ]
        counts = (count * num_frames).expand(len(layers))
        return self.loss_detections(
            gts, per_frame, assigned, counts, shares=shares)

    def _loss_masks(self, layer: CondInstLayer, mask_features: Tensor,
                    targets: List[ClipTargets], matches: List[QueryMatch],
                    count: Tensor) -> Dict[str, Tensor]:
        """Mask losses of matched queries, over all frames together."""
        size = (len(targets), -1)
        mask_logits, gt_masks = [], []
        for target, match, params, features, boxes in zip(
                targets, matches, layer.mask_embeds,
                mask_features.unflatten(0, size),
                layer.mask_boxes.unflatten(0, size)):
            matched = match.gt_inds >= 0
            logits = dynamic_masks(params[matched].expand(len(boxes), -1, -1),
                                   features, boxes[:, matched])
            masks = stride_masks(target.masks, *logits.shape[-2:])
            masks = masks[:, match.gt_inds[matched]]
            mask_logits.append(logits.transpose(0, 1).flatten(1))
            gt_masks.append(masks.transpose(0, 1).flatten(1))
        return self.compare_masks(
            torch.cat(mask_logits), torch.cat(gt_masks), count)


def _frame(target: ClipTargets, t: int) -> FrameTargets:
    """All objects of a clip in frame t, absent ones with empty masks."""
    slots = torch.arange(target.num_slots, device=target.labels.device)
    return FrameTargets(target.labels, target.boxes[t], target.masks[t], slots)
