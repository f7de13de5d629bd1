# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import math

import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, inference_detector, init_detector
from mmdet.evaluation import CocoMetric
from mmdet.structures import DetDataSample
from mmdet.structures.mask import (BitmapMasks, PolygonMasks,
                                   encode_mask_results)
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmengine.structures import InstanceData
from torch import nn
from torch.testing import assert_close

from refinevis_mm.compat.checkpoints import CheckpointMismatchError
from refinevis_mm.models.frame_level import frame_model_detector
from refinevis_mm.models.frame_level.frame_model_detector import rescale_boxes
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets, FrameOutput
from tests.demo_clips import add_ignored, tiny_model_cfg
from tests.training_checks import assert_trains

NUM_CLASSES = 7
NUM_QUERIES = 12
MASKDINO_DN = dict(
    type='refinevis_mm.MaskDINODnQueryGenerator',
    num_classes=NUM_CLASSES,
    embed_dims=32,
    num_dn_queries=8)


def detector_cfg(dn='maskdino', **options):
    """A tiny MaskDINO as a detector; ``options`` are merged last."""
    frame_model = tiny_model_cfg().frame_model
    if dn == 'maskdino':
        frame_model.dn_query_generator = MASKDINO_DN
    elif dn is None:
        frame_model.pop('dn_query_generator')
    cfg = Config(
        dict(
            model=dict(
                type='refinevis_mm.FrameModelDetector',
                data_preprocessor=dict(
                    type='DetDataPreprocessor',
                    mean=[123.675, 116.28, 103.53],
                    std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True,
                    pad_mask=True,
                    pad_size_divisor=32),
                backbone=frame_model.pop('backbone'),
                frame_model=frame_model)))
    cfg.merge_from_dict(options)
    return cfg.model


def build(dn='maskdino', **options):
    """A tiny detector, initialised with a fixed seed."""
    torch.manual_seed(0)
    model = MODELS.build(detector_cfg(dn, **options))
    model.init_weights()
    return model


def image_sample(boxes, labels, shape=(64, 96), polygons=False):
    """An image of rectangular objects, boxes (x1, y1, x2, y2) in pixels."""
    if polygons:
        masks = PolygonMasks(
            [[np.array([x1, y1, x2, y1, x2, y2, x1, y2], np.float32)]
             for x1, y1, x2, y2 in boxes], *shape)
    else:
        masks = np.zeros((len(boxes), *shape), np.uint8)
        for mask, (x1, y1, x2, y2) in zip(masks, boxes):
            mask[y1:y2, x1:x2] = 1
        masks = BitmapMasks(masks, *shape)
    sample = DetDataSample(
        metainfo=dict(
            img_path=f'{len(boxes)}.jpg', img_shape=shape, ori_shape=shape))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        masks=masks)
    return sample


TWO = dict(boxes=[(8, 8, 40, 40), (50, 20, 90, 60)], labels=[2, 5])


def losses_of(model, samples, shape=(64, 96)):
    """Losses of random images under a fixed seed."""
    torch.manual_seed(1)
    return model.train().loss(torch.randn(len(samples), 3, *shape), samples)


def assert_same(first, second):
    """Two dicts of losses are equal."""
    assert first.keys() == second.keys()
    for name in first:
        assert_close(first[name], second[name], msg=name)


class GivenModel(nn.Module):
    """A frame model of one image whose predictions are given."""

    def __init__(self, cls_logits, boxes, masks):
        super().__init__()
        self.cls_logits, self.boxes, self.masks = cls_logits, boxes, masks
        self.num_segmented = []

    def forward_frames(self, images, targets=None, sizes=None):
        embeds = torch.arange(len(self.boxes))[None, :, None].float()
        return FrameOutput(embeds, self.cls_logits[None], self.boxes[None],
                           torch.zeros(1, 1, *self.masks.shape[-2:]))

    def segment(self, embeds, mask_features, boxes=None):
        inds = embeds[0, :, 0].long()
        assert torch.equal(boxes[0], self.boxes[inds])
        self.num_segmented.append(len(inds))
        return self.masks[None, inds]


