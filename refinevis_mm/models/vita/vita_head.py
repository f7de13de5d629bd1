# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What VITA learns of videos: objects out of frame queries."""
from dataclasses import dataclass
from typing import Dict, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmcv.cnn import Conv2d
from mmdet.models.layers import Mask2FormerTransformerDecoder
from mmengine.model import BaseModule, caffe2_xavier_init
from torch import Tensor, nn

from refinevis_mm.registry import MODELS
from .object_encoder import ObjectEncoder


@dataclass
class ClipStates:
    """What the transformer makes of the frame queries of N clips.

    Attributes:
        states (list[Tensor]): States of the clip queries after each decoder
            layer, before ``post_norm``, each (N, cQ, C).
        tokens (Tensor): Encoded frame queries, has shape (N, T, fQ, C).
    """

    states: List[Tensor]
    tokens: Tensor


@MODELS.register_module()
class VITAHead(BaseModule):
    """Objects of a video from the queries of its frames.

    VITA (https://arxiv.org/abs/2206.04403). Frame queries -> object encoder
    -> object decoder, whose clip queries attend to the frame queries of all
    frames -> class and mask branch. Nothing tells frames apart: the only code
    is that of the number of the frame query.

    Args:
        num_classes (int): Number of classes K. Defaults to 40.
        num_frame_queries (int): Queries fQ of a frame. Defaults to 100.
        num_queries (int): Clip queries cQ. Defaults to 100.
        in_channels (int): Width of frame queries and of the per-pixel
            features. Defaults to 256.
        embed_dims (int): Width C. Defaults to 256.
        mask_dims (int): Channels of the mask features. Defaults to 256.
        num_heads (int): Attention heads. Defaults to 8.
        feedforward_channels (int): Hidden width. Defaults to 2048.
        num_encoder_layers (int): Layers of the encoder. Defaults to 6.
        num_decoder_layers (int): Layers of the decoder. Defaults to 3.
        window (int): Frames of an attention window, see
            :class:`ObjectEncoder`. Defaults to 6.
        sim_weight (float): Weight of the similarity loss. Defaults to 0.5.
        init_cfg (dict, optional): Initialisation config.
    """

    def __init__(self,
                 num_classes: int = 40,
                 num_frame_queries: int = 100,
                 num_queries: int = 100,
                 in_channels: int = 256,
                 embed_dims: int = 256,
                 mask_dims: int = 256,
                 num_heads: int = 8,
                 feedforward_channels: int = 2048,
                 num_encoder_layers: int = 6,
                 num_decoder_layers: int = 3,
                 window: int = 6,
                 sim_weight: float = 0.5,
                 init_cfg=None) -> None:
        super().__init__(init_cfg=init_cfg)
        self.num_classes = num_classes
        self.num_frame_queries = num_frame_queries
        self.sim_weight = sim_weight
        attention = dict(
            embed_dims=embed_dims, num_heads=num_heads, batch_first=True)
        ffn = dict(
            embed_dims=embed_dims, feedforward_channels=feedforward_channels)
        self.input_proj = nn.Linear(in_channels, embed_dims)
        self.encoder = ObjectEncoder(
            num_encoder_layers, window,
            dict(self_attn_cfg=attention, ffn_cfg=ffn))
        self.decoder = Mask2FormerTransformerDecoder(
            num_decoder_layers,
            dict(
                self_attn_cfg=attention, cross_attn_cfg=attention,
                ffn_cfg=ffn))
        self.query_feat = nn.Embedding(num_queries, embed_dims)
        self.query_embed = nn.Embedding(num_queries, embed_dims)
        self.frame_query_embed = nn.Embedding(num_frame_queries, embed_dims)
        self.cls_embed = nn.Linear(embed_dims, num_classes + 1)
        self.mask_embed = nn.Sequential(
            nn.Linear(embed_dims, embed_dims), nn.ReLU(inplace=True),
            nn.Linear(embed_dims, embed_dims), nn.ReLU(inplace=True),
            nn.Linear(embed_dims, mask_dims))
        self.mask_feature = Conv2d(in_channels, mask_dims, kernel_size=1)
        self.frame_sim_embed = nn.Linear(embed_dims, embed_dims)
        self.clip_sim_embed = nn.Linear(embed_dims, embed_dims)

    def init_weights(self) -> None:
        """Xavier-uniform transformer, as officially."""
        super().init_weights()
        for part in (self.encoder, self.decoder):
            for param in part.parameters():
                if param.dim() > 1:
                    nn.init.xavier_uniform_(param)
        caffe2_xavier_init(self.mask_feature)

    def forward(self, frame_queries: Tensor) -> ClipStates:
        """Run encoder and decoder.

        Args:
            frame_queries (Tensor): Normed query states of the frames of N
                clips, has shape (N, T, fQ, C').

        Returns:
            :obj:`ClipStates`: Clip queries and encoded frame queries.

        Raises:
            ValueError: If there are not ``num_frame_queries`` queries.
        """
        if frame_queries.shape[2] != self.num_frame_queries:
            raise ValueError(
                'clip_head.num_frame_queries must be the queries of the frame '
                f'model, {frame_queries.shape[2]}, got '
                f'{self.num_frame_queries}')
        tokens = self.encoder(self.input_proj(frame_queries))
        num_clips, num_frames = tokens.shape[:2]
        memory = tokens.flatten(1, 2)
        memory_pos = self.frame_query_embed.weight.repeat(num_frames, 1)
        query = self.query_feat.weight.expand(num_clips, -1, -1)
        query_pos = self.query_embed.weight.expand(num_clips, -1, -1)
        states = []
        for layer in self.decoder.layers:
            query = layer(
                query,
                key=memory,
                value=memory,
                query_pos=query_pos,
                key_pos=memory_pos)
            states.append(query)
        return ClipStates(states, tokens)

    def classify(self, states: Tensor) -> Tensor:
        """Class logits (..., K + 1) of clip queries, last for "no object"."""
        return self.cls_embed(self.decoder.post_norm(states))

    def mask_kernels(self, states: Tensor) -> Tensor:
        """What mask features are multiplied with, (..., C_mask)."""
        return self.mask_embed(self.decoder.post_norm(states))

    def embed_frame_queries(self, clips: ClipStates) -> Tensor:
        """Similarity embeddings (N, T, fQ, C) of frame queries."""
        return self.frame_sim_embed(clips.tokens)

    def embed_clip_queries(self, clips: ClipStates) -> Tensor:
        """Similarity embeddings (N, cQ, C) of clip queries, last layer."""
        return self.clip_sim_embed(self.decoder.post_norm(clips.states[-1]))

    def loss_similarity(self, embeds: Sequence[Tensor],
                        ids: Sequence[Tensor]) -> Dict[str, Tensor]:
        """Similarity loss of matched frame and clip queries.

        Args:
            embeds (Sequence[Tensor]): Embeddings of the matched queries of
                each of N clips, (n, C).
            ids (Sequence[Tensor]): Their objects, (n, ).

        Returns:
            dict[str, Tensor]: ``loss_sim``, weighted, a scalar.
        """
        return dict(loss_sim=self.sim_weight * similarity_loss(embeds, ids))


