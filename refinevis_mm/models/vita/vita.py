# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""VITA: videos out of the queries of their frames."""
from dataclasses import dataclass
from typing import Dict, List, Optional, Tuple

import torch
from mmdet.structures import TrackSampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import (ClipTargets, LayerOutput, QueryMatch,
                                     encode_masks)
from ..base_video_model import BaseVideoModel
from ..frame_level.mask2former import Mask2Former
from ..frame_level.mask2former_head import as_instances, multiply_masks
from ..layers.mask_resize import enlarge_masks, fit_masks
from .video_frames import VideoFrames
from .vita_head import ClipStates, best_pairs_of

# Prefix of the losses of clips.
CLIP = 'clip.'


@dataclass
class FrameStates:
    """What the frame model gives for n frames.

    Attributes:
        states (list[Tensor]): Query states before ``post_norm``, the initial
            ones and those of L layers, each (n, fQ, C).
        mask_features (Tensor): Per-pixel features of the frame model, has
            shape (n, C_mask, h, w).
        pixels (Tensor): What they are made of, has shape (n, C, h, w).
    """

    states: List[Tensor]
    mask_features: Tensor
    pixels: Tensor


@MODELS.register_module()
class VITA(BaseVideoModel):
    """`VITA <https://arxiv.org/abs/2206.04403>`_: objects of whole videos.

    A Mask2Former makes queries of every frame; clip queries attend to those
    of all frames, and each of them is an object of the video, with one class
    and a mask in every frame. Nothing is known of an object before the video
    ends, so results come with its last frame only, and there are none frame
    by frame: this is no :class:`BaseVISModel`.

    In training the query states of the last ``num_streams`` decoder layers
    are so many views of a clip, which share the weights; at test there is
    one, of the last layer.

    Args:
        frame_model (dict): :class:`Mask2Former`; its losses, their weights
            and its assigner are those of clips, too.
        clip_head (dict): :class:`VITAHead`.
        num_streams (int): Decoder layers of the frame model whose queries are
            trained on. Defaults to 3.
        max_per_video (int): (query, class) pairs reported of a video.
            Defaults to 10.
        frames_at_once (int): Most frames that the frame model runs on at the
            same time at test. Defaults to 18.
        data_preprocessor (dict, optional): :class:`TrackDataPreprocessor`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``num_streams``, ``max_per_video`` or
            ``frames_at_once`` is not allowed, or the frame model is another.
    """

    def __init__(self,
                 frame_model: ConfigType,
                 clip_head: ConfigType,
                 num_streams: int = 3,
                 max_per_video: int = 10,
                 frames_at_once: int = 18,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.frame_model = MODELS.build(frame_model)
        if not isinstance(self.frame_model, Mask2Former):
            raise ValueError("frame_model.type must be 'refinevis_mm.Mask2"
                             f"Former', got {type(self.frame_model).__name__}")
        num_layers = self.frame_model.head.num_transformer_decoder_layers
        if not 1 <= num_streams <= num_layers:
            raise ValueError('num_streams must lie in 1..decoder layers of '
                             f'the frame model, {num_layers}, got '
                             f'{num_streams}')
        for name, value in (('max_per_video', max_per_video),
                            ('frames_at_once', frames_at_once)):
            if value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        self.clip_head = MODELS.build(clip_head)
        self.num_streams = num_streams
        self.max_per_video = max_per_video
        self.frames_at_once = frames_at_once

    def forward_frames(self, images: Tensor) -> FrameStates:
        """Run the frame model.

        Args:
            images (Tensor): Normalised, padded frames, has shape
                (n, 3, H, W).

        Returns:
            :obj:`FrameStates`: Queries and per-pixel features.
        """
        head, kept = self.frame_model.head, []
        # the pixel decoder does not hand on what it makes mask features of
        handle = head.pixel_decoder.mask_feature.register_forward_pre_hook(
            lambda module, args: kept.append(args[0]))
        try:
            states, mask_features = head.forward_states(
                self.frame_model.backbone(images))
        finally:
            handle.remove()
        return FrameStates(states, mask_features, kept[0])

    def frame_queries(self, frames: FrameStates, num_streams: int) -> Tensor:
        """What :class:`VITAHead` gets of frames.

        Args:
            frames (:obj:`FrameStates`): Of n frames.
            num_streams (int): Number S of the last decoder layers.

        Returns:
            Tensor: Normed query states, has shape (S, n, fQ, C).
        """
        return self.frame_model.match_embeds(
            torch.stack(frames.states[-num_streams:]))

    def loss(self, inputs: Tensor, data_samples: TrackSampleList,
             **kwargs) -> Dict[str, Tensor]:
        """Train on clips: losses of frames, of clips, and of similarity.

        Args:
            inputs (Tensor): Clips, has shape (bs, T, 3, H, W).
            data_samples (list[:obj:`TrackDataSample`]): Ground truth.

        Returns:
            dict[str, Tensor]: Weighted losses, those of frames as of
            :class:`Mask2FormerHead`, those of clips with the prefix
            ``clip.``, and ``clip.loss_sim``.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        targets = [
            ClipTargets.from_data_sample(sample, clip)
            for sample, clip in zip(data_samples, inputs)
        ]
        # 1. Frames
        frames = self.forward_frames(inputs.flatten(0, 1))
        losses, frame_matches = self.loss_frames(frames, targets)
        # 2. Clips, a batch of streams, those of the first layer first
        queries = self.frame_queries(frames, self.num_streams)
        clips = self.clip_head(
            queries.unflatten(1, inputs.shape[:2]).flatten(0, 1))
        mask_features = self.clip_head.mask_feature(frames.pixels).unflatten(
            0, inputs.shape[:2])
        clip_losses, clip_matches = self.loss_clips(clips, mask_features,
                                                    targets)
        losses.update(clip_losses)
        # 3. Similarity
        similarity = self.clip_head.loss_similarity(*self.matched_queries(
            clips, targets, frame_matches, clip_matches[-1]))
        losses.update({
            CLIP + name: value
            for name, value in similarity.items()
        })
        return losses

    def loss_frames(
        self, frames: FrameStates, targets: List[ClipTargets]
    ) -> Tuple[Dict[str, Tensor], List[List[QueryMatch]]]:
        """Losses of every prediction set of frames.

        Args:
            frames (:obj:`FrameStates`): Of the frames of bs clips.
            targets (list[:obj:`ClipTargets`]): Ground truth of bs clips.

        Returns:
            tuple: See :meth:`Mask2FormerHead.loss_sets`.
        """
        head = self.frame_model.head
        layers = [
            as_layer(i, len(frames.states), head.classify(state),
                     head.mask_kernels(state))
            for i, state in enumerate(frames.states)
        ]
        masks = [
            multiply_masks(layer, frames.mask_features) for layer in layers
        ]
        return head.loss_sets(layers, masks, [
            as_instances(target.frame(t)) for target in targets
            for t in range(len(target.valid))
        ])

    def loss_clips(
        self, clips: ClipStates, mask_features: Tensor,
        targets: List[ClipTargets]
    ) -> Tuple[Dict[str, Tensor], List[List[QueryMatch]]]:
        """Losses of every decoder layer of the clip head.

        Args:
            clips (:obj:`ClipStates`): Of S * bs streams.
            mask_features (Tensor): Has shape (bs, T, C_mask, h, w).
            targets (list[:obj:`ClipTargets`]): Ground truth of bs clips.

        Returns:
            tuple: See :meth:`Mask2FormerHead.loss_sets`.
        """
        head, num = self.clip_head, len(clips.states)
        layers = [
            as_layer(i, num, head.classify(state), head.mask_kernels(state),
                     CLIP) for i, state in enumerate(clips.states)
        ]
        masks = [
            torch.einsum('sbqc,btchw->sbqthw',
                         layer.mask_embeds.unflatten(0, (-1, len(targets))),
                         mask_features).flatten(0, 1) for layer in layers
        ]
        instances = [clip_instances(target) for target in targets]
        return self.frame_model.head.loss_sets(layers, masks,
                                               instances * self.num_streams)

    def matched_queries(
            self, clips: ClipStates, targets: List[ClipTargets],
            frame_matches: List[List[QueryMatch]],
            clip_matches: List[QueryMatch]
    ) -> Tuple[List[Tensor], List[Tensor]]:
        """Queries of objects, for the similarity loss.

        Args:
            clips (:obj:`ClipStates`): Of S * bs streams.
            targets (list[:obj:`ClipTargets`]): Ground truth of bs clips.
            frame_matches (list[list[:obj:`QueryMatch`]]): Of each prediction
                set of the frame model and each of bs * T frames.
            clip_matches (list[:obj:`QueryMatch`]): Of S * bs streams, last
                decoder layer.

        Returns:
            tuple[list[Tensor]]: Embeddings (n, C) and slots (n, ) of the
            matched frame and clip queries of each stream.
        """
        frame_embeds = self.clip_head.embed_frame_queries(clips)
        clip_embeds = self.clip_head.embed_clip_queries(clips)
        num_clips = len(targets)
        embeds, slots = [], []
        for stream, match in enumerate(clip_matches):
            layer, clip = divmod(stream, num_clips)
            target = targets[clip]
            seen = target.valid.any(0).nonzero().flatten()
            rows = match.gt_inds >= 0
            stream_embeds = [clip_embeds[stream, rows]]
            stream_slots = [seen[match.gt_inds[rows]]]
            matches = frame_matches[layer - self.num_streams]
            for t in range(len(target.valid)):
                gt_inds = matches[clip * len(target.valid) + t].gt_inds
                rows = gt_inds >= 0
                stream_embeds.append(frame_embeds[stream, t, rows])
                visible = target.valid[t].nonzero().flatten()
                stream_slots.append(visible[gt_inds[rows]])
            embeds.append(torch.cat(stream_embeds))
            slots.append(torch.cat(stream_slots))
        return embeds, slots

    def start_video(self, meta: dict) -> VideoFrames:
        """See :meth:`BaseVideoModel.start_video`."""
        return VideoFrames(meta['video_length'])

    def add_frames(self, images: Tensor, metas: List[dict]) -> None:
        """Keep the queries and mask features of the next frames.

        Args:
            images (Tensor): Normalised, padded frames, has shape
                (T, 3, H, W).
            metas (list[dict]): Metainfo of each.

        Raises:
            ValueError: If a frame is left out, or frames differ in size.
        """
        for start in range(0, len(metas), self.frames_at_once):
            part = slice(start, start + self.frames_at_once)
            frames = self.forward_frames(images[part])
            self._video.add(
                self.frame_queries(frames, 1)[0],
                self.clip_head.mask_feature(frames.pixels), metas[part])

    def find_tracklets(self) -> List[dict]:
        """The best (query, class) pairs of the running video.

        The score of a pair is the probability of the class times the quality
        of the masks, see :meth:`decode_masks`.

        Returns:
            list[dict]: In the form of :meth:`VideoResult.tracklets`, the most
            probable class first; the classes of a query share one
            segmentations list.
        """
        state = self.clip_head(self._video.queries[None]).states[-1][0]
        scores = self.clip_head.classify(state).softmax(-1)[:, :-1]
        queries, labels = best_pairs_of(scores, self.max_per_video)
        kept, rows = queries.unique(return_inverse=True)
        quality, segmentations = self.decode_masks(
            self.clip_head.mask_kernels(state[kept]), self._video)
        pair_scores = scores[queries, labels] * quality[rows].to(scores)
        return [
            dict(
                instances_id=query,
                label=label,
                score=score,
                segmentations=segmentations[row])
            for query, label, score, row in zip(queries.tolist(
            ), labels.tolist(), pair_scores.tolist(), rows.tolist())
        ]

    @staticmethod
    def decode_masks(
            kernels: Tensor,
            video: VideoFrames) -> Tuple[Tensor, List[List[Optional[dict]]]]:
        r"""Masks of clip queries in every frame, and how sure they are.

        Only one frame is dense at a time. The quality is taken at the size of
        the network input, over all frames, as officially:

        .. math:: \sum_{p > 0.5} p \;/\; (|\{p > 0.5\}| + 10^{-6})

        Args:
            kernels (Tensor): Of n clip queries, has shape (n, C_mask).
            video (:obj:`VideoFrames`): All frames of the video.

        Returns:
            tuple: Quality in [0, 1], has shape (n, ), and a run-length code,
            None for an empty mask, for each query and frame.
        """
        total = kernels.new_zeros(len(kernels), dtype=torch.float64)
        area = torch.zeros_like(total)
        codes: List[List[Optional[dict]]] = [[] for _ in kernels]
        for meta, logits in video.masks(kernels):
            logits = enlarge_masks(logits, meta)
            inside = logits > 0
            total += (logits.sigmoid() * inside).double().sum((1, 2))
            area += inside.sum((1, 2))
            masks = fit_masks(logits, meta) > 0
            for row, code in zip(codes, encode_masks(masks)):
                row.append(code)
        return total / (area + 1e-6), codes


def as_layer(index: int,
             num_layers: int,
             cls_logits: Tensor,
             mask_embeds: Tensor,
             prefix: str = '') -> LayerOutput:
    """A prediction set without boxes, named as mmdet names its losses.

    Args:
        index (int): Its position.
        num_layers (int): Number of prediction sets.
        cls_logits (Tensor): Has shape (N, Q, K + 1).
        mask_embeds (Tensor): Has shape (N, Q, C_mask).
        prefix (str): Begins all names. Defaults to ''.

    Returns:
        :obj:`LayerOutput`: With the prefix ``{prefix}d{index}.``, that of the
        last set without the number.
    """
    name = prefix if index == num_layers - 1 else f'{prefix}d{index}.'
    return LayerOutput(name, cls_logits,
                       cls_logits.new_zeros(*cls_logits.shape[:2], 4),
                       mask_embeds)


def clip_instances(target: ClipTargets) -> InstanceData:
    """Objects that are seen in some frame of a clip.

    Args:
        target (:obj:`ClipTargets`): Ground truth of the clip.

    Returns:
        :obj:`InstanceData`: ``labels`` (n, ) and bool ``masks``
        (n, T, H, W), empty in frames in which an object is not seen.
    """
    seen = target.valid.any(0)
    return InstanceData(
        labels=target.labels[seen],
        masks=target.masks[:, seen].transpose(0, 1))
