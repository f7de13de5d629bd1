# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Made-up images and objects."""
import sys
from typing import Any

import torch
from mmdet.structures import DetDataSample, TrackDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch import Tensor

from .settings import ProfileSettings

# Frames of a training clip.
CLIP_LENGTH = 2


def random_images(settings: ProfileSettings, *sizes: int) -> Tensor:
    r"""Random normalised images.

    Args:
        settings (:obj:`ProfileSettings`): Their size and device.
        *sizes (int): Dimensions in front, such as the batch.

    Returns:
        Tensor: Has shape (\*sizes, 3, H, W).
    """
    return torch.randn(
        *sizes, 3, *settings.shape, device=torch.device(settings.device))


def random_sample(settings: ProfileSettings, frame_id: int = 0) -> Any:
    """Data sample of one image with random objects.

    Args:
        settings (:obj:`ProfileSettings`): Size and number of objects.
        frame_id (int): Position in its video. Defaults to 0.

    Returns:
        :obj:`DetDataSample`: With ``gt_instances`` in training.
    """
    height, width = settings.shape
    shape = (height, width)
    sample = DetDataSample(
        metainfo=dict(
            frame_id=frame_id,
            video_id=0,
            video_length=sys.maxsize,
            img_shape=shape,
            ori_shape=shape,
            batch_input_shape=shape))
    if settings.train:
        number = settings.objects
        size = torch.tensor([width, height], dtype=torch.float32)
        corner = torch.rand(number, 2) * 0.5
        extent = 0.2 + 0.3 * torch.rand(number, 2)
        boxes = torch.cat([corner * size, (corner + extent) * size], 1)
        masks = torch.zeros(number, height, width, dtype=torch.uint8)
        for mask, (left, top, right, bottom) in zip(masks, boxes.long()):
            mask[top:bottom, left:right] = 1
        device = torch.device(settings.device)
        sample.gt_instances = InstanceData(
            bboxes=boxes.to(device),
            labels=torch.zeros(number, dtype=torch.long, device=device),
            masks=BitmapMasks(masks.numpy(), height, width),
            instances_ids=torch.arange(number, device=device))
    return sample


def random_clip(settings: ProfileSettings) -> Any:
    """Data sample of a clip with random objects.

    Args:
        settings (:obj:`ProfileSettings`): Size and number of objects.

    Returns:
        :obj:`TrackDataSample`: Of ``CLIP_LENGTH`` frames.
    """
    clip = TrackDataSample()
    clip.video_data_samples = [
        random_sample(settings, t) for t in range(CLIP_LENGTH)
    ]
    return clip
