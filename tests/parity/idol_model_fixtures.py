# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replay of whole IDOL models recorded with the official code.

Reads ``tests/data/parity`` and the folder ``REFINEVIS_PARITY_DIR``; the README
beside the files names every array and its tolerance. Models are built from
the recorded hyper-parameters on the shipped configs.
"""
import re
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Tuple
from unittest import mock

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample, TrackDataSample
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools import mask as mask_utils
from torch import Tensor

from refinevis_mm.models.association import contrastive_head
from refinevis_mm.models.frame_level.condinst_masks import dynamic_masks
from refinevis_mm.models.layers.transformer_layers import valid_ratio
from refinevis_mm.registry import MODELS
from refinevis_mm.zoo.conversion import convert_state_dict
from tests.parity.recorded_files import parity_files
from tests.parity.replay import (Comparison, Recording, Row, assert_compared,
                                 compared_groups, one_thread, unpack)

ROOT = Path(__file__).parents[2]
VIDEO_CONFIG = 'configs/idol/idol_r50_8xb4-12k_youtubevis2019.py'
IMAGE_CONFIG = 'configs/idol/idol-image_r50_coco.py'


def idol_model_files() -> List[Path]:
    """Recorded whole models of IDOL."""
    return [
        path for path in parity_files('idol') if 'hp' in Recording(path).meta
    ]


def model_cfg(recording: Recording, path: str = VIDEO_CONFIG) -> Config:
    """A shipped config at the recorded sizes."""
    hp = recording.hp
    cfg = Config.fromfile(str(ROOT / path))
    dims = dict(embed_dims=hp['hidden'])
    attention = dict(
        num_heads=hp['heads'],
        num_levels=hp['levels'],
        feedforward_channels=hp['ffn'],
        dropout=0.0,
        **dims)
    frame_model = dict(
        backbone=dict(base_channels=hp['base'], init_cfg=None),
        neck=dict(
            in_channels=[hp['base'] * 8 * 2**i for i in range(3)],
            out_channels=hp['hidden']),
        encoder=dict(num_layers=hp['enc_layers'], **attention),
        decoder=dict(
            num_layers=hp['dec_layers'],
            num_queries=hp['num_queries'],
            **attention),
        head=dict(
            num_classes=hp['num_classes'],
            num_layers=hp['dec_layers'],
            mask_dims=hp['hidden'] // 32,
            **dims))
    model = dict(frame_model=frame_model)
    if 'backbone' in cfg.model:
        model['backbone'] = frame_model.pop('backbone')
    cfg.merge_from_dict(dict(model=model))
    if 'association_head' in cfg.model:
        cfg.merge_from_dict(
            dict(
                model=dict(
                    association_head=dict(
                        in_channels=hp['hidden'],
                        feat_channels=hp['hidden'],
                        **dims))))
    return cfg


def load(recording: Recording, cfg: Config):
    """The model of a config with the recorded weights."""
    model = MODELS.build(cfg.model)
    conversion = convert_state_dict(recording.state())
    own = model.state_dict()
    conversion.fit_parts(own)  # a detector of images has no association head
    model.load_state_dict(conversion.state_dict)
    return model


def pad_images(images: List[Tensor]) -> Tuple[Tensor, List[Tuple[int, int]]]:
    """Normalise and pad RGB images (H, W, 3); also their sizes (h, w)."""
    preprocessor = MODELS.build(
        dict(
            type='DetDataPreprocessor',
            mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375],
            bgr_to_rgb=True,
            pad_size_divisor=32))
    inputs = [image.flip(-1).permute(2, 0, 1) for image in images]
    padded = preprocessor(dict(inputs=inputs))['inputs']
    return padded, [tuple(image.shape[:2]) for image in images]


# --- forward --------------------------------------------------------------


@lru_cache(maxsize=None)
@one_thread
def replay_forward(path: Path) -> List[Row]:
    """Run the recorded batches and compare every recorded array."""
    recording = Recording(path)
    compare = Comparison(recording)
    model = load(recording, model_cfg(recording)).eval()
    for batch in recording.hp['fwd']:
        with torch.no_grad():
            _compare_batch(compare, model, f'fwd/{batch}')
    return compare.rows


def _compare_batch(compare: Comparison, model, prefix: str) -> None:
    """One batch through the frame model, stage by stage."""
    recording = compare.recording
    frame_model, seen = model.frame_model, {}
    num_images = len(recording.hp['fwd'][prefix.rsplit('/', 1)[1]])
    images, sizes = pad_images(
        [recording[f'{prefix}/image{i}'] for i in range(num_images)])
    hooks = [
        frame_model.encoder.register_forward_hook(
            lambda module, args, out: seen.update(inputs=args, levels=out)),
        frame_model.decoder.register_forward_hook(
            lambda module, args, out: seen.update(decoder=out)),
    ]
    try:
        # ground truth that nobody reads: all layers are wanted
        output = frame_model.forward_frames(images, [], sizes)
    finally:
        for hook in hooks:
            hook.remove()
    compare.close(f'{prefix}/input', images[:1], 1e-5)
    levels, masks = seen['inputs']
    encoder = frame_model.encoder
    if masks is None:
        masks = [level.new_zeros(level[:, 0].shape) > 0 for level in levels]
    for i, (level, mask) in enumerate(zip(levels, masks)):
        compare.equal(f'{prefix}/enc/mask{i}', mask)
        compare.close(f'{prefix}/enc/src{i}', level[:1], 1e-4)
        # far from 0 where there is no picture
        compare.close(f'{prefix}/enc/pos{i}',
                      encoder.positional_encoding(mask)[:1], 1e-4)
    memory = torch.cat([level.flatten(2) for level in seen['levels']], 2)
    compare.close(f'{prefix}/enc/memory', memory.transpose(1, 2), 1e-4)
    compare.equal(f'{prefix}/valid_ratios',
                  torch.stack([valid_ratio(mask) for mask in masks], 1))

    states, boxes, references = seen['decoder']
    rows = torch.arange(num_images)[:, None]
    selected = recording[f'{prefix}/selected']
    layers = output.layers
    picked = output.embeds[rows, selected]
    if f'{prefix}/dec/references' in recording:
        compare.close(f'{prefix}/dec/hs', torch.stack(states)[:, 0], 1e-4)
        compare.close(f'{prefix}/dec/init_reference', references[0][0], 1e-5)
        compare.close(f'{prefix}/dec/references',
                      torch.stack(boxes)[:, 0], 1e-5)
        logits = torch.stack([layer.cls_logits for layer in layers])
        unpadded = torch.stack([layer.boxes for layer in layers])
    else:
        compare.close(f'{prefix}/dec/hs', picked, 1e-4)
        logits, unpadded = output.cls_logits, output.boxes
    scale = output.picture_shares.repeat(1, 2)[:, None]
    compare.close(f'{prefix}/pred_logits', logits, 2e-4)
    compare.close(f'{prefix}/pred_boxes', unpadded / scale, 1e-5)
    best = output.cls_logits.max(-1).values.topk(selected.shape[1])
    compare.equal(
        f'{prefix}/selected',
        best.indices.sort().values,
        expected=selected.sort().values)
    mask_boxes = output.mask_boxes[rows, selected]
    compare.close(f'{prefix}/mask_reference',
                  mask_boxes[..., :2] / scale[..., :2], 1e-5)
    compare.close(f'{prefix}/mask_feats', output.mask_features, 1e-4)
    compare.close(f'{prefix}/controller', frame_model.head.controller(picked),
                  1e-4)
    compare.close(
        f'{prefix}/pred_masks',
        frame_model.segment(picked, output.mask_features, mask_boxes), 1e-3)
    compare.close(f'{prefix}/pred_inst_embed', model.association_head(picked),
                  1e-4)


# --- video ----------------------------------------------------------------

SUPPRESSED = -3  # of `det_ids`: removed by the mask NMS


@lru_cache(maxsize=None)
@one_thread
def replay_video(path: Path) -> List[Row]:
    """Follow the recorded video with every setting."""
    recording = Recording(path)
    compare = Comparison(recording)
    for setting in recording.hp['settings']:
        with torch.no_grad():
            _compare_video(compare, setting)
    return compare.rows


def video_cfg(recording: Recording, setting: str) -> Config:
    """The shipped config with the official values of a setting."""
    params = recording.meta[f'video_{setting}']['params']
    ovis = VIDEO_CONFIG.replace('4-12k_youtubevis2019', '2-12k_ovis')
    cfg = model_cfg(recording, ovis if setting == 'ovis' else VIDEO_CONFIG)
    window = params['inference_tw']
    cfg.model.tracker.update(
        mask_nms_thr=params['nms_pre'],
        new_score_thr=params['add_new_score'],
        select_score_thr=params['inference_select_thres'],
        memory_len=params['memory_len'],
        memory_type='window' if window else 'momentum',
        recency_weight=window,
        frame_weight=window or params['inference_fw'])
    cfg.model.score_average = dict(
        mean='scores', max='max')[params['temporal_score_type']]
    cfg.model.cls_thr = recording.hp['cls_thr'] if params['is_multi_cls'] \
        else None
    return cfg


def _compare_video(compare: Comparison, setting: str) -> None:
    """One setting; what does not depend on it with the first only."""
    recording, where = compare.recording, f'video/{setting}'
    model = load(recording, video_cfg(recording, setting)).eval()
    frames = recording['video/images']
    images, sizes = pad_images(list(frames))
    hw = tuple(recording[f'{where}/hw'].tolist())
    outputs, detections, state = [], [], []
    forward = model.frame_model.forward_frames

    def forward_frames(*args, **kwargs):
        outputs.append(forward(*args, **kwargs))
        return outputs[-1]

    with mock.patch.object(model.frame_model, 'forward_frames',
                           forward_frames):
        for t in range(len(frames)):
            sample = TrackDataSample()
            sample.video_data_samples = [
                DetDataSample(
                    metainfo=dict(
                        frame_id=t,
                        video_id=1,
                        video_length=len(frames),
                        img_shape=sizes[t],
                        ori_shape=hw))
            ]
            if t == 0:
                start = model.init_tracker

                def init_tracker():
                    tracker = start()
                    follow = tracker.track

                    def track(found, frame_id):
                        detections.append(found)
                        return follow(found, frame_id)

                    tracker.track = track
                    return tracker

                model.init_tracker = init_tracker
            last = t == len(frames) - 1
            tracker = model._tracker
            result, = model.predict(images[t][None, None], [sample])
            tracker = tracker if last else model._tracker
            state.append((tracker.last_assignment, tracker.live_ids,
                          tracker.state_dict()['next_id']))
    _compare_detections(compare, where, outputs, detections)
    compare.equal(f'{where}/det_ids', torch.cat([item[0] for item in state]))
    compare.equal(f'{where}/memory_n',
                  torch.tensor([len(item[1]) for item in state]))
    compare.equal(
        f'{where}/memory_ids',
        torch.tensor([track_id for item in state for track_id in item[1]]))
    compare.equal(f'{where}/num_tracklets',
                  torch.tensor([item[2] for item in state]))
    _compare_tracks(compare, where, result.metainfo['pred_tracklets'], outputs,
                    detections, [item[0] for item in state])


def _compare_detections(compare: Comparison, where: str, outputs: list,
                        detections: List[InstanceData]) -> None:
    """Predictions of all queries, and what is handed to the tracker."""
    recording = compare.recording
    counts = torch.tensor([len(found) for found in detections])
    queries = torch.cat([found.query_inds for found in detections])
    own = f'{where}/n_det' in recording
    prefix = where if own else 'video'
    compare.equal(f'{prefix}/n_det', counts)
    compare.equal(f'{prefix}/det_query', queries)
    if own:
        return
    compare.close('video/pred_logits',
                  torch.cat([output.cls_logits for output in outputs]), 2e-4)
    compare.close(
        'video/pred_boxes',
        torch.cat([
            output.boxes / output.picture_shares.repeat(1, 2)[:, None]
            for output in outputs
        ]), 1e-5)
    compare.close('video/det_embed',
                  torch.cat([found.assoc_embeds for found in detections]),
                  1e-4)
    masks = torch.cat([found.masks for found in detections])
    _compare_masks(compare, 'video/det_masks_packed', masks,
                   recording['video/det_near_zero'])


def _compare_masks(compare: Comparison, name: str, masks: Tensor,
                   near_zero: Tensor) -> None:
    """Bits differ at most where the recorded logits are next to zero."""
    expected = unpack(compare.recording[name], masks.shape[-1])
    diff = (masks != expected).flatten(-2).sum(-1)
    compare.check(name, bool((diff <= near_zero).all()), diff, expected,
                  'near_zero pixels')


def _compare_tracks(compare: Comparison, where: str, tracklets: List[dict],
                    outputs: list, detections: List[InstanceData],
                    assigned: List[Tensor]) -> None:
    """Result rows in official order, and the tracks they belong to."""
    recording = compare.recording
    track_ids = list(dict.fromkeys(row['instances_id'] for row in tracklets))
    rows = {row['instances_id']: row for row in tracklets}
    compare.close(f'{where}/scores',
                  torch.tensor([row['score'] for row in tracklets]), 1e-5)
    compare.equal(f'{where}/labels',
                  torch.tensor([row['label'] for row in tracklets]))
    compare.equal(
        f'{where}/row_track',
        torch.tensor(
            [track_ids.index(row['instances_id']) for row in tracklets]))
    compare.equal(f'{where}/track_ids', torch.tensor(track_ids))
    num_frames, (height, width) = len(detections), recording[f'{where}/hw']
    present = torch.zeros(len(track_ids), num_frames, dtype=torch.bool)
    masks = torch.zeros(*present.shape, height, width, dtype=torch.bool)
    queries = torch.full_like(present, -1, dtype=torch.long)
    for row, track_id in enumerate(track_ids):
        for t, code in enumerate(rows[track_id]['segmentations']):
            if code is None:
                continue
            present[row, t] = True
            masks[row, t] = torch.from_numpy(mask_utils.decode(code) > 0)
            position = (assigned[t] == track_id).nonzero()[0, 0]
            queries[row, t] = detections[t].query_inds[position]
    compare.equal(f'{where}/track_present', present)
    compare.equal(f'{where}/track_query', queries)
    _compare_masks(compare, f'{where}/track_masks_packed', masks,
                   recording[f'{where}/track_near_zero'])
    scores = torch.stack([output.cls_logits[0]
                          for output in outputs]).sigmoid()
    kind = recording.meta[f'video_{where.rsplit("/")[-1]}']['params'][
        'temporal_score_type']
    vectors = []
    for row in range(len(track_ids)):
        frames = present[row].nonzero()[:, 0]
        values = scores[frames, queries[row, frames]]
        vectors.append(
            values.mean(0) if kind == 'mean' else values.max(0).values)
    compare.close(f'{where}/track_cls', torch.stack(vectors), 1e-5)


# --- images ---------------------------------------------------------------


@lru_cache(maxsize=None)
@one_thread
def replay_images(path: Path) -> List[Row]:
    """Detect the objects of the recorded images."""
    recording = Recording(path)
    compare = Comparison(recording)
    detector = load(recording, model_cfg(recording, IMAGE_CONFIG)).eval()
    images, sizes = pad_images(
        list(recording.below('fwd/mixed/image').values()))
    outputs = recording.hp['coco_out']
    samples = [
        DetDataSample(metainfo=dict(img_shape=size, ori_shape=tuple(output)))
        for size, output in zip(sizes, outputs)
    ]
    with torch.no_grad():
        samples = detector.predict(images, samples)
        output = detector.frame_model.forward_frames(images, sizes=sizes)
        for row, sample in enumerate(samples):
            _compare_image(compare, detector, output, row, sample)
    return compare.rows


def _compare_image(compare: Comparison, detector, output, row: int,
                   sample: DetDataSample) -> None:
    """Rows of one image in official order, and the masks of queries."""
    recording, where = compare.recording, f'coco/img{row}'
    found = sample.pred_instances
    scores, boxes = output.cls_logits[row].sigmoid(), output.boxes[row]
    compare.equal(f'{where}/kept_queries',
                  detector.keep_queries(scores, boxes))
    queries = detector.select_pairs(scores, boxes)[2]
    queries = queries[_has_area(output, row, queries, sample.metainfo)]
    compare.equal(f'{where}/queries', queries)
    compare.close(f'{where}/scores', found.scores, 1e-5)
    compare.equal(f'{where}/labels', found.labels)
    compare.close(f'{where}/boxes', found.bboxes, 2e-3)
    masks = {query: mask for query, mask in zip(queries.tolist(), found.masks)}
    asked = recording[f'{where}/query_ids'].tolist()
    assert set(asked) <= set(masks)
    _compare_masks(compare, f'{where}/query_masks_packed',
                   torch.stack([masks[query] for query in asked]),
                   recording[f'{where}/near_zero'])


def _has_area(output, row: int, queries: Tensor, meta: dict) -> Tensor:
    """Queries whose clipped boxes are not empty."""
    share = output.picture_shares[row].repeat(2)
    corners = bbox_cxcywh_to_xyxy(output.boxes[row, queries] / share)
    size = torch.tensor(meta['ori_shape']).flip(0).repeat(2)
    corners = (corners * size).clamp(min=0).minimum(size)
    return (corners[:, 2:] > corners[:, :2]).all(1)


# --- training -------------------------------------------------------------

LOSS_NAMES = dict(
    loss_cls='loss_ce',
    loss_bbox='loss_bbox',
    loss_iou='loss_giou',
    loss_mask='loss_mask',
    loss_dice='loss_dice',
    loss_assoc='loss_reid',
    loss_assoc_aux='loss_reid_aux')


def official_loss(name: str) -> str:
    """``'d0.loss_cls'`` -> ``'loss_ce_0'``."""
    layer, loss = re.fullmatch(r'(?:d(\d+)\.)?(loss_\w+)', name).groups()
    return LOSS_NAMES[loss] + (f'_{layer}' if layer else '')


def training_runs() -> List[tuple]:
    """(file, run) of the recorded training steps."""
    return [(path, run) for path in idol_model_files()
            for run in Recording(path).hp['runs']]


def first_negatives(pos: Tensor, neg: Tensor, num_neg_per_pos: int) -> Tensor:
    """The recording's stand-in for random sampling: lowest queries first."""
    num_kept = pos.sum(1).clamp(min=1) * num_neg_per_pos
    return neg & (neg.cumsum(1) <= num_kept[:, None])


