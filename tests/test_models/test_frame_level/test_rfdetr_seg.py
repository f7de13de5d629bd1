# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RF-DETR-Seg against its own package, and as a part of RefineVIS."""
import pytest
import torch
from mmengine.config import Config
from torch.testing import assert_close

from refinevis_mm.models.frame_level.matching import check_finite
from refinevis_mm.models.frame_level.rfdetr_package import (SIZES,
                                                            coco_category_ids)
from refinevis_mm.models.frame_level.rfdetr_seg import RFDETRLayer, RFDETRSeg
from refinevis_mm.models.frame_level.rfdetr_weights import \
    convert_rfdetr_weights
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameOutput, FrameTargets
from tests.demo_clips import clip_targets, empty_clip, two_object_clip
from tests.tiny_rfdetr import SIDE, need_rfdetr, package_network, use_tiny_nano
from tests.training_checks import assert_trains

CONFIG = 'configs/rfdetr/refinevis_rfdetr-seg-nano_2xb2-5k_custom-vis.py'

need_rfdetr()
pytestmark = pytest.mark.zoo


def with_weights_of(network, **options):
    """RFDETRSeg with the weights of a network of the package."""
    model = RFDETRSeg(**options)
    model.load_state_dict(
        convert_rfdetr_weights(network.state_dict(), model)[0])
    return model


@pytest.fixture
def tiny_nano(monkeypatch):
    return use_tiny_nano(monkeypatch)


@pytest.fixture
def model(tiny_nano):
    return with_weights_of(
        package_network('nano', num_classes=3), size='nano', num_classes=3)


def clip(**kwargs):
    return two_object_clip(height=SIDE, width=SIDE, **kwargs)


def few_class_targets(sample):
    for frame in sample:
        frame.gt_instances.labels %= 3
    return clip_targets(sample, height=SIDE, width=SIDE)


def frame_targets(targets):
    return [targets[0].frame(t) for t in range(2)]


@pytest.mark.parametrize('size', SIZES)
def test_results_are_those_of_the_package(size):
    network = package_network(size)
    model = with_weights_of(network, size=size).eval()
    images = torch.randn(1, 3, model.resolution, model.resolution)
    with torch.no_grad():
        expected = network(images)
        out = model.forward_frames(images)
        masks = model.segment(out.embeds, out.mask_features)
    logits = expected['pred_logits']
    assert logits.shape[-1] == 91 and out.cls_logits.shape[-1] == 80
    assert logits.std() > 0.3 and expected['pred_masks'].std() > 0.3
    assert torch.equal(out.cls_logits, logits[..., coco_category_ids()])
    assert torch.equal(out.boxes, expected['pred_boxes'])
    assert torch.equal(masks, expected['pred_masks'])
    side = model.resolution // 4
    assert out.mask_features.shape[-2:] == (side, side)
    assert out.layers == [] and out.dn_queries is None


def test_losses_are_those_of_the_package(tiny_nano):
    from rfdetr.config import SegmentationTrainConfig
    from rfdetr.models.lwdetr import build_criterion_from_config
    options = dict(num_classes=3, group_detr=1)
    network = package_network('nano', **options).train()
    torch.nn.init.constant_(network.class_embed.bias[3:], -1e3)  # unused row
    enc_head = network.transformer.enc_out_class_embed[0]
    torch.nn.init.constant_(enc_head.bias[3:], -1e3)
    model = with_weights_of(network, size='nano', num_classes=3).train()
    criterion, _ = build_criterion_from_config(
        tiny_nano(device='cpu', **options),
        SegmentationTrainConfig(dataset_dir='.', output_dir='.'))
    images = torch.randn(2, 3, SIDE, SIDE)
    targets = few_class_targets(clip())
    frames = frame_targets(targets)
    torch.manual_seed(3)  # points are sampled
    expected = criterion(
        network(images),
        [dict(labels=f.labels, boxes=f.boxes, masks=f.masks) for f in frames])
    torch.manual_seed(3)
    losses = model.loss_frames(model.forward_frames(images, targets), frames)
    assert len(losses) == 15  # five of the encoder and of each layer
    for name, loss in losses.items():
        assert_close(loss, criterion.weight_dict[name] * expected[name])
    assert_trains(model, losses)


