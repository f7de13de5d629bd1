# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replay of IDOL's assignments and re-id pairs recorded officially.

Reads ``tests/data/parity/idol_tracker.npz`` and every file with assignments
or re-id cases in the folder ``REFINEVIS_PARITY_DIR``.
"""
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models.association import aux_cosine_loss, contrastive_loss
from refinevis_mm.models.association.ota_assigner import OTAAssigner
from refinevis_mm.models.association.reference_pairs import OTAPairSelector
from refinevis_mm.structures import ClipTargets, FrameOutput, QueryMatch
from tests.parity.idol_fixtures import OUR_FILE, idol_cases, load_case

UNIT_IMAGE = dict(img_shape=(1, 1))


def _instances(data):
    """Predictions and ground truth of a recorded assignment."""
    predictions = InstanceData(
        scores=data['pred_logits'],
        bboxes=bbox_cxcywh_to_xyxy(data['pred_boxes']))
    ground_truth = InstanceData(
        labels=data['gt_labels'], bboxes=bbox_cxcywh_to_xyxy(data['gt_boxes']))
    return predictions, ground_truth


def _assign(data):
    """Our object of each query or -1, and our best query of each object."""
    result = OTAAssigner().assign(*_instances(data), UNIT_IMAGE)
    return result.gt_inds - 1, result.get_extra_property('best_query_inds')


def _recorded(data):
    """The official object of each query or -1, of two the first."""
    gt_inds = torch.full_like(data['out_selected'], -1, dtype=torch.long)
    gt_inds[data['out_selected']] = data['out_gt_of_selected']
    return gt_inds


def _replica(data, repair=True):
    """Bool (Q, G) by IDOL's rules, its stale conflicts included."""
    cost, ious = OTAAssigner().compute_costs(*_instances(data), UNIT_IMAGE)
    chosen = torch.zeros_like(cost, dtype=torch.bool)
    for gt in range(cost.shape[1]):
        k = max(int(ious[:, gt].topk(10).values.sum()), 1)
        chosen[cost[:, gt].topk(k, largest=False).indices, gt] = True
    conflicts = chosen.sum(1) > 1  # never looked up again
    one_hot = F.one_hot(cost.argmin(1), cost.shape[1]).bool()
    chosen[conflicts] = one_hot[conflicts]
    while repair and not chosen.any(0).all():
        cost[chosen.any(1)] += 1e5
        for gt in (~chosen.any(0)).nonzero()[:, 0]:
            chosen[cost[:, gt].argmin(), gt] = True
        chosen[conflicts] = one_hot[conflicts]
    return chosen


@pytest.mark.parametrize('file, case', idol_cases('ota'))
def test_assignment(file, case):
    data, meta = load_case(file, case)
    gt_inds, best_query = _assign(data)
    num_gts = len(data['gt_labels'])
    counts = torch.bincount(gt_inds[gt_inds >= 0], minlength=num_gts)
    assert (counts > 0).all()
    assert gt_inds[best_query].tolist() == list(range(num_gts))
    if meta['match'][int(case[3:])]['repairs'] == 0:
        assert gt_inds.tolist() == _recorded(data).tolist()
        assert best_query.tolist() == data['out_best_query_of_gt'].tolist()
    else:
        # repairs use free queries only: all others are as recorded
        before = _replica(data, repair=False)
        taken, served = before.any(1), before.any(0)
        assert gt_inds[taken].tolist() == _recorded(data)[taken].tolist()
        assert_close(best_query[served], data['out_best_query_of_gt'][served])


@pytest.mark.parametrize('file, case', idol_cases('ota'))
def test_replica_of_official_repairs(file, case):
    """What the recording did is understood: the rules give it again."""
    data, _ = load_case(file, case)
    if len(data['gt_labels']) == 0:
        assert not data['out_selected'].any()
        return
    chosen = _replica(data)
    assert chosen.any(1).tolist() == data['out_selected'].tolist()
    gt_of_selected = chosen.long().argmax(1)[data['out_selected']]
    assert gt_of_selected.tolist() == data['out_gt_of_selected'].tolist()


