# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Attention along time inside a tracklet."""
from typing import Optional

import torch
from mmdet.models.layers import DetrTransformerEncoderLayer
from torch import Tensor, nn

PE_PLACEMENTS = ('embed', 'qk')
# Base of the wavelengths, as in the original Transformer.
TEMPERATURE = 10000


def frame_position_encoding(frame_inds: Tensor, embed_dims: int) -> Tensor:
    r"""Sinusoidal encoding of absolute frame positions (paper Sec. 3.4).

    .. math:: PE(f)_{2i} = \sin(f / 10000^{2i/C}),\quad
              PE(f)_{2i+1} = \cos(f / 10000^{2i/C})

    Args:
        frame_inds (Tensor): 0-based positions in the video's frame list, has
            shape (...).
        embed_dims (int): Even width C.

    Returns:
        Tensor: Encoding in [-1, 1], fp32, has shape (..., C).
    """
    exponent = torch.arange(
        0, embed_dims, 2, device=frame_inds.device) / embed_dims
    angles = frame_inds[..., None].float() / TEMPERATURE**exponent
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(-2)


class TemporalAttentionLayer(DetrTransformerEncoderLayer):
    """Post-norm self-attention and FFN over the frames of a tracklet.

    The positional encoding enters the attention while the residual stays
    free of it, so it is never stored in a memory.

    Args:
        pe_placement (str): 'embed' adds it to queries, keys and values,
            'qk' to queries and keys. Defaults to 'embed'.
        kwargs: Arguments of :class:`DetrTransformerEncoderLayer`.

    Raises:
        ValueError: If ``pe_placement`` is not allowed.
    """

    def __init__(self, pe_placement: str = 'embed', **kwargs) -> None:
        if pe_placement not in PE_PLACEMENTS:
            raise ValueError(f'pe_placement must be one of {PE_PLACEMENTS}, '
                             f'got {pe_placement!r}')
        super().__init__(**kwargs)
        self.pe_placement = pe_placement
        # Also where a checkpoint without this layer is loaded, and nobody
        # asks for initial weights.
        self.init_weights()

    def init_weights(self) -> None:
        """Start as ``LN(LN(x))``: both residual branches give zero."""
        nn.init.xavier_uniform_(self.self_attn.attn.in_proj_weight)
        for linear in (self.self_attn.attn.out_proj, self.ffn.layers[1]):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self,
                query: Tensor,
                query_pos: Tensor,
                key_padding_mask: Optional[Tensor] = None) -> Tensor:
        """Exchange information between frames.

        Args:
            query (Tensor): Embeddings, has shape (N, W, C).
            query_pos (Tensor): Temporal encoding, has shape (N, W, C).
            key_padding_mask (Tensor, optional): Bool, True at padding, has
                shape (N, W).

        Returns:
            Tensor: Refined embeddings, has shape (N, W, C).
        """
        tokens = query + query_pos
        query = self.norms[0](self.self_attn(
            query=tokens,
            key=tokens,
            value=tokens if self.pe_placement == 'embed' else query,
            identity=query,
            key_padding_mask=key_padding_mask))  # MSA of Eq. (4)
        return self.norms[1](self.ffn(query))  # FFN of Eq. (4)
