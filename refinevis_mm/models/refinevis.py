# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RefineVIS: the paper's Figure 2."""
from typing import Dict, List, Optional, Sequence

import torch
from mmdet.structures import TrackSampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor

from refinevis_mm.registry import MODELS, TASK_UTILS
from refinevis_mm.structures import (ClipTargets, DecodedFrame, FrameOutput,
                                     FrameTracks, QueryMatch)
from .association.detections import check_shares
from .association.frame_tracking import track_frame
from .association.tracker import Tracker, build_tracker
from .base_vis_model import BaseVISModel
from .refinement.decoding import decode_tracks
from .refinement.embedding_heads import predict_tracks
from .refinement.refiners import check_refinement

FRAME_LOSS_ON = ('first', 'all')
MASK_RESIZE = ('bilinear', 'nearest')


@MODELS.register_module()
class RefineVIS(BaseVISModel):
    """Video instance segmentation in three stages (paper Sec. 3.1).

    frame level -> association -> temporal refinement. In training the three
    losses are added (Eq. (1)); at test the frames of a video come one by one
    and results leave frame by frame.

    Args:
        frame_model (dict): A :class:`FrameModel`.
        tracker (dict): A :class:`Tracker`: :class:`ContrastiveTracker`, or
            :class:`StreamingTracker` or :class:`QueryMatcher`, which need no
            trained association head.
        association_head (dict, optional): :class:`ContrastiveHead`; None
            hands the tracker the embeddings of
            :meth:`FrameModel.match_embeds`, and trains without association
            loss, as MinVIS.
        normed_association (bool): The association head reads the embeddings
            of :meth:`FrameModel.match_embeds`, behind the LayerNorm with
            which the other heads begin, as CTVIS. Defaults to False, as
            IDOL.
        pair_selector (dict, optional): Positive and negative pairs for the
            association loss: :class:`OTAPairSelector` or
            :class:`IoUPairSelector`; needed with ``association_head``.
        tar_head (dict, optional): :class:`TARHead`; None leaves refinement
            away, in training too, and needs ``window=0``.
        association_cdn (dict, optional): :class:`AssociationCDN`, pairs of
            denoising queries (Sec. 3.5); None trains without.
        temporal_cdn (dict, optional): :class:`TemporalCDN`, tracklets of
            denoising queries (Sec. 3.5); None trains without.
        mode (str): 'online' or 'offline' refinement at test. Defaults to
            'online'.
        window (int): Frames W seen by TAR at test; 0 switches refinement off
            exactly. Defaults to 10 (paper Table 3).
        frame_loss_on (str): Frames that get the frame losses of Eq. (2):
            'first' as in the paper (Sec. 4.1), or 'all' for training without
            an image-level phase before. Defaults to 'first'.
        tracklet_builder (dict, optional): Tracklets for training TAR:
            :class:`MatchedTrackletBuilder` or
            :class:`TrackedTrackletBuilder`; needed with ``tar_head``.
        exclusive_recovery (bool): A mask recovered by refinement competes
            with the masks of other detected objects for each pixel
            (:func:`cut_recovered_masks`). False keeps it whole as the paper,
            which has no such rule. Defaults to True.
        score_missed (bool): A tracklet's class scores are averaged over all
            its frames, not only over those in which it was detected (the
            paper does not say). A tracklet that is missed often then ranks
            lower; TAR must have been trained. Defaults to False.
        recovery_visible_thr (float): A recovered mask of which a smaller
            share is free of detected objects is thought hidden and left out
            (:func:`leave_out_hidden`). Defaults to 0, which keeps all as the
            paper.
        cls_thr (float): Least mean class score of a reported (tracklet,
            class) pair. Defaults to 0.05, as IDOL.
        score_average (str): See :class:`BaseVISModel`; 'logits' is for frame
            models whose classes compete in a softmax. Defaults to 'scores'.
        max_per_video (int, optional): See :class:`BaseVISModel`. Defaults to
            None.
        mask_resize (str): How masks come from the size of the input to that
            of the video, 'bilinear', or 'nearest' as IDOL. Defaults to
            'bilinear'.
        data_preprocessor (dict, optional): :class:`TrackDataPreprocessor`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``mode``, ``window``, ``frame_loss_on``,
            ``recovery_visible_thr`` or ``mask_resize`` is not allowed, or a
            part is missing.
    """

    batched = True

    def __init__(self,
                 frame_model: ConfigType,
                 tracker: ConfigType,
                 association_head: OptConfigType = None,
                 normed_association: bool = False,
                 pair_selector: OptConfigType = None,
                 tar_head: OptConfigType = None,
                 tracklet_builder: OptConfigType = None,
                 association_cdn: OptConfigType = None,
                 temporal_cdn: OptConfigType = None,
                 mode: str = 'online',
                 window: int = 10,
                 frame_loss_on: str = 'first',
                 exclusive_recovery: bool = True,
                 score_missed: bool = False,
                 recovery_visible_thr: float = 0.,
                 cls_thr: float = 0.05,
                 score_average: str = 'scores',
                 max_per_video: Optional[int] = None,
                 mask_resize: str = 'bilinear',
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(mode, window, cls_thr, score_average, max_per_video,
                         data_preprocessor, init_cfg)
        if frame_loss_on not in FRAME_LOSS_ON:
            raise ValueError(f'frame_loss_on must be one of {FRAME_LOSS_ON}, '
                             f'got {frame_loss_on!r}')
        if mask_resize not in MASK_RESIZE:
            raise ValueError(f'mask_resize must be one of {MASK_RESIZE}, got '
                             f'{mask_resize!r}')
        check_shares(recovery_visible_thr=recovery_visible_thr)
        check_refinement(mode, window, has_head=tar_head is not None)
        if tar_head is not None and tracklet_builder is None:
            raise ValueError('tracklet_builder must be given with tar_head, '
                             'got None')
        if association_head is None and association_cdn is not None:
            raise ValueError('association_cdn trains association_head, got '
                             'association_head=None')
        if tar_head is None and temporal_cdn is not None:
            raise ValueError('temporal_cdn trains tar_head, got tar_head=None')
        if association_head is not None and pair_selector is None:
            raise ValueError('pair_selector must be given with '
                             'association_head, got None')
        self.frame_model = MODELS.build(frame_model)
        if score_average == 'logits' and not self.frame_model.softmax_classes:
            raise ValueError("score_average='logits' needs a frame model "
                             'whose classes compete in a softmax, got '
                             f'{type(self.frame_model).__name__}')
        self.association_head, self.pair_selector = None, None
        # A saved state of other dimensions is refused when it is loaded.
        embed_dims = None
        if association_head is not None:
            self.association_head = MODELS.build(association_head)
            self.pair_selector = TASK_UTILS.build(pair_selector)
            embed_dims = self.association_head.embed_dims
        self.tracker = build_tracker(tracker, embed_dims=embed_dims)
        self.tar_head = None if tar_head is None else MODELS.build(tar_head)
        self.association_cdn = None if association_cdn is None else \
            MODELS.build(association_cdn)
        self.temporal_cdn = None if temporal_cdn is None else \
            TASK_UTILS.build(temporal_cdn)
        self.tracklet_builder = None if tracklet_builder is None else \
            TASK_UTILS.build(tracklet_builder)
        self.normed_association = normed_association
        self.frame_loss_on = frame_loss_on
        self.exclusive_recovery = exclusive_recovery
        self.score_missed = score_missed
        self.recovery_visible_thr = recovery_visible_thr
        self.mask_resize = mask_resize

    def loss(self, inputs: Tensor, data_samples: TrackSampleList,
             **kwargs) -> Dict[str, Tensor]:
        """Train on clips, Eq. (1).

        Args:
            inputs (Tensor): Clips, has shape (bs, T, 3, H, W). Frame 0 is
                the key frame.
            data_samples (list[:obj:`TrackDataSample`]): Ground truth.

        Returns:
            dict[str, Tensor]: Weighted losses; those that start with
            ``loss_assoc`` and ``loss_refine`` belong to the second and third
            stage.

        Raises:
            ValueError: If ``association_cdn`` or ``temporal_cdn`` has no
                denoising queries.
        """
        num_frames = inputs.shape[1]
        targets = [
            ClipTargets.from_data_sample(sample, clip)
            for sample, clip in zip(data_samples, inputs)
        ]
        frame_targets = [
            target.frame(t) for target in targets for t in range(num_frames)
        ]
        # 1. Frame level
        sizes = [
            img.img_shape[:2] for sample in data_samples for img in sample
        ]
        frames = self.frame_model.forward_frames(
            inputs.flatten(0, 1), targets, sizes)
        rows = torch.arange(len(frame_targets), device=inputs.device)
        if self.frame_loss_on == 'first':
            rows = rows[::num_frames]
        losses = self.frame_model.loss_frames(
            frames.select_frames(rows), [frame_targets[row] for row in rows])
        if self.association_head is None and self.tar_head is None:
            return losses
        matches = self.frame_model.match(frames, frame_targets)
        # 2. Association
        self.embed(frames)
        if self.association_head is not None:
            losses.update(self._loss_association(frames, targets, matches))
        # 3. Temporal refinement
        if self.tar_head is not None:
            losses.update(self._loss_refinement(frames, targets, matches))
        return losses

    def embed(self, frames: FrameOutput) -> None:
        """Set the association embeddings of frames.

        Args:
            frames (:obj:`FrameOutput`): Changed in place.
        """
        if self.association_head is None:
            frames.assoc_embeds = self.frame_model.match_embeds(frames.embeds)
        else:
            frames.assoc_embeds = self.association_embeds(frames.embeds)

    def association_embeds(self, embeds: Tensor) -> Tensor:
        """Association embeddings of object embeddings, by the trained head.

        Args:
            embeds (Tensor): Object embeddings, has shape (..., C).

        Returns:
            Tensor: Has shape (..., E).
        """
        if self.normed_association:
            embeds = self.frame_model.match_embeds(embeds)
        return self.association_head(embeds)

    def _loss_association(self, frames: FrameOutput,
                          targets: List[ClipTargets],
                          matches: List[QueryMatch]) -> Dict[str, Tensor]:
        """Eq. (3) between the key frames and the other frames."""
        pairs = self.pair_selector(frames, targets, matches)
        key_embeds = frames.assoc_embeds[tuple(pairs.key_rows.T)]
        ref_embeds = frames.assoc_embeds[tuple(pairs.ref_rows.T)]
        losses = self.association_head.loss(key_embeds, ref_embeds,
                                            pairs.positive, pairs.negative)
        if self.association_cdn is not None:
            _check_denoising(frames, 'association_cdn')
            losses.update(
                self.association_cdn.loss(
                    self.association_embeds(frames.dn_embeds),
                    frames.dn_queries, targets, self.association_head))
        return losses

    def _loss_refinement(self, frames: FrameOutput, targets: List[ClipTargets],
                         matches: List[QueryMatch]) -> Dict[str, Tensor]:
        """Eq. (5) on tracklets of ordinary and of denoising queries."""
        tracklets = self.tracklet_builder(frames, targets, matches,
                                          self.frame_model)
        losses = self.tar_head.loss(tracklets, frames.mask_features,
                                    self.frame_model)
        if self.temporal_cdn is not None:
            _check_denoising(frames, 'temporal_cdn')
            tracklets = self.temporal_cdn.tracklets(
                frames.dn_embeds, frames.dn_queries, targets,
                frames.cls_logits.shape[-1])
            cdn_losses = self.tar_head.loss(
                tracklets,
                frames.mask_features,
                self.frame_model,
                prefix='loss_refine_cdn')
            losses.update({
                name: self.temporal_cdn.loss_weight * loss
                for name, loss in cdn_losses.items()
            })
        return losses

    def track(self, image: Tensor, meta: dict,
              tracker: Tracker) -> FrameTracks:
        """See :meth:`BaseVISModel.track`."""
        return self.associate(
            self.detect(image[None], [meta])[0], meta, tracker)

    def detect(self, images: Tensor,
               metas: Sequence[dict]) -> List[FrameOutput]:
        """See :meth:`BaseVISModel.detect`."""
        frames = self.frame_model.forward_frames(
            images, sizes=[meta['img_shape'][:2] for meta in metas])
        if frames.assoc_embeds is None:  # exported frame models make them, too
            self.embed(frames)
        if len(metas) == 1:
            return [frames]
        # copies: a frame that is kept does not keep the others
        return [
            frames.select_frames(row)
            for row in torch.arange(len(metas), device=images.device)[:, None]
        ]

    def associate(self, frame: FrameOutput, meta: dict,
                  tracker: Tracker) -> FrameTracks:
        """See :meth:`BaseVISModel.associate` (paper Sec. 3.3)."""
        tracked = track_frame(tracker, frame, self.frame_model,
                              meta['frame_id'])
        return FrameTracks(
            frame_id=meta['frame_id'],
            meta=meta,
            ids=tracked.instances_id.tolist(),
            embeds=frame.embeds[0, tracked.query_inds].float(),
            boxes=frame.mask_boxes[0, tracked.query_inds].float(),
            detected=torch.ones_like(tracked.query_inds, dtype=torch.bool),
            mask_features=frame.mask_features[0])

    def decode(self,
               tracks: FrameTracks,
               refined: bool = True) -> DecodedFrame:
        """See :meth:`BaseVISModel.decode`."""
        if self.window == 0 or not refined:
            cls_scores, masks = predict_tracks(tracks, self.frame_model)
        else:
            cls_scores, masks = self.tar_head.predict(tracks, self.frame_model)
        return decode_tracks(tracks, cls_scores, masks,
                             self.exclusive_recovery, self.score_missed,
                             self.mask_resize, self.recovery_visible_thr)


def _check_denoising(frames: FrameOutput, name: str) -> None:
    """Raise ValueError if a part needs denoising queries in vain."""
    if frames.dn_queries is None:
        raise ValueError(f'{name} needs a frame model with denoising '
                         'queries, got none')