def _clip_sample(recording: Recording, run: str, index: int,
                 canvas: Tuple[int, int]) -> TrackDataSample:
    """Ground truth of a pair as the official preparation leaves it.

    Objects that are absent in the key frame leave both frames.
    """
    pair = recording.below(f'pair{index}/')
    target = recording.below(f'{run}/target{index}/')
    frames = []
    for t, name in enumerate(('', 'ref_')):
        valid = target['valid'] if t else torch.ones_like(target['valid'])
        ids = target['ids'][valid]
        rows = [pair[f'frame{t}/ids'].tolist().index(i) for i in ids.tolist()]
        height, width = pair[f'frame{t}/image'].shape[:2]
        boxes = bbox_cxcywh_to_xyxy(target[f'{name}boxes'][valid])
        masks = unpack(pair[f'frame{t}/masks_packed'], width)[rows].byte()
        frames.append(
            DetDataSample(
                metainfo=dict(
                    img_path='', frame_id=t, img_shape=(height, width)),
                gt_instances=InstanceData(
                    labels=target[f'{name}labels'][valid],
                    instances_ids=ids,
                    bboxes=boxes * torch.tensor([width, height] * 2),
                    masks=BitmapMasks(list(masks.numpy()), height,
                                      width).pad(canvas))))
    sample = TrackDataSample()
    sample.video_data_samples = frames
    return sample


