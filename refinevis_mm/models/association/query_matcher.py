# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Follows the queries of a model from frame to frame, all of them for ever."""
from typing import Any, Dict, List, Optional

import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import Values, check_form
from .detections import check_finite, check_order

WHAT = 'the state of a QueryMatcher'


@MODELS.register_module()
class QueryMatcher:
    """Matching of queries as in `MinVIS <https://arxiv.org/abs/2208.02245>`_.

    The Q queries of the first frame open Q slots, whose numbers are the ids.
    Every query of a later frame goes to one of them: cosines of embeddings
    with those that the slots had in the frame before, their sum at its best
    (Hungarian algorithm). No slot is born later or ends, whatever it shows;
    what is an object is told by the class scores over the whole video, for
    which a model needs ``score_average='logits'`` and ``max_per_video``.

    For long streams, in which objects come and go, there is
    :class:`StreamingTracker`.

    Args:
        embed_dims (int, optional): Embedding dimensions. Defaults to None,
            i.e. those of the first frame.
    """

    def __init__(self, embed_dims: Optional[int] = None) -> None:
        self.embed_dims = embed_dims
        self.reset()

    @property
    def live_ids(self) -> List[int]:
        """list[int]: All slots, once there was a frame."""
        return [] if self._embeds is None else list(range(len(self._embeds)))

    def reset(self) -> None:
        """Forget everything: start of a new video."""
        self.discarded_ids: List[int] = []  # a slot is never noise
        self._last_frame_id = -1
        self._embeds: Optional[Tensor] = None  # (Q, E), of length 1

    def select(self, cls_scores: Tensor, boxes: Tensor) -> Tensor:
        """All queries in the order of the model, see :meth:`Tracker.select`.

        Args:
            cls_scores (Tensor): Has shape (Q, K).
            boxes (Tensor): Has shape (Q, 4).

        Returns:
            Tensor: Long, has shape (Q, ).
        """
        return torch.arange(len(boxes), device=boxes.device)

    @torch.no_grad()
    def track(self, detections: InstanceData, frame_id: int) -> InstanceData:
        """See :meth:`Tracker.track`.

        Args:
            detections (:obj:`InstanceData`): In any order, with
                ``assoc_embeds`` (Q, E); Q must not change in a video.
            frame_id (int): Position of the frame in the video.

        Returns:
            :obj:`InstanceData`: All rows, by slot.

        Raises:
            ValueError: If embeddings are missing, not finite or of another
                shape than before, or ``frame_id`` does not grow.
        """
        check_order(frame_id, self._last_frame_id)
        if 'assoc_embeds' not in detections:
            raise ValueError('QueryMatcher needs assoc_embeds, got none')
        embeds = detections.assoc_embeds
        num_dims = embeds.shape[1]
        if self.embed_dims not in (None, num_dims):
            raise ValueError(f'assoc_embeds must have {self.embed_dims} '
                             f'dimensions, got {num_dims}')
        if self._embeds is not None and embeds.shape != self._embeds.shape:
            raise ValueError(
                'QueryMatcher needs a model whose queries keep their number '
                f'and width, got {tuple(embeds.shape)} after '
                f'{tuple(self._embeds.shape)}')
        check_finite(assoc_embeds=embeds)
        embeds = F.normalize(embeds.float(), dim=1)
        queries = torch.arange(len(embeds))
        if self._embeds is not None:
            cosines = self._embeds.to(embeds) @ embeds.t()
            queries = torch.from_numpy(
                linear_sum_assignment(cosines.cpu().numpy(), maximize=True)[1])
        queries = queries.to(embeds.device)
        self._last_frame_id = frame_id
        self._embeds = embeds[queries]
        results = detections[queries]
        results.instances_id = torch.arange(len(queries), device=embeds.device)
        return results

    def state_dict(self) -> Dict[str, Any]:
        """See :meth:`Tracker.state_dict`.

        Returns:
            dict: ``last_frame_id`` and ``embeds``, None before the first
            frame.
        """
        embeds = None if self._embeds is None else self._embeds.clone()
        return dict(last_frame_id=self._last_frame_id, embeds=embeds)

    def load_state_dict(self, state: Dict[str, Any]) -> None:
        """See :meth:`Tracker.load_state_dict`."""
        rows = Values((None, self.embed_dims), torch.float32)
        check_form(state, dict(last_frame_id=int, embeds=(None, rows)), WHAT)
        if (state['embeds'] is None) != (state['last_frame_id'] < 0):
            raise ValueError(f'{WHAT} must have embeds once there was a frame')
        if state['embeds'] is not None:
            check_finite(embeds=state['embeds'])
        self.reset()
        self._last_frame_id = state['last_frame_id']
        if state['embeds'] is not None:
            self._embeds = state['embeds'].clone()
