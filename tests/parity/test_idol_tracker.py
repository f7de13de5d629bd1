# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replay of IDOL tracking, selection and re-id losses recorded officially.

Reads ``tests/data/parity/idol_tracker.npz`` and every file with tracker
sequences or re-id losses in the folder ``REFINEVIS_PARITY_DIR``.
"""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmengine.structures import InstanceData
from torch.testing import assert_close

from refinevis_mm.models.association import (ContrastiveTracker,
                                             aux_cosine_loss, contrastive_loss)
from tests.parity.idol_fixtures import idol_cases, load_case

NOT_PASSED = -9  # of `out_query_ids`: not selected, or lost in the mask NMS


def _build_tracker(params, **kwargs):
    """Our tracker with the recorded constructor arguments of IDOL's."""
    assert params['match_metric'] == 'bisoftmax'
    return ContrastiveTracker(
        mask_nms_thr=params['nms_thr_pre'],
        init_score_thr=params['init_score_thr'],
        new_score_thr=params['addnew_score_thr'],
        match_score_thr=params['match_score_thr'],
        frame_weight=params['frame_weight'],
        backdrop_iou_thr=params['nms_thr_post'],
        memory_type='window' if params['long_match'] else 'momentum',
        memory_len=params['memory_len'],
        recency_weight=params['temporal_weight'],
        memory_momentum=params['memo_momentum'],
        num_frames_retain=params['memo_tracklet_frames'],
        **kwargs)


def _unpack(packed, width):
    return torch.from_numpy(
        np.unpackbits(packed.numpy(), axis=-1, count=width).astype(bool))


@pytest.mark.parametrize('file, case', idol_cases('seq'))
def test_sequence(file, case):
    data, meta = load_case(file, case)
    tracker = _build_tracker(meta['seq'][int(case[3:])]['params'])
    masks = _unpack(data['masks_packed'], meta['mask_hw'][1])
    ends = data['n_det'].cumsum(0).tolist()
    mem_ends = data['out_mem_n'].cumsum(0).tolist()
    for frame_id, (stop, mem_stop) in enumerate(zip(ends, mem_ends)):
        rows = slice(stop - int(data['n_det'][frame_id]), stop)
        results = tracker.track(
            InstanceData(
                scores=data['scores'][rows],
                labels=data['labels'][rows],
                masks=masks[rows],
                assoc_embeds=data['embeds'][rows]), frame_id)
        expected = data['out_ids'][rows]
        assert tracker.last_assignment.tolist() == expected.tolist()
        kept = expected >= 0
        assert results.instances_id.tolist() == expected[kept].tolist()
        assert_close(results.assoc_embeds, data['embeds'][rows][kept])

        rows = slice(mem_stop - int(data['out_mem_n'][frame_id]), mem_stop)
        state = tracker.state_dict()
        assert state['next_id'] == data['out_num_tracklets'][frame_id]
        assert tracker.live_ids == data['out_mem_ids'][rows].tolist()
        assert_close(state['tracks']['last_seen'], data['out_mem_last'][rows])
        assert_close(state['tracks']['num_seen'], data['out_mem_exist'][rows])
        assert_close(
            state['tracks']['num_seen'].clamp(max=tracker.memory.memory_len),
            data['out_mem_longlen'][rows])
        assert_close(
            tracker.memory_embeds,
            data['out_mem_match_embed'][rows],
            rtol=0,
            atol=1e-5)