def given(cls_logits, boxes, masks, max_per_img=100):
    """A detector with given predictions; three queries, two classes."""
    model = build(**{'model.test_cfg': dict(max_per_img=max_per_img)}).eval()
    model.frame_model = GivenModel(
        torch.tensor(cls_logits), torch.tensor(boxes), masks)
    return model


def three_queries(**kwargs):
    """Query 1 stands for both classes, the mask of query 2 is empty."""
    masks = torch.full((3, 8, 8), -3.0)  # a 32 x 32 input
    masks[0] = 2.0
    masks[1] = 1.0
    return given([[-9.0, 1.0], [3.0, 2.0], [0.0, -8.0]],
                 [[0.5, 0.5, 0.25, 0.5], [0.875, 0.5, 0.5, 0.25],
                  [0.25, 0.25, 0.5, 0.5]], masks, **kwargs)


def predict(model, img_shape=(24, 28), ori_shape=(48, 56), **kwargs):
    """Results of one 32 x 32 input."""
    sample = DetDataSample(
        metainfo=dict(img_shape=img_shape, ori_shape=ori_shape))
    with torch.no_grad():
        out, = model.predict(torch.zeros(1, 3, 32, 32), [sample], **kwargs)
    return out.pred_instances


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def test_scores_labels_boxes_and_masks():
    out = predict(three_queries(max_per_img=4))
    assert out.labels.tolist() == [0, 1, 1, 0]
    assert_close(
        out.scores,
        torch.tensor([
            sigmoid(3) * sigmoid(1),
            sigmoid(2) * sigmoid(1),
            sigmoid(1) * sigmoid(2), 0.0
        ]))
    # the padded input, 32 x 32, is 64 x 64 in pixels of the original; boxes
    # are not clipped to its 56 x 48
    assert_close(
        out.bboxes,
        torch.tensor([[40.0, 24.0, 72.0, 40.0], [40.0, 24.0, 72.0, 40.0],
                      [24.0, 16.0, 40.0, 48.0], [0.0, 0.0, 32.0, 32.0]]))
    assert out.masks.dtype == torch.bool and out.masks.shape == (4, 48, 56)
    assert out.masks.flatten(1).all(1).tolist() == [True, True, True, False]
    assert not out.masks[3].any()


def test_mask_score_is_the_mean_inside_the_mask():
    masks = torch.full((1, 8, 8), -4.0)
    masks[:, :, :2], masks[:, :, 2:4] = 4.0, 2.0
    model = given([[5.0, -9.0]], [[0.5] * 4], masks, max_per_img=1)
    out = predict(model, (32, 32), (32, 32))
    logits = torch.nn.functional.interpolate(
        masks[None], scale_factor=4, mode='bilinear')[0, 0]
    assert torch.equal(out.masks[0], logits > 0)
    expected = sigmoid(5) * logits[logits > 0].sigmoid().mean()
    assert_close(out.scores[0], expected)


def test_results_of_the_network_size():
    out = predict(three_queries(max_per_img=1), rescale=False)
    assert out.masks.shape == (1, 24, 28)
    assert out.bboxes.tolist() == [[20.0, 12.0, 36.0, 20.0]]


def test_fewer_candidates_than_asked_for():
    assert len(predict(three_queries(max_per_img=100))) == 6


def test_only_queries_that_survive_are_segmented():
    model = three_queries(max_per_img=2)
    predict(model)
    assert model.frame_model.num_segmented == [1]


def test_chunks_do_not_matter(monkeypatch):
    model = three_queries()
    whole = predict(model)
    monkeypatch.setattr(frame_model_detector, 'MASK_CHUNK', 2)
    parts = predict(model)
    assert model.frame_model.num_segmented == [3, 2, 1]
    for name in ('scores', 'labels', 'bboxes', 'masks'):
        assert torch.equal(whole.get(name), parts.get(name))


def test_rescaled_boxes_of_a_shrunken_image():
    # 100 x 200 -> 50 x 100 -> padded to 64 x 128
    boxes = rescale_boxes(
        torch.tensor([[0.5, 0.5, 1.0, 0.5]]), (64, 128),
        dict(img_shape=(50, 100), ori_shape=(100, 200)))
    assert boxes.tolist() == [[0.0, 32.0, 256.0, 96.0]]


