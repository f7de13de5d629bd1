# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""mmdet's Mask2Former track head with one embedding per frame."""
from dataclasses import dataclass
from typing import List, Tuple

import torch
from mmdet.models.tracking_heads import Mask2FormerTrackHead
from mmdet.structures import TrackDataSample, TrackSampleList
from mmdet.utils import InstanceList
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from ..frame_level.mask2former_query_mixin import Mask2FormerQueryMixin


@dataclass
class ClipQueries:
    """Queries of bs clips of T frames, one state per query and clip.

    Attributes:
        states (list[Tensor]): Query states before ``post_norm``, initial ones
            and those of L layers, each (bs, Q, C).
        mask_features (Tensor): Per-pixel features, has shape
            (bs, T, C_mask, h, w).
    """

    states: List[Tensor]
    mask_features: Tensor


@MODELS.register_module()
class TARMask2FormerTrackHead(Mask2FormerQueryMixin, Mask2FormerTrackHead):
    """:class:`Mask2FormerTrackHead` with one embedding per frame.

    The parent has one embedding per instance and *clip*. That of a frame is
    the clip's plus a projection of the mask features under the instance's
    mask in that frame; the projection starts at zero, so that every frame
    starts with the embedding of the clip.

    Args:
        feat_channels (int): Width C of the queries.
        out_channels (int): Channels of the mask features.
        kwargs: The other arguments of :class:`Mask2FormerTrackHead`.
    """

    def __init__(self, feat_channels: int, out_channels: int,
                 **kwargs) -> None:
        super().__init__(
            feat_channels=feat_channels, out_channels=out_channels, **kwargs)
        self.frame_proj = nn.Linear(out_channels, feat_channels)
        nn.init.zeros_(self.frame_proj.weight)
        nn.init.zeros_(self.frame_proj.bias)

    def forward_clips(self, feats: Tuple[Tensor]) -> ClipQueries:
        """Run the network on clips.

        Args:
            feats (tuple[Tensor]): Maps of the backbone, each
                (bs * T, C_i, h_i, w_i). In training T is ``num_frames``, at
                test the batch is one clip.

        Returns:
            :obj:`ClipQueries`: Queries and mask features.
        """
        return ClipQueries(*self.forward_states(feats))

    def forward(
            self, x: Tuple[Tensor], data_samples: TrackDataSample
    ) -> Tuple[List[Tensor], List[Tensor]]:
        """See :meth:`Mask2FormerTrackHead.forward`.

        NOTE: At test only the last prediction set is given; the parent keeps
        the masks of all.
        """
        return self.predict_sets(self.forward_clips(x))

    def predict_sets(self,
                     clips: ClipQueries) -> Tuple[List[Tensor], List[Tensor]]:
        """Predictions of all layers in training, of the last one at test.

        Args:
            clips (:obj:`ClipQueries`): From :meth:`forward_clips`.

        Returns:
            tuple[list[Tensor]]: Class logits (bs, Q, K + 1) and mask logits
            (bs, Q, T, h, w) of each set, the last layer last.
        """
        states = clips.states if self.training else clips.states[-1:]
        mask_logits = [
            torch.einsum('bqc,btchw->bqthw', self.mask_kernels(state),
                         clips.mask_features) for state in states
        ]
        return [self.classify(state) for state in states], mask_logits

    def gather_targets(
            self,
            data_samples: TrackSampleList) -> Tuple[InstanceList, List[dict]]:
        """Ground truth of clips as the parent's losses want it.

        Args:
            data_samples (list[:obj:`TrackDataSample`]): bs clips; they are
                not changed.

        Returns:
            tuple: For each clip :obj:`InstanceData` with ``labels`` (n, ) and
            ``masks`` (n, T, H, W), and its metainfo by key, each a list over
            frames.
        """
        frames = [frame for sample in data_samples for frame in sample]
        # the parent replaces the masks of what it is given
        targets = self.preprocess_gt(
            [frame.gt_instances.clone() for frame in frames])
        metas = [{
            key: [frame.metainfo[key] for frame in sample]
            for key in sample[0].metainfo
        } for sample in data_samples]
        return targets, metas

    def frame_embeds(self, states: Tensor, mask_logits: Tensor,
                     mask_features: Tensor) -> Tuple[Tensor, Tensor]:
        """One embedding per instance and frame.

        Args:
            states (Tensor): Query states of n instances, has shape (n, C).
            mask_logits (Tensor): Their masks, has shape (n, T, h, w).
            mask_features (Tensor): Per-pixel features of the clip, has shape
                (T, C_mask, h, w).

        Returns:
            tuple[Tensor]: Embeddings (n, T, C), zero in frames in which the
            mask is empty, and bool, False in such frames (n, T).
        """
        inside = mask_logits > 0
        area = inside.sum((-2, -1))
        share = inside.to(mask_features) / area.clamp(min=1)[..., None, None]
        pooled = torch.einsum('nthw,tchw->ntc', share, mask_features)
        embeds = states[:, None] + self.frame_proj(pooled)
        detected = area > 0
        return embeds * detected[..., None], detected
