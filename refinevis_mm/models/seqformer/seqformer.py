# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""SeqFormer: a video is one clip, and a query an object of all of it."""
from typing import Dict, List, Optional

from mmdet.structures import TrackSampleList
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets
from ..base_video_model import BaseVideoModel
from .running_clips import RunningClips


@MODELS.register_module()
class SeqFormer(BaseVideoModel):
    """`SeqFormer <https://arxiv.org/abs/2112.08275>`_.

    A query is decomposed into an instance query, one for the whole clip, and
    a box query in every frame. In each decoder layer box queries look at
    their frames, and the instance query is a sum over time of what they saw.
    It gives one class vector and the parameters of one mask head, which box
    and mask features place in each frame.

    At test the whole video is a clip, as officially, and its frames are kept
    encoded until it ends; or clips of ``clip_length`` frames are matched by
    their masks, which needs no more memory for longer videos. See
    :class:`RunningClips` for what is kept. Results come with the last frame
    either way: this is no :class:`BaseVISModel`.

    Args:
        frame_model (dict): :class:`SeqFormerNetwork`, called as in our other
            models, so that all weights are handled alike.
        clip_length (int, optional): Frames of a clip at test. Defaults to
            None, the whole video.
        clip_stride (int): Frames between the starts of clips, at most
            ``clip_length``. Defaults to 1.
        num_instances (int): Best queries of a clip that are instances.
            Defaults to 10.
        cls_thr (float): Classes of an instance whose score is greater are
            results. Defaults to 0.05.
        data_preprocessor (dict, optional): :class:`TrackDataPreprocessor`.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If ``clip_length``, ``clip_stride`` or
            ``num_instances`` is not allowed.
    """

    def __init__(self,
                 frame_model: ConfigType,
                 clip_length: Optional[int] = None,
                 clip_stride: int = 1,
                 num_instances: int = 10,
                 cls_thr: float = 0.05,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        for name, value in (('clip_length', clip_length), ('num_instances',
                                                           num_instances)):
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        if not 1 <= clip_stride <= (clip_length or clip_stride):
            raise ValueError('clip_stride must lie in 1..clip_length, got '
                             f'{clip_stride} with {clip_length}')
        self.frame_model = MODELS.build(frame_model)
        self.clip_length = clip_length
        self.clip_stride = clip_stride
        self.num_instances = num_instances
        self.cls_thr = cls_thr

    def loss(self, inputs: Tensor, data_samples: TrackSampleList,
             **kwargs) -> Dict[str, Tensor]:
        """Train on clips.

        NOTE: An object that no frame of its clip shows is left out; the
        official code trains it as class 0 with empty masks.

        Args:
            inputs (Tensor): Clips, has shape (bs, T, 3, H, W).
            data_samples (list[:obj:`TrackDataSample`]): Ground truth, and
                the metainfo ``img_shape`` of each frame.

        Returns:
            dict[str, Tensor]: Weighted losses of every decoder layer.

        Raises:
            FloatingPointError: If predictions are not finite.
        """
        targets = [
            ClipTargets.from_data_sample(sample, clip).visible()
            for sample, clip in zip(data_samples, inputs)
        ]
        frames = self.frame_model.encode_frames(
            inputs.flatten(0, 1),
            [img.img_shape[:2] for sample in data_samples for img in sample])
        layers = self.frame_model.decode([frames], len(targets))
        return self.frame_model.head.loss_by_feat(layers, frames, targets)

    def start_video(self, meta: dict) -> RunningClips:
        """See :meth:`BaseVideoModel.start_video`."""
        length = meta['video_length']
        return RunningClips(self.frame_model, length, self.clip_length
                            or length, self.clip_stride, self.num_instances)

    def add_frames(self, images: Tensor, metas: List[dict]) -> None:
        """See :meth:`BaseVideoModel.add_frames`; sizes may differ."""
        for image, meta in zip(images, metas):
            self._video.add(
                self.frame_model.encode_frames(image[None],
                                               [meta['img_shape'][:2]]), meta)

    def find_tracklets(self) -> List[dict]:
        """See :meth:`BaseVideoModel.find_tracklets`."""
        return self._video.result.tracklets(self.cls_thr)
