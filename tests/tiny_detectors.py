# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Squares that move, and detectors of images that find them or are tiny."""
from pathlib import Path
from typing import List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

from refinevis_mm.apis.inference import find_config
from refinevis_mm.registry import MODELS

CLASSES = ('dark', 'light')
GREYS = (100, 200)  # of the squares, by class
SIDE, HEIGHT, WIDTH = 16, 48, 80
# All that StreamingTracker is told, so that defaults do not matter.
TRACKER = dict(
    select_score_thr=0.1,
    max_detections=100,
    mask_nms_thr=0.7,
    high_score_thr=0.3,
    appearance_weight=1.0,
    mask_weight=1.0,
    box_weight=1.0,
    class_weight=0.5,
    match_thr=0.3,
    low_overlap_thr=0.5,
    num_active_frames=3,
    reentry_thr=0.8,
    num_frames_retain=10,
    new_score_thr=0.4,
    min_track_frames=1,
    max_tracks=50)


def squares(num_frames: int) -> List[np.ndarray]:
    """A dark square moves right, a light one left; they pass by."""
    frames = []
    for t in range(num_frames):
        frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        frame[4:4 + SIDE, 4 * t:4 * t + SIDE] = GREYS[0]
        frame[26:26 + SIDE, 60 - 4 * t:60 - 4 * t + SIDE] = GREYS[1]
        frames.append(frame)
    return frames


def find_squares(
        image: np.ndarray) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks, scores and labels of the squares, the worse first."""
    masks = np.stack([image[..., 0] == grey for grey in GREYS])
    found = masks.any((1, 2))
    return masks[found], np.array([0.6, 0.9])[found], np.arange(2)[found]


class _Means(nn.Module):
    """Means of 4 x 4 pixels as the finest and only feature map."""

    def forward(self, images):
        return (F.avg_pool2d(images, 4), )


@MODELS.register_module()
class GreyDetector(BaseDetector):
    """Finds what :func:`find_squares` finds, in a frame of any size.

    Args:
        num_classes (int): As heads name it.
        with_masks (bool): Whether it gives masks beside boxes.
    """

    def __init__(self, num_classes=2, with_masks=True, **kwargs):
        super().__init__(**kwargs)
        self.with_masks = with_masks
        self.backbone = _Means()
        self.scale = nn.Parameter(torch.ones(1))  # weights to load

    def loss(self, batch_inputs, batch_data_samples):
        raise NotImplementedError

    def _forward(self, batch_inputs, batch_data_samples=None):
        raise NotImplementedError

    def extract_feat(self, batch_inputs):
        return self.backbone(batch_inputs)

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        self.extract_feat(batch_inputs)
        results = []
        for image, sample in zip(batch_inputs, batch_data_samples):
            # without what is right of and below the picture
            size = [
                round(side * scale) for side, scale in zip(
                    sample.ori_shape, sample.scale_factor[::-1])
            ]
            image = F.interpolate(image[None, :1, :size[0], :size[1]],
                                  sample.ori_shape)[0, 0]  # yapf: disable
            masks = torch.stack([(image - grey).abs() < 20 for grey in GREYS])
            found = masks.flatten(1).any(1)
            fields = dict(
                scores=torch.tensor([0.6, 0.9])[found] * self.scale,
                labels=torch.arange(2)[found],
                bboxes=torch.zeros(int(found.sum()), 4))
            if self.with_masks:
                fields['masks'] = masks[found]
            results.append(InstanceData(**fields))
        return self.add_pred_to_datasample(batch_data_samples, results)


def grey_cfg(pipeline=(), **options) -> Config:
    """Config of :class:`GreyDetector`, as mmdet's are made."""
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(
                type='refinevis_mm.GreyDetector', num_classes=2, **options),
            test_dataloader=dict(dataset=dict(pipeline=list(pipeline)))))


def tiny_solov2_cfg(num_classes: int = 3) -> Config:
    """mmdet's smallest SOLOv2, made tiny."""
    cfg = Config.fromfile(
        find_config('mmdet::solov2/solov2-light_r18_fpn_ms-3x_coco.py'))
    cfg.merge_from_dict(
        dict(
            model=dict(
                backbone=dict(base_channels=8, init_cfg=None),
                neck=dict(in_channels=[8, 16, 32, 64], out_channels=32),
                mask_head=dict(
                    num_classes=num_classes,
                    in_channels=32,
                    feat_channels=32,
                    num_grids=[8, 6, 4, 3, 2],
                    mask_feature_head=dict(feat_channels=32, out_channels=32)),
                test_cfg=dict(score_thr=0.0, filter_thr=0.0))))
    for loader in (cfg.test_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline[1].scale = (96, 64)
    return cfg


def write_detector(folder: Path, cfg: Config, **meta) -> Tuple[str, str]:
    """Write config and random weights; returns their paths."""
    config, checkpoint = folder / 'detector.py', folder / 'detector.pth'
    cfg.dump(str(config))
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
    return str(config), str(checkpoint)
