# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import functools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close

from refinevis_mm.apis.inference import find_config
from refinevis_mm.models.adapters import CallableSegmenter, MMDetSegmenter
from refinevis_mm.models.adapters.segmenters import (find_num_classes,
                                                     pool_features)
from tests.tiny_detectors import (GREYS, HEIGHT, WIDTH, find_squares, grey_cfg,
                                  squares, tiny_solov2_cfg)

META = dict(
    frame_id=0,
    img_shape=(HEIGHT, WIDTH),
    ori_shape=(HEIGHT, WIDTH),
    scale_factor=(1.0, 1.0))


def as_input(image):
    """A frame as the data preprocessor gives it to a function."""
    return torch.from_numpy(image).permute(2, 0, 1).float()


# ---- features inside of masks ----


def test_pooling_by_hand():
    """12 of 16 columns are picture: 3 of 4 cells; the rest is padding."""
    features = torch.tensor([[[1., 2., 6., 99.], [3., 4., 8., 99.]],
                             [[0., 0., 6., 99.], [0., 0., 0., 99.]]])
    masks = torch.zeros(4, 16, 24, dtype=torch.bool)
    masks[0, :, :8] = True  # the first column of cells
    masks[1, :8, :12] = True  # one cell and a half
    masks[2, 3, 17] = True  # a pixel of the third cell
    meta = dict(img_shape=(8, 12))
    # the means of the picture are 4 and 1
    expected = torch.tensor([[2. - 4, 0. - 1], [4 / 3 - 4, 0. - 1],
                             [6. - 4, 6. - 1], [0., 0.]])
    found = pool_features(features, masks, meta, (8, 16))
    assert_close(found, expected)
    shifted = features + torch.tensor([5., -7.])[:, None, None]
    assert_close(pool_features(shifted, masks, meta, (8, 16)), found)
    assert pool_features(features, masks[:0], meta, (8, 16)).shape == (0, 2)


def test_pooling_of_pictures_smaller_than_a_cell():
    features = torch.tensor([[[3., 9.]]])
    masks = torch.ones(1, 4, 4, dtype=torch.bool)
    found = pool_features(features, masks, dict(img_shape=(4, 4)), (32, 64))
    assert found.tolist() == [[0.]]


# ---- detectors of mmdet ----


def test_detector_of_mmdet():
    segmenter = MMDetSegmenter(grey_cfg().model)
    assert segmenter.num_classes == 2
    image = squares(2)[1]
    found = segmenter.segment(as_input(image), META)
    masks, scores, labels = find_squares(image)
    assert np.array_equal(found.masks, masks) and found.masks.dtype == \
        torch.bool
    assert found.labels.tolist() == labels.tolist()
    assert found.scores.tolist() == pytest.approx(scores)
    # the dark square covers whole cells of 4 x 4 pixels; three channels
    expected = torch.full((3, ), GREYS[0] - image.mean())
    assert found.embeds.shape == (2, 3)
    assert_close(found.embeds[0], expected.float())
    assert segmenter._features == {}  # nothing is held between frames


def test_frames_without_objects():
    segmenter = MMDetSegmenter(grey_cfg().model)
    found = segmenter.segment(torch.zeros(3, HEIGHT, WIDTH), META)
    assert found.masks.shape == (0, HEIGHT, WIDTH)
    assert found.embeds.shape == (0, 3) and len(found) == 0


def test_solov2_without_operators():
    """mmdet's own class; it needs no operator that mmcv-lite lacks."""
    torch.manual_seed(0)
    segmenter = MMDetSegmenter(tiny_solov2_cfg(5).model).eval()
    assert segmenter.num_classes == 5
    meta = dict(
        META,
        img_shape=(60, 90),
        ori_shape=(120, 180),
        scale_factor=(0.5, 0.5))
    with torch.no_grad():
        found = segmenter.segment(torch.randn(3, 64, 96), meta)
    assert 0 < len(found) <= 100
    assert found.masks.shape == (len(found), 120, 180)
    assert found.embeds.shape == (len(found), 32)  # of the FPN
    assert torch.isfinite(found.embeds).all()
    assert found.embeds.std(0).max() > 0  # objects differ