@lru_cache(maxsize=None)
@one_thread
def replay_training(path: Path, run: str) -> List[Row]:
    """Run a recorded training step and compare every recorded array."""
    recording = Recording(path)
    compare = Comparison(recording)
    model = load(recording, model_cfg(recording)).train()
    num_pairs = len(recording.hp['train_obj'])
    images, _ = pad_images([
        recording[f'pair{i}/frame{t}/image'] for i in range(num_pairs)
        for t in range(2)
    ])
    samples = [
        _clip_sample(recording, run, i, tuple(images.shape[-2:]))
        for i in range(num_pairs)
    ]
    seen = dict(head=[], pairs=[], match={})
    head, selector = model.frame_model.head, model.pair_selector
    forward, match = model.frame_model.forward_frames, head.match
    assoc_loss = model.association_head.loss

    def watch(owner, key):
        compute = owner.compute_costs

        def compute_costs(*args):
            cost, ious = compute(*args)
            seen[key].append((cost.clone(), ious.clone()))
            return cost, ious

        return mock.patch.object(owner, 'compute_costs', compute_costs)

    def forward_frames(*args):
        seen['output'] = forward(*args)
        return seen['output']

    def head_match(layer, *args):
        out = match(layer, *args)
        seen['match'].setdefault(layer.prefix, out)  # key frames come first
        return out

    def loss(*args):
        seen['pairs_in'] = args
        return assoc_loss(*args)

    with watch(head.assigner,
               'head'), watch(selector.assigner, 'pairs'), mock.patch.object(
                   model.frame_model,
                   'forward_frames', forward_frames), mock.patch.object(
                       head, 'match', head_match), mock.patch.object(
                           model.association_head, 'loss',
                           loss), mock.patch.object(contrastive_head,
                                                    'sample_negatives',
                                                    first_negatives):
        losses = model.loss(images.unflatten(0, (num_pairs, 2)), samples)
    with torch.no_grad():
        _compare_predictions(compare, run, model, seen['output'])
        _compare_matching(compare, run, seen)
        _compare_pairs(compare, run, seen)
    _compare_losses(compare, run, losses)
    model.zero_grad()
    sum(losses.values()).backward()
    _compare_gradients(compare, run, model)
    return compare.rows