def test_repairs_differ_where_objects_would_share_a_query():
    data, _ = load_case(OUR_FILE, 'ota0')
    # officially objects 1 and 2 share query 115, and only 1 is trained on it
    assert _replica(data)[115].nonzero()[:, 0].tolist() == [1, 2]
    recorded, (gt_inds, best_query) = _recorded(data), _assign(data)
    assert 2 not in recorded.tolist()
    # ours: the cheaper pair, (115, 2), wins and 1 takes its next free query
    differ = (gt_inds != recorded).nonzero()[:, 0].tolist()
    assert differ == [83, 115]
    assert gt_inds[differ].tolist() == [1, 2]
    assert data['out_best_query_of_gt'].tolist() == [105, 115, 115, 55]
    assert best_query.tolist() == [105, 83, 115, 55]


def test_single_repair_is_as_recorded():
    data, meta = load_case(OUR_FILE, 'ota4')
    assert meta['match'][4]['repairs'] == 1
    gt_inds, best_query = _assign(data)
    assert gt_inds.tolist() == _recorded(data).tolist()
    assert best_query.tolist() == data['out_best_query_of_gt'].tolist()


def _select_pairs(data, images):
    """Our pairs: a clip of key and reference frame for each image."""
    boxes, logits, embeds, targets, matches = [], [], [], [], []
    for image in images:
        ref_boxes, ref_logits, gt_boxes, labels, valid, key_query = (
            data[f'{image}/{name}']
            for name in ('ref_boxes', 'ref_logits', 'gt_boxes', 'gt_labels',
                         'valid', 'key_query'))
        boxes += [torch.full_like(ref_boxes, 0.5), ref_boxes]
        logits += [torch.zeros_like(ref_logits), ref_logits]
        embeds += [data[f'{image}/hs_key'], data[f'{image}/hs_ref']]
        num_gts = len(labels)
        targets.append(
            ClipTargets(
                torch.arange(num_gts), labels,
                torch.stack([torch.ones_like(valid), valid]),
                torch.stack([gt_boxes, gt_boxes]),
                torch.zeros(2, num_gts, 4, 4, dtype=torch.bool),
                torch.arange(2)))
        unmatched = torch.full((len(ref_boxes), ), -1)
        matches += [
            QueryMatch(unmatched, key_query),
            QueryMatch(unmatched, torch.full((int(valid.sum()), ), -1))
        ]
    frames = FrameOutput(
        torch.stack(embeds), torch.stack(logits), torch.stack(boxes),
        torch.zeros(len(boxes), 4, 2, 2))
    return frames, OTAPairSelector()(frames, targets, matches)


@pytest.mark.parametrize('file, case', idol_cases('reid'))
def test_reference_pairs(file, case):
    data, _ = load_case(file, case)
    images = sorted({key.split('/')[0] for key in data if key[:3] == 'img'})
    frames, pairs = _select_pairs(data, images)
    valid = [data[f'{image}/valid'] for image in images]
    pos = torch.block_diag(*(data[f'out/{image}/pos_mask'][rows]
                             for image, rows in zip(images, valid))).bool()
    neg = torch.block_diag(*(~data[f'out/{image}/not_negative_mask'][rows]
                             for image, rows in zip(images, valid))).bool()
    assert torch.equal(pairs.positive, pos)
    assert torch.equal(pairs.negative, neg & ~pos)
    if (pos & neg).any():
        return  # the recorded losses count these queries on both sides

    keys = frames.embeds[tuple(pairs.key_rows.T)]
    refs = frames.embeds[tuple(pairs.ref_rows.T)]
    sims = keys @ refs.t()
    assert len(sims) == data['out/n_items']
    for item, sim in enumerate(sims):
        ours = torch.cat(
            [sim[pairs.positive[item]], sim[pairs.negative[item]]])
        assert_close(ours, data[f'out/item{item}/contrast'])
    loss = contrastive_loss(
        sims, pairs.positive, pairs.negative, count_empty_anchors=True)
    assert_close(loss, data['out/loss_reid'], rtol=0, atol=1e-5)
    # the recording's stand-in for random sampling: lowest queries first
    num_kept = pairs.positive.sum(1).clamp(min=1) * 10
    sampled = pairs.negative & (pairs.negative.cumsum(1) <= num_kept[:, None])
    cosines = F.normalize(keys, dim=1) @ F.normalize(refs, dim=1).t()
    loss = aux_cosine_loss(cosines, pairs.positive, sampled)
    assert_close(loss, data['out/loss_reid_aux'], rtol=0, atol=1e-5)