def test_boxes_only_are_refused():
    segmenter = MMDetSegmenter(grey_cfg(with_masks=False).model)
    with pytest.raises(
            ValueError, match='must give masks of instances, got GreyDet'):
        segmenter.segment(as_input(squares(1)[0]), META)


def test_parts_are_no_detectors():
    with pytest.raises(
            ValueError, match='a detector of mmdet, got FCNMaskHead'):
        MMDetSegmenter(dict(type='FCNMaskHead', num_classes=2))


@pytest.mark.parametrize('detector, got', [
    (dict(neck=dict(in_channels=[8])), r'\[\]'),
    (dict(rpn=dict(num_classes=1), head=[dict(num_classes=80)]), r'\[1, 80\]'),
])
def test_number_of_classes_must_be_said_once(detector, got):
    with pytest.raises(ValueError, match=f'name one num_classes, got {got}'):
        find_num_classes(detector)


@pytest.mark.parametrize('name, num', [
    ('mask_rcnn/mask-rcnn_r50_fpn_1x_coco', 80),
    ('cascade_rcnn/cascade-mask-rcnn_r50_fpn_1x_coco', 80),
    ('queryinst/queryinst_r50_fpn_1x_coco', 80),
    ('rtmdet/rtmdet-ins_tiny_8xb32-300e_coco', 80),
    ('lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1', 1203),
    ('yolact/yolact_r50_1xb8-55e_coco', 80),
    pytest.param('htc/htc_r50_fpn_1x_coco', 80),
    pytest.param('scnet/scnet_r50_fpn_1x_coco', 80),
])
def test_number_of_classes_of_mmdets_configs(name, num):
    cfg = Config.fromfile(find_config(f'mmdet::{name}.py'))
    assert find_num_classes(cfg.model) == num


# ---- functions ----

MASK = np.zeros((1, HEIGHT, WIDTH), bool)
MASK[0, 8:20, 10:30] = True
GOOD = dict(masks=MASK, scores=[0.9], labels=[1])


def segment(answer, image=None, num_classes=2):
    """What comes of the answer of a function."""
    image = squares(1)[0] if image is None else image
    segmenter = CallableSegmenter(lambda pixels: answer, num_classes)
    return segmenter.segment(as_input(image), META)