def _compare_predictions(compare: Comparison, run: str, model, output) -> None:
    """Predictions of key and reference frames."""
    scale = output.picture_shares.repeat(1, 2)[:, None]
    layers = output.layers
    compare.close(f'{run}/pred_logits',
                  torch.stack([layer.cls_logits[::2] for layer in layers]),
                  2e-4)
    compare.close(
        f'{run}/pred_boxes',
        torch.stack([(layer.boxes / scale)[::2] for layer in layers]), 1e-5)
    compare.close(f'{run}/ref_logits', output.cls_logits[1::2], 2e-4)
    compare.close(f'{run}/ref_boxes', (output.boxes / scale)[1::2], 1e-5)
    embeds = model.association_head(output.embeds)
    compare.close(f'{run}/key_embed', embeds[::2], 1e-4)
    compare.close(f'{run}/ref_embed', embeds[1::2], 1e-4)


def _dynamic_k(ious: Tensor, num_candidates: int) -> Tuple[Tensor, Tensor]:
    """Sum of the largest IoUs of each object, and its number of queries."""
    top = ious.topk(min(num_candidates, len(ious)), dim=0).values.sum(0)
    return top, top.long().clamp(min=1)


def _compare_matching(compare: Comparison, run: str, seen: dict) -> None:
    """Assignments of all layers in the key frames, and their masks."""
    output, costs = seen['output'], iter(seen['head'])
    for number, layer in enumerate(output.layers):
        name = f'aux{number}' if layer.prefix else 'final'
        for image, frame in enumerate(seen['match'][layer.prefix]):
            row = 2 * image
            where = f'{name}/img{image}'
            queries = (frame.gt_inds >= 0).nonzero().flatten()
            compare.equal(f'{run}/match/{where}',
                          torch.stack([queries, frame.gt_inds[queries]]))
            compare.equal(f'{run}/best/{where}', frame.best_query)
            cost, ious = next(costs) if len(frame.best_query) else (
                torch.zeros(len(frame.gt_inds), 0), ) * 2
            top, k = _dynamic_k(ious, 10)
            compare.close(f'{run}/iou_sum10/{where}', top, 1e-5)
            compare.equal(f'{run}/k/{where}', k)
            compare.close(f'{run}/cost/{where}', cost, 2e-3)
            compare.close(
                f'{run}/pred_masks/{where}',
                dynamic_masks(layer.mask_embeds[row, queries][None],
                              output.mask_features[row][None],
                              layer.mask_boxes[row, queries][None])[0], 1e-3)


