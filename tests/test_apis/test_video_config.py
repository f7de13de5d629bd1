# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import copy

import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from torch.testing import assert_close

from refinevis_mm.apis import Session, init_model
from refinevis_mm.apis.inference import find_config
from refinevis_mm.apis.video_config import as_video_config
from refinevis_mm.models import (Mask2Former, MaskDINO, RefineVIS,
                                 StreamingTracker, TrackedSegmenter)
from refinevis_mm.registry import MODELS
from tests.demo_clips import tiny_model_cfg
from tests.tiny_detectors import (CLASSES, HEIGHT, TRACKER, WIDTH, grey_cfg,
                                  squares, tiny_solov2_cfg, write_detector)
from tests.tiny_files import random_frames

# Everything that is found is followed.
ALL = dict(
    TRACKER,
    select_score_thr=0.0,
    high_score_thr=0.0,
    new_score_thr=0.0,
    mask_nms_thr=1.0)
OPTIONS = {f'model.tracker.{name}': value for name, value in ALL.items()}
PREPROCESSOR = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_mask=True,
    pad_size_divisor=32)


def mmdet_cfg(name):
    return Config.fromfile(find_config(f'mmdet::{name}.py'))


def test_models_of_video_stay():
    cfg = Config(dict(model=tiny_model_cfg()))
    assert as_video_config(cfg) is cfg


def test_the_given_config_is_not_changed():
    cfg = tiny_solov2_cfg()
    before = copy.deepcopy(cfg.to_dict())
    video = as_video_config(cfg)
    video.model.tracker.match_thr = 0.9
    video.model.segmenter.detector.neck.num_outs = 1
    assert cfg.to_dict() == before
    assert video.test_dataloader == cfg.test_dataloader
    assert video.filename == cfg.filename


@pytest.mark.parametrize('name, kind', [
    ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco', 'MaskRCNN'),
    ('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco', 'RTMDet'),
    ('solov2/solov2_r50_fpn_1x_coco', 'SOLOv2'),
    ('condinst/condinst_r50_fpn_ms-poly-90k_coco_instance', 'CondInst'),
    ('queryinst/queryinst_r50_fpn_1x_coco', 'QueryInst'),
])
def test_detectors_of_mmdet(name, kind):
    cfg = mmdet_cfg(name)
    model = as_video_config(cfg).model
    assert model.type == 'refinevis_mm.TrackedSegmenter'
    assert model.tracker == dict(type='refinevis_mm.StreamingTracker')
    detector = model.segmenter.detector
    assert detector.type == kind and 'data_preprocessor' not in detector
    preprocessor = model.data_preprocessor
    assert preprocessor.type == 'TrackDataPreprocessor'
    for key in ('mean', 'std', 'bgr_to_rgb', 'pad_size_divisor'):
        assert preprocessor.get(key) == cfg.model.data_preprocessor.get(key)
    # it can be built and made to normalise
    MODELS.build(preprocessor)


@pytest.mark.parametrize('kind, num_rows', [('', 81), ('-panoptic', 134)])
def test_mask2former_of_mmdet(kind, num_rows):
    cfg = mmdet_cfg(f'mask2former/mask2former_r50_8xb2-lsj-50e_coco{kind}')
    video = as_video_config(cfg)
    with torch.device('meta'):
        model = MODELS.build(video.model)
    assert isinstance(model, RefineVIS)
    assert isinstance(model.frame_model, Mask2Former)
    assert isinstance(model.tracker, StreamingTracker)
    assert model.association_head is model.tar_head is None
    assert model.window == 0
    assert model.frame_model.head.cls_embed.out_features == num_rows
    assert model.frame_model.num_classes == 80
    assert video.model.frame_model.backbone.init_cfg is None


def test_maskformer_of_mmdet():
    """It gives no instances; another head than Mask2Former's."""
    cfg = mmdet_cfg('maskformer/maskformer_r50_ms-16xb1-75e_coco')
    with pytest.raises(ValueError, match='MaskFormer|num_classes'):
        MODELS.build(as_video_config(cfg).model)


@pytest.mark.parametrize('model, message', [
    (None, 'must have a "model" with a "type"'),
    (dict(backbone=1), 'must have a "model" with a "type"'),
    (dict(type='MaskRcnn'), "a model of unknown type 'MaskRcnn'"),
    (dict(type='MaskTrackRCNN'),
     'instance segmenter of images, got MaskTrackRCNN'),
    (dict(type='Mask2FormerVideo'), 'got Mask2FormerVideo'),
    (dict(type='TrackDataPreprocessor'), 'got TrackDataPreprocessor'),
    (dict(type='refinevis_mm.Mask2Former'), 'got Mask2Former'),
])
def test_other_models_are_refused(model, message):
    cfg = Config(dict() if model is None else dict(model=model))
    with pytest.raises(ValueError, match=message) as error:
        as_video_config(cfg)
    assert '\n' not in str(error.value)


def frame_model_cfg():
    """A tiny MaskDINO as a detector, as configs/maskdino have it."""
    frame_model = tiny_model_cfg().frame_model
    model = dict(
        type='refinevis_mm.FrameModelDetector',
        data_preprocessor=PREPROCESSOR,
        backbone=frame_model.pop('backbone'),
        frame_model=frame_model)
    return Config(dict(default_scope='mmdet', model=model))


