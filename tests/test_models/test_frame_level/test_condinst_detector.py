# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer, init_detector
from mmdet.structures import DetDataSample
from mmengine.config import Config
from torch import nn
from torch.testing import assert_close

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameOutput
from tests.tiny_idol import tiny_idol_cfg

CONFIG = 'configs/idol/idol-image_r50_coco.py'


def build(**test_cfg):
    torch.manual_seed(0)
    cfg = tiny_idol_cfg(CONFIG).model
    cfg.test_cfg.update(test_cfg)
    model = MODELS.build(cfg)
    model.init_weights()
    return model.eval()


class GivenModel(nn.Module):
    """A frame model that says what it is told to, for one image."""

    def __init__(self, scores, boxes):
        super().__init__()
        self.cls_logits = torch.tensor([scores]).logit()
        self.boxes = torch.tensor([boxes])

    def forward_frames(self, images, targets=None, sizes=None):
        self.sizes = sizes
        embeds = torch.arange(self.boxes.shape[1])[None, :, None].float()
        return FrameOutput(embeds, self.cls_logits, self.boxes,
                           torch.zeros(1, 1, 8, 12))

    def segment(self, embeds, mask_features, boxes):
        """Query i fills the columns from 2 i + 1 on."""
        columns = torch.arange(24).expand(16, 24) + 0.5
        return torch.stack([columns - 2 * i - 1
                            for i in embeds[0, :, 0]])[None]


def given(scores, boxes, **test_cfg):
    model = build(**test_cfg)
    model.frame_model = GivenModel(scores, boxes)
    return model


def detect(model, img_shape=(64, 96), ori_shape=(64, 96)):
    sample = DetDataSample(
        metainfo=dict(img_shape=img_shape, ori_shape=ori_shape))
    out, = model.predict(torch.zeros(1, 3, 64, 96), [sample])
    return out.pred_instances


SAME = [0.5, 0.5, 0.5, 0.5]


def test_nms_is_class_wise_and_ranks_queries_by_their_best_class():
    # the first three are one box: two of class 0, one of class 1
    scores = [[.3, .1], [.6, .2], [.1, .4], [.5, .45]]
    boxes = [SAME, SAME, SAME, [0.1, 0.1, 0.1, 0.1]]
    model = given(scores, boxes)
    found = detect(model)
    # query 0 goes with all its classes; others keep theirs, the worse too
    assert_close(found.scores, torch.tensor([.6, .5, .45, .4, .2, .1]))
    assert found.labels.tolist() == [0, 0, 1, 1, 1, 0]
    kept = model.keep_queries(torch.tensor(scores), torch.tensor(boxes))
    assert kept.tolist() == [1, 3, 2]
    # a threshold that lets nothing go
    assert len(detect(given(scores, boxes, nms_iou_thr=1.0))) == 8
    assert len(detect(given(scores, boxes, max_per_img=2))) == 2


def test_boxes_are_clipped_and_empty_ones_dropped():
    boxes = [[0.5, 0.5, 2.0, 0.5], [1.2, 0.5, 0.2, 0.2]]
    found = detect(given([[.6, .1], [.5, .1]], boxes), ori_shape=(32, 48))
    assert_close(found.bboxes, torch.tensor([[0., 8., 48., 24.]] * 2))
    assert_close(found.scores, torch.tensor([.6, .1]))
    none = detect(given([[.6, .1]], boxes[1:]))
    assert len(none) == 0 and none.masks.shape == (0, 64, 96)


def test_masks_are_resized_to_the_nearest():
    """The edge lies at pixel 12 of query 1; half of the size: pixel 6."""
    model = given([[.1], [.6]], [SAME, [0.2, 0.2, 0.1, 0.1]])
    whole = detect(model).masks
    assert whole[0].any(0).nonzero()[0] == 12
    half = detect(model, ori_shape=(32, 48)).masks
    assert torch.equal(half, whole[:, ::2, ::2])


def test_padding_is_handed_over():
    model = given([[.6]], [[0.25, 0.25, 0.5, 0.5]])
    found = detect(model, img_shape=(32, 48), ori_shape=(64, 96))
    assert model.frame_model.sizes == [(32, 48)]
    assert_close(found.bboxes, torch.tensor([[0., 0., 96., 64.]]))


@pytest.mark.parametrize('test_cfg, message', [
    (dict(nms_iou_thr=1.5), 'nms_iou_thr must lie in'),
    (dict(max_per_img=0), 'max_per_img >= 1'),
    (dict(score_thr=0.1), 'max_per_img and nms_iou_thr only'),
])
def test_bad_test_cfg(test_cfg, message):
    with pytest.raises(ValueError, match=message):
        build(**test_cfg)


def test_mmdet_apis(tmp_path):
    cfg = tiny_idol_cfg(CONFIG)
    names = [f'class {i}' for i in range(80)]
    weights, config = str(tmp_path / 'tiny.pth'), str(tmp_path / 'tiny.py')
    torch.save(
        dict(
            state_dict=build().state_dict(),
            meta=dict(dataset_meta=dict(classes=names))), weights)
    Config(cfg.to_dict()).dump(config)
    model = init_detector(config, weights, palette='random', device='cpu')
    assert model.dataset_meta['classes'] == names
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3), np.uint8)
    inferencer = DetInferencer(
        config, weights, device='cpu', show_progress=False)
    result = inferencer(image, return_datasamples=True)['predictions'][0]
    found = result.pred_instances
    assert found.masks.shape == (len(found), 70, 90)
    assert result.img_shape == (640, 823) and 0 < len(found) <= 100
