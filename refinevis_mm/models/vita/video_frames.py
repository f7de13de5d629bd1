# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What is kept of the frames of a video until it ends."""
from typing import Dict, Iterator, List, Tuple

import torch
from torch import Tensor

# Longer videos keep their mask features on the CPU.
MAX_FRAMES_ON_DEVICE = 36


class VideoFrames:
    """Queries and mask features of the frames of a video.

    Of a frame fQ * C numbers stay on the device, and the mask features, on
    the CPU where the video has more than 36 frames, as officially.

    Args:
        video_length (int): Number of frames of the video.
    """

    def __init__(self, video_length: int) -> None:
        self.video_length = video_length
        self.metas: List[dict] = []
        self._queries: List[Tensor] = []
        self._mask_features: List[Tensor] = []

    def __len__(self) -> int:
        return len(self.metas)

    @property
    def queries(self) -> Tensor:
        """Tensor: Frame queries so far, has shape (T, fQ, C)."""
        return torch.cat(self._queries)

    def add(self, queries: Tensor, mask_features: Tensor,
            metas: List[dict]) -> None:
        """Add the next frames.

        Args:
            queries (Tensor): Frame queries, has shape (t, fQ, C).
            mask_features (Tensor): Has shape (t, C_mask, h, w).
            metas (list[dict]): ``frame_id``, ``img_shape`` and ``ori_shape``
                of each of the t frames.

        Raises:
            ValueError: If a frame is not the next one, or has another size.
        """
        for frame_id, meta in enumerate(metas, start=len(self)):
            if meta['frame_id'] != frame_id:
                raise ValueError(f'the next frame must be frame {frame_id} of '
                                 f'the video, got frame_id {meta["frame_id"]}')
            sizes, first = _sizes(meta), _sizes((self.metas or metas)[0])
            if sizes != first:
                raise ValueError(
                    'the frames of a video must have one size (img_shape, '
                    f'ori_shape), {first}, got {sizes} in frame {frame_id}')
        self.metas.extend(metas)
        if self.video_length > MAX_FRAMES_ON_DEVICE:
            mask_features = mask_features.cpu()
        self._queries.append(queries)
        self._mask_features.extend(mask_features.unbind(0))

    def masks(self, kernels: Tensor) -> Iterator[Tuple[dict, Tensor]]:
        """Mask logits of clip queries, frame by frame.

        Args:
            kernels (Tensor): Of n clip queries, has shape (n, C_mask).

        Yields:
            tuple[dict, Tensor]: Metainfo of a frame and mask logits
            (n, h, w).
        """
        for meta, features in zip(self.metas, self._mask_features):
            yield meta, torch.einsum('nc,chw->nhw', kernels,
                                     features.to(kernels))


def _sizes(meta: dict) -> Dict[str, Tuple[int, ...]]:
    """Sizes of a frame before padding and before resizing."""
    return {name: tuple(meta[name][:2]) for name in ('img_shape', 'ori_shape')}
