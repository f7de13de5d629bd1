# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.frame_level.maskdino_head import _matched_masks
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameOutput, FrameTargets, LayerOutput
from tests.demo_clips import tiny_model_cfg

NUM_CLASSES = 7
HEIGHT, WIDTH = 64, 96
LEFT = (slice(None), slice(0, WIDTH // 2))
RIGHT = (slice(None), slice(WIDTH // 2, None))
# what the queries show
SHOW_LEFT, SHOW_RIGHT, SHOW_NOTHING, SHOW_QUARTER = range(4)
BOXES = dict(left=[0.25, 0.5, 0.5, 1.0], right=[0.75, 0.5, 0.5, 1.0])


@pytest.fixture(scope='module')
def head():
    return MODELS.build(tiny_model_cfg().frame_model.head)


def _mask_features():
    """A map for each thing that a query can show, has shape (32, 16, 24)."""
    features = torch.full((32, 16, 24), -5.0)
    features[SHOW_LEFT, :, :12] = 5.0
    features[SHOW_RIGHT, :, 12:] = 5.0
    features[SHOW_QUARTER, :, 9:13] = 5.0  # three columns left, one right
    return features


def _layer(shows, prefix='', seed=0):
    """A prediction set of frames whose queries show these things."""
    torch.manual_seed(seed)
    embeds = torch.eye(32)[torch.tensor(shows)]
    boxes = torch.full((*embeds.shape[:2], 4), 0.1)
    logits = torch.randn(*embeds.shape[:2], NUM_CLASSES)
    return LayerOutput(prefix, logits.requires_grad_(), boxes, embeds)


def _output(*layers):
    num_frames = len(layers[-1].boxes)
    return FrameOutput(
        layers[-1].mask_embeds,
        layers[-1].cls_logits,
        layers[-1].boxes,
        _mask_features().expand(num_frames, -1, -1, -1),
        layers=list(layers))


def _targets(objects, ignored=None):
    """A frame; objects are labels by the name of the side they fill."""
    masks = torch.zeros(len(objects), HEIGHT, WIDTH, dtype=torch.bool)
    for mask, side in zip(masks, objects):
        mask[dict(left=LEFT, right=RIGHT)[side]] = True
    region = None
    if ignored is not None:
        region = torch.zeros(HEIGHT, WIDTH, dtype=torch.bool)
        region[ignored] = True
    return FrameTargets(
        torch.tensor(list(objects.values()), dtype=torch.long),
        torch.tensor([BOXES[side] for side in objects]).reshape(-1, 4), masks,
        torch.arange(len(objects)), region)


def _point_at(layer, frame, query, side, label):
    """Make a query the best one for an object."""
    layer.boxes[frame, query] = torch.tensor(BOXES[side])
    layer.cls_logits.data[frame, query] = -3.0
    layer.cls_logits.data[frame, query, label] = 3.0


def _focal_loss(logits, truth, weights):
    """Weighted sum by its definition; ``truth`` is a label or None."""
    total = 0.0
    for row, label, weight in zip(logits.detach().double(), truth, weights):
        for k, p in enumerate(row.sigmoid()):
            if k == label:
                total += weight * -0.25 * (1 - p)**2 * p.log()
            else:
                total += weight * -0.75 * p**2 * (1 - p).log()
    return 4.0 * total  # loss_weight


@pytest.mark.parametrize('ignored, weights', [
    (RIGHT, [1, 1, 0, 1, 1]),
    (None, [1, 1, 1, 1, 1]),
    (LEFT, [1, 0, 1, 1, 0]),
])
def test_queries_in_ignored_regions_have_no_class_loss(head, ignored, weights):
    """Query 0 is the object on the left, which is never ignored."""
    layer = _layer(
        [[SHOW_LEFT, SHOW_LEFT, SHOW_RIGHT, SHOW_NOTHING, SHOW_QUARTER]])
    _point_at(layer, 0, 0, 'left', 2)
    losses = head.loss_by_feat(
        _output(layer), [_targets(dict(left=2), ignored)])
    grad, = torch.autograd.grad(losses['loss_cls'], layer.cls_logits)
    assert grad[0].any(1).int().tolist() == weights
    expected = _focal_loss(layer.cls_logits[0], [2] + [None] * 4, weights)
    assert_close(losses['loss_cls'].double(), expected, rtol=1e-5, atol=0.0)


def test_each_frame_and_set_has_its_own_queries(head):
    """The second frame has no object and no ignored region."""
    shows = [[SHOW_RIGHT, SHOW_LEFT], [SHOW_RIGHT, SHOW_LEFT]]
    layers = [_layer(shows, 'd0.'), _layer([row[::-1] for row in shows])]
    for layer, query in zip(layers, (1, 0)):
        _point_at(layer, 0, query, 'left', 4)
    losses = head.loss_by_feat(
        _output(*layers), [_targets(dict(left=4), RIGHT),
                           _targets({})])
    for layer, expected in zip(layers, ([0, 1], [1, 0])):
        grad, = torch.autograd.grad(
            losses[f'{layer.prefix}loss_cls'],
            layer.cls_logits,
            retain_graph=True)
        assert grad[0].any(1).int().tolist() == expected
        assert grad[1].any(1).all()


def test_frames_keep_their_own_objects(head):
    layer = _layer([[SHOW_LEFT, SHOW_RIGHT, SHOW_NOTHING]] * 3)
    _point_at(layer, 0, 0, 'left', 2)
    _point_at(layer, 2, 0, 'left', 1)
    _point_at(layer, 2, 1, 'right', 5)
    frames = [dict(left=2), {}, dict(right=5, left=1)]
    losses = head.loss_by_feat(
        _output(layer), [_targets(objects) for objects in frames])
    assert losses['loss_bbox'] == 0
    assert losses['loss_dice'] < 0.5  # of at most 5
    truth = [2, None, None, *[None] * 3, 1, 5, None]
    assert_close(
        losses['loss_cls'].double(),
        _focal_loss(layer.cls_logits.flatten(0, 1), truth, [1] * 9) / 3,
        rtol=1e-5,
        atol=0.0)


def test_matched_query_in_an_ignored_region_is_not_ignored(head):
    layer = _layer([[SHOW_LEFT, SHOW_RIGHT, SHOW_RIGHT]])
    _point_at(layer, 0, 1, 'right', 3)
    targets = [_targets(dict(right=3), RIGHT)]  # an object over a crowd
    (match, ), = head.match([layer], _output(layer).mask_features, targets)
    assert match.gt_inds.tolist() == [-1, 0, -1]
    assert match.ignored.tolist() == [False, False, True]
    losses = head.loss_by_feat(_output(layer), targets)
    grad, = torch.autograd.grad(losses['loss_cls'], layer.cls_logits)
    assert grad[0].any(1).tolist() == [True, True, False]


def test_frame_with_ignored_regions_only(head):
    layer = _layer([[SHOW_LEFT, SHOW_RIGHT, SHOW_NOTHING]])
    losses = head.loss_by_feat(
        _output(layer), [_targets({}, (slice(None), slice(None)))])
    sum(losses.values()).backward()
    assert layer.cls_logits.grad[0].any(1).tolist() == [False, False, True]
    assert_close(
        losses['loss_cls'].double(),
        _focal_loss(layer.cls_logits[0, 2:], [None], [1]),
        rtol=1e-5,
        atol=0.0)
    for name in ('bbox', 'iou', 'mask', 'dice'):
        assert losses[f'loss_{name}'] == 0


def test_empty_region_is_none(head):
    layer = _layer([[SHOW_LEFT, SHOW_RIGHT, SHOW_NOTHING]])
    _point_at(layer, 0, 0, 'left', 1)
    results = []
    for ignored in (None, (slice(0), slice(0))):
        torch.manual_seed(0)
        results.append(
            head.loss_by_feat(
                _output(layer), [_targets(dict(left=1), ignored)]))
    assert len(results[0]) == 5
    assert_close(results[0], results[1])


def test_sets_of_a_frame_are_matched_on_the_same_points(head, monkeypatch):
    """Which query fits best depends on the only point, not on the set."""
    monkeypatch.setattr(head, 'num_match_points', 1)
    torch.manual_seed(0)
    layer = _layer([list(range(12))])
    layer.cls_logits.data[:] = 0
    chosen = set()
    for _ in range(8):
        matches = head.match([layer] * 5,
                             torch.randn(1, 32, 16, 24) * 5,
                             [_targets(dict(left=1))])
        queries = {int(match.best_query) for match, in matches}
        assert len(queries) == 1
        chosen |= queries
    assert len(chosen) > 2


@pytest.mark.parametrize('assigned', [
    [[[0, -1, 1], [-1, -1, -1], [-1, 2, -1]],
     [[-1, 1, 0], [-1, -1, -1], [2, 2, -1]]],
    [[[-1] * 3] * 3] * 2,
    [[[0, -1, -1], [1, 1, 1], [-1, -1, -1]], [[-1] * 3] * 3],
])
def test_matched_masks_are_kernels_times_features(assigned):
    """As one product for each set and frame; the second set is larger."""
    torch.manual_seed(0)
    features = torch.randn(3, 32, 4, 6, requires_grad=True)
    layers = [
        LayerOutput('', None, None, torch.randn(3, num, 32)) for num in (3, 5)
    ]
    assigned = [torch.tensor(rows) for rows in assigned]
    assigned[1] = torch.nn.functional.pad(assigned[1], (2, 0), value=-1)
    masks, sizes = _matched_masks(layers, assigned, features)
    masks = masks.split(sizes)
    expected = [
        torch.cat([
            torch.einsum('pc,chw->phw', layer.mask_embeds[i, rows[i] >= 0],
                         features[i]) for i in range(3)
        ]) for layer, rows in zip(layers, assigned)
    ]
    assert len(masks) == len(expected)
    for found, naive in zip(masks, expected):
        assert found.shape == naive.shape
        assert_close(found, naive)
    grads = [
        torch.autograd.grad(
            sum(part.square().sum() for part in parts), features)[0]
        for parts in (masks, expected)
    ]
    assert_close(*grads)
