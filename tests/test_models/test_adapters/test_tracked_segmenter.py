# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models import TrackedSegmenter
from refinevis_mm.models.adapters import CallableSegmenter
from refinevis_mm.models.adapters.tracked_segmenter import (check_segments,
                                                            normalised_boxes)
from refinevis_mm.registry import MODELS
from tests.demo_clips import demo_clip, empty_clip
from tests.model_stream import ModelStream
from tests.tiny_detectors import (HEIGHT, SIDE, TRACKER, WIDTH, find_squares,
                                  grey_cfg, squares)

STREAMING = dict(TRACKER, type='refinevis_mm.StreamingTracker')


class Script:
    """A segmenter that says what stands in a list, frame by frame."""

    num_classes = 3

    def __init__(self, *frames):
        self.frames = frames

    def segment(self, image, meta):
        return self.frames[meta['frame_id']]


def found(*rects, scores=None, labels=None, **fields):
    """Objects whose masks are rectangles (x1, y1, x2, y2)."""
    masks = torch.zeros(len(rects), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, rects):
        mask[y1:y2, x1:x2] = True
    return InstanceData(
        masks=masks,
        scores=torch.tensor(scores or [0.9] * len(rects)),
        labels=torch.tensor(labels or [0] * len(rects)).long(),
        **fields)


def build(segmenter, **settings):
    return TrackedSegmenter(
        segmenter,
        dict(STREAMING, **settings),
        data_preprocessor=dict(type='TrackDataPreprocessor')).eval()


def metas(num_frames):
    return [
        dict(
            frame_id=t,
            img_shape=(HEIGHT, WIDTH),
            ori_shape=(HEIGHT, WIDTH),
            scale_factor=(1.0, 1.0)) for t in range(num_frames)
    ]


def stream(model, images):
    return ModelStream(model).run(images, metas(len(images)))


def images(num_frames):
    return [
        torch.from_numpy(frame).permute(2, 0, 1).float()
        for frame in squares(num_frames)
    ]


LEFT, RIGHT = (2, 4, 22, 24), (50, 10, 70, 40)


def test_squares_keep_their_ids():
    model = build(CallableSegmenter(find_squares, 2))
    results = stream(model, images(16))
    assert [result.frame_id for result in results] == list(range(16))
    for t, result in enumerate(results):
        assert result.ids == [0, 1]  # the better one was born first
        assert_close(result.cls_scores, torch.tensor([[0., 0.9], [0.6, 0.]]))
        assert result.detected.all() and result.scored.all()
        x = result.masks.any(1).float().argmax(1)
        assert x.tolist() == [60 - 4 * t, 4 * t]
        assert result.masks.flatten(1).sum(1).tolist() == [SIDE**2] * 2


def test_built_from_configs():
    model = MODELS.build(
        dict(
            type='refinevis_mm.TrackedSegmenter',
            segmenter=dict(
                type='refinevis_mm.MMDetSegmenter',
                detector=grey_cfg().model.to_dict()),
            tracker=STREAMING)).eval()
    with torch.no_grad():
        results = stream(model, images(3))
        alone = stream(build(CallableSegmenter(find_squares, 2)), images(3))
    for result, expected in zip(results, alone):
        assert result.ids == expected.ids
        assert torch.equal(result.masks, expected.masks)
    assert list(model.state_dict()) == ['segmenter.detector.scale']


def test_masks_and_scores_are_taken_as_they_are():
    first = found(LEFT, RIGHT, scores=[0.5, 0.75], labels=[2, 1])
    result, = stream(build(Script(first)), images(1))
    assert result.ids == [0, 1]
    assert torch.equal(result.masks, first.masks[[1, 0]])
    assert_close(result.cls_scores,
                 torch.tensor([[0., 0.75, 0.], [0., 0., 0.5]]))


def test_frames_without_objects():
    none = found()
    results = stream(build(Script(none, found(LEFT), none, none)), images(4))
    assert [result.ids for result in results] == [[], [0], [], []]
    assert results[0].masks.shape == (0, HEIGHT, WIDTH)
    assert results[0].cls_scores.shape == (0, 3)


def test_given_boxes_are_compared():
    """Masks that do not meet; the boxes (in pixels) do."""
    boxes_only = dict(mask_weight=0, class_weight=0)
    boxes = torch.tensor([[0., 0., 40., 24.]])
    frames = found(LEFT, boxes=boxes), found(RIGHT, boxes=boxes)
    results = stream(build(Script(*frames), **boxes_only), images(2))
    assert results[1].ids == [0]
    frames = found(LEFT), found(RIGHT)
    results = stream(build(Script(*frames), **boxes_only), images(2))
    assert results[1].ids == [1]


def test_given_embeddings_are_compared():
    """Those of the worse object first, as the objects are."""
    looks, scores = torch.tensor([[1., 0.], [0., 1.]]), [0.7, 0.9]
    none = found(embeds=looks[:0])
    first = found(LEFT, RIGHT, scores=scores, embeds=looks)
    last = found(RIGHT, embeds=looks[:1])
    results = stream(build(Script(first, *[none] * 4, last)), images(6))
    assert results[0].ids == [0, 1]  # right, then left
    assert results[5].ids == [1]


