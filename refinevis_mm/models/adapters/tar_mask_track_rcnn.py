# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""TAR attached to mmdet's MaskTrack R-CNN."""
from typing import Any, Dict, List, Sequence

import torch
from mmdet.models.vis import MaskTrackRCNN
from mmdet.structures import TrackDataSample, TrackSampleList
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets
from .roi_refinement import (RoIRefinementMixin, record_features,
                             to_track_instances, video_length)


@MODELS.register_module()
class TARMaskTrackRCNN(RoIRefinementMixin, MaskTrackRCNN):
    """mmdet's ``MaskTrackRCNN`` whose tracklets are refined by TAR.

    Arguments are those of :class:`RoIRefinementMixin` and of mmdet's
    ``MaskTrackRCNN``, whose checkpoints load: only keys that begin with
    ``tar_`` are missing then.
    """

    def loss(self, inputs: Tensor, data_samples: TrackSampleList,
             **kwargs: Any) -> Dict[str, Tensor]:
        """Losses of MaskTrack R-CNN and of TAR.

        Args:
            inputs (Tensor): Clips, has shape (bs, 2, 3, H, W).
            data_samples (list[:obj:`TrackDataSample`]): Ground truth with
                masks and ``instances_ids``, and ``key_frames_inds``.

        Returns:
            dict[str, Tensor]: MaskTrack R-CNN's losses, and
            ``loss_refine_{cls,mask,dice}``.
        """
        with record_features(self.detector) as recorded:
            losses = super().loss(inputs, data_samples, **kwargs)
        targets = [
            ClipTargets.from_data_sample(sample, clip)
            for sample, clip in zip(data_samples, inputs)
        ]
        metas = [frame.metainfo for sample in data_samples for frame in sample]
        feats = self._in_clip_order(recorded, data_samples)
        losses.update(self.loss_refinement(feats, targets, metas))
        return losses

    def predict(self, inputs: Tensor, data_samples: TrackSampleList,
                **kwargs: Any) -> TrackSampleList:
        """Track and refine the next frame(s) of one video.

        ``pred_track_instances`` of the frames hold what
        :func:`to_track_instances` makes of the refined frames. Offline, a
        frame is refined later than it is tracked: they do so only where the
        whole video comes in one call, and are the tracker's own otherwise.
        With the last frame of a video the sample receives the metainfo
        ``pred_tracklets``, refined however the frames come.

        Args:
            inputs (Tensor): Frames of one video, has shape (1, T, 3, H, W).
            data_samples (list[:obj:`TrackDataSample`]): One sample.

        Returns:
            list[:obj:`TrackDataSample`]: The given sample.

        Raises:
            ValueError: If results are asked for at the input's size, or a
                video does not start with frame 0.
        """
        if not kwargs.pop('rescale', True):
            raise ValueError('rescale must be True: refined masks have the '
                             'size of the original frame, got False')
        sample = data_samples[0]
        refined: Dict[int, InstanceData] = {}
        for t, frame in enumerate(sample):
            with record_features(self.detector) as recorded:
                super().predict(inputs[:, t:t + 1], [_clip_of(frame)],
                                **kwargs)
            results = self.refine_frame(recorded[0],
                                        frame.pred_track_instances,
                                        frame.metainfo)
            if self._reports_instances(sample):
                refined.update((result.frame_id, to_track_instances(result))
                               for result in results)
        for frame in sample:
            if frame.frame_id in refined:
                frame.pred_track_instances = refined[frame.frame_id]
        sample.set_metainfo(self.video_metainfo(sample[-1].metainfo))
        return [sample]

    def _reports_instances(self, sample: TrackDataSample) -> bool:
        """Whether every frame of this call is refined when it returns."""
        return self.window > 0 and (self.mode == 'online' or len(sample)
                                    == video_length(sample[0].metainfo))

    @staticmethod
    def _in_clip_order(recorded: List[Sequence[Tensor]],
                       data_samples: TrackSampleList) -> List[Tensor]:
        """Features (bs * 2, C, h, w) in the order of the samples' frames.

        MaskTrack R-CNN extracts the key frames first, then the others.
        """
        key_inds = torch.tensor(
            [sample.key_frames_inds[0] for sample in data_samples])
        clips = torch.arange(len(key_inds))[:, None]
        steps = (torch.arange(2) != key_inds[:, None]).long()
        return [
            torch.stack(levels, 1)[clips, steps].flatten(0, 1)
            for levels in zip(*recorded)
        ]


def _clip_of(frame) -> TrackDataSample:
    """A clip of one frame."""
    clip = TrackDataSample()
    clip.video_data_samples = [frame]
    return clip
