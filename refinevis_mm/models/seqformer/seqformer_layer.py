# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Decoder layer of SeqFormer: an instance query, and a box query a frame.

Shapes: bs clips of T frames, n = bs * T of them or a part, Q queries.
"""
from typing import Tuple

import torch
from mmcv.cnn.bricks.transformer import FFN
from mmengine.model import BaseModule, ModuleList
from torch import Tensor, nn

from ..layers.ms_deform_attn import MultiScaleDeformableAttention
from ..layers.transformer_layers import SelfAttention
from .encoded_frames import EncodedFrames


class TwoStreamAttention(MultiScaleDeformableAttention):
    """Deformable attention whose output is projected a second time.

    ``output_proj`` makes what instance queries receive, ``output_proj_box``
    what box queries receive.

    Args: See :class:`MultiScaleDeformableAttention`.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.output_proj_box = nn.Linear(self.embed_dims, self.embed_dims)
        nn.init.zeros_(self.output_proj_box.bias)  # as of the other

    def read(self, query: Tensor, frames: EncodedFrames,
             reference_points: Tensor) -> Tuple[Tensor, Tensor]:
        """Attend to a few sampled points of every level of a frame.

        Nothing is added to what they show, and nothing is dropped out.

        Args:
            query (Tensor): Queries with their positions, has shape (n, Q, C).
            frames (:obj:`EncodedFrames`): The n frames.
            reference_points (Tensor): Normalised points (n, Q, levels, 2) or
                boxes (n, Q, levels, 4).

        Returns:
            tuple[Tensor]: What instance queries and box queries receive, each
            (n, Q, C).
        """
        read = self.sample(query, frames.value, frames.padding,
                           reference_points, frames.shapes, frames.starts)
        return self.output_proj(read), self.output_proj_box(read)


class SeqFormerDecoderLayer(BaseModule):
    """One layer of `SeqFormer <https://arxiv.org/abs/2112.08275>`_.

    The query of an object is decomposed: box queries, one a frame, look at
    the frames; the instance query gathers what they saw. Its weights over
    time follow from the box queries. The two streams have self-attention,
    norms and feed-forward networks of their own.

    Args:
        self_attn_cfg (dict): Arguments of :class:`SelfAttention`.
        cross_attn_cfg (dict): Arguments of :class:`TwoStreamAttention`.
        ffn_cfg (dict): Arguments of mmcv's :class:`FFN`.
    """

    def __init__(self, self_attn_cfg: dict, cross_attn_cfg: dict,
                 ffn_cfg: dict) -> None:
        super().__init__()
        self.cross_attn = TwoStreamAttention(**cross_attn_cfg)
        dims = self.cross_attn.embed_dims
        self.self_attn = SelfAttention(**self_attn_cfg)
        self.box_self_attn = SelfAttention(**self_attn_cfg)
        self.ffn, self.box_ffn = FFN(**ffn_cfg), FFN(**ffn_cfg)
        # after self-attention, cross-attention and feed-forward
        self.norms = ModuleList([nn.LayerNorm(dims) for _ in range(3)])
        self.box_norms = ModuleList([nn.LayerNorm(dims) for _ in range(3)])
        self.time_attention = nn.Linear(dims, 1)

    def attend_instances(self, query: Tensor, query_pos: Tensor) -> Tensor:
        """Self-attention among the instance queries of a clip.

        Args:
            query (Tensor): Instance queries, has shape (bs, Q, C).
            query_pos (Tensor): Their positions, has shape (bs, Q, C).

        Returns:
            Tensor: Has shape (bs, Q, C).
        """
        return self.norms[0](self.self_attn(query, query_pos=query_pos))

    def attend_boxes(self, query: Tensor, query_pos: Tensor) -> Tensor:
        """Self-attention among the box queries of a frame.

        Args:
            query (Tensor): Box queries, has shape (n, Q, C).
            query_pos (Tensor): Their positions, has shape (n, Q, C).

        Returns:
            Tensor: Has shape (n, Q, C).
        """
        return self.box_norms[0](
            self.box_self_attn(query, query_pos=query_pos))

    def read_frames(self, query: Tensor, query_pos: Tensor,
                    frames: EncodedFrames,
                    reference: Tensor) -> Tuple[Tensor, Tensor]:
        """Let box queries look at their frames.

        Args:
            query (Tensor): From :meth:`attend_boxes`, has shape (n, Q, C).
            query_pos (Tensor): Their positions, has shape (n, Q, C).
            frames (:obj:`EncodedFrames`): The n frames.
            reference (Tensor): Points (n, Q, 2) or boxes (n, Q, 4),
                normalised by the pictures.

        Returns:
            tuple[Tensor]: Box queries, updated, and what they saw for the
            instance queries, each (n, Q, C).
        """
        ratios = frames.ratios.repeat(1, 1, 2)[:, None]
        seen, box_seen = self.cross_attn.read(
            query + query_pos, frames,
            reference[:, :, None] * ratios[..., :reference.shape[-1]])
        query = self.box_norms[1](query + self.cross_attn.dropout(box_seen))
        return self.box_norms[2](self.box_ffn(query)), seen

    def gather(self, query: Tensor, box_query: Tensor, seen: Tensor) -> Tensor:
        """Let instance queries receive what their box queries saw.

        Args:
            query (Tensor): From :meth:`attend_instances`, has shape
                (bs, Q, C).
            box_query (Tensor): From :meth:`read_frames`, has shape
                (bs, T, Q, C).
            seen (Tensor): From :meth:`read_frames`, has shape
                (bs, T, Q, C).

        Returns:
            Tensor: Instance queries, has shape (bs, Q, C).
        """
        gathered = attend_over_time(self.time_attention(box_query), seen)
        query = self.norms[1](query + self.cross_attn.dropout(gathered))
        return self.norms[2](self.ffn(query))


def attend_over_time(logits: Tensor, seen: Tensor) -> Tensor:
    r"""Weighted sum over the frames of a clip.

    .. math:: \sum_t \mathrm{softmax}_t(a_t)\, z_t

    Args:
        logits (Tensor): :math:`a_t`, has shape (bs, T, Q, 1).
        seen (Tensor): :math:`z_t`, has shape (bs, T, Q, C).

    Returns:
        Tensor: Has shape (bs, Q, C).
    """
    return torch.sum(logits.softmax(1) * seen, 1)