@pytest.mark.parametrize('file, case', idol_cases('vid'))
def test_whole_video(file, case):
    data, meta = load_case(file, case)
    video = meta['vid'][int(case[3:])]
    assert video['temporal_score'] == 'mean'
    tracker = _build_tracker(
        video['params'],
        select_score_thr=video['select_score_thr'],
        box_nms_thr=video['class_nms_iou'])
    num_frames = len(data['logits'])
    videos = {}
    for frame_id in range(num_frames):
        probs = data['logits'][frame_id].sigmoid()
        inds = tracker.select(probs, data['boxes'][frame_id])
        scores, labels = probs[inds].max(1)
        logits = data['masks_i8'][frame_id][inds].float() / 8 + 0.013
        results = tracker.track(
            InstanceData(
                scores=scores,
                labels=labels,
                masks=logits > 0,
                assoc_embeds=data['embeds'][frame_id][inds],
                query_inds=inds), frame_id)

        query_ids = torch.full_like(data['out_query_ids'][0], NOT_PASSED)
        passed = tracker.last_assignment > -3
        query_ids[inds[passed]] = tracker.last_assignment[passed]
        expected = data['out_query_ids'][frame_id].tolist()
        assert query_ids.tolist() == expected

        for id_, query in zip(results.instances_id.tolist(),
                              results.query_inds):
            videos.setdefault(id_, {})[frame_id] = probs[query]
        for id_ in tracker.discarded_ids:
            del videos[id_]

    rows = []
    for frames in videos.values():
        means = torch.stack(list(frames.values())).mean(0)
        for label in (means > video['class_score_thr']).nonzero()[:, 0]:
            present = [float(frame in frames) for frame in range(num_frames)]
            rows.append([float(label), float(means[label])] + present)
    expected = torch.cat([
        data['out_labels'][:, None].float(), data['out_scores'][:, None],
        data['out_present'].float()
    ], 1).tolist()
    assert_close(
        torch.tensor(sorted(rows)),
        torch.tensor(sorted(expected)),
        rtol=0,
        atol=1e-5)


@pytest.mark.parametrize('file, case', idol_cases('reidloss'))
def test_free_form_losses(file, case):
    data, _ = load_case(file, case)
    label, aux_label = data['label'][None] == 1, data['aux_label'][None] == 1
    loss = contrastive_loss(data['contrast'][None], label, ~label)
    assert_close(loss, data['out_loss_reid'], rtol=0, atol=1e-5)
    loss = aux_cosine_loss(data['aux_consin'][None], aux_label, ~aux_label)
    assert_close(loss, data['out_loss_reid_aux'], rtol=0, atol=1e-5)


def _first_negatives(pos, neg, num_neg_per_pos=10):
    """The recording's stand-in for random sampling: lowest queries first."""
    num_kept = pos.sum(1).clamp(min=1) * num_neg_per_pos
    return neg & (neg.cumsum(1) <= num_kept[:, None])


@pytest.mark.parametrize('file, case', idol_cases('reid'))
def test_batch_losses(file, case):
    data, _ = load_case(file, case)
    images = sorted({key.split('/')[0] for key in data if key[:3] == 'img'})
    keys, refs, pos, neg, num_items = [], [], [], [], 0
    for image in images:
        valid = data[f'{image}/valid']
        keys.append(data[f'{image}/hs_key'][data[f'{image}/key_query'][valid]])
        refs.append(data[f'{image}/hs_ref'])
        pos.append(data[f'out/{image}/pos_mask'][valid])
        neg.append(~data[f'out/{image}/not_negative_mask'][valid])
        num_items += int(valid.sum())
    keys, refs = torch.cat(keys), torch.cat(refs)
    pos, neg = torch.block_diag(*pos) > 0, torch.block_diag(*neg) > 0
    assert num_items == data['out/n_items']

    sims = keys @ refs.t()
    loss = contrastive_loss(sims, pos, neg, count_empty_anchors=True)
    assert_close(loss, data['out/loss_reid'], rtol=0, atol=1e-5)
    cosines = F.normalize(keys, dim=1) @ F.normalize(refs, dim=1).t()
    loss = aux_cosine_loss(cosines, pos, _first_negatives(pos, neg))
    assert_close(loss, data['out/loss_reid_aux'], rtol=0, atol=1e-5)

    for item in range(num_items):
        label = data[f'out/item{item}/label']
        ours = torch.cat([sims[item][pos[item]], sims[item][neg[item]]])
        assert int(label.sum()) == int(pos[item].sum())
        assert_close(ours, data[f'out/item{item}/contrast'])
