# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR inside mmdet's Mask2FormerVideo."""
from typing import Dict, List, Tuple

import torch
from mmdet.models.vis import Mask2FormerVideo
from mmdet.structures import TrackDataSample, TrackSampleList
from mmdet.structures.mask import mask2bbox
from mmdet.utils import ConfigType, InstanceList, OptConfigType, OptMultiConfig
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (DecodedFrame, FrameTracks, TrackletBatch,
                                     VideoResult)
from ..layers.mask_resize import resize_masks
from ..refinement.decoding import decode_tracks
from ..refinement.refiners import build_refiner, check_refinement
from .tar_mask2former_track_head import ClipQueries, TARMask2FormerTrackHead


@MODELS.register_module()
class TARMask2FormerVideo(Mask2FormerVideo):
    """mmdet's :class:`Mask2FormerVideo` with temporal refinement.

    A config of the parent needs two changed types, ``model.type`` and
    ``model.track_head.type``, and a ``tar_head``; a checkpoint of the parent
    lacks the keys ``tar_head.*`` and ``track_head.frame_proj.*`` only.

    The parent follows an instance by one query for the whole clip. Here it
    also has an embedding in each frame, zero where its mask is empty (a
    missed frame); TAR refines these along time, and the head's own class and
    mask branch read the refined ones. At initialisation that gives what the
    parent gives, up to rounding, in the frames where a mask was found.

    At test the instances of the ``max_per_video`` best (query, class) pairs
    are refined in consecutive clips of W frames and ranked again by the mean
    of their refined scores.

    NOTE: The parent enlarges the masks of all queries in all frames, then
    takes the best ten. Here the best are taken first, which gives the same.

    Args:
        track_head (dict): :class:`TARMask2FormerTrackHead`.
        tar_head (dict, optional): :class:`TARHead` with a softmax
            ``loss_cls``. Defaults to None, the parent, trained as it is; then
            ``window`` must be 0.
        window (int): Frames W seen by TAR at test; 0 gives exactly what the
            parent gives. Defaults to 10 (paper Table 3).
        num_background (int): Unmatched queries with the best scores that are
            trained to be no object, per clip. Defaults to 20.
        exclusive_recovery (bool): See :class:`RefineVIS`. Defaults to True.
        max_per_video (int): (instance, class) pairs reported of a video.
            Defaults to 10, as the parent.
        backbone (dict, optional): Backbone.
        data_preprocessor (dict, optional): :class:`TrackDataPreprocessor`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``window`` is negative or ``track_head`` is another.
    """

    def __init__(self,
                 track_head: ConfigType,
                 tar_head: OptConfigType = None,
                 window: int = 10,
                 num_background: int = 20,
                 exclusive_recovery: bool = True,
                 max_per_video: int = 10,
                 backbone: OptConfigType = None,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(
            backbone=backbone,
            track_head=track_head,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg)
        if not isinstance(self.track_head, TARMask2FormerTrackHead):
            raise ValueError(
                "track_head.type must be 'refinevis_mm.TARMask2FormerTrack"
                f"Head', got {type(self.track_head).__name__}")
        check_refinement('offline', window, has_head=tar_head is not None)
        self.tar_head = None if tar_head is None else MODELS.build(tar_head)
        self.window = window
        self.num_background = num_background
        self.exclusive_recovery = exclusive_recovery
        self.max_per_video = max_per_video

    def loss(self, inputs: Tensor, data_samples: TrackSampleList,
             **kwargs) -> Dict[str, Tensor]:
        """Losses of the parent, unchanged, and with TAR Eq. (5).

        Args:
            inputs (Tensor): Clips, has shape (bs, T, 3, H, W).
            data_samples (list[:obj:`TrackDataSample`]): Ground truth; frames
                have ``frame_id``.

        Returns:
            dict[str, Tensor]: Weighted losses, those of TAR with the prefix
            ``loss_refine``.
        """
        head = self.track_head
        clips = head.forward_clips(self.backbone(inputs.flatten(0, 1)))
        cls_logits, mask_logits = head.predict_sets(clips)
        targets, metas = head.gather_targets(data_samples)
        losses = head.loss_by_feat(cls_logits, mask_logits, targets, metas)
        if self.tar_head is None:
            return losses
        frame_inds = torch.tensor([meta['frame_id'] for meta in metas],
                                  device=inputs.device)
        tracklets = self.build_tracklets(clips, cls_logits[-1],
                                         mask_logits[-1].detach(), targets,
                                         frame_inds)
        losses.update(
            self.tar_head.loss(tracklets, clips.mask_features.flatten(0, 1),
                               head))
        return losses

    def build_tracklets(self, clips: ClipQueries, cls_logits: Tensor,
                        mask_logits: Tensor, targets: InstanceList,
                        frame_inds: Tensor) -> TrackletBatch:
        """Training tracklets of the last layer.

        Queries matched to an instance follow it, the best unmatched ones are
        background. Those without a mask in any frame are left out.

        Args:
            clips (:obj:`ClipQueries`): Queries of bs clips.
            cls_logits (Tensor): Has shape (bs, Q, K + 1).
            mask_logits (Tensor): Has shape (bs, Q, T, h, w).
            targets (list[:obj:`InstanceData`]): ``labels`` and ``masks`` of
                each clip.
            frame_inds (Tensor): Position of the frames in their videos, has
                shape (bs, T).

        Returns:
            :obj:`TrackletBatch`: Those of the instances first. There are no
            boxes: they are zero.
        """
        num_frames = frame_inds.shape[1]
        positives, backgrounds, labels, masks = [], [], [], []
        for i, target in enumerate(targets):
            matched, instances, others = self._choose_queries(
                cls_logits[i], mask_logits[i], target)
            queries = torch.cat([matched, others])
            embeds, detected = self.track_head.frame_embeds(
                clips.states[-1][i, queries], mask_logits[i, queries],
                clips.mask_features[i])
            found = detected.any(1)
            instances = instances[found[:len(matched)]]
            positives.append(embeds[:len(matched)][found[:len(matched)]])
            backgrounds.append(embeds[len(matched):][found[len(matched):]])
            labels.append(target.labels[instances])
            masks.append(target.masks[instances].bool())
        counts = [len(rows) for rows in positives + backgrounds]
        clip_inds = torch.arange(
            len(targets), device=frame_inds.device).repeat(2)
        clip_inds = clip_inds.repeat_interleave(clip_inds.new_tensor(counts))
        embeds = torch.cat(positives + backgrounds)
        masks = torch.cat(masks)  # (M, T, H, W)
        num_background = len(embeds) - len(masks)
        labels.append(clip_inds.new_full((num_background, ), self.num_classes))
        present = masks.flatten(2).any(2)
        return TrackletBatch(
            embeds=embeds,
            boxes=embeds.new_zeros(len(embeds), num_frames, 4),
            frame_inds=frame_inds[clip_inds],
            clip_inds=clip_inds,
            labels=torch.cat(labels),
            present=torch.cat(
                [present,
                 present.new_zeros(num_background, num_frames)]),
            masks=masks,
            mask_inds=torch.arange(len(masks), device=masks.device))

    @torch.no_grad()
    def _choose_queries(self, cls_logits: Tensor, mask_logits: Tensor,
                        target: InstanceData) -> Tuple[Tensor, Tensor, Tensor]:
        """Matched queries, their instances, and background queries."""
        matched, instances = self.track_head.match(cls_logits, mask_logits,
                                                   target)
        scores = cls_logits.softmax(-1)[:, :-1].amax(-1)
        scores[matched] = -1  # below every probability
        count = min(self.num_background, len(scores) - len(matched))
        return matched, instances, scores.topk(count).indices

    def predict(self,
                inputs: Tensor,
                data_samples: TrackSampleList,
                rescale: bool = True) -> TrackSampleList:
        """Process one whole video.

        Args:
            inputs (Tensor): Frames, has shape (1, T, 3, H, W).
            data_samples (list[:obj:`TrackDataSample`]): One sample with the
                metainfo ``img_shape`` and ``ori_shape`` of each frame.
            rescale (bool): Not used, as in the parent: results have the
                original size.

        Returns:
            list[:obj:`TrackDataSample`]: One sample, whose frames have
            ``pred_track_instances`` as the parent gives them, and with the
            metainfo ``pred_tracklets`` for :class:`VISMetric`, the list of
            :meth:`VideoResult.tracklets`.

        Raises:
            ValueError: If the batch is not one video.
        """
        if len(data_samples) != 1:
            raise ValueError('a test batch must hold one video, got '
                             f'{len(data_samples)}')
        frames = [frame.clone() for frame in data_samples[0]]
        clips = self.track_head.forward_clips(self.backbone(inputs[0]))
        scores = self.track_head.class_scores(clips.states[-1])[0]  # (Q, K)
        queries, labels, pair_scores = self.select_pairs(scores)
        results = self.refine(clips, scores, queries.unique(),
                              [frame.metainfo for frame in frames])
        video = VideoResult(len(frames))
        for result in results:
            video.add_frame(result.frame_id, result.ids, result.cls_scores,
                            result.scored, result.masks)
        if self.window > 0:
            found = sorted({i for result in results for i in result.ids})
            rows, labels, pair_scores = self.select_pairs(
                video.running_scores(found).to(scores))
            queries = queries.new_tensor(found)[rows]
        for result in results:
            frames[result.frame_id].pred_track_instances = report_pairs(
                result, queries, labels, pair_scores)
        meta = frames[0].metainfo
        sample = TrackDataSample(
            metainfo=dict(
                video_id=meta.get('video_id'),
                video_length=len(frames),
                pred_tracklets=video.tracklets(0.0, self.max_per_video)))
        sample.video_data_samples = frames
        return [sample]

    def select_pairs(self, scores: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        """Best (row, class) pairs.

        Args:
            scores (Tensor): Class probabilities, has shape (n, K).

        Returns:
            tuple[Tensor]: Rows, classes and scores of the pairs, each
            (min(n * K, max_per_video), ).
        """
        count = min(scores.numel(), self.max_per_video)
        pair_scores, inds = scores.flatten().topk(count, sorted=False)
        num_classes = scores.shape[1]
        return inds // num_classes, inds % num_classes, pair_scores

    def refine(self, clips: ClipQueries, scores: Tensor, queries: Tensor,
               metas: List[dict]) -> List[DecodedFrame]:
        """Class scores and masks of some queries in every frame.

        Args:
            clips (:obj:`ClipQueries`): Queries of one video of T frames.
            scores (Tensor): Class probabilities, has shape (Q, K).
            queries (Tensor): Queries to refine, has shape (n, ).
            metas (list[dict]): ``img_shape`` and ``ori_shape`` of the frames.

        Returns:
            list[:obj:`DecodedFrame`]: T frames; ids are indices of queries.
        """
        head = self.track_head
        # All queries at once, as the parent has it, for equal rounding.
        mask_logits = head.predict_sets(clips)[1][-1][0, queries]
        if self.window == 0:
            found = torch.ones_like(queries, dtype=torch.bool)
            return [
                DecodedFrame(t, queries.tolist(), scores[queries], found,
                             found,
                             resize_masks(masks, meta) > 0)
                for t, (masks,
                        meta) in enumerate(zip(mask_logits.unbind(1), metas))
            ]
        mask_features = clips.mask_features[0]
        embeds, detected = head.frame_embeds(clips.states[-1][0, queries],
                                             mask_logits, mask_features)
        refiner = build_refiner(self.tar_head, 'offline', self.window)
        refined = []
        for t, meta in enumerate(metas):
            seen = detected[:, t]
            refined += refiner.push(
                FrameTracks(
                    frame_id=t,
                    meta=meta,
                    ids=queries[seen].tolist(),
                    embeds=embeds[seen, t],
                    boxes=embeds.new_zeros(int(seen.sum()), 4),
                    detected=seen[seen],
                    mask_features=mask_features[t]))
        return [
            decode_tracks(tracks, *self.tar_head.predict(tracks, head),
                          self.exclusive_recovery)
            for tracks in refined + refiner.flush()
        ]


def report_pairs(result: DecodedFrame, queries: Tensor, labels: Tensor,
                 scores: Tensor) -> InstanceData:
    """Result of a frame in the form of mmdet's track head.

    Args:
        result (:obj:`DecodedFrame`): Masks of the frame by query.
        queries (Tensor): Query of each of n pairs, has shape (n, ).
        labels (Tensor): Class of each pair, has shape (n, ).
        scores (Tensor): Score of each pair, has shape (n, ).

    Returns:
        :obj:`InstanceData`: ``masks`` (n, ori_h, ori_w), empty where an
        instance is not seen, ``bboxes`` (n, 4) as (x1, y1, x2, y2) in pixels,
        ``labels``, ``scores`` and ``instances_id``, which counts the pairs.
    """
    masks = result.masks.new_zeros(len(queries), *result.masks.shape[1:])
    row_of = {query: row for row, query in enumerate(result.ids)}
    for i, query in enumerate(queries.tolist()):
        if query in row_of:
            masks[i] = result.masks[row_of[query]]
    return InstanceData(
        masks=masks,
        bboxes=mask2bbox(masks),
        labels=labels,
        scores=scores,
        instances_id=torch.arange(len(queries)))