def test_images_of_a_batch_get_their_own_results():
    model = build().eval()
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 96)
    samples = [image_sample([], [], (64, 96)), image_sample([], [], (48, 80))]
    together = model.predict(images, samples)
    for i in range(2):
        alone, = model.predict(images[i:i + 1], [samples[i].clone()])
        assert_close(together[i].pred_instances.scores,
                     alone.pred_instances.scores)
    shapes = [tuple(out.pred_instances.masks.shape) for out in together]
    assert shapes == [(NUM_QUERIES * NUM_CLASSES, 64, 96),
                      (NUM_QUERIES * NUM_CLASSES, 48, 80)]


@pytest.mark.parametrize('dn', ['maskdino', 'cdn', None])
@pytest.mark.parametrize(
    'samples', [(TWO, TWO), (TWO, dict(boxes=[], labels=[])),
                (dict(boxes=[], labels=[]), ) * 2],
    ids=['all', 'one empty', 'all empty'])
def test_every_parameter_gets_a_gradient(dn, samples):
    model = build(dn)
    losses = losses_of(model, [image_sample(**kwargs) for kwargs in samples])
    assert_trains(model, losses)


@pytest.mark.parametrize('dn', ['maskdino', 'cdn', None])
def test_image_with_ignored_regions_only(dn):
    """Nothing is background but queries without a mask."""
    model = build(dn)
    samples = [image_sample([], []), image_sample(**TWO)]
    known = losses_of(model, samples)
    add_ignored(samples[0], (0, 0, 96, 64))
    losses = losses_of(model, samples)
    for name, loss in losses.items():
        if name.endswith('loss_cls') and 'dn_' not in name:
            assert 0 < loss < known[name]
        else:
            assert_close(loss, known[name], msg=name)
    assert_trains(model, losses)


def test_empty_images_have_class_losses_only():
    losses = losses_of(build(), [image_sample([], [])])
    for name, loss in losses.items():
        assert (loss > 0) == (name.endswith('loss_cls') and 'dn_' not in name)


def test_polygons_equal_bitmaps():
    targets = [
        ClipTargets.from_image(
            image_sample(polygons=polygons, **TWO), torch.zeros(3, 96, 128))
        for polygons in (False, True)
    ]
    assert targets[0].masks.shape == (1, 2, 96, 128)
    assert torch.equal(targets[0].masks, targets[1].masks)
    # (8, 8, 40, 40) of 128 x 96
    assert_close(targets[1].boxes[0, 0],
                 torch.tensor([24 / 128, 24 / 96, 32 / 128, 32 / 96]))
    assert targets[1].labels.tolist() == [2, 5]


def test_more_objects_than_queries():
    boxes = [(x, y, x + 9, y + 9) for x in range(0, 80, 16)
             for y in range(0, 50, 10)]
    assert len(boxes) > NUM_QUERIES
    for dn in ('maskdino', 'cdn'):
        model = build(dn)
        losses = losses_of(model, [
            image_sample(boxes, [1] * len(boxes)),
            image_sample(**TWO),
        ])
        assert_trains(model, losses)


@pytest.mark.parametrize('box', [(20, 20, 20, 20), (20, 10, 20, 40)])
def test_objects_without_area_are_left_out(box):
    whole = image_sample(**TWO)
    sample = image_sample([*TWO['boxes'], box], [2, 5, 6])
    assert not sample.gt_instances.masks.masks[2].any()
    assert_same(losses_of(build(), [whole]), losses_of(build(), [sample]))
    # a mask, but a box without area
    sample.gt_instances.masks.masks[2, 20, 20] = 1
    assert_same(losses_of(build(), [whole]), losses_of(build(), [sample]))


def test_vanished_masks_are_left_out():
    sample = image_sample([*TWO['boxes'], (10, 10, 30, 30)], [2, 5, 6])
    sample.gt_instances.masks.masks[2] = 0
    assert_same(
        losses_of(build(), [image_sample(**TWO)]),
        losses_of(build(), [sample]))


