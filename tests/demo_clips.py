# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tiny clips and a tiny model shared by the tests."""
from typing import List, Optional, Sequence

import numpy as np
import torch
from mmdet.structures import DetDataSample, TrackDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData

from refinevis_mm.structures import ClipTargets

MODEL_CONFIG = 'configs/_base_/models/refinevis_mobilenet-v2.py'


def demo_clip(boxes: Sequence[Sequence[Optional[Sequence[int]]]],
              ids: Sequence[int],
              labels: Sequence[int],
              height: int = 64,
              width: int = 96,
              first_frame: int = 0,
              video_length: Optional[int] = None) -> TrackDataSample:
    """A clip of rectangular objects.

    Args:
        boxes: For each frame and object (x1, y1, x2, y2) in pixels, or None
            where the object is absent.
        ids: Instance ids, one per object.
        labels: Class indices, one per object.
        height: Frame height in pixels.
        width: Frame width in pixels.
        first_frame: ``frame_id`` of the first frame.
        video_length: Frames of the video; the end of the clip by default.
    """
    samples: List[DetDataSample] = []
    length = video_length or first_frame + len(boxes)
    for t, frame_boxes in enumerate(boxes):
        kept = [i for i, box in enumerate(frame_boxes) if box is not None]
        masks = np.zeros((len(kept), height, width), np.uint8)
        for row, i in enumerate(kept):
            x1, y1, x2, y2 = frame_boxes[i]
            masks[row, y1:y2, x1:x2] = 1
        sample = DetDataSample(
            metainfo=dict(
                frame_id=first_frame + t,
                video_id=3,
                video_length=length,
                img_path=f'frame_{first_frame + t}.jpg',
                img_shape=(height, width),
                ori_shape=(height, width)))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([frame_boxes[i] for i in kept],
                                dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor([labels[i] for i in kept], dtype=torch.long),
            masks=BitmapMasks(masks, height, width),
            instances_ids=torch.tensor([ids[i] for i in kept],
                                       dtype=torch.long))
        samples.append(sample)
    clip = TrackDataSample()
    clip.video_data_samples = samples
    return clip


def two_object_clip(labels: Sequence[int] = (2, 5),
                    **kwargs) -> TrackDataSample:
    """Two frames; object 7 is seen in both, object 4 in the second only."""
    return demo_clip(
        [[(8, 8, 40, 40), None], [(12, 8, 44, 40), (60, 20, 90, 50)]],
        ids=[7, 4],
        labels=labels,
        **kwargs)


def empty_clip(**kwargs) -> TrackDataSample:
    """Two frames without any object."""
    return demo_clip([[], []], ids=[], labels=[], **kwargs)


def clip_targets(*clips: TrackDataSample,
                 height: int = 64,
                 width: int = 96) -> List[ClipTargets]:
    """Instance tables of clips whose frames have this size."""
    return [
        ClipTargets.from_data_sample(clip,
                                     torch.zeros(len(clip), 3, height, width))
        for clip in clips
    ]


def add_ignored(sample: DetDataSample, *boxes: Sequence[int]) -> DetDataSample:
    """Mark rectangles of an image as ignored regions.

    Args:
        sample: The image; changed in place and returned.
        boxes: (x1, y1, x2, y2) in pixels of each region.
    """
    height, width = sample.img_shape
    masks = np.zeros((len(boxes), height, width), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes):
        mask[y1:y2, x1:x2] = 1
    sample.ignored_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.zeros(len(boxes), dtype=torch.long),
        masks=BitmapMasks(masks, height, width))
    return sample


def tiny_model_cfg(**options) -> Config:
    """The small model's config, made tiny; ``options`` are merged last."""
    dims = dict(embed_dims=32)
    cfg = Config.fromfile(MODEL_CONFIG)
    cfg.merge_from_dict(
        dict(
            model=dict(
                frame_model=dict(
                    num_queries=12,
                    backbone=dict(init_cfg=None),
                    pixel_decoder=dict(
                        num_layers=1,
                        mask_dims=32,
                        feedforward_channels=32,
                        **dims),
                    decoder=dict(
                        num_layers=2, feedforward_channels=32, **dims),
                    dn_query_generator=dict(num_dn_pairs=4, **dims),
                    head=dict(mask_dims=32, num_match_points=64, **dims)),
                association_head=dict(
                    in_channels=32, feat_channels=32, **dims),
                tar_head=dict(feedforward_channels=32, drop_prob=0.0, **
                              dims))))
    cfg.merge_from_dict(options)
    return cfg.model