def _compare_pairs(compare: Comparison, run: str, seen: dict) -> None:
    """Positives and negatives of the contrastive losses, and their input."""
    recording = compare.recording
    keys, refs, pos, neg = seen['pairs_in']
    num_queries = seen['output'].embeds.shape[1]
    costs, item = iter(seen['pairs']), 0
    cosines = F.normalize(keys, dim=1) @ F.normalize(refs, dim=1).t()
    sampled = first_negatives(pos, neg, 10)
    for image in range(len(recording.hp['train_obj'])):
        where = f'{run}/reid/img{image}'
        valid = recording[f'{run}/target{image}/valid']
        cost, ious = next(costs)
        compare.close(f'{where}/cost', cost, 2e-3)
        for num in (10, 100):
            top, k = _dynamic_k(ious, num)
            compare.close(f'{where}/iou_sum{num}', top, 1e-5)
            compare.equal(f'{where}/k{num}', k)
        columns = slice(image * num_queries, (image + 1) * num_queries)
        for mask, ours in (('pos_mask', pos), ('not_negative_mask', ~neg)):
            table = torch.zeros(len(valid), num_queries, dtype=torch.bool)
            table[valid] = ours[item:item + int(valid.sum()), columns]
            compare.equal(f'{where}/{mask}', table)
        for row in range(item, item + int(valid.sum())):
            where = f'{run}/reid/item{row}'
            sims = keys[row] @ refs.t()
            for name, values, negatives, atol in (('contrast', sims, neg[row],
                                                   2e-3),
                                                  ('aux_consin', cosines[row],
                                                   sampled[row], 1e-5)):
                compare.close(f'{where}/{name}',
                              torch.cat([values[pos[row]], values[negatives]]),
                              atol)
                label = 'label' if name == 'contrast' else 'aux_label'
                compare.equal(
                    f'{where}/{label}',
                    torch.cat([
                        pos[row][pos[row]].float(),
                        pos[row][negatives].float()
                    ]))
        item += int(valid.sum())


