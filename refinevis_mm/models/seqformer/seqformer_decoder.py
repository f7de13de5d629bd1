# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Decoder of SeqFormer (https://arxiv.org/abs/2112.08275)."""
from typing import List, NamedTuple, Sequence

import torch
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from ..frame_level.deformable_detr_transformer import (BaseDeformableDecoder,
                                                       refine_boxes)
from .encoded_frames import EncodedFrames
from .seqformer_layer import SeqFormerDecoderLayer


class DecodedClips(NamedTuple):
    """What the decoder finds in bs clips of T frames, layer by layer.

    Attributes:
        states (list[Tensor]): Instance queries, which end in a LayerNorm,
            each (bs, Q, C).
        boxes (list[Tensor]): Boxes in every frame, (cx, cy, w, h) normalised
            by the picture without padding, each (bs * T, Q, 4).
        references (list[Tensor]): From which they were refined: points
            (bs * T, Q, 2), then detached boxes.
    """

    states: List[Tensor]
    boxes: List[Tensor]
    references: List[Tensor]


@MODELS.register_module()
class SeqFormerDecoder(BaseDeformableDecoder):
    """Learned queries that find objects in clips of any length.

    A query starts as an instance query and, in every frame alike, a box
    query at a learned point. In each frame boxes are refined layer by layer,
    as in Deformable DETR, from the box queries.

    Args: See :class:`BaseDeformableDecoder`.
    """

    layer_type = SeqFormerDecoderLayer

    def forward(self, frames: Sequence[EncodedFrames],
                reg_branches: Sequence[nn.Module],
                num_clips: int) -> DecodedClips:
        """Find the objects of clips.

        Args:
            frames (Sequence[:obj:`EncodedFrames`]): All bs * T frames, clip
                by clip, in parts of any number. Only one part at a time is
                read, and parts may differ in size.
            reg_branches (Sequence[nn.Module]): Box branch of each layer.
            num_clips (int): Number bs of clips; they have equal lengths.

        Returns:
            :obj:`DecodedClips`: Predictions of every layer.
        """
        counts = [len(part) for part in frames]
        size = (num_clips, -1, -1)
        query = self.query_embedding.weight.expand(size)
        query_pos = self.query_pos_embedding.weight.expand(size)
        point = self.reference_points(query_pos[:1]).sigmoid()
        references = [point.expand(count, -1, -1) for count in counts]
        box_queries: Sequence[Tensor] = ()
        decoded = DecodedClips([], [], [])
        for layer, reg_branch in zip(self.layers, reg_branches):
            if box_queries:
                box_queries = [
                    layer.attend_boxes(boxes, query_pos[:1].expand_as(boxes))
                    for boxes in box_queries
                ]
            else:  # one for all frames
                start = layer.attend_boxes(query, query_pos)
                num_frames = sum(counts) // num_clips
                box_queries = start.repeat_interleave(num_frames,
                                                      0).split(counts)
            query = layer.attend_instances(query, query_pos)
            box_queries, seen = zip(*[
                layer.read_frames(boxes, query_pos[:1].expand_as(boxes), part,
                                  reference)
                for boxes, part, reference in zip(box_queries, frames,
                                                  references)
            ])  # yapf: disable
            query = layer.gather(query, as_clips(box_queries, num_clips),
                                 as_clips(seen, num_clips))
            boxes = [
                refine_boxes(reg_branch(part), reference)
                for part, reference in zip(box_queries, references)
            ]
            decoded.states.append(query)
            decoded.boxes.append(torch.cat(boxes))
            decoded.references.append(torch.cat(references))
            references = [part.detach() for part in boxes]
        return decoded


def as_clips(parts: Sequence[Tensor], num_clips: int) -> Tensor:
    """Parts of bs * T frames, in all, as clips.

    Args:
        parts (Sequence[Tensor]): Each has shape (n, Q, C).
        num_clips (int): Number bs of clips.

    Returns:
        Tensor: Has shape (bs, T, Q, C).
    """
    return torch.cat(list(parts)).unflatten(0, (num_clips, -1))