def test_a_function_sees_the_pixels():
    seen = []

    def function(image):
        seen.append(image)
        return find_squares(image)

    image = np.random.default_rng(0).integers(
        0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image[0, 0] = GREYS[0]
    CallableSegmenter(function, 2).segment(as_input(image), META)
    assert np.array_equal(seen[0], image) and seen[0].dtype == np.uint8
    assert seen[0].flags.c_contiguous and seen[0].flags.writeable


BOXES, EMBEDS = [[1., 2., 30., 40.]], [[1., 0.]]


@pytest.mark.parametrize('answer', [
    (MASK, [0.9], [1]),
    [MASK, [0.9], [1]],
    (MASK, [0.9], [1], None, None),
    dict(GOOD, boxes=None),
    (MASK.astype(np.uint8), np.array([0.9]), np.array([1], np.uint8)),
    (torch.from_numpy(MASK), torch.tensor([0.9]), torch.tensor([1])),
    (list(MASK), [0.9], [1]),
    (MASK, [0.9], [1], BOXES, EMBEDS),
    (MASK, [0.9], [1], None, EMBEDS),
    dict(GOOD, boxes=np.array(BOXES), embeds=torch.tensor(EMBEDS)),
])  # yapf: disable
def test_forms_of_an_answer(answer):
    found = segment(answer)
    assert found.masks.dtype == torch.bool
    assert np.array_equal(found.masks, MASK)
    assert found.scores.tolist() == pytest.approx([0.9])
    assert found.labels.tolist() == [1]
    given = str(answer)
    assert ('boxes' in found) == ('30.' in given)
    assert ('embeds' in found) == ('[1., 0.]' in given or '1.0, 0.0' in given)


EMPTY = np.zeros((0, HEIGHT, WIDTH), bool)


@pytest.mark.parametrize('answer', [
    (EMPTY, np.zeros(0), np.zeros(0, int)),
    (torch.from_numpy(EMPTY), torch.zeros(0), torch.zeros(0).long()),
    ([], [], []),
    (np.zeros((0, HEIGHT, WIDTH)), [], []),
    (EMPTY, np.zeros(0), np.zeros(0)),
])  # yapf: disable
def test_functions_that_find_nothing(answer):
    found = segment(answer)
    assert len(found.scores) == len(found.labels) == 0
    assert found.masks.shape == (0, HEIGHT, WIDTH)
    assert found.masks.dtype == torch.bool
    assert not found.labels.is_floating_point()


@pytest.mark.parametrize('answer, message', [
    (None, 'must give masks, scores and labels .* got NoneType'),
    (MASK, 'got ndarray'),
    ((MASK, [0.9]), 'as a tuple or a dict, got tuple'),
    ((MASK, [0.9], [1], BOXES, EMBEDS, 7), 'got tuple'),
    (dict(masks=MASK, scores=[0.9]), r"got \['masks', 'scores'\]"),
    (dict(GOOD, areas=[3]), r"got \['areas', 'labels', 'masks', 'scores'\]"),
    ((MASK.astype(np.float32), [0.9], [1]),
     'must be bool, got torch.float32: .* such as masks > 0.5'),
    ((MASK.astype(np.uint8) * 255, [0.9], [1]),
     'values from 0 to 255: .* such as masks > 127'),
    ((-MASK.astype(np.int64), [0.9], [1]), 'values from -1 to 0'),
    ((MASK, [0.9, 0.8], [1]),
     r'as many masks as scores and labels, got masks \(1, 48, 80\), scores '),
    ((MASK, [0.9], [1, 0]), r'labels \(2,\)'),
    ((MASK, 0.9, 1), r'scores \(\), labels \(\)'),
    ((MASK[0], [0.9], [1]), r'got masks \(48, 80\)'),
    ((MASK, [0.9], [1], BOXES * 2), r'boxes \(2, 4\)'),
    ((MASK, [0.9], [1], None, EMBEDS * 2), r'embeds \(2, 2\)'),
    pytest.param(
        dict(GOOD, masks=None), 'masks'),
    pytest.param(
        dict(GOOD, scores=None), 'scores'),
    pytest.param(
        (MASK, [0.9], ['dog']), "labels .*dog|labels .*str"),
    pytest.param(
        (MASK, [0.9], np.array(['dog'])), "labels"),
    pytest.param(
        (MASK.astype(complex), [0.9], [1]), 'masks'),
])  # yapf: disable
def test_wrong_answers_are_named_in_one_line(answer, message):
    with pytest.raises(ValueError, match=message) as error:
        segment(answer)
    assert '\n' not in str(error.value)


def test_names_of_functions():
    """What a resumed run compares."""

    class Finder:

        def __call__(self, image):
            return find_squares(image)

    def name(function):
        return CallableSegmenter(function, 2).name

    assert name(find_squares) == 'find_squares'
    assert name(Finder()).endswith('.Finder')
    assert name(functools.partial(find_squares)) == 'find_squares'
    assert CallableSegmenter(find_squares, 2).num_classes == 2


def test_sessions_in_threads_do_not_mix_their_features():
    """One model, several threads: each gets what its own image looks like."""
    segmenter = MMDetSegmenter(grey_cfg().model).eval()
    images = [as_input(image) for image in squares(4)]
    expected = [segmenter.segment(image, META).embeds for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(
            pool.map(lambda i: segmenter.segment(images[i % 4], META).embeds,
                     range(64)))
    for i, embeds in enumerate(found):
        assert_close(embeds, expected[i % 4])
    assert segmenter._features == {}


def test_half_precision_does_not_overflow():
    features = torch.full((2, 200, 336), 8., dtype=torch.float16)
    features[:, :100] = -8
    masks = torch.ones(1, 200, 336, dtype=torch.bool)
    masks[0, :100] = False
    found = pool_features(features, masks, dict(img_shape=(200, 336)),
                          (200, 336))
    assert_close(found, torch.full((1, 2), 8.), atol=1e-3, rtol=0)
