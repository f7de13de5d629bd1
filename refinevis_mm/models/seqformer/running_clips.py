# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A video that arrives frame by frame and is decoded clip by clip."""
from collections import deque
from typing import Deque, Tuple

import torch
from torch import Tensor

from refinevis_mm.structures import VideoResult
from ..layers.mask_resize import resize_masks
from .clip_matcher import ClipMatcher, clip_starts
from .encoded_frames import EncodedFrames
from .seqformer_network import SeqFormerNetwork


class RunningClips:
    """Decodes a clip when its last frame is there.

    Encoded frames are kept as long as a clip needs them: ``clip_length`` of
    them, each C / 12 = 21 bytes per pixel of the padded input for C = 256
    (5 MB at 640 x 384). :class:`ClipMatcher` keeps 2.5 bytes per pixel and
    frame for ten instances of a clip, and as much for the sums of their
    logits. Results are run-length codes.

    Args:
        network (:obj:`SeqFormerNetwork`): Decodes clips.
        video_length (int): Frames of the video.
        clip_length (int): Frames of a clip.
        clip_stride (int): Frames between the starts of clips.
        num_instances (int): Queries of a clip that are instances.

    Attributes:
        result (:obj:`VideoResult`): What was found in the frames that no
            later clip has.
    """

    def __init__(self, network: SeqFormerNetwork, video_length: int,
                 clip_length: int, clip_stride: int,
                 num_instances: int) -> None:
        self.network = network
        self.video_length = video_length
        self.clip_length = min(clip_length, video_length)
        self.num_instances = num_instances
        self.result = VideoResult(video_length)
        self._starts = deque(
            clip_starts(video_length, clip_length, clip_stride))
        self._matcher = ClipMatcher(self.clip_length)
        self._frames: Deque[Tuple[EncodedFrames,
                                  dict]] = deque(maxlen=self.clip_length)

    def add(self, frame: EncodedFrames, meta: dict) -> None:
        """Take the next frame.

        Args:
            frame (:obj:`EncodedFrames`): One frame.
            meta (dict): ``frame_id``, ``img_shape`` and ``ori_shape``.

        Raises:
            ValueError: If it is not the next frame of the video.
        """
        number = self._frames[-1][1]['frame_id'] + 1 if self._frames else 0
        if meta['frame_id'] != number or number >= self.video_length:
            raise ValueError(
                f'the next frame must be frame {number} of '
                f'{self.video_length}, got frame_id {meta["frame_id"]}')
        self._frames.append((frame, meta))
        if number == self._starts[0] + self.clip_length - 1:
            self._starts.popleft()
            self._decode()

    def _decode(self) -> None:
        """Decode the clip of the frames that are there."""
        frames, metas = zip(*self._frames)
        layer = self.network.decode(frames)[-1]
        scores = layer.cls_logits[0].float().sigmoid()
        queries = best_queries(scores, self.num_instances)
        masks = [
            self.network.segment(layer.mask_embeds[0, queries],
                                 frame.mask_features[0],
                                 layer.mask_boxes[t, queries])
            for t, frame in enumerate(frames)
        ]
        ids = self._matcher.add([meta['frame_id'] for meta in metas], masks)
        self.result.add_scores(ids, scores[queries])
        self._finish({meta['frame_id']: meta for meta in metas})

    def _finish(self, metas: dict) -> None:
        """Encode the masks of frames that no later clip has."""
        end = self._starts[0] if self._starts else self.video_length
        for t, ids, logits in self._matcher.take(end):
            # the scores of an instance count by clip, not by frame
            self.result.add_frame(
                t, ids, self.result.running_scores(ids),
                torch.zeros(len(ids), dtype=torch.bool),
                resize_masks(logits, metas[t], 'nearest') > 0)


def best_queries(scores: Tensor, num: int) -> Tensor:
    """Queries of the highest scores of any class.

    Args:
        scores (Tensor): Class probabilities, has shape (Q, K).
        num (int): How many.

    Returns:
        Tensor: Descending by score, has shape (min(num, Q), ).
    """
    return scores.amax(1).topk(min(num, len(scores))).indices