def test_shapes_and_prediction_sets(model):
    targets = few_class_targets(clip())
    out = model.forward_frames(torch.randn(2, 3, SIDE, SIDE), targets)
    assert out.embeds.shape == (2, 20, 256) and out.embeds.requires_grad
    assert out.cls_logits.shape == (2, 20, 3)
    assert out.mask_features.shape == (2, 256, SIDE // 4, SIDE // 4)
    assert [layer.prefix for layer in out.layers] == ['enc_', 'd0.', '']
    for layer in out.layers:
        check_finite(layer)
        assert layer.mask_features.shape == out.mask_features.shape
    second = out.select_frames(torch.tensor([1])).layers[0]
    assert torch.equal(second.mask_features[0], out.layers[0].mask_features[1])
    assert torch.equal(second.boxes[0], out.layers[0].boxes[1])


def test_embeddings_carry_the_predictions(model):
    out = model.forward_frames(
        torch.randn(2, 3, SIDE, SIDE), few_class_targets(clip()))
    last = out.layers[-1]
    assert_close(model.classify(out.embeds), last.cls_logits)
    assert_close(model.class_scores(out.embeds), out.cls_logits.sigmoid())
    masks = model.segment(out.embeds, out.mask_features)
    dots = torch.einsum('bqc,bchw->bqhw', last.mask_embeds, out.mask_features)
    assert_close(masks, dots + model.network.segmentation_head.bias)
    # before the last LayerNorm: it changes neither mean nor scale of these,
    # so what TAR gives at its start are the predictions of the frame
    shifted = 3 * out.embeds + 1
    for function in (model.classify, model.match_embeds):
        assert_close(
            function(shifted), function(out.embeds), atol=1e-4, rtol=1e-4)
    assert_close(
        model.segment(shifted, out.mask_features), masks, atol=1e-3, rtol=1e-4)


def test_match_by_hand(model):
    # query 2 lies on the object and says its class, 0 lies there too, 1 says
    # the class, 3 neither
    box = torch.tensor([0.5, 0.5, 0.5, 0.5])
    far = torch.tensor([0.1, 0.1, 0.1, 0.1])
    layer = RFDETRLayer(
        '',
        torch.tensor([[[-3., -3, -3], [-3, 3, -3], [-3, 3, -3], [-3, -3,
                                                                 -3]]]),
        torch.stack([box, far, box, far])[None], torch.zeros(1, 4, 256),
        torch.zeros(1, 256, 24, 24))
    output = FrameOutput(
        torch.zeros(1, 4, 256),
        layer.cls_logits,
        layer.boxes,
        layer.mask_features,
        layers=[layer])
    masks = torch.zeros(1, SIDE, SIDE, dtype=torch.bool)
    masks[:, 24:72, 24:72] = True
    target = FrameTargets(
        torch.tensor([1]), box[None], masks, torch.tensor([0]))
    match, = model.match(output, [target])
    assert match.gt_inds.tolist() == [-1, -1, 0, -1]
    assert match.best_query.tolist() == [2]
    layer.cls_logits[0, 0, 0] = float('nan')
    with pytest.raises(FloatingPointError, match='NaN or Inf in cls_logits'):
        model.match(output, [target])


def test_frames_without_objects(model):
    targets = clip_targets(empty_clip(height=SIDE, width=SIDE))
    out = model.forward_frames(torch.randn(2, 3, SIDE, SIDE), targets)
    frames = frame_targets(targets)
    losses = model.loss_frames(out, frames)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses['loss_bbox'] == 0 and losses['loss_mask_ce'] == 0
    sum(losses.values()).backward()
    for match in model.match(out, frames):
        assert (match.gt_inds == -1).all() and len(match.best_query) == 0


def test_frozen_trains_nothing_of_its_own(tiny_nano):
    model = RFDETRSeg('nano', num_classes=3, frozen=True)
    assert not any(param.requires_grad for param in model.parameters())
    targets = few_class_targets(clip())
    out = model.forward_frames(torch.randn(2, 3, SIDE, SIDE), targets)
    frames = frame_targets(targets)
    assert model.loss_frames(out, frames) == {}
    assert len(model.match(out, frames)) == 2
    embeds = torch.randn(1, 4, 256, requires_grad=True)  # such as TAR's
    model.segment(embeds, out.mask_features[:1]).sum().backward()
    assert embeds.grad.abs().sum() > 0


def test_bad_arguments(tiny_nano):
    with pytest.raises(ValueError, match="one of .*'large'.*, got 'huge'"):
        RFDETRSeg('huge')
    with pytest.raises(ValueError, match='num_classes must be >= 1, got 0'):
        RFDETRSeg('nano', num_classes=0)
    model = RFDETRSeg('nano')
    with pytest.raises(
            ValueError, match='of 96 x 96 .*keep_ratio=False.*, got 128 x 96'):
        model.forward_frames(torch.zeros(1, 3, 96, 128))


def refinevis(**frame_model):
    """The shipped training config on the tiny network, all matches used."""
    cfg = Config.fromfile(CONFIG)
    cfg.model.frame_model.update(num_classes=3, weights=None, **frame_model)
    cfg.model.tracklet_builder.update(score_thr=0, iou_thr=0)
    cfg.model.tar_head.drop_prob = 0
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    for head in (model.association_head, model.tar_head):
        head.init_weights()
    return model.train()


@pytest.mark.parametrize('frozen, rate, steps', [(False, 1e-4, 10),
                                                 (True, 3e-4, 13)])
def test_refinevis_learns_a_clip(tiny_nano, frozen, rate, steps):
    model = refinevis(frozen=frozen)
    images, sample = torch.randn(1, 2, 3, SIDE, SIDE), clip()
    few_class_targets(sample)
    optimizer = torch.optim.AdamW(
        [param for param in model.parameters() if param.requires_grad], rate)
    totals = []
    for _ in range(steps):
        losses = model.loss(images, [sample])
        assert all(torch.isfinite(loss) for loss in losses.values())
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        for head in (model.association_head, model.tar_head):
            grads = [param.grad for param in head.parameters()]
            assert all(grad is not None for grad in grads)
            assert sum(grad.abs().sum() for grad in grads) > 0
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        totals.append(total.item())
    assert {'loss_assoc', 'loss_refine_cls', 'loss_refine_mask'} <= set(losses)
    assert ('loss_ce' in losses) != frozen
    assert sum(totals[-3:]) < 0.85 * sum(totals[:3])
