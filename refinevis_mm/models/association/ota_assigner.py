# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One-to-many optimal transport assignment of queries to ground truth.

Shapes: Q queries, G objects of one frame.
"""
from typing import List, Optional, Tuple

import torch
from mmdet.models.task_modules import (AssignResult, BaseAssigner,
                                       FocalLossCost, IoUCost)
from mmdet.models.task_modules.assigners.match_cost import BaseMatchCost
from mmdet.structures.bbox import bbox_overlaps
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from refinevis_mm.registry import TASK_UTILS
from ..layers.nms import BOX_AREA_EPS

# the inputs of a matching cost that predictions or annotations can spoil
COST_INPUTS = ('scores', 'bboxes', 'masks')


@TASK_UTILS.register_module()
class CenterPriorCost(BaseMatchCost):
    """Keeps queries away from objects whose centre they do not hit.

    The two penalties of IDOL's matching: one for a pair whose query centre
    is not strictly inside both the object's box and the square around the
    object's centre, one more for a query whose centre is in no object's box
    and in no object's square, i.e. that is far from everything.

    Args:
        radius (float): Half the side of the centre square, as a fraction of
            the image's width and height. Defaults to 2.5 / 32, as IDOL.
        pair_cost (float): Cost of a pair off centre. Defaults to 100, as
            IDOL.
        far_cost (float): Cost of a query far from all objects, for any of
            them. Defaults to 10000, as IDOL.
    """

    def __init__(self,
                 radius: float = 2.5 / 32,
                 pair_cost: float = 100.,
                 far_cost: float = 10000.) -> None:
        super().__init__(weight=1.)
        self.radius = radius
        self.pair_cost = pair_cost
        self.far_cost = far_cost

    def __call__(self,
                 pred_instances: InstanceData,
                 gt_instances: InstanceData,
                 img_meta: Optional[dict] = None,
                 **kwargs) -> Tensor:
        """Compute the cost.

        Args:
            pred_instances (:obj:`InstanceData`): ``bboxes`` (Q, 4) as
                (x1, y1, x2, y2).
            gt_instances (:obj:`InstanceData`): ``bboxes`` (G, 4), likewise.
            img_meta (dict): ``img_shape`` (height, width) in the unit of the
                boxes.

        Returns:
            Tensor: Has shape (Q, G).
        """
        height, width = img_meta['img_shape'][:2]
        boxes, gt_boxes = pred_instances.bboxes, gt_instances.bboxes
        centers = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]  # (Q, 1, 2)
        gt_centers = (gt_boxes[:, :2] + gt_boxes[:, 2:]) / 2  # (G, 2)
        radius = boxes.new_tensor([width, height]) * self.radius
        in_box = ((centers > gt_boxes[:, :2]) &
                  (centers < gt_boxes[:, 2:])).all(-1)  # (Q, G)
        in_square = ((centers > gt_centers - radius) &
                     (centers < gt_centers + radius)).all(-1)
        far = ~(in_box | in_square).any(1, keepdim=True)  # (Q, 1)
        return (self.pair_cost * ~(in_box & in_square) + self.far_cost * far)


@TASK_UTILS.register_module()
class OTAAssigner(BaseAssigner):
    """Gives every object several queries, the better they fit the more.

    The simplified optimal transport of `IDOL
    <https://arxiv.org/abs/2207.10661>`_, which RefineVIS trains with instead
    of the Hungarian matching (Sec. 4.1): :func:`match_dynamic_k` on the sum
    of the match costs and on box IoU. A drop-in replacement of mmdet's
    ``HungarianAssigner``, with an extra property ``best_query_inds`` (G, ),
    the cheapest assigned query of each object, -1 if it has none.

    Args:
        match_costs (list[dict], optional): Match costs, e.g. those of mmdet.
            Defaults to None for IDOL's: focal class cost, 3 x GIoU and
            :class:`CenterPriorCost`.
        num_candidates (int): Most overlapping queries of an object whose IoU
            adds up to its number of queries. Defaults to 10, as IDOL.

    Raises:
        ValueError: If ``match_costs`` is empty or ``num_candidates`` is not
            positive.
    """

    def __init__(self,
                 match_costs: Optional[List[ConfigType]] = None,
                 num_candidates: int = 10) -> None:
        if num_candidates < 1:
            raise ValueError(
                f'num_candidates must be at least 1, got {num_candidates}')
        if match_costs is None:
            self.match_costs = [
                FocalLossCost(eps=1e-8),
                IoUCost(iou_mode='giou', weight=3.),
                CenterPriorCost()
            ]
        else:
            self.match_costs = [TASK_UTILS.build(cost) for cost in match_costs]
        if not self.match_costs:
            raise ValueError('match_costs must not be empty, got []')
        self.num_candidates = num_candidates

    @torch.no_grad()
    def assign(self,
               pred_instances: InstanceData,
               gt_instances: InstanceData,
               img_meta: Optional[dict] = None,
               **kwargs) -> AssignResult:
        """Assign queries to the objects of one frame.

        Args:
            pred_instances (:obj:`InstanceData`): float32 predictions:
                ``scores`` (Q, K) class logits, ``bboxes`` (Q, 4) as
                (x1, y1, x2, y2), and what else the match costs read.
            gt_instances (:obj:`InstanceData`): ``labels`` (G, ), ``bboxes``
                (G, 4), likewise.
            img_meta (dict, optional): ``img_shape`` (height, width) in the
                unit of the boxes.

        Returns:
            :obj:`AssignResult`: ``gt_inds`` (Q, ), 1-based, 0 for
            background; ``labels`` (Q, ), -1 for background; the extra
            property ``best_query_inds`` (G, ), 0-based.

        Raises:
            FloatingPointError: If a cost or an IoU is NaN or infinite.
        """
        cost, ious = self.compute_costs(pred_instances, gt_instances, img_meta)
        gt_inds, best_query = match_dynamic_k(cost, ious, self.num_candidates)
        labels = torch.full_like(gt_inds, -1)
        matched = gt_inds >= 0
        labels[matched] = gt_instances.labels[gt_inds[matched]]
        result = AssignResult(
            len(best_query), gt_inds + 1, max_overlaps=None, labels=labels)
        result.set_extra_property('best_query_inds', best_query)
        return result

    @torch.no_grad()
    def compute_costs(
            self,
            pred_instances: InstanceData,
            gt_instances: InstanceData,
            img_meta: Optional[dict] = None) -> Tuple[Tensor, Tensor]:
        """Sum of the match costs, and box IoU; arguments as :meth:`assign`.

        Returns:
            tuple[Tensor]: Cost and IoU, each has shape (Q, G).

        Raises:
            FloatingPointError: If a cost or an IoU is NaN or infinite.
        """
        ious = bbox_overlaps(
            pred_instances.bboxes, gt_instances.bboxes, eps=BOX_AREA_EPS)
        if ious.numel() == 0:
            return torch.zeros_like(ious), ious
        cost = sum(
            match_cost(pred_instances, gt_instances, img_meta)
            for match_cost in self.match_costs)
        if not torch.isfinite(cost + ious).all():
            raise FloatingPointError(
                'matching costs must be finite, got NaN or Inf from ' +
                _name_spoiled(pred_instances, gt_instances))
        return cost, ious


def _name_spoiled(pred_instances: InstanceData,
                  gt_instances: InstanceData) -> str:
    """Names of the inputs with NaN or Inf, for an error message."""
    spoiled = [
        f'{owner}.{name}'
        for owner, instances in (('pred_instances', pred_instances),
                                 ('gt_instances', gt_instances))
        for name in COST_INPUTS
        if name in instances and not torch.isfinite(instances[name]).all()
    ]
    return ', '.join(spoiled) or 'finite inputs: check the match costs'


@torch.no_grad()
def match_dynamic_k(cost: Tensor, ious: Tensor,
                    num_candidates: int) -> Tuple[Tensor, Tensor]:
    """Several queries for each object, one object for each query.

    1. An object gets as many queries as the IoUs of its ``num_candidates``
       most overlapping queries add up to, rounded down, at least one.
    2. It chooses that many cheapest queries.
    3. A query chosen by several objects goes to the object for which it is
       cheapest, among all objects as in SimOTA.
    4. An object left without any query takes its cheapest free one; if
       several want the same one, the cheapest pair wins and the others
       choose again.
    5. When no query is free any more, the one-to-one matching of least cost
       overrides: every object keeps or gets a query if there are enough.

    NOTE: IDOL repeats step 4 with the conflicts of step 3, so that two
    objects can share a query and one ends without; with more objects than
    queries it never ends. Without an object left empty in step 3 the results
    are the same.

    Args:
        cost (Tensor): Finite matching cost, has shape (Q, G).
        ious (Tensor): Box IoU in [0, 1], has shape (Q, G).
        num_candidates (int): See step 1; at most Q are used.

    Returns:
        tuple[Tensor]: Object of each query or -1 (Q, ), and the cheapest
        query of each object (G, ), -1 only if there are more objects than
        queries. Ties go to the lower index.
    """
    num_queries, num_gts = cost.shape
    if cost.numel() == 0:
        return (cost.new_full((num_queries, ), -1, dtype=torch.long),
                cost.new_full((num_gts, ), -1, dtype=torch.long))
    gt_range = torch.arange(num_gts, device=cost.device)
    query_range = torch.arange(num_queries, device=cost.device)
    top_ious = ious.topk(min(num_candidates, num_queries), dim=0).values
    dynamic_k = top_ious.sum(0).long().clamp(1, num_queries)  # step 1, (G, )
    order = cost.argsort(dim=0, stable=True)
    cheap = query_range[:, None] < dynamic_k  # rank of the query, object
    chosen = torch.zeros_like(cheap).scatter_(0, order, cheap)  # step 2
    num_choosers = chosen.sum(1)
    gt_inds = torch.where(num_choosers > 1, cost.argmin(1),
                          chosen.long().argmax(1))  # step 3
    gt_inds[num_choosers == 0] = -1
    owned = gt_inds[:, None] == gt_range  # (Q, G)
    if not owned.any(0).all():
        gt_inds = _fill_empty(cost, gt_inds)
        owned = gt_inds[:, None] == gt_range
    best_query = cost.masked_fill(~owned, torch.inf).argmin(0)
    best_query[~owned.any(0)] = -1
    return gt_inds, best_query


def _fill_empty(cost: Tensor, gt_inds: Tensor) -> Tensor:
    """Steps 4 and 5 of :func:`match_dynamic_k`; each pass fills an object."""
    num_gts = cost.shape[1]
    gt_range = torch.arange(num_gts, device=cost.device)
    empty = ~(gt_inds[:, None] == gt_range).any(0)
    for _ in range(num_gts):
        free = gt_inds < 0
        if not (empty.any() and free.any()):
            break
        wanted = cost.masked_fill(~free[:, None], torch.inf).argmin(0)  # (G, )
        asked = torch.zeros_like(cost, dtype=torch.bool)
        asked[wanted, gt_range] = empty
        winner = cost.masked_fill(~asked, torch.inf).argmin(1)  # (Q, )
        gt_inds = torch.where(asked.any(1), winner, gt_inds)
        empty = ~(gt_inds[:, None] == gt_range).any(0)
    if empty.any():
        queries, gts = linear_sum_assignment(cost.cpu().numpy())
        gt_inds = gt_inds.clone()
        gt_inds[torch.from_numpy(queries)] = torch.from_numpy(gts).to(gt_inds)
    return gt_inds