def test_boxes_are_normalised_by_the_padded_size():
    # images of several sizes, padded to 64 x 96 by the data preprocessor
    model = build()
    shapes = [(40, 90), (60, 50)]
    data = model.data_preprocessor(
        dict(
            inputs=[
                torch.zeros(3, *shape, dtype=torch.uint8) for shape in shapes
            ],
            data_samples=[
                image_sample([(0, 0, 24, 32)], [1], shape) for shape in shapes
            ]), True)
    assert data['inputs'].shape == (2, 3, 64, 96)
    for image, sample in zip(data['inputs'], data['data_samples']):
        targets = ClipTargets.from_image(sample, image)
        assert_close(targets.boxes[0], torch.tensor([[.125, .25, .25, .5]]))
        assert targets.masks.shape == (1, 1, 64, 96)


@pytest.mark.parametrize('shape', [(50, 70), (33, 65)])
def test_sizes_not_divisible_by_32(shape):
    model = build()
    sample = image_sample([(4, 4, 30, 30)], [1], shape)
    assert all(
        torch.isfinite(loss)
        for loss in losses_of(model, [sample], shape).values())
    with torch.no_grad():
        out, = model.eval().predict(torch.randn(1, 3, *shape), [sample])
    assert out.pred_instances.masks.shape[1:] == shape


def test_nan_in_an_image_is_named():
    model = build()
    samples = [image_sample(**TWO), image_sample([], [])]
    images = torch.randn(2, 3, 64, 96)
    images[1, 0, 5, 5] = float('nan')
    for run in (model.loss, model.eval().predict):
        with pytest.raises(FloatingPointError, match='NaN or Inf in 0.jpg'):
            run(images, samples)


def test_nan_in_the_weights_is_named():
    model = build().eval()
    model.frame_model.head.fc_cls.bias.data[3] = float('nan')
    images, samples = torch.randn(1, 3, 64, 96), [image_sample(**TWO)]
    with pytest.raises(FloatingPointError, match='in cls_logits'):
        model.predict(images, samples)
    with pytest.raises(FloatingPointError, match='in enc_cls_logits'):
        model.loss(images, samples)


def test_ground_truth_without_masks_is_refused():
    sample = image_sample(**TWO)
    del sample.gt_instances.masks
    with pytest.raises(ValueError, match='must hold masks'):
        losses_of(build(), [sample])


def save(model, folder, **meta):
    """Write a checkpoint; returns its path."""
    path = str(folder / 'model.pth')
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


def classes(number):
    """Options for another number of classes."""
    return {
        'model.frame_model.head.num_classes': number,
        'model.frame_model.dn_query_generator.num_classes': number
    }


def test_another_number_of_classes_is_refused(tmp_path):
    path = save(build(), tmp_path)
    with pytest.raises(
            CheckpointMismatchError,
            match=r'frame_model.head.fc_cls.weight \(7, 32\) in the '
            r'checkpoint, \(4, 32\) in the model.*label_embedding'):
        load_checkpoint(build(**classes(4)), path)


def test_another_number_of_classes_can_be_allowed(tmp_path):
    trained = build()
    path = save(trained, tmp_path)
    torch.manual_seed(5)
    model = MODELS.build(
        detector_cfg(**classes(4), **{'model.allow_mismatch': True}))
    load_checkpoint(model, path)
    assert_close(model.frame_model.memory_trans_fc.weight,
                 trained.frame_model.memory_trans_fc.weight)
    assert model.frame_model.head.fc_cls.weight.shape == (4, 32)


def test_weights_are_those_of_refinevis():
    detector = build('cdn')
    refinevis = MODELS.build(tiny_model_cfg()).state_dict()
    own = detector.state_dict()
    assert all(key.startswith('frame_model.') for key in own)
    assert set(own) == {
        key
        for key in refinevis if key.startswith('frame_model.')
    }


