# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import importlib
import subprocess
import sys
from itertools import product

import pytest
import torch
from mmcv.ops import RoIAlign, batched_nms, nms, roi_align
from torch.testing import assert_close

from refinevis_mm.compat import torchvision_ops
from refinevis_mm.compat.mmcv_lite import (EXTENSION, MMCVExtensionStub,
                                           has_compiled_ops)
from tests import torchvision_answers as answers

compiled = pytest.mark.skipif(
    not has_compiled_ops(), reason='needs compiled mmcv')


@pytest.fixture
def torchvision():
    """On mmcv-lite, with torchvision for what it answers."""
    if has_compiled_ops():
        pytest.skip('mmcv has its compiled operators')
    return pytest.importorskip('torchvision', exc_type=ImportError)


@pytest.fixture
def no_torchvision(monkeypatch):
    """As if torchvision were not installed."""
    monkeypatch.setattr(torchvision_ops, 'find_spec', lambda name: None)


def answer_nms(boxes, scores, thr):
    """mmcv's NMS, whoever computes it."""
    return nms(boxes, scores, thr)[1]


def first_is_better(scores):
    """Scores in the same order, of equal ones the first a hair better."""
    ranks = scores.sort(descending=True, stable=True)[1].argsort()
    return 1 - ranks / max(len(ranks), 1)


def check_recorded_answers():
    """mmcv's NMS and RoIAlign against the answers of torchvision."""
    found = answers.load()
    for name, thr in product(answers.NMS_CASES, answers.NMS_THRS):
        scores = found[f'{name}_scores']
        if has_compiled_ops():  # its sort of equal scores is not stable
            scores = first_is_better(scores)
        kept = answer_nms(found[f'{name}_boxes'], scores, thr)
        assert kept.tolist() == found[f'nms_{name}_{thr}'].tolist(), (name,
                                                                      thr)
    for case in answers.ROI_CASES:
        features = found['features'].clone().requires_grad_()
        pooled = roi_align(features, found['rois'], case.size, case.scale,
                           case.sampling_ratio, 'avg', case.aligned)
        height, width = case.size
        pooled.backward(found['cotangent'][:, :, :height, :width])
        assert_close(
            pooled.detach(), found[f'{case.key}_out'], atol=1e-5, rtol=1e-5)
        assert_close(
            features.grad, found[f'{case.key}_grad'], atol=1e-5, rtol=1e-5)


@pytest.mark.ops
@compiled
def test_compiled_mmcv_gives_the_recorded_answers():
    check_recorded_answers()


@pytest.mark.zoo
def test_torchvision_gives_the_recorded_answers(torchvision):
    check_recorded_answers()


@pytest.mark.parametrize('name', ['nms', 'roi_align_forward'])
def test_without_torchvision_the_message_has_both_ways_out(
        no_torchvision, name):
    boxes = torch.rand(3, 4)
    call = dict(
        nms=lambda op: op(boxes, boxes[:, 0], iou_threshold=0.5, offset=0),
        roi_align_forward=lambda op: op(
            boxes,
            boxes,
            boxes,
            boxes,
            boxes,
            aligned_height=1,
            aligned_width=1,
            spatial_scale=1.0,
            sampling_ratio=0,
            pool_mode=1,
            aligned=True))
    with pytest.raises(NotImplementedError) as error:
        call[name](getattr(MMCVExtensionStub(), name))
    text = str(error.value)
    assert f'"{name}"' in text and '\n' not in text
    assert 'pip install "refinevis_mm[zoo]"' in text
    assert 'pip install "mmcv>=2.0.0rc4,<2.2.0"' in text


def test_a_torchvision_of_another_torch_is_named(monkeypatch):

    def fail(name):
        raise RuntimeError('operator torchvision::nms does not exist\nmore')

    monkeypatch.setattr(torchvision_ops, 'find_spec', lambda name: True)
    monkeypatch.setattr(torchvision_ops, 'import_module', fail)
    torchvision_ops._import_ops.cache_clear()
    try:
        with pytest.raises(NotImplementedError) as error:
            torchvision_ops.nms(torch.rand(1, 4), torch.rand(1), 0.5, 0)
    finally:
        torchvision_ops._import_ops.cache_clear()
    text = str(error.value)
    assert f'beside torch {torch.__version__}' in text
    assert 'operator torchvision::nms does not exist' in text
    assert '\n' not in text


def test_torchvision_is_not_imported_at_start():
    code = 'import sys; before = set(sys.modules); import refinevis_mm; ' \
        'print("refinevis_mm.compat.torchvision_ops" in sys.modules, ' \
        '"torchvision.ops" in sys.modules)'
    if not has_compiled_ops():
        out = subprocess.run([sys.executable, '-c', code],
                             check=True,
                             capture_output=True,
                             text=True).stdout.split()
        assert out[-2:] == ['True', 'False']


@pytest.mark.zoo
def test_nms_by_hand(torchvision):
    # the second overlaps the first by 8 / 12, the third by nothing; the
    # fourth is as good as the second and lies under it
    boxes = torch.tensor([[0., 0, 10, 1], [2, 0, 12, 1], [20, 0, 30, 1],
                          [2, 0, 12, 1]])
    scores = torch.tensor([0.8, 0.9, 0.7, 0.9])
    dets, kept = nms(boxes, scores, 0.6)
    assert kept.tolist() == [1, 2]
    assert_close(dets[0], torch.tensor([2., 0, 12, 1, 0.9]))
    assert answer_nms(boxes, scores, 0.7).tolist() == [1, 0, 2]
    labels = torch.tensor([0, 1, 0, 1])  # others never meet
    _, kept = batched_nms(boxes, scores, labels, dict(iou_threshold=0.6))
    assert kept.tolist() == [1, 0, 2]


@pytest.mark.zoo
def test_roi_align_by_hand(torchvision):
    # a ramp: the mean of a bin is the value at its centre; aligned, pixel
    # i lies at i + 0.5
    ramp = torch.arange(8.).expand(1, 1, 8, 8).clone().requires_grad_()
    rois = torch.tensor([[0, 2., 2, 6, 4]])
    for aligned, expected in ((True, [[2.5, 4.5]]), (False, [[3., 5.]])):
        pool = RoIAlign((1, 2), sampling_ratio=2, aligned=aligned)
        assert_close(pool(ramp, rois)[0, 0], torch.tensor(expected))
    pool(ramp, rois).sum().backward()
    # each bin is a mean: its gradient sums up to 1
    assert_close(ramp.grad.sum(), torch.tensor(2.))
    assert ramp.grad[0, 0, :2].abs().sum() == 0


@pytest.mark.zoo
def test_what_torchvision_cannot_do_is_said(torchvision):
    boxes, scores = torch.rand(3, 4), torch.rand(3)
    with pytest.raises(NotImplementedError, match='offset=0, got 1'):
        nms(boxes, scores, 0.5, offset=1)
    with pytest.raises(NotImplementedError, match="'avg', got 'max'"):
        RoIAlign(
            2, pool_mode='max')(torch.rand(1, 1, 4, 4),
                                torch.tensor([[0, 0., 0, 2, 2]]))


def test_other_operators_are_missing_as_before():
    with pytest.raises(NotImplementedError) as error:
        MMCVExtensionStub().softnms(1, key=2)
    text = str(error.value)
    assert '"softnms"' in text and 'torchvision' not in text
    assert 'mmcv with compiled operators' in text
    assert importlib.import_module(EXTENSION) is not None
