# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR for trackers made of a two-stage detector and a RoI track head."""
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import torch
from mmcv.cnn import ConvModule
from mmdet.models.layers import MLP
from mmdet.models.utils import generate_coordinate
from mmdet.structures.bbox import (bbox_cxcywh_to_xyxy, bbox_overlaps,
                                   bbox_xyxy_to_cxcywh)
from mmdet.structures.mask import mask2bbox
from mmdet.utils import ConfigType, OptConfigType
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from refinevis_mm.registry import MODELS, TASK_UTILS
from refinevis_mm.structures import (ClipTargets, DecodedFrame, FrameOutput,
                                     FrameTargets, FrameTracks, QueryMatch,
                                     VideoResult)
from ..frame_level.matching import one_hot
from ..layers.mask_resize import MASK_STRIDE
from ..refinement.decoding import decode_tracks
from ..refinement.refiners import build_refiner, check_refinement
from ..refinement.running_video import RunningVideo

# A proposal that overlaps an object less is background, as for mmdet's RPN.
BACKGROUND_IOU = 0.3


class RoIRefinementMixin:
    """Adds TAR to a tracker without a change to its code.

    To be named before the tracker's class::

        class TARTracker(RoIRefinementMixin, Tracker):

    The tracker owns ``detector`` (``extract_feat``, ``rpn_head`` and
    ``roi_head``), ``track_head`` (``extract_roi_feats`` and ``embed_head``)
    and ``tracker``, and its own losses and ids stay what they are. The
    subclass calls :meth:`loss_refinement` with the features of a clip, and
    :meth:`refine_frame` with the features and instances of a test frame;
    :func:`record_features` gets the features that the tracker computes.

    An instance is represented by the track head's embedding of its box, and
    by the box, because the embedding of a RoI does not tell where it lies.
    TAR has class and mask heads of its own; their mask features are made of
    the finest feature level and its coordinates. All parameters of this
    class have names that begin with ``tar_``.

    Args:
        args, kwargs: Arguments of the tracker.
        tar_head (dict, optional): :class:`TARHead` with ``heads``, such as
            :class:`EmbeddingHeads`. None is the tracker alone, trained as it
            is; then ``window`` must be 0. Defaults to None.
        tracklet_builder (dict, optional): Training tracklets, from
            ground-truth matching with relaxed thresholds (paper Sec. 4.1):
            :class:`MatchedTrackletBuilder`. Its queries are the region
            proposals, their scores objectness. Needed with ``tar_head``.
            Defaults to None.
        mode (str): 'online' or 'offline' refinement at test. Defaults to
            'online'.
        window (int): Frames W seen by TAR at test; 0 leaves the tracker's
            results exactly as they are. Defaults to 10 (paper Table 3).
        exclusive_recovery (bool): See :class:`RefineVIS`. Defaults to True.
        cls_thr (float): Least class score of an instance recovered in a
            frame, and least mean score of a (tracklet, class) pair in
            ``pred_tracklets``. Defaults to 0.05.

    Raises:
        ValueError: If an argument is not allowed, or the parts of the tracker
            do not fit.
    """

    def __init__(self,
                 *args: Any,
                 tar_head: OptConfigType = None,
                 tracklet_builder: OptConfigType = None,
                 mode: str = 'online',
                 window: int = 10,
                 exclusive_recovery: bool = True,
                 cls_thr: float = 0.05,
                 **kwargs: Any) -> None:
        check_refinement(mode, window, has_head=tar_head is not None)
        super().__init__(*args, **kwargs)
        self.mode = mode
        self.window = window
        self.exclusive_recovery = exclusive_recovery
        self.cls_thr = cls_thr
        self.tar_head = None
        self._video: Optional[RunningVideo] = None
        if tar_head is None:
            self.num_classes = self.detector.roi_head.bbox_head.num_classes
        else:
            self._init_refinement(tar_head, tracklet_builder)

    def _init_refinement(self, tar_head: ConfigType,
                         tracklet_builder: OptConfigType) -> None:
        """Build TAR and what gives it its inputs."""
        if tar_head.get('heads') is None:
            raise ValueError('tar_head must have heads of its own, got None')
        if tracklet_builder is None:
            raise ValueError('tracklet_builder must be given with tar_head, '
                             'got None')
        self.num_classes = tar_head['heads']['num_classes']
        self.tracklet_builder = TASK_UTILS.build(tracklet_builder)
        self._check_parts()
        self.tar_head = MODELS.build(tar_head)
        self._init_embeddings(tar_head['heads'].get('mask_dims', 256))

    def _check_parts(self) -> None:
        """Raise ValueError if TAR does not fit the tracker."""
        stride = self.track_head.roi_extractor.featmap_strides[0]
        if stride != MASK_STRIDE:
            raise ValueError('the first feature level must have stride '
                             f'{MASK_STRIDE}, got {stride}')
        if self.track_head.embed_head.num_fcs == 0:
            raise ValueError('embed_head must end with fully connected '
                             'layers, got num_fcs=0')
        num_classes = getattr(self.detector.roi_head.bbox_head, 'num_classes',
                              self.num_classes)
        if num_classes != self.num_classes:
            raise ValueError(f'tar_head.heads must have the {num_classes} '
                             f'classes of bbox_head, got {self.num_classes}')

    def _init_embeddings(self, mask_dims: int) -> None:
        """Layers from the tracker's features to TAR's inputs."""
        embed_dims = self.tar_head.embed_dims
        roi_dims = self.track_head.embed_head.fc_out_channels
        feat_dims = self.track_head.roi_extractor.out_channels
        self.tar_roi_embed = nn.Sequential(
            nn.LayerNorm(roi_dims), nn.Linear(roi_dims, embed_dims))
        self.tar_box_embed = MLP(4, embed_dims, embed_dims, 2)
        self.tar_mask_feature = nn.Sequential(
            ConvModule(
                feat_dims + 2,  # and the coordinates
                mask_dims,
                3,
                padding=1,
                norm_cfg=dict(type='GN', num_groups=32)),
            nn.Conv2d(mask_dims, mask_dims, 1))

    def loss_refinement(self, feats: Sequence[Tensor],
                        targets: List[ClipTargets],
                        metas: List[dict]) -> Dict[str, Tensor]:
        """Losses of TAR, Eq. (5), over all frames.

        Args:
            feats (Sequence[Tensor]): Feature levels, the finest first, each
                has shape (bs * T, C, h, w). Row ``b * T + t`` is frame ``t``
                of clip ``b``.
            targets (list[:obj:`ClipTargets`]): Ground truth of the bs clips,
                their frames in the order of ``feats``.
            metas (list[dict]): Metainfo of the bs * T frames, ``img_shape``
                among it.

        Returns:
            dict[str, Tensor]: ``loss_refine_{cls,mask,dice}``; none without
            ``tar_head``.
        """
        if self.tar_head is None:
            return {}
        frame_targets = [
            target.frame(t) for target in targets
            for t in range(len(target.frame_inds))
        ]
        frames, matches = self._training_queries(feats, frame_targets, metas)
        return self.tar_head.loss(
            self.tracklet_builder(frames, targets, matches,
                                  self.tar_head.heads), frames.mask_features)

    def _training_queries(
            self, feats: Sequence[Tensor], frame_targets: List[FrameTargets],
            metas: List[dict]) -> Tuple[FrameOutput, List[QueryMatch]]:
        """The proposals of each frame that can be part of a tracklet.

        The first queries of a frame are the best proposals of its objects,
        the next background proposals, and the last fill up the batch.
        """
        boxes, scores, matches = [], [], []
        for proposals, target in zip(
                self._propose(feats, metas), frame_targets):
            inds, match = self._select_proposals(proposals, target,
                                                 _input_size(feats))
            boxes.append(proposals.bboxes[inds])
            scores.append(proposals.scores[inds])
            matches.append(match)
        assoc_embeds = self._roi_embeds(feats, boxes)
        boxes = pad_sequence(boxes, batch_first=True)
        matches = [match.pad(boxes.shape[1]) for match in matches]
        assoc_embeds = pad_sequence(assoc_embeds, batch_first=True)
        boxes = _normalise(boxes, _input_size(feats))
        objectness = pad_sequence(scores, batch_first=True).logit(eps=1e-6)
        frames = FrameOutput(
            embeds=self._embed(assoc_embeds, boxes),
            cls_logits=objectness[..., None].expand(-1, -1, self.num_classes),
            boxes=boxes,
            mask_features=self._mask_features(feats),
            assoc_embeds=assoc_embeds)
        return frames, matches

    @torch.no_grad()
    def _propose(self, feats: Sequence[Tensor],
                 metas: List[dict]) -> List[InstanceData]:
        """Region proposals of every frame, (x1, y1, x2, y2) in pixels."""
        return self.detector.rpn_head.predict_by_feat(
            *self.detector.rpn_head(feats), batch_img_metas=metas)

    def _select_proposals(self, proposals: InstanceData, target: FrameTargets,
                          size: Tuple[int, int]) -> Tuple[Tensor, QueryMatch]:
        """Best proposal of each object, then confident background."""
        height, width = size
        gt_boxes = bbox_cxcywh_to_xyxy(target.boxes)
        gt_boxes = gt_boxes * gt_boxes.new_tensor(
            [width, height, width, height])
        ious = bbox_overlaps(gt_boxes, proposals.bboxes)
        best = ious.argmax(1) if ious.numel() else target.slots[:0]
        free = (ious < BACKGROUND_IOU).all(0).nonzero().flatten()
        count = min(self.tracklet_builder.num_background, len(free))
        free = free[proposals.scores[free].topk(count).indices]
        objects = torch.arange(len(best), device=best.device)
        best_query = target.slots.new_full((len(target), ), -1)
        best_query[:len(best)] = objects
        return torch.cat([best, free]), QueryMatch(
            torch.cat([objects, torch.full_like(free, -1)]), best_query)

    def refine_frame(self, feats: Sequence[Tensor], instances: InstanceData,
                     meta: dict) -> List[DecodedFrame]:
        """Refine the next frame of the running video.

        State is kept between calls and starts anew at ``frame_id == 0``.

        Args:
            feats (Sequence[Tensor]): Feature levels of the frame, the finest
                first, each has shape (1, C, h, w).
            instances (:obj:`InstanceData`): What the tracker found:
                ``instances_id``, ``bboxes`` (x1, y1, x2, y2) in pixels of
                ``ori_shape``, ``labels``, ``scores`` and ``masks``. Of
                several with the same id the last one counts.
            meta (dict): ``frame_id``, ``ori_video_length`` or
                ``video_length``, ``img_shape``, ``ori_shape`` and
                ``scale_factor``.

        Returns:
            list[:obj:`DecodedFrame`]: Frames finished by this one: itself
            online, up to W frames offline.

        Raises:
            ValueError: If a video does not start with frame 0.
        """
        if meta['frame_id'] == 0:
            self._video = RunningVideo(
                build_refiner(self.tar_head, self.mode, self.window),
                VideoResult(video_length(meta)))
        elif self._video is None:
            raise ValueError('a video must start with frame_id 0, got '
                             f"{meta['frame_id']}")
        row_of_id = {
            instance_id: row
            for row, instance_id in enumerate(instances.instances_id.tolist())
        }
        instances = instances[instances.labels.new_tensor(
            list(row_of_id.values()))]
        if self.window == 0:
            results = [self._unrefined(instances, list(row_of_id), meta)]
        else:
            tracks = self._frame_tracks(feats, instances, list(row_of_id),
                                        meta)
            frames = self._video.refiner.push(tracks)
            if _is_last(meta):
                frames += self._video.refiner.flush()
            results = [self._decode(frame) for frame in frames]
        self._video.add(results)
        return results

    def video_metainfo(self, meta: dict) -> dict:
        """What to report with the last frame of a video.

        Args:
            meta (dict): Metainfo of the frame refined last.

        Returns:
            dict: ``video_id``, ``video_length`` and ``pred_tracklets``, the
            list made by :meth:`VideoResult.tracklets` that
            :class:`VISMetric` reads. Empty before the last frame.
        """
        if not _is_last(meta):
            return {}
        tracklets = self._video.result.tracklets(cls_thr=self.cls_thr)
        self._video = None
        return dict(
            video_id=meta['video_id'],
            video_length=video_length(meta),
            pred_tracklets=tracklets)

    def _frame_tracks(self, feats: Sequence[Tensor], instances: InstanceData,
                      ids: List[int], meta: dict) -> FrameTracks:
        """TAR's view of the instances of a frame."""
        boxes = instances.bboxes
        boxes = boxes * boxes.new_tensor(meta['scale_factor']).repeat(2)
        roi_embeds, = self._roi_embeds(feats, [boxes])
        boxes = _normalise(boxes, _input_size(feats))
        return FrameTracks(
            frame_id=meta['frame_id'],
            meta=meta,
            ids=ids,
            embeds=self._embed(roi_embeds, boxes),
            boxes=boxes,
            detected=torch.ones_like(boxes[:, 0], dtype=torch.bool),
            mask_features=self._mask_features(feats)[0])

    def _decode(self, tracks: FrameTracks) -> DecodedFrame:
        """Class scores and full-size masks of a frame's tracklets."""
        cls_scores, mask_logits = self.tar_head.predict(tracks)
        keep = tracks.detected | (cls_scores > self.cls_thr).any(-1)
        weak = [i for i, kept in zip(tracks.ids, keep.tolist()) if not kept]
        return decode_tracks(
            tracks.without(weak), cls_scores[keep], mask_logits[keep],
            self.exclusive_recovery)

    def _unrefined(self, instances: InstanceData, ids: List[int],
                   meta: dict) -> DecodedFrame:
        """The tracker's own result of a frame."""
        cls_scores = one_hot(instances.labels, self.num_classes)
        detected = torch.ones_like(instances.labels, dtype=torch.bool)
        return DecodedFrame(meta['frame_id'], ids,
                            cls_scores * instances.scores[:, None], detected,
                            detected, instances.masks.bool())

    def _roi_embeds(self, feats: Sequence[Tensor],
                    boxes: List[Tensor]) -> Sequence[Tensor]:
        """The track head's embeddings of boxes, frame by frame.

        Args:
            feats (Sequence[Tensor]): Feature levels of B frames.
            boxes (list[Tensor]): Boxes of each frame, (x1, y1, x2, y2) in
                pixels of the input, has shape (n, 4).

        Returns:
            Sequence[Tensor]: B embeddings, each has shape (n, D).
        """
        roi_feats, nums = self.track_head.extract_roi_feats(feats, boxes)
        return self.track_head.embed_head.extract_feat(roi_feats, nums)

    def _embed(self, roi_embeds: Tensor, boxes: Tensor) -> Tensor:
        """Embeddings (..., C) of RoI embeddings (..., D) and their boxes.

        Args:
            roi_embeds (Tensor): Has shape (..., D).
            boxes (Tensor): Normalised (cx, cy, w, h), has shape (..., 4).

        Returns:
            Tensor: Has shape (..., C).
        """
        return self.tar_roi_embed(roi_embeds) + self.tar_box_embed(boxes)

    def _mask_features(self, feats: Sequence[Tensor]) -> Tensor:
        """Per-pixel features (B, C, h, w) at stride 4."""
        finest = feats[0]
        coordinates = generate_coordinate(finest.shape, finest.device)
        return self.tar_mask_feature(
            torch.cat([finest, coordinates.to(finest)], 1))


