# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The functions of docs/any_segmenter.md with models of random weights."""
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_utils

from refinevis_mm.apis import VISInferencer
from tests import docs_markdown
from tests.tiny_files import random_frames

pytestmark = pytest.mark.zoo

PAGE = Path(__file__).parents[2] / 'docs' / 'any_segmenter.md'
FRAMES = random_frames(3)
SIZE = FRAMES[0].shape[:2]
LEAST_SCORE = 0.1  # of the functions
# nothing that a model finds is left out
KEEP_ALL = dict(
    select_score_thr=0.0,
    high_score_thr=0.0,
    new_score_thr=0.0,
    mask_nms_thr=1.0,
    min_track_frames=1)


def function_of_page(library):
    """``segment_with`` of the page."""
    block, = (
        block for block in docs_markdown.blocks(PAGE)
        if block.file == f'my_project/{library}_segment.py')
    namespace = {}
    exec(compile(block.text, block.file, 'exec'), namespace)
    return namespace['segment_with']


def follow(segment, classes):
    """(mask, score, label) of every object of every frame, in an order."""
    inferencer = VISInferencer.from_segmenter(segment, classes, **KEEP_ALL)
    frames = []
    for frame in inferencer.stream(FRAMES):
        assert frame.classes == [classes[k] for k in frame.labels]
        frames.append(
            facts((mask_utils.decode(mask) for mask in frame.masks),
                  frame.scores, frame.labels))
    return frames


def facts(masks, scores, labels):
    """What objects are, those without pixels left out."""
    found = [(np.asarray(mask).astype(bool).tobytes(), float(score),
              int(label)) for mask, score, label in zip(masks, scores, labels)]
    return sorted(item for item in found if any(item[0]))


def assert_same(frames, expected):
    """Equal masks and labels; scores of a track are running means."""
    assert len(frames) == len(expected) == len(FRAMES)
    for found, wanted in zip(frames, expected):
        assert [item[0] for item in found] == [item[0] for item in wanted]
    # the first frame has nothing before it
    assert [item[2] for item in frames[0]] == [item[2] for item in expected[0]]
    assert [item[1] for item in frames[0]
            ] == pytest.approx([item[1] for item in expected[0]])


# ---- torchvision ----


@pytest.fixture(scope='module')
def mask_rcnn():
    """Mask R-CNN v2 that finds six objects and gives the image back."""
    detection = pytest.importorskip(
        'torchvision.models.detection', exc_type=ImportError)
    torch.manual_seed(0)
    return detection.maskrcnn_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        num_classes=4,
        min_size=64,
        max_size=96,
        box_detections_per_img=6).eval()


@torch.no_grad()
def ask_mask_rcnn(model, image, thr=LEAST_SCORE):
    """Its objects, by other means than those of the page."""
    rgb = np.stack([image[..., k] for k in (2, 1, 0)]).astype(np.float32)
    found, = model([torch.from_numpy(rgb / 255)])
    keep = found['scores'].numpy() > thr
    return (found['masks'].numpy()[keep][:, 0] > 0.5,
            found['scores'].numpy()[keep], found['labels'].numpy()[keep])


def test_torchvision(mask_rcnn):
    segment = partial(function_of_page('torchvision'), mask_rcnn)
    classes = ['__background__', 'cat', 'dog', 'owl']  # as torchvision's
    expected = [facts(*ask_mask_rcnn(mask_rcnn, image)) for image in FRAMES]
    assert all(expected)
    assert_same(follow(segment, classes), expected)


def test_torchvision_low_scores(mask_rcnn, monkeypatch):
    """Those below 0.1 are left out by the function."""
    bias = mask_rcnn.roi_heads.box_predictor.cls_score.bias
    monkeypatch.setattr(bias, 'data', bias + bias.new_tensor([11., 0, 0, 0]))
    monkeypatch.setattr(mask_rcnn.roi_heads, 'detections_per_img', 50)
    monkeypatch.setattr(mask_rcnn.roi_heads, 'score_thresh', 0.0)
    scores = ask_mask_rcnn(mask_rcnn, FRAMES[0], thr=0)[1]
    assert scores.min() < LEAST_SCORE < scores.max()
    segment = partial(function_of_page('torchvision'), mask_rcnn)
    expected = [facts(*ask_mask_rcnn(mask_rcnn, image)) for image in FRAMES]
    assert_same(follow(segment, list('abcd')), expected)