def _compare_losses(compare: Comparison, run: str,
                    losses: Dict[str, Tensor]) -> None:
    """Every loss before and after its weight, and their sum."""
    recording = compare.recording
    weights = recording.meta['weight_dict']
    ours = {official_loss(name): loss for name, loss in losses.items()}
    for name, loss in ours.items():
        weight = weights[name]
        compare.close(f'{run}/loss_raw/{name}', loss / weight, 1e-4, 1e-4)
        compare.close(f'{run}/loss_weighted/{name}', loss, weight * 1e-4, 1e-4)
    compare.close(f'{run}/loss_total', sum(losses.values()), 1e-4, 1e-4)
    recorded = set(recording.below(f'{run}/loss_raw/'))
    extra = sorted(
        name for name in set(ours) - recorded
        if float(ours[name].detach()) != 0)
    compare.rows.append(
        Row(f'{run}/loss_names', len(extra), 0.0,
            f'no loss beside the official ones {extra or ""}', not extra))


def _compare_gradients(compare: Comparison, run: str, model) -> None:
    """Norms of all gradients, of groups of them, and some whole ones."""
    recording = compare.recording
    params = dict(model.named_parameters())
    state = recording.state()
    table = convert_state_dict(state).table

    def gradient(official):
        """What the official tensor has, its parts one after the other."""
        targets = [
            item.target for item in table.convert(official, state[official])
        ]
        grads = [params[target].grad for target in targets]
        return torch.zeros_like(state[official]) if grads[0] is None \
            else torch.cat(grads, -1)

    names = recording.strings(f'{run}/gradnorm_names')
    norms = {name: gradient(name).norm() for name in names}
    values = torch.stack(list(norms.values()))
    compare.close(f'{run}/gradnorm', values, 1e-3, 1e-3)
    none = recording[f'{run}/grad_is_none']
    compare.equal(f'{run}/grad_is_none', none & (values == 0))
    groups = recording.strings(f'{run}/gradgroup_names')
    squares = dict.fromkeys(groups, torch.zeros(()))
    for name, norm in norms.items():
        group = next(group for group in groups if name.startswith(group))
        squares[group] = squares[group] + norm**2
    compare.close(f'{run}/gradgroup_norm',
                  torch.stack(list(squares.values())).sqrt(), 1e-3, 1e-3)
    for key, expected in recording.below(f'{run}/grad/').items():
        compare.close(f'{run}/grad/{key}', gradient(key),
                      1e-3 * float(expected.abs().max()))


# --- coverage -------------------------------------------------------------

# Arrays that are inputs or serve the comparison of others.
INPUTS = re.compile(r'meta_json|state/.*|fwd/\w+/image\d+|pair\d+/.*|'
                    r'.*/target\d+/.*|.*/grad(norm|group)_names|'
                    r'video/images|.*/hw|.*near_zero|coco/.*/query_ids')


def group_of(name: str) -> str:
    """What is tested together: ``fwd/pad/enc/src0`` -> ``fwd/pad/enc``."""
    parts = name.split('/')
    if parts[0] == 'video' and len(parts) == 2:
        return 'video'
    return '/'.join(parts[:min(len(parts) - 1, 3)]) or name


def recorded_groups(recording: Recording, prefix: str) -> List[str]:
    """Groups of the arrays to compare, see :func:`compared_groups`."""
    return compared_groups(recording, INPUTS, group_of, prefix)


def assert_group(recording: Recording, rows: List[Row], group: str) -> None:
    """All recorded arrays of a group were compared and agree."""
    assert_compared(recording, rows, INPUTS,
                    lambda name: group_of(name) == group)
