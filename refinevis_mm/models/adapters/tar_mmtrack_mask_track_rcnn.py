# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR attached to MaskTrack R-CNN of mmtrack 1.0.0rc1.

The package does not import this module, because mmtrack is optional. A config
names it in ``custom_imports``, which makes mmtrack's classes known as well.
"""
from typing import Any, Dict, List, Sequence

import torch
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor

from refinevis_mm.compat.mmtrack import import_mmtrack
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets
from .roi_refinement import (RoIRefinementMixin, record_features,
                             to_track_instances)

MaskTrackRCNN = import_mmtrack().models.MaskTrackRCNN


@MODELS.register_module()
class TARMMTrackMaskTrackRCNN(RoIRefinementMixin, MaskTrackRCNN):
    """mmtrack's ``MaskTrackRCNN`` whose tracklets are refined by TAR.

    Arguments are those of :class:`RoIRefinementMixin` and of mmtrack's
    ``MaskTrackRCNN``, whose checkpoints load: only keys that begin with
    ``tar_`` are missing then.
    """

    def loss(self, inputs: Dict[str,
                                Tensor], data_samples: List[BaseDataElement],
             **kwargs: Any) -> Dict[str, Tensor]:
        """Losses of MaskTrack R-CNN and of TAR.

        Args:
            inputs (dict[str, Tensor]): Key frames ``img`` and reference
                frames ``ref_img``, of the same shape (bs, 1, 3, H, W).
            data_samples (list[:obj:`mmtrack.structures.TrackDataSample`]):
                ``gt_instances`` and ``ref_gt_instances`` with masks and
                ``instances_id``.

        Returns:
            dict[str, Tensor]: MaskTrack R-CNN's losses, and
            ``loss_refine_{cls,mask,dice}``.
        """
        with record_features(self.detector) as recorded:
            losses = super().loss(inputs, data_samples, **kwargs)
        clips = [_to_clip(sample) for sample in data_samples]
        targets = [
            ClipTargets.from_data_sample(clip, frames) for clip, frames in zip(
                clips, torch.cat([inputs['img'], inputs['ref_img']], 1))
        ]
        metas = [frame.metainfo for clip in clips for frame in clip]
        feats = _in_clip_order(recorded, data_samples)
        losses.update(self.loss_refinement(feats, targets, metas))
        return losses

    def predict(self, inputs: Dict[str, Tensor],
                data_samples: List[BaseDataElement],
                **kwargs: Any) -> List[BaseDataElement]:
        """Track and refine the next frame of a video.

        Online, ``pred_track_instances`` hold what :func:`to_track_instances`
        makes of the refined frame. Offline, a frame is refined later than it
        is tracked, and they are the tracker's own. With the last frame of a
        video the sample receives the metainfo ``pred_tracklets``, which
        :class:`VISMetric` reads, refined in both modes.

        Args:
            inputs (dict[str, Tensor]): The frame ``img``, has shape
                (1, 1, 3, H, W).
            data_samples (list[:obj:`mmtrack.structures.TrackDataSample`]):
                One sample.

        Returns:
            list[:obj:`mmtrack.structures.TrackDataSample`]: The given sample.

        Raises:
            ValueError: If results are asked for at the input's size, or a
                video does not start with frame 0.
        """
        if not kwargs.pop('rescale', True):
            raise ValueError('rescale must be True: refined masks have the '
                             'size of the original frame, got False')
        with record_features(self.detector) as recorded:
            sample, = super().predict(inputs, data_samples, **kwargs)
        results = self.refine_frame(recorded[0], sample.pred_track_instances,
                                    sample.metainfo)
        if self.window > 0 and self.mode == 'online':
            sample.pred_track_instances = to_track_instances(results[0])
        sample.set_metainfo(self.video_metainfo(sample.metainfo))
        return [sample]


def _key_is_late(sample: BaseDataElement) -> bool:
    """Whether the reference frame comes before the key frame."""
    return sample.ref_frame_id < sample.frame_id


def _in_clip_order(recorded: List[Sequence[Tensor]],
                   data_samples: List[BaseDataElement]) -> List[Tensor]:
    """Features (bs * 2, C, h, w) of the clips, the earlier frame first.

    Args:
        recorded (list[Sequence[Tensor]]): Feature levels of the bs key
            frames and of the bs reference frames.
        data_samples (list[:obj:`mmtrack.structures.TrackDataSample`]): The
            bs clips.
    """
    levels = []
    for key_and_ref in zip(*recorded):
        pairs = [
            pair.flip(0) if _key_is_late(sample) else pair
            for pair, sample in zip(torch.stack(key_and_ref, 1), data_samples)
        ]
        levels.append(torch.cat(pairs))
    return levels


def _to_clip(sample: BaseDataElement) -> TrackDataSample:
    """Key and reference frame as a clip of mmdet, the earlier frame first.

    Args:
        sample (:obj:`mmtrack.structures.TrackDataSample`): Ground truth.

    Returns:
        :obj:`mmdet.structures.TrackDataSample`: Two frames.
    """
    frames = [_to_frame(sample, ''), _to_frame(sample, 'ref_')]
    clip = TrackDataSample()
    clip.video_data_samples = frames[::-1] if _key_is_late(sample) else frames
    return clip


def _to_frame(sample: BaseDataElement, prefix: str) -> DetDataSample:
    """One frame of mmtrack's sample, with mmdet's names."""
    gt_instances = sample.get(f'{prefix}gt_instances')
    metainfo = sample.metainfo
    frame = DetDataSample(
        metainfo={
            name: metainfo[f'{prefix}{name}']
            for name in ('frame_id', 'img_path', 'img_shape')
        })
    frame.gt_instances = InstanceData(
        bboxes=gt_instances.bboxes,
        labels=gt_instances.labels,
        masks=gt_instances.masks,
        instances_ids=gt_instances.instances_id)
    return frame
