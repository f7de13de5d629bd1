# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replay of VITA runs recorded with the official code.

Reads ``tests/data/parity`` and the folder ``REFINEVIS_PARITY_DIR``; the README
beside the files names every array. The model is that of the shipped config,
with the recorded sizes.
"""
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Dict, Iterator, List
from unittest import mock

import numpy as np
import torch
from mmdet.structures import DetDataSample, TrackDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.models.vita.video_frames import VideoFrames
from tests.demo_clips import demo_clip
from tests.parity.minvis_fixtures import (ROOT, build_official,
                                          compare_gradients, decode,
                                          preprocess, shrink_mask2former)
from tests.parity.recorded_files import parity_files
from tests.parity.replay import (Comparison, Recording, Row, one_thread,
                                 random_rule, unpack)

CONFIG = ROOT / 'configs/vita/vita_r50_8xb1-140k_youtubevis2019.py'
LOSS_NAMES = dict(
    loss_cls='ce', loss_mask='mask', loss_dice='dice', loss_sim='sim')


def model_files() -> List[Path]:
    """Recorded models."""
    return parity_files('vita')


def training_runs() -> List[tuple]:
    """(file, run) of the recorded training steps."""
    return [(path, run) for path in model_files()
            for run in Recording(path).meta['runs']]


def build_model(recording: Recording):
    """The shipped model with the recorded sizes and weights."""
    hp = recording.hp

    def shrink(cfg):
        shrink_mask2former(cfg.frame_model,
                           dict(hp, num_queries=hp['frame_queries']))
        cfg.clip_head.update(
            num_classes=hp['num_classes'],
            num_frame_queries=hp['frame_queries'],
            num_queries=hp['clip_queries'],
            in_channels=hp['hidden'],
            embed_dims=hp['hidden'],
            mask_dims=hp['mask_dim'],
            num_heads=hp['vita_heads'],
            feedforward_channels=hp['vita_ffn'],
            num_encoder_layers=hp['vita_enc'],
            num_decoder_layers=hp['vita_dec'],
            window=hp['window'],
            sim_weight=hp['sim_weight'])
        cfg.update(
            num_streams=hp['last_layers'],
            max_per_video=hp['topk'],
            frames_at_once=hp['run_chunk'])

    return build_official(CONFIG, shrink, recording)


# --- the module alone -----------------------------------------------------


@lru_cache(maxsize=None)
@one_thread
def replay_module(path: Path) -> List[Row]:
    """Run the module on recorded frame queries with several windows."""
    recording = Recording(path)
    compare = Comparison(recording)
    head = build_model(recording).eval().clip_head
    for window, length in recording.hp['cases']:
        name = f'mod/W{window}_T{length}'
        queries = recording['mod/frame_query'][None, :length]
        head.encoder.window = window
        with torch.no_grad():
            tokens = head.encoder.fill_windows(head.input_proj(queries))
            layers = []
            for index in range(len(head.encoder.layers)):
                tokens = head.encoder.run_layer(index, tokens, length)
                layers.append(tokens[0])
            clips = head(queries)
            kernels = head.mask_kernels(clips.states[-1][0])
            compare.close(f'{name}/enc', torch.stack(layers), 1e-4)
            compare.close(f'{name}/dec', torch.cat(clips.states), 1e-4)
            compare.close(f'{name}/pred_logits',
                          head.classify(clips.states[-1][0]), 1e-4)
            compare.close(f'{name}/pred_mask_embed', kernels, 1e-4)
            compare.close(f'{name}/fq_embed',
                          head.embed_frame_queries(clips)[0], 1e-4)
            compare.close(f'{name}/cq_embed',
                          head.embed_clip_queries(clips)[0], 1e-4)
            if f'{name}/pred_masks' in recording:
                features = head.mask_feature(recording['mod/mask_features'])
                compare.close(f'{name}/pred_masks',
                              torch.einsum('qc,tchw->qthw', kernels, features),
                              1e-3)
    return compare.rows


# --- inference ------------------------------------------------------------


@lru_cache(maxsize=None)
@one_thread
def replay_video(path: Path) -> List[Row]:
    """Run the recorded video, stage by stage and as the test loop does."""
    recording = Recording(path)
    compare = Comparison(recording)
    model = build_model(recording).eval()
    clip = recording['video/images']
    inputs = preprocess(model, [clip])
    size = tuple(clip.shape[1:3])
    with torch.no_grad():
        frames = model.forward_frames(inputs[0])
        queries = model.frame_queries(frames, 1)
        compare.close('video/frame_query', queries[0], 1e-4)
        compare.close('video/frame_logits',
                      model.frame_model.classify(frames.states[-1]), 1e-4)
        head = model.clip_head
        compare.close('video/mask_features',
                      head.mask_feature(frames.pixels)[-1:], 1e-4)
        state = head(queries).states[-1][0]
        compare.close('video/pred_logits', head.classify(state), 1e-4)
        compare.close('video/pred_mask_embed', head.mask_kernels(state), 1e-4)
        for kind in ('same', 'resized'):
            _compare_results(compare, model, inputs, size,
                             f'video/result_{kind}')
    return compare.rows


def video_sample(length: int, size: tuple, out_size: tuple):
    """A video without ground truth."""
    sample = demo_clip([[]] * length, [], [])
    for frame in sample:
        frame.set_metainfo(dict(img_shape=size, ori_shape=out_size))
    return sample


def _compare_results(compare: Comparison, model, inputs: Tensor, size: tuple,
                     prefix: str) -> None:
    """The results of a video at one output size."""
    recorded = compare.recording.below(f'{prefix}/')
    sample = video_sample(inputs.shape[1], size,
                          tuple(recorded['hw'].tolist()))
    kept = {}
    decode_masks = model.decode_masks

    def watched(kernels: Tensor, video: VideoFrames) -> tuple:
        quality, codes = decode_masks(kernels, video)
        kept.update(quality=quality)
        return quality, codes

    with mock.patch.object(model, 'decode_masks', watched):
        results = model.predict(inputs, [sample])[0].metainfo['pred_tracklets']
    num_classes = compare.recording.hp['num_classes']
    order = (recorded['queries'] * num_classes + recorded['labels']).argsort()
    results.sort(key=lambda row: (row['instances_id'], row['label']))
    compare.equal(f'{prefix}/queries',
                  torch.tensor([row['instances_id'] for row in results]),
                  recorded['queries'][order])
    compare.equal(f'{prefix}/labels',
                  torch.tensor([row['label'] for row in results]),
                  recorded['labels'][order])
    scores = torch.tensor([row['score'] for row in results])
    # of every query once, in their order
    queries = sorted({row['instances_id'] for row in results})
    quality = torch.stack([
        kept['quality'][queries.index(row['instances_id'])] for row in results
    ])
    for name, values in (('scores', scores), ('mask_quality', quality),
                         ('class_scores', scores / quality)):
        compare.close(
            f'{prefix}/{name}', values, 2e-5, expected=recorded[name][order])
    masks = torch.stack(
        [decode(row['segmentations'], recorded['hw']) for row in results])
    expected = unpack(recorded['masks_packed'], recorded['hw'][1])[order]
    diff = (masks != expected).flatten(2).sum(2)
    slack = recorded['near_zero'][order] + 2
    compare.check(f'{prefix}/masks_packed', bool((diff <= slack).all()), diff,
                  expected, 'near_zero + 2 pixels')


# --- training -------------------------------------------------------------


def recorded_clip(recording: Recording, index: int) -> TrackDataSample:
    """A training clip as our pipelines give it."""
    gt = recording.below(f'clip{index}/')
    masks = unpack(gt['masks_packed'], gt['mask_hw'][1])
    samples = []
    for t in range(masks.shape[1]):
        kept = gt['ids'][:, t] >= 0
        size = tuple(masks.shape[2:])
        frame = DetDataSample(
            metainfo=dict(frame_id=t, img_shape=size, ori_shape=size))
        pixels = BitmapMasks(masks[kept, t].numpy().astype(np.uint8), *size)
        frame.gt_instances = InstanceData(
            labels=gt['labels'][kept, t],
            bboxes=pixels.get_bboxes('hbox').tensor,
            masks=pixels,
            # in the recorded order, which ours is that of the ids
            instances_ids=kept.nonzero().flatten())
        samples.append(frame)
    sample = TrackDataSample()
    sample.video_data_samples = samples
    return sample


@contextmanager
def watch_training(model) -> Iterator[dict]:
    """Keep matches, costs and what the losses were computed from.

    Yields:
        dict: ``sets``, each a dict with ``layers``, ``mask_logits``,
        ``matches`` and ``costs`` of frames, then of clips.
    """
    from refinevis_mm.models.frame_level import matching
    head, seen, costs = model.frame_model.head, dict(sets=[]), []
    assign = matching.linear_sum_assignment
    loss_sets = head.loss_sets

    def watched_assign(cost):
        costs.append(torch.as_tensor(cost))
        return assign(cost)

    def watched_sets(layers, mask_logits, targets):
        costs.clear()
        losses, matches = loss_sets(layers, mask_logits, targets)
        seen['sets'].append(
            dict(
                layers=layers,
                matches=matches,
                targets=targets,
                costs=list(costs)))
        return losses, matches

    hook = model.clip_head.register_forward_hook(
        lambda module, args, out: seen.update(queries=args[0], clips=out))
    try:
        with mock.patch.object(head, 'loss_sets', watched_sets), \
                mock.patch.object(matching, 'linear_sum_assignment',
                                  watched_assign):
            yield seen
    finally:
        hook.remove()


@lru_cache(maxsize=None)
@one_thread
def replay_training(path: Path, run: str) -> List[Row]:
    """Run a recorded training step and compare every recorded array."""
    recording = Recording(path)
    compare = Comparison(recording)
    info = recording.meta['runs'][run]
    model = build_model(recording).train()
    num_clips = len(info['objects_per_clip'])
    inputs = preprocess(
        model, [recording[f'clip{i}/images'] for i in range(num_clips)])
    samples = [recorded_clip(recording, i) for i in range(num_clips)]
    with random_rule(info['rule']), watch_training(model) as seen:
        losses = model.loss(inputs, samples)
    frames, clips = seen['sets']
    assert [len(target) for target in frames['targets']] == \
        info['objects_per_frame']
    assert [len(target) for target in clips['targets'][:num_clips]] == \
        info['objects_per_clip']
    _compare_matches(compare, f'{run}/{{}}/frame', frames,
                     [f'img{i}' for i in range(len(frames['targets']))])
    _compare_matches(compare, f'{run}/{{}}/clip', clips, [
        f'layer{stream}_clip{clip}' for stream in range(model.num_streams)
        for clip in range(num_clips)
    ])
    _compare_losses(compare, run, info, losses)
    _compare_predictions(compare, model, inputs, seen)
    model.zero_grad()
    sum(losses.values()).sum().backward()
    compare_gradients(compare, run, model)
    return compare.rows


def _compare_matches(compare: Comparison, prefix: str, found: dict,
                     names: List[str]) -> None:
    """Assignments exactly, costs within 2e-3."""
    costs = iter(found['costs'])
    last = len(found['layers']) - 1
    for i, matches in enumerate(found['matches']):
        layer = 'final' if i == last else f'aux{i}'
        for name, match, target in zip(names, matches, found['targets']):
            queries = (match.gt_inds >= 0).nonzero().flatten()
            cost = next(costs) if len(target) else \
                torch.zeros(len(match.gt_inds), 0)
            name = f'{prefix}/{layer}/{name}'
            compare.equal(
                name.format('match'),
                torch.stack([queries, match.gt_inds[queries]]))
            compare.close(name.format('cost'), cost, 2e-3)


def _compare_losses(compare: Comparison, run: str, info: dict,
                    losses: Dict[str, Tensor]) -> None:
    """Every loss before and after its weight, and their sum."""
    recording = compare.recording
    atol = {'A': 1e-3, 'B': 2e-4}[info['rule']]
    for name, loss in losses.items():
        loss = loss.sum()  # mmdet's have one element
        *prefixes, kind = name.split('.')
        official = 'loss_'
        if prefixes[:1] == ['clip']:
            official, prefixes = 'loss_vita_', prefixes[1:]
        official += LOSS_NAMES[kind]
        official += ''.join(f'_{prefix[1:]}' for prefix in prefixes)
        weight = recording.meta['weight_dict'][official]
        compare.close(f'{run}/loss_raw/{official}', loss / weight, atol)
        compare.close(f'{run}/loss_weighted/{official}', loss, 5 * atol)
    compare.close(f'{run}/loss_total', sum(losses.values()).sum(), 0.0, 1e-4)


def _compare_predictions(compare: Comparison, model, inputs: Tensor,
                         seen: dict) -> None:
    """What the losses were computed from."""
    num_clips, num_frames = inputs.shape[:2]
    frames, clips = (found['layers'] for found in seen['sets'])
    with torch.no_grad():
        states = model.forward_frames(inputs.flatten(0, 1))
        features = model.clip_head.mask_feature(states.pixels)
    streams = (-1, num_clips)
    head = model.clip_head
    values = dict(
        frame_pred_logits=torch.stack([la.cls_logits for la in frames]),
        frame_mask_embed=torch.stack([la.mask_embeds for la in frames]),
        frame_mask_features=states.mask_features,
        clip_mask_features=features.unflatten(0, (num_clips, num_frames)),
        frame_query=seen['queries'].unflatten(0, streams).flatten(1, 2),
        clip_pred_logits=torch.stack(
            [la.cls_logits.unflatten(0, streams) for la in clips]),
        clip_mask_embed=torch.stack(
            [la.mask_embeds.unflatten(0, streams) for la in clips]),
        fq_embed=head.embed_frame_queries(seen['clips']).unflatten(0, streams),
        cq_embed=head.embed_clip_queries(seen['clips']).unflatten(0, streams))
    for name, value in values.items():
        compare.close(f'train/{name}', value, 1e-4)
    for i, target in enumerate(seen['sets'][1]['targets'][:num_clips]):
        compare.equal(f'train/target{i}/labels', target.labels)
        ids = compare.recording[f'train/target{i}/ids']
        seen_masks = target.masks.flatten(2).any(2)
        order = ids.amax(1)
        expected = torch.where(seen_masks, order[:, None], -1)
        compare.equal(f'train/target{i}/ids', expected)