def test_torchvision_without_detections(mask_rcnn, monkeypatch):
    monkeypatch.setattr(mask_rcnn.roi_heads, 'score_thresh', 1.0)
    segment = partial(function_of_page('torchvision'), mask_rcnn)
    assert follow(segment, list('abcd')) == [[], [], []]


# ---- transformers ----


def mask2former():
    """Mask2Former and the class of its processor, tiny."""
    library = pytest.importorskip('transformers', exc_type=ImportError)
    stages = [f'stage{k}' for k in range(1, 5)]
    config = library.Mask2FormerConfig(
        backbone_config=library.SwinConfig(
            image_size=64,
            embed_dim=8,
            depths=[1] * 4,
            num_heads=[1] * 4,
            window_size=4,
            out_features=stages),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=8,
        num_labels=3)
    torch.manual_seed(0)
    model = library.Mask2FormerForUniversalSegmentation(config).eval()
    return model, library.Mask2FormerImageProcessor(
        size=dict(shortest_edge=64, longest_edge=96))


def eomt():
    """EoMT and the class of its processor, tiny."""
    library = pytest.importorskip('transformers', exc_type=ImportError)
    config = library.EomtConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=16,
        num_blocks=1,
        num_queries=6,
        num_upscale_blocks=1,
        num_labels=3)
    torch.manual_seed(0)
    model = library.EomtForUniversalSegmentation(config).eval()
    return model, library.EomtImageProcessor(
        size=dict(shortest_edge=64, longest_edge=64), do_pad=True)


@pytest.fixture(scope='module', params=[mask2former, eomt])
def universal(request):
    return request.param()


@torch.no_grad()
def ask_universal(model, processor, image):
    """Its objects, by other means than those of the page."""
    rgb = np.stack([image[..., k] for k in (2, 1, 0)], -1)
    out = model(**processor(images=[rgb], return_tensors='pt'))
    found, = processor.post_process_instance_segmentation(
        out, threshold=LEAST_SCORE, target_sizes=[SIZE])
    segments = found['segments_info']
    masks = [(found['segmentation'] == item['id']).numpy()
             for item in segments]
    return (masks, [item['score'] for item in segments],
            [item['label_id'] for item in segments])


def test_transformers(universal):
    model, processor = universal
    segment = partial(function_of_page('transformers'), model, processor)
    classes = list(model.config.id2label.values())
    assert len(classes) == 3
    expected = [
        facts(*ask_universal(model, processor, image)) for image in FRAMES
    ]
    assert all(expected)
    assert_same(follow(segment, classes), expected)


def test_transformers_without_detections(universal, monkeypatch):
    """A processor may find no segment at all."""
    model, processor = universal
    kind = type(processor)
    original = kind.post_process_instance_segmentation

    def nothing_is_sure(self, outputs, threshold, **kwargs):
        return original(self, outputs, threshold=0.9999, **kwargs)

    monkeypatch.setattr(kind, 'post_process_instance_segmentation',
                        nothing_is_sure)
    assert ask_universal(model, processor, FRAMES[0])[1] == []
    segment = partial(function_of_page('transformers'), model, processor)
    assert follow(segment, list('abc')) == [[], [], []]


# ---- ultralytics ----


class Boxed:
    """What a YOLO of ultralytics gives for an image, as its page says."""

    def __init__(self, masks=None, conf=None, cls=None):
        self.masks = None if masks is None else self
        self.data = masks
        self.boxes = self
        self.conf, self.cls = conf, cls


def test_yolo_form():
    """The package is not at hand: its documented form is."""
    masks = torch.zeros(1, *SIZE)
    masks[0, 10:20, 10:20] = 1
    found = [
        Boxed(masks, torch.tensor([0.75]), torch.tensor([1.0])),
        Boxed(),
        Boxed(masks, torch.tensor([0.75]), torch.tensor([1.0]))
    ]
    answers = iter(found)

    def model(image, retina_masks, verbose):
        assert image.shape == (*SIZE, 3) and retina_masks and not verbose
        return [next(answers)]

    segment = partial(function_of_page('yolo'), model)
    wanted = facts(masks, [0.75], [1])
    assert follow(segment, ['a', 'b']) == [wanted, [], wanted]
