# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the heads of all frame models share in matching and losses."""
from typing import List, Optional, Sequence

import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import BaseAssigner
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.structures import LayerOutput, QueryMatch


def check_finite(layer: LayerOutput) -> None:
    """Raise FloatingPointError, naming predictions that are not finite."""
    for name in ('cls_logits', 'boxes', 'mask_embeds'):
        if not torch.isfinite(getattr(layer, name)).all():
            raise FloatingPointError(
                'predictions must be finite to be matched, got NaN or Inf in '
                f'{layer.prefix}{name}')


def match_queries(assigner: BaseAssigner,
                  predictions: InstanceData,
                  ground_truth: InstanceData,
                  shares: Optional[Sequence[float]] = None) -> QueryMatch:
    """Match the queries of one frame with one of mmdet's assigners.

    Args:
        assigner (:obj:`BaseAssigner`): One-to-one, or one-to-many with the
            extra property ``best_query_inds``.
        predictions (:obj:`InstanceData`): ``scores`` (Q, K) as logits,
            normalised ``bboxes`` (Q, 4) as (x1, y1, x2, y2) and what else the
            assigner reads.
        ground_truth (:obj:`InstanceData`): ``labels`` (n, ), normalised
            ``bboxes`` (n, 4) and what else the assigner reads.
        shares (Sequence[float], optional): ``picture_shares`` (w, h) of the
            frame, for costs that depend on the picture's size. Defaults to
            None, both 1.

    Returns:
        :obj:`QueryMatch`: The match.
    """
    num_gts = len(ground_truth.labels)
    if num_gts == 0:
        unmatched = ground_truth.labels.new_full((len(predictions), ), -1)
        return QueryMatch.one_to_one(unmatched, 0)
    result = assigner.assign(
        predictions, ground_truth, img_meta=normalised_meta(shares))
    gt_inds = result.gt_inds - 1
    best_query = result.get_extra_property('best_query_inds')
    if best_query is None:
        return QueryMatch.one_to_one(gt_inds, num_gts)
    return QueryMatch(gt_inds, best_query)


def normalised_meta(shares: Optional[Sequence[float]] = None) -> dict:
    """Metainfo of a frame whose boxes are normalised by the padded input.

    Args:
        shares (Sequence[float], optional): ``picture_shares`` (w, h) of the
            frame. Defaults to None, both 1.

    Returns:
        dict: ``img_shape`` (h, w) of the picture in the unit of the boxes.
    """
    width, height = (1, 1) if shares is None else shares
    return dict(img_shape=(height, width))


def lies_in_region(masks: Tensor, region: Tensor) -> Tensor:
    """Whether at least half of each mask lies in a region.

    The rule by which pycocotools does not count detections on a crowd.

    Args:
        masks (Tensor): Bool masks on n points, has shape (Q, n).
        region (Tensor): Bool, has shape (n, ).

    Returns:
        Tensor: Bool, False for an empty mask, has shape (Q, ).
    """
    inside = (masks & region).sum(1)
    return (2 * inside >= masks.sum(1)) & (inside > 0)


def count_matched(matches: List[List[QueryMatch]]) -> Tensor:
    """Matched queries of every prediction set over all frames, (sets, )."""
    return torch.stack([
        torch.cat([frame.gt_inds for frame in frames]).ge(0).sum()
        for frames in matches
    ])


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Targets of a sigmoid classifier.

    For class indices mmdet's focal loss asks for a compiled op on a GPU; for
    these targets it does not.

    Args:
        labels (Tensor): Class indices, ``num_classes`` for background, has
            shape (...).
        num_classes (int): Number of classes K.

    Returns:
        Tensor: 0 or 1, has shape (..., K).
    """
    return F.one_hot(labels, num_classes + 1)[..., :num_classes]