def test_tensor_mode():
    model = build().eval()
    images = torch.randn(2, 3, 64, 96)
    cls_logits, boxes, masks = model(images, mode='tensor')
    assert cls_logits.shape == (2, NUM_QUERIES, NUM_CLASSES)
    assert boxes.shape == (2, NUM_QUERIES, 4)
    assert masks.shape == (2, NUM_QUERIES, 16, 24)
    assert model.extract_feat(images).shape == (2, 32, 16, 24)


@pytest.mark.parametrize('options, reason', [
    ({
        'model.frame_model.backbone': dict(type='ResNet', depth=18)
    }, 'given once'),
    ({
        'model.test_cfg': dict(max_per_img=0)
    }, 'max_per_img >= 1'),
    ({
        'model.test_cfg': dict(score_thr=0.5)
    }, 'max_per_img'),
])
def test_bad_options(options, reason):
    with pytest.raises(ValueError, match=reason):
        build(**options)


def write_config(folder):
    """Write what mmdet's demo APIs read; returns the path."""
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='Resize', scale=(96, 64), keep_ratio=True),
        dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                       'scale_factor'))
    ]
    cfg = Config(
        dict(
            default_scope='mmdet',
            model=detector_cfg(**{'model.test_cfg': dict(max_per_img=5)}),
            test_dataloader=dict(
                dataset=dict(type='CocoDataset', pipeline=pipeline)),
            test_cfg=dict(),
            visualizer=dict(type='DetLocalVisualizer', name='detector')))
    cfg.dump(str(folder / 'tiny.py'))
    return str(folder / 'tiny.py')


def test_mmdet_apis(tmp_path):
    trained = build().eval()
    names = [f'class {i}' for i in range(NUM_CLASSES)]
    weights = save(trained, tmp_path, dataset_meta=dict(classes=names))
    config = write_config(tmp_path)
    model = init_detector(config, weights, palette='random', device='cpu')
    assert model.dataset_meta['classes'] == names
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    out = inference_detector(model, image).pred_instances
    assert out.masks.shape == (5, 70, 90)
    first, second = inference_detector(model, [image, image[:50]])
    assert_close(first.pred_instances.scores, out.scores)
    assert second.pred_instances.masks.shape == (5, 50, 90)

    inferencer = DetInferencer(
        config, weights, device='cpu', show_progress=False)
    result = inferencer(
        image, out_dir=str(tmp_path / 'out'), pred_score_thr=0.0)
    prediction = result['predictions'][0]
    assert_close(torch.tensor(prediction['scores']), out.scores)
    assert prediction['labels'] == out.labels.tolist()
    assert len(prediction['masks']) == 5
    assert len(list((tmp_path / 'out').rglob('*.jpg'))) == 1


def test_coco_metric_of_perfect_predictions(tmp_path):
    masks = torch.full((1, 8, 8), -9.0)
    masks[:, :, 4:] = 9.0  # the right half
    model = given([[5.0, -9.0]], [[0.75, 0.5, 0.5, 1.0]], masks, max_per_img=1)
    sample = DetDataSample(
        metainfo=dict(img_shape=(32, 32), ori_shape=(32, 32), img_id=1))
    out, = model.predict(torch.zeros(1, 3, 32, 32), [sample])
    mask = np.zeros((1, 32, 32), bool)
    mask[:, :, 16:] = True
    assert np.array_equal(out.pred_instances.masks.numpy(), mask)
    segmentation = encode_mask_results(mask)[0]
    segmentation['counts'] = segmentation['counts'].decode()
    ann_file = tmp_path / 'ann.json'
    ann_file.write_text(
        json.dumps(
            dict(
                images=[dict(id=1, file_name='a.jpg', height=32, width=32)],
                categories=[dict(id=1, name='a'),
                            dict(id=2, name='b')],
                annotations=[
                    dict(
                        id=1,
                        image_id=1,
                        category_id=1,
                        iscrowd=0,
                        area=512,
                        bbox=[16, 0, 16, 32],
                        segmentation=segmentation)
                ])))
    metric = CocoMetric(str(ann_file), metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=('a', 'b'))
    metric.process({}, [out.to_dict()])
    scores = metric.evaluate(1)
    assert scores['coco/segm_mAP'] == scores['coco/bbox_mAP'] == 1.0