def test_frame_models(tmp_path):
    """The same weights in the detector and in the model of video."""
    cfg = frame_model_cfg()
    config, checkpoint = write_detector(
        tmp_path, cfg, dataset_meta=dict(classes=CLASSES))
    detector = MODELS.build(cfg.model).eval()
    model = init_model(config, checkpoint, cfg_options=OPTIONS)
    assert isinstance(model, RefineVIS) and model.classes == list(CLASSES)
    assert isinstance(model.frame_model, MaskDINO)
    detector.load_state_dict(model.state_dict())
    image, = random_frames(1, 64, 96)
    inputs, _ = Session(model).preprocess(image, 0)
    expected = detector.data_preprocessor(
        dict(
            inputs=[torch.from_numpy(image).permute(2, 0, 1)],
            data_samples=None))['inputs'][0]
    assert_close(inputs, expected)
    with torch.no_grad():
        logits, boxes, masks = detector._forward(inputs[None])
        frame = model.frame_model.forward_frames(inputs[None])
    assert_close(frame.cls_logits, logits)
    assert_close(frame.boxes, boxes)
    result, = Session(model).step(image)
    inds = model.tracker.select(logits[0].sigmoid(), boxes[0])
    assert len(result.ids) == len(inds) > 3
    scores, labels = logits[0, inds].sigmoid().max(1)
    assert result.labels == labels.tolist()
    assert result.scores == pytest.approx(scores.tolist(), abs=1e-5)


def test_shipped_frame_model_configs():
    cfg = Config.fromfile(
        'configs/maskdino/maskdino_mobilenet-v2_2xb2-5k_custom-coco.py')
    model = as_video_config(cfg).model
    assert model.type == 'refinevis_mm.RefineVIS' and model.window == 0
    assert model.frame_model.backbone.type == 'MobileNetV2'
    assert isinstance(MODELS.build(model).frame_model, MaskDINO)


def test_solov2_gives_what_mmdet_gives(tmp_path):
    """Frame by frame, all masks, classes and scores."""
    config, checkpoint = write_detector(
        tmp_path, tiny_solov2_cfg(), CLASSES=('a', 'b', 'c'))
    model = init_model(config, checkpoint, cfg_options=OPTIONS)
    assert isinstance(model, TrackedSegmenter)
    assert model.classes == ['a', 'b', 'c']  # of mmdet 2.x
    assert model.weights == checkpoint and model.window == 0
    detector = init_detector(config, checkpoint, device='cpu')
    frames = random_frames(3)
    for result, frame in zip(Session(model).stream(frames), frames):
        found = inference_detector(detector, frame).pred_instances
        assert len(result.ids) == len(found) > 10
        order = found.scores.sort(descending=True, stable=True).indices
        masks = torch.from_numpy(result.instances.dense_masks())
        assert torch.equal(masks, found.masks[order])
        # class by class: running means of what a track was found with
        totals = result.instances.cls_scores.sum(1)
        assert totals.min() > 0 and len(set(result.ids)) == len(found)
        if result.frame_id == 0:
            assert result.labels == found.labels[order].tolist()
            assert result.scores == pytest.approx(found.scores[order].tolist())


def stream(cfg, folder, frames):
    """Follow grey squares with everything given."""
    config, checkpoint = write_detector(
        folder, cfg, dataset_meta=dict(classes=CLASSES))
    options = {f'model.tracker.{key}': TRACKER[key] for key in TRACKER}
    model = init_model(config, checkpoint, cfg_options=options)
    return model, list(Session(model).stream(frames))


RESIZE = dict(type='Resize', scale=(40, 24), keep_ratio=True)


@pytest.mark.parametrize('steps', [
    [],
    [RESIZE],
    [RESIZE, dict(type='Pad', size=(40, 40))],
    [dict(type='mmdet.Resize', scale=(80, 24), keep_ratio=False)],
])
def test_resizing_and_padding_of_the_config(tmp_path, steps):
    """Squares stay where they are in the video."""
    pipeline = [dict(type='LoadImageFromFile'), *steps]
    _, results = stream(grey_cfg(pipeline), tmp_path, squares(4))
    for t, result in enumerate(results):
        assert result.ids == [0, 1] and result.classes == ['light', 'dark']
        assert abs(result.boxes -
                   [[60 - 4 * t, 26, 76 - 4 * t, 42], [4 * t, 4, 16 + 4 * t, 20]
                    ]).max() <= 2  # yapf: disable


def test_features_of_padded_frames(tmp_path, monkeypatch):
    """As without padding: the light square is lighter than the frame."""
    seen = []
    for steps in ([], [dict(type='Pad', size=(WIDTH, WIDTH))]):
        folder = tmp_path / str(len(steps))
        folder.mkdir()
        pipeline = [dict(type='LoadImageFromFile'), *steps]
        model, _ = stream(grey_cfg(pipeline), folder, squares(1))
        segmenter = model.segmenter
        session = Session(model)
        found = segmenter.segment(*session.preprocess(squares(1)[0], 0))
        seen.append(found.embeds)
    assert squares(1)[0].shape == (HEIGHT, WIDTH, 3)
    assert_close(seen[1], seen[0], atol=1., rtol=0)


def test_boxes_only_are_refused_at_the_first_frame(tmp_path):
    with pytest.raises(
            ValueError, match='must give masks of instances, got GreyDet'):
        stream(grey_cfg(with_masks=False), tmp_path, squares(1))


def test_window_of_a_segmenter(tmp_path):
    files = write_detector(tmp_path, grey_cfg())
    with pytest.raises(ValueError, match='window must be 0: .* got 4'):
        init_model(*files, cfg_options={'model.window': 4})
    model = init_model(*files, cfg_options={'model.mode': 'offline'})
    assert (model.mode, model.window) == ('offline', 0)
    assert Session(model).views == ('frame_level', )
    assert model.classes == []  # none are named
