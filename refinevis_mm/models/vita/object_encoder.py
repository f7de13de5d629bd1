# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Attention among the frame queries of a video, window by window."""
from typing import List, Tuple

import torch
import torch.nn.functional as F
from mmdet.models.layers import DetrTransformerEncoderLayer
from mmdet.utils import ConfigType
from mmengine.model import BaseModule, ModuleList
from torch import Tensor

# What is added to the logit of a blocked pair. Not infinity: queries of
# appended frames have no other keys.
BLOCKED = -1000.0
# Windows without blocked pairs that are attended in at the same time.
WINDOWS_AT_ONCE = 8


class ObjectEncoder(BaseModule):
    """VITA's object encoder (VITA Sec. 3.2).

    Tokens are the queries of frames, without any code of place or time. They
    attend to those of their window of W frames. At test the windows of every
    second layer are shifted by half a window; in training they are not.

    Args:
        num_layers (int): Number of layers.
        window (int): Frames W of a window; 0 for one window over all frames.
        layer_cfg (dict): :class:`DetrTransformerEncoderLayer`.

    Raises:
        ValueError: If ``window`` is negative.
    """

    def __init__(self, num_layers: int, window: int,
                 layer_cfg: ConfigType) -> None:
        super().__init__()
        if window < 0:
            raise ValueError(f'window must not be negative, got {window}')
        self.window = window
        self.layers = ModuleList([
            DetrTransformerEncoderLayer(**layer_cfg) for _ in range(num_layers)
        ])

    def forward(self, tokens: Tensor) -> Tensor:
        """Encode the frame queries of clips.

        Args:
            tokens (Tensor): Has shape (N, T, Q, C).

        Returns:
            Tensor: Has the same shape.
        """
        num_frames = tokens.shape[1]
        tokens = self.fill_windows(tokens)
        for index in range(len(self.layers)):
            tokens = self.run_layer(index, tokens, num_frames)
        return tokens[:, :num_frames]

    def fill_windows(self, tokens: Tensor) -> Tensor:
        """Append zero frames until the last window is full.

        Args:
            tokens (Tensor): Has shape (N, T, Q, C).

        Returns:
            Tensor: Has shape (N, T', Q, C), T' a multiple of W.
        """
        num_missing = -tokens.shape[1] % self.window if self.window else 0
        return F.pad(tokens, (0, 0, 0, 0, 0, num_missing))

    def run_layer(self, index: int, tokens: Tensor, num_frames: int) -> Tensor:
        """Run one layer.

        Args:
            index (int): Its position.
            tokens (Tensor): Full windows, has shape (N, T', Q, C).
            num_frames (int): Number T of frames that were not appended.

        Returns:
            Tensor: Has the same shape.
        """
        num_clips, length, num_queries, _ = tokens.shape
        window, shift = self.window or length, 0
        if self.window and index % 2 == 1 and not self.training:
            shift = (window + 1) // 2
        windows = tokens.roll(shift, 1).unflatten(1, (-1, window))
        blocked = blocked_pairs(num_frames, length, window,
                                shift).to(tokens.device)
        outputs = []
        for start, end in window_groups(blocked):
            group = windows[:, start:end].flatten(0, 1).flatten(1, 2)
            mask = None
            if blocked[start].any():
                mask = BLOCKED * blocked[start].to(group).repeat_interleave(
                    num_queries, 0).repeat_interleave(num_queries, 1)
            group = self.layers[index](
                group, query_pos=None, key_padding_mask=None, attn_mask=mask)
            outputs.append(
                group.unflatten(1, (window, num_queries)).unflatten(
                    0, (num_clips, end - start)))
        return torch.cat(outputs, 1).flatten(1, 2).roll(-shift, 1)


def blocked_pairs(num_frames: int, length: int, window: int,
                  shift: int) -> Tensor:
    """Pairs of frames of a window that do not see each other.

    Appended frames are no keys. Where windows are shifted, the first one has
    the last frames of the video in its first ``shift`` places, and they and
    the others there do not see each other; appended frames in the first and
    the last window have no keys at all.

    Args:
        num_frames (int): Number T of frames that were not appended.
        length (int): Number T' of all frames, a multiple of ``window``.
        window (int): Frames W of a window.
        shift (int): Frames by which the video was rolled, 0 for none.

    Returns:
        Tensor: Bool, True for pairs (query frame, key frame) that are
        blocked, has shape (T' / W, W, W).
    """
    places = torch.arange(length).roll(shift).view(-1, window)
    appended = places >= num_frames
    blocked = appended[:, None].repeat(1, window, 1)
    if shift:
        for i in (0, -1):
            blocked[i] |= appended[i][:, None]
        wrapped = torch.arange(window) < shift
        blocked[0] |= wrapped[:, None] != wrapped
    return blocked


def window_groups(blocked: Tensor) -> List[Tuple[int, int]]:
    """Windows that are attended in at the same time.

    Args:
        blocked (Tensor): From :func:`blocked_pairs`, has shape (n, W, W).

    Returns:
        list[tuple[int, int]]: First window and end of each group. A window
        with blocked pairs is a group of its own.
    """
    groups: List[Tuple[int, int]] = []
    free = False
    for i, has_blocked in enumerate(blocked.flatten(1).any(1).tolist()):
        if not has_blocked and free and i - groups[-1][0] < WINDOWS_AT_ONCE:
            groups[-1] = (groups[-1][0], i + 1)
        else:
            groups.append((i, i + 1))
        free = not has_blocked
    return groups