def test_scores_decide_about_births():
    frame = found(LEFT, RIGHT, scores=[0.35, 0.5])
    result, = stream(build(Script(frame)), images(1))
    assert torch.equal(result.masks, frame.masks[1:])


def test_the_test_loop_gathers_tracklets():
    model = build(CallableSegmenter(find_squares, 2))
    sample = demo_clip([[]] * 4, [], [], height=HEIGHT, width=WIDTH)
    for frame, meta in zip(sample, metas(4)):
        frame.set_metainfo(dict(scale_factor=meta['scale_factor']))
    out, = model.predict(torch.stack(images(4))[None], [sample])
    tracklets = [(item['instances_id'], item['label'], round(item['score'], 4))
                 for item in out.pred_tracklets]
    assert tracklets == [(0, 1, 0.9), (1, 0, 0.6)]


def test_labels_are_voted_on():
    """The mean of class scores, as of every model."""
    frames = [
        found(LEFT, labels=[label], scores=[score])
        for label, score in ((1, 0.9), (0, 0.8), (1, 0.9))
    ]
    model = build(Script(*frames))
    sample = demo_clip([[]] * 3, [], [], height=HEIGHT, width=WIDTH)
    out, = model.predict(torch.stack(images(3))[None], [sample])
    scores = {item['label']: item['score'] for item in out.pred_tracklets}
    assert scores == pytest.approx({1: 1.8 / 3, 0: 0.8 / 3})


def test_there_is_nothing_to_refine_or_train():
    segmenter = CallableSegmenter(find_squares, 2)
    with pytest.raises(ValueError, match='window must be 0: .* got 4'):
        TrackedSegmenter(segmenter, STREAMING, window=4)
    with pytest.raises(ValueError, match='mode must be one of'):
        TrackedSegmenter(segmenter, STREAMING, mode='both')
    offline = TrackedSegmenter(segmenter, STREAMING, mode='offline')
    assert len(stream(offline, images(2))) == 2  # there is no difference
    with pytest.raises(ValueError, match='train its segmenter on images'):
        offline.loss(torch.zeros(1, 2, 3, 8, 8), [empty_clip()])


def test_normalised_boxes():
    boxes = normalised_boxes(found((20, 12, 60, 24), (0, 0, 0, 0)))
    assert_close(boxes,
                 torch.tensor([[0.5, 0.375, 0.5, 0.25], [0., 0., 0., 0.]]))
    given = found(LEFT, boxes=torch.tensor([[0, 0, 80, 48]]))
    assert normalised_boxes(given).tolist() == [[0.5, 0.5, 1., 1.]]
    assert normalised_boxes(found()).shape == (0, 4)


@pytest.mark.parametrize('change, message', [
    (dict(masks=torch.ones(2, WIDTH, HEIGHT) > 0),
     r'masks .* \(n, height, width\) \(2, 48, 80\), got \(2, 80, 48\)'),
    (dict(masks=torch.ones(2, 1, HEIGHT, WIDTH) > 0), r'got \(2, 1, 48, 80\)'),
    (dict(scores=torch.ones(2, 1)), r'have shape \(n, \), got \(2, 1\) and'),
    (dict(labels=torch.zeros(2, 1).long()), r'have shape \(n, \), got \(2,\)'),
    (dict(boxes=torch.ones(2, 5)), r'boxes .* \(2, 4\), got \(2, 5\)'),
    (dict(scores=torch.tensor([0.5, math.nan])), r'in \[0, 1\], got nan'),
    (dict(scores=torch.tensor([1.5, 0.5])), r'in \[0, 1\], got 1.5'),
    (dict(scores=torch.tensor([-0.5, 0.5])), r'in \[0, 1\], got -0.5'),
    (dict(labels=torch.tensor([0., 1.])), 'whole numbers, got torch.float32'),
    (dict(labels=torch.tensor([0, 3])), r'in \[0, 3\), got 0 to 3'),
    (dict(labels=torch.tensor([-1, 2])), r'in \[0, 3\), got -1 to 2'),
    pytest.param(
        dict(embeds=torch.ones(2)), 'embeds'),
])  # yapf: disable
def test_wrong_segments_are_refused(change, message):
    bad = found(LEFT, RIGHT)
    for name, value in change.items():
        bad.pop(name, None)
        setattr(bad, name, value)
    with pytest.raises(ValueError, match=message) as error:
        check_segments(bad, (HEIGHT, WIDTH), 3)
    assert '\n' not in str(error.value)
    # a stream stays as it was
    model = build(Script(found(LEFT), bad, found(LEFT)))
    stream, (image, ), (meta, *_) = ModelStream(model), images(1), metas(1)
    stream.step(image, meta)
    with pytest.raises(ValueError, match=message):
        stream.step(image, dict(meta, frame_id=1))
    result, = stream.step(image, dict(meta, frame_id=2))
    assert result.ids == [0]


def test_boxes_that_are_not_finite():
    boxes = torch.tensor([[0., 0., math.inf, 5.]])
    with pytest.raises(ValueError, match='boxes must be finite'):
        stream(build(Script(found(LEFT, boxes=boxes))), images(1))