@contextmanager
def record_features(detector: nn.Module) -> Iterator[List[Sequence[Tensor]]]:
    """Keep the features that a detector extracts inside the block.

    Args:
        detector (nn.Module): Its ``extract_feat`` is recorded.

    Yields:
        list[Sequence[Tensor]]: The result of every call so far.
    """
    recorded: List[Sequence[Tensor]] = []
    extract_feat = detector.extract_feat

    def extract_and_record(*args: Any, **kwargs: Any) -> Sequence[Tensor]:
        """Call through, and keep the result."""
        recorded.append(extract_feat(*args, **kwargs))
        return recorded[-1]

    detector.extract_feat = extract_and_record  # of this object only
    try:
        yield recorded
    finally:
        del detector.extract_feat


def to_track_instances(result: DecodedFrame) -> InstanceData:
    """A refined frame in the form of mmdet's trackers.

    Args:
        result (:obj:`DecodedFrame`): Refined frame.

    Returns:
        :obj:`InstanceData`: ``instances_id``, ``bboxes`` around the masks as
        (x1, y1, x2, y2) in pixels of ``ori_shape``, ``labels`` and
        ``scores`` of the best class, bool ``masks`` of ``ori_shape``, and
        ``detected``, False where TAR recovered an object that the tracker
        missed. Objects without a pixel are left out.
    """
    scores, labels = result.cls_scores.max(-1)
    instances = InstanceData(
        instances_id=labels.new_tensor(result.ids),
        bboxes=mask2bbox(result.masks),
        labels=labels,
        scores=scores,
        masks=result.masks,
        detected=result.detected)
    return instances[result.masks.flatten(1).any(1)]


def video_length(meta: dict) -> int:
    """Frames of the video; mmdet's ``video_length`` is that of the batch."""
    return meta.get('ori_video_length', meta['video_length'])


def _is_last(meta: dict) -> bool:
    """Whether a frame is the last one of its video."""
    return meta['frame_id'] == video_length(meta) - 1


def _input_size(feats: Sequence[Tensor]) -> Tuple[int, int]:
    """Height and width of the padded input, in pixels."""
    height, width = feats[0].shape[-2:]
    return height * MASK_STRIDE, width * MASK_STRIDE


def _normalise(boxes: Tensor, size: Tuple[int, int]) -> Tensor:
    """From pixels (x1, y1, x2, y2) to normalised (cx, cy, w, h)."""
    height, width = size
    return bbox_xyxy_to_cxcywh(
        boxes / boxes.new_tensor([width, height, width, height]))
