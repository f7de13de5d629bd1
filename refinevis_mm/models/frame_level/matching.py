# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the heads of all frame models share in matching and losses."""
from typing import List, Optional, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.task_modules.assigners import BaseAssigner, HungarianAssigner
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
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
    """Match one prediction set of a frame, see :func:`match_sets`."""
    return match_sets(assigner, predictions, ground_truth, 1, shares)[0]


def match_sets(assigner: BaseAssigner,
               predictions: InstanceData,
               ground_truth: InstanceData,
               num_sets: int,
               shares: Optional[Sequence[float]] = None) -> List[QueryMatch]:
    """Match the prediction sets of one frame with one of mmdet's assigners.

    Args:
        assigner (:obj:`BaseAssigner`): One-to-one, or one-to-many with the
            extra property ``best_query_inds``.
        predictions (:obj:`InstanceData`): S sets of Q queries each, one after
            the other: ``scores`` (S * Q, K) as logits, normalised ``bboxes``
            (S * Q, 4) as (x1, y1, x2, y2) and what else the assigner reads.
        ground_truth (:obj:`InstanceData`): ``labels`` (n, ), normalised
            ``bboxes`` (n, 4) and what else the assigner reads.
        num_sets (int): S.
        shares (Sequence[float], optional): ``picture_shares`` (w, h) of the
            frame, for costs that depend on the picture's size. Defaults to
            None, both 1.

    Returns:
        list[:obj:`QueryMatch`]: The match of each set.
    """
    num_queries = len(predictions) // num_sets
    num_gts = len(ground_truth.labels)
    if num_gts == 0:
        unmatched = ground_truth.labels.new_full((num_queries, ), -1)
        return [QueryMatch.one_to_one(unmatched, 0) for _ in range(num_sets)]
    meta = normalised_meta(shares)
    if type(assigner) is HungarianAssigner:
        cost = sum(
            match_cost(predictions, ground_truth, meta)
            for match_cost in assigner.match_costs)
        return _match_hungarian(cost.unflatten(0, (num_sets, num_queries)))
    matches = []
    for index in range(num_sets):
        result = assigner.assign(
            predictions[index * num_queries:(index + 1) * num_queries],
            ground_truth,
            img_meta=meta)
        gt_inds = result.gt_inds - 1
        best_query = result.get_extra_property('best_query_inds')
        matches.append(
            QueryMatch.one_to_one(gt_inds, num_gts) if best_query is
            None else QueryMatch(gt_inds, best_query))
    return matches


def _match_hungarian(costs: Tensor) -> List[QueryMatch]:
    """mmdet's ``HungarianAssigner`` on costs (S, Q, n), copied once."""
    num_sets, num_queries, num_gts = costs.shape
    gt_inds = np.full((num_sets, num_queries), -1)
    best_query = np.full((num_sets, num_gts), -1)
    for i, cost in enumerate(costs.detach().cpu().numpy()):
        queries, objects = linear_sum_assignment(cost)
        gt_inds[i, queries] = objects
        best_query[i, objects] = queries
    return [
        QueryMatch(*match)
        for match in zip(*(torch.from_numpy(inds).to(costs.device)
                           for inds in (gt_inds, best_query)))
    ]


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
