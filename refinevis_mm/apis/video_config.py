# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Configs of image models, turned into configs of models of video."""
from mmdet.models.detectors import BaseDetector, Mask2Former
from mmengine.config import Config

from refinevis_mm.models import VITA, SeqFormer
from refinevis_mm.models.base_vis_model import BaseVISModel
from refinevis_mm.models.frame_level import FrameModelDetector
from refinevis_mm.registry import MODELS

TRACKER = 'refinevis_mm.StreamingTracker'
# Arguments that mmdet's two data preprocessors share.
PREPROCESSING = ('mean', 'std', 'pad_size_divisor', 'pad_value', 'pad_mask',
                 'mask_pad_value', 'bgr_to_rgb', 'rgb_to_bgr')


def as_video_config(cfg: Config) -> Config:
    """Let the objects of an image model be followed.

    ===========================  ============================================
    model of the config          becomes
    ===========================  ============================================
    model of video, of ours      itself
    :class:`FrameModelDetector`  :class:`RefineVIS` without association head
    mmdet's Mask2Former          the same, with our :class:`Mask2Former`
    other detectors of mmdet     :class:`TrackedSegmenter`
    ===========================  ============================================

    Args:
        cfg (:obj:`Config`): A config with a ``model``.

    Returns:
        :obj:`Config`: The same config, or a copy whose ``model`` streams
        with :class:`StreamingTracker`.

    Raises:
        ValueError: If the config has no model, or the model is none of these
            (:class:`SeqFormer` and :class:`VITA` give results at the end of
            a video only).
    """
    if not isinstance(cfg.get('model'), dict) or 'type' not in cfg.model:
        raise ValueError(f'config "{cfg.filename}" must have a "model" with '
                         'a "type"')
    # a bare name is one of the default scope, as when it is built
    with MODELS.switch_scope_and_registry(None) as registry:
        kind = registry.get(cfg.model.type)
    if kind is None:
        raise ValueError(f'config "{cfg.filename}" has a model of unknown '
                         f'type {cfg.model.type!r}')
    if issubclass(kind, BaseVISModel):
        return cfg
    if issubclass(kind, (SeqFormer, VITA)):
        raise ValueError(f'config "{cfg.filename}" has a model that gives its '
                         'results when the video ends and cannot stream, '
                         f'{kind.__name__}: run tools/test.py')
    if not issubclass(kind, BaseDetector):
        raise ValueError(f'config "{cfg.filename}" must describe RefineVIS or '
                         'an instance segmenter of images, got '
                         f'{kind.__name__}')
    detector = cfg.model.to_dict()
    preprocessor = detector.pop('data_preprocessor', None) or {}
    model = dict(
        tracker=dict(type=TRACKER),
        data_preprocessor=dict(
            {
                name: preprocessor[name]
                for name in PREPROCESSING if name in preprocessor
            },
            type='TrackDataPreprocessor'))
    if issubclass(kind, FrameModelDetector):
        frame_model = detector['frame_model']
        if detector.get('backbone') is not None:
            frame_model['backbone'] = detector['backbone']
        model.update(_untrained(frame_model))
    elif issubclass(kind, Mask2Former):
        model.update(_untrained(_as_frame_model(detector)))
    else:
        detector.pop('init_cfg', None)
        model.update(
            type='refinevis_mm.TrackedSegmenter',
            segmenter=dict(
                type='refinevis_mm.MMDetSegmenter', detector=detector))
    content = cfg.to_dict()
    content['model'] = model
    return Config(content, filename=cfg.filename)


def _untrained(frame_model: dict) -> dict:
    """RefineVIS around a frame model, without what it would have to learn."""
    return dict(
        type='refinevis_mm.RefineVIS', window=0, frame_model=frame_model)


def _as_frame_model(detector: dict) -> dict:
    """mmdet's Mask2Former as a frame model, without weights of its own."""
    head = dict(detector['panoptic_head'], type='refinevis_mm.Mask2FormerHead')
    return dict(
        type='refinevis_mm.Mask2Former',
        backbone=dict(detector['backbone'], init_cfg=None),
        head=head)