def similarity_loss(embeds: Sequence[Tensor], ids: Sequence[Tensor]) -> Tensor:
    r"""Are two queries of the same object? (VITA Sec. 3.3)

    .. math:: \frac1{\sum_c n_c^2}\sum_c\sum_{i,j\le n_c}
        \mathrm{BCE}(\sigma(e_{ci}\cdot e_{cj}), [id_{ci} = id_{cj}])

    Pairs of a query with itself are among them.

    Args:
        embeds (Sequence[Tensor]): Of each clip c, has shape (n_c, C).
        ids (Sequence[Tensor]): Objects, has shape (n_c, ).

    Returns:
        Tensor: A scalar; 0 where nothing is matched.
    """
    total: Tensor = sum(rows.float().sum() * 0 for rows in embeds)
    num_pairs = sum(len(rows)**2 for rows in embeds)
    for rows, objects in zip(embeds, ids):
        logits = rows.float() @ rows.float().T
        same = (objects[:, None] == objects).float()
        total = total + F.binary_cross_entropy_with_logits(
            logits, same, reduction='sum')
    return total / max(num_pairs, 1)


def best_pairs_of(scores: Tensor, count: int) -> Tuple[Tensor, Tensor]:
    """The best (query, class) pairs of a video, whatever their scores.

    Args:
        scores (Tensor): Class probabilities, has shape (cQ, K).
        count (int): Most pairs.

    Returns:
        tuple[Tensor]: Queries and classes, each (min(count, cQ * K), ).
    """
    count = min(count, scores.numel())
    inds = torch.topk(scores.flatten(), count).indices
    return inds // scores.shape[1], inds % scores.shape[1]
