# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Contrastive loss of RefineVIS, Eq. (3), and IDOL's auxiliary cosine loss.

Shapes: A anchors (key-frame embeddings), R candidates (reference-frame
embeddings of one or several reference frames), E embedding dims. Nothing of
size positives x negatives is ever built.
"""
import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(sims: Tensor,
                     pos: Tensor,
                     neg: Tensor,
                     count_empty_anchors: bool = False) -> Tensor:
    r"""Contrastive loss over any number of positives and negatives.

    RefineVIS Eq. (3), per anchor,

    .. math:: \log\big(1 + \sum_{k^+}\sum_{k^-}
              \exp(v \cdot k^- - v \cdot k^+)\big)

    computed exactly as
    :math:`\mathrm{softplus}(\mathrm{LSE}_{k^-}(v \cdot k^-) +
    \mathrm{LSE}_{k^+}(-v \cdot k^+))`. Candidates that are neither positive
    nor negative are ignored.

    Args:
        sims (Tensor): Dot products v.k of not normalised embeddings, has
            shape (num_anchors, num_candidates).
        pos (Tensor): Bool, True for positives, has the shape of ``sims``.
        neg (Tensor): Bool, True for negatives, has the shape of ``sims``.
        count_empty_anchors (bool): Whether anchors without a positive or
            without a negative, whose loss is 0, count in the mean. True is
            what the IDOL code does; it dilutes the loss of the other
            anchors. Defaults to False.

    Returns:
        Tensor: Scalar, the mean over anchors; 0 with zero gradients when no
        anchor has both a positive and a negative.

    Raises:
        ValueError: If shapes differ, the masks are not bool, or a candidate
            is both positive and negative.
    """
    _check_pairs(sims.shape, pos, neg)
    usable = pos.any(1) & neg.any(1)
    num_anchors = len(sims) if count_empty_anchors else int(usable.sum())
    if not usable.any():
        return sims.sum() * 0
    sims, pos, neg = sims[usable].float(), pos[usable], neg[usable]
    neg_lse = sims.masked_fill(~neg, -torch.inf).logsumexp(1)
    pos_lse = (-sims).masked_fill(~pos, -torch.inf).logsumexp(1)
    return pair_loss(pos_lse, neg_lse).sum() / num_anchors


def pair_loss(pos_lse: Tensor, neg_lse: Tensor) -> Tensor:
    """RefineVIS Eq. (3) of anchors whose candidates are summed up.

    Args:
        pos_lse (Tensor): Log-sum-exp of ``-v.k`` over the positives.
        neg_lse (Tensor): Log-sum-exp of ``v.k`` over the negatives, has the
            shape of ``pos_lse``.

    Returns:
        Tensor: Has the shape of ``pos_lse``.
    """
    return F.softplus(neg_lse + pos_lse)  # Eq. (3)


def aux_cosine_loss(cosines: Tensor, pos: Tensor, neg: Tensor) -> Tensor:
    """Squared error of cosine similarities to 1 (positive) or 0 (negative).

    The auxiliary loss of IDOL, which RefineVIS inherits.

    Args:
        cosines (Tensor): Cosine similarities in [-1, 1], has shape
            (num_anchors, num_candidates).
        pos (Tensor): Bool, True for positives, has the shape of
            ``cosines``.
        neg (Tensor): Bool, True for (sampled) negatives, has the shape of
            ``cosines``.

    Returns:
        Tensor: Scalar, the mean over the pairs of an anchor, then over the
        anchors with at least one pair; 0 with zero gradients without any.

    Raises:
        ValueError: As for :func:`contrastive_loss`.
    """
    _check_pairs(cosines.shape, pos, neg)
    pairs = pos | neg
    usable = pairs.any(1)
    if not usable.any():
        return cosines.sum() * 0
    error = (cosines.float() - pos.float()).square() * pairs
    return (error.sum(1)[usable] / pairs.sum(1)[usable]).mean()


def sample_negatives(pos: Tensor,
                     neg: Tensor,
                     num_neg_per_pos: int = 10) -> Tensor:
    """Draw at random, for every anchor, some of its negatives.

    Args:
        pos (Tensor): Bool, has shape (num_anchors, num_candidates).
        neg (Tensor): Bool, has shape (num_anchors, num_candidates).
        num_neg_per_pos (int): Negatives kept per positive of the anchor; an
            anchor without a positive keeps this many. All are kept if there
            are fewer. Defaults to 10, as IDOL.

    Returns:
        Tensor: Bool subset of ``neg``, has shape
        (num_anchors, num_candidates).
    """
    num_kept = pos.sum(1).clamp(min=1) * num_neg_per_pos
    draw = torch.rand(neg.shape, device=neg.device).masked_fill(~neg, 2.)
    rank = draw.argsort(dim=1).argsort(dim=1)  # negatives come first
    return neg & (rank < num_kept[:, None])


def _check_pairs(shape: torch.Size, pos: Tensor, neg: Tensor) -> None:
    """Raise unless pos and neg are disjoint bool masks of a 2-D shape."""
    if len(shape) != 2 or pos.shape != shape or neg.shape != shape:
        raise ValueError(
            'similarities, pos and neg must share one shape (num_anchors, '
            f'num_candidates), got {tuple(shape)}, {tuple(pos.shape)} and '
            f'{tuple(neg.shape)}')
    if pos.dtype != torch.bool or neg.dtype != torch.bool:
        raise ValueError('pos and neg must be bool masks, got '
                         f'{pos.dtype} and {neg.dtype}')
    if (pos & neg).any():
        raise ValueError('a candidate must not be positive and negative of '
                         f'one anchor, got {int((pos & neg).sum())} such')
