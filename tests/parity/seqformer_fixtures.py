# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replay of whole SeqFormer models recorded with the official code.

Reads ``tests/data/parity`` and the folder ``REFINEVIS_PARITY_DIR``; the README
beside the files names every array and its tolerance. Models are built from
the recorded hyper-parameters on the shipped config.
"""
import re
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Optional, Tuple
from unittest import mock

import torch
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.config import Config
from pycocotools import mask as mask_utils
from torch import Tensor

from refinevis_mm.models.frame_level import matching
from refinevis_mm.models.seqformer import ClipMatcher, running_clips
from refinevis_mm.models.seqformer.clip_matcher import clip_starts
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets, VideoResult
from refinevis_mm.zoo.conversion import convert_state_dict
from tests.parity.idol_model_fixtures import pad_images
from tests.parity.recorded_files import parity_files
from tests.parity.replay import (Comparison, Recording, Row, assert_compared,
                                 compared_groups, one_thread, unpack)

ROOT = Path(__file__).parents[2]
CONFIG = 'configs/seqformer/seqformer_r50_8xb2-12k_youtubevis2019.py'


def seqformer_files() -> List[Path]:
    """Recorded models of SeqFormer."""
    return parity_files('seqformer')


def model_cfg(recording: Recording, **options) -> Config:
    """The shipped config at the recorded sizes."""
    hp = recording.hp
    cfg = Config.fromfile(str(ROOT / CONFIG))
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
            out_channels=hp['hidden'],
            num_outs=hp['levels']),
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
    cfg.merge_from_dict(dict(model=dict(frame_model=frame_model, **options)))
    return cfg


def load(recording: Recording, **options):
    """The model with the recorded weights."""
    model = MODELS.build(model_cfg(recording, **options).model)
    model.load_state_dict(convert_state_dict(recording.state()).state_dict)
    return model


# --- video ----------------------------------------------------------------


def play(model, images: Tensor, sizes: List[Tuple[int, int]],
         hw: Tuple[int, int]) -> Tuple[List[dict], VideoResult]:
    """Give a video to the test loop frame by frame.

    Returns:
        tuple: The tracklets, and what they were chosen from.
    """
    running = []
    start = running_clips.RunningClips.__init__

    def watched_start(self, *args):
        start(self, *args)
        running.append(self)

    with mock.patch.object(running_clips.RunningClips, '__init__',
                           watched_start):
        for t, image in enumerate(images):
            sample = TrackDataSample()
            sample.video_data_samples = [
                DetDataSample(
                    metainfo=dict(
                        frame_id=t,
                        video_id=1,
                        video_length=len(images),
                        img_shape=sizes[t],
                        ori_shape=hw))
            ]
            result, = model.predict(image[None, None], [sample])
    return result.metainfo['pred_tracklets'], running[0].result


@lru_cache(maxsize=None)
@one_thread
def replay_video(path: Path) -> List[Row]:
    """Run the recorded video as a whole and by clips."""
    recording = Recording(path)
    compare = Comparison(recording)
    images, sizes = pad_images(list(recording['video/images']))
    with torch.no_grad():
        _compare_network(compare, images, sizes)
        for name in recording.meta:
            match = re.fullmatch(r'clips_L(\d+)_S(\d+)', name)
            if match:
                _compare_clips(compare, f'video/{name}', images, sizes,
                               *map(int, match.groups()))
            elif name.startswith('result_'):
                _compare_result(compare, f'video/{name}', images, sizes)
    return compare.rows


def _compare_network(compare: Comparison, images: Tensor,
                     sizes: List[Tuple[int, int]]) -> None:
    """The video through the network, stage by stage."""
    recording = compare.recording
    network = load(recording).eval().frame_model
    seen = dict(box=[], time=[])
    decoder = network.decoder
    hooks = [
        network.encoder.register_forward_hook(
            lambda module, args, out: seen.update(inputs=args, levels=out)),
        decoder.register_forward_hook(
            lambda module, args, out: seen.update(decoded=out)),
    ]
    for fc_reg, layer in zip(network.head.fc_reg, decoder.layers):
        hooks.append(
            fc_reg.register_forward_pre_hook(
                lambda module, args: seen['box'].append(args[0])))
        hooks.append(
            layer.time_attention.register_forward_hook(
                lambda module, args, out: seen['time'].append(out)))
    try:
        frames = network.encode_frames(images, sizes)
        layers = network.decode([frames])
    finally:
        for hook in hooks:
            hook.remove()
    compare.close('video/input_frame0', images[0], 1e-5)
    levels, masks = seen['inputs']
    for i, level in enumerate(levels):
        mask = level.new_zeros(level[:, 0].shape) > 0 if masks is None else \
            masks[i]
        compare.equal(f'video/enc/mask{i}', mask[:1])
        compare.close(f'video/enc/src{i}', level[:1], 1e-4)
        compare.close(f'video/enc/pos{i}',
                      network.encoder.positional_encoding(mask[:1]), 1e-4)
    compare.close('video/enc/memory', frames.value, 1e-4)
    states, boxes, references = seen['decoded']
    compare.close('video/dec/hs', torch.stack(states)[:, 0], 1e-4)
    compare.close('video/dec/hs_box', torch.stack(seen['box']), 1e-4)
    compare.close('video/dec/time_weights',
                  torch.stack(seen['time']).softmax(2)[:, 0, :, :, 0], 2e-5)
    compare.close('video/dec/init_reference', references[0], 2e-5)
    compare.close('video/dec/references', torch.stack(boxes), 2e-5)
    scale = frames.shares.repeat(1, 2)[:, None]
    compare.close('video/pred_logits',
                  torch.stack([layer.cls_logits[0] for layer in layers]), 1e-4)
    compare.close('video/pred_boxes',
                  torch.stack([layer.boxes / scale for layer in layers]), 2e-5)
    compare.close('video/mask_feats', frames.mask_features, 1e-4)
    compare.close('video/controller', layers[-1].mask_embeds[0], 1e-4)
    compare.close(
        'video/pred_masks',
        torch.stack([
            network.segment(layers[-1].mask_embeds[0], features, mask_boxes)
            for features, mask_boxes in zip(frames.mask_features,
                                            layers[-1].mask_boxes)
        ], 1), 2e-3)


def _compare_rows(compare: Comparison, where: str, tracklets: List[dict],
                  ids: Tensor, key: str) -> None:
    """Result rows in official order; ``ids`` are official ones of ours."""
    compare.close(f'{where}/scores',
                  torch.tensor([row['score'] for row in tracklets]), 2e-5)
    compare.equal(f'{where}/labels',
                  torch.tensor([row['label'] for row in tracklets]))
    compare.equal(
        f'{where}/{key}',
        torch.tensor([int(ids[row['instances_id']]) for row in tracklets]))


def _decode(result: VideoResult, instances: List[int],
            hw: Tuple[int, int]) -> Tensor:
    """Masks (n, T, H, W) of instances, whatever their scores."""
    rows = {row['instances_id']: row for row in result.tracklets(-1.0)}
    return torch.stack([
        torch.stack([
            torch.zeros(hw, dtype=torch.bool)
            if code is None else torch.from_numpy(mask_utils.decode(code) > 0)
            for code in rows[instance]['segmentations']
        ]) for instance in instances
    ])


def _compare_masks(compare: Comparison, name: str, masks: Tensor,
                   near_zero: Optional[Tensor]) -> None:
    """Few bits differ, those where the recorded logits are next to zero."""
    expected = unpack(compare.recording[name], masks.shape[-1])
    diff = (masks != expected).flatten(-2).sum(-1)
    allowed = torch.zeros_like(diff) if near_zero is None else near_zero
    compare.check(name, bool((diff <= allowed + 2).all()), diff, expected,
                  'near_zero + 2 pixels')


def _compare_result(compare: Comparison, where: str, images: Tensor,
                    sizes: List[Tuple[int, int]]) -> None:
    """Results of the whole video as one clip."""
    recording = compare.recording
    model = load(recording, cls_thr=recording.hp['cls_thr']).eval()
    hw = tuple(recording[f'{where}/hw'].tolist())
    chosen = []
    best = running_clips.best_queries

    def best_queries(*args):
        chosen.append(best(*args))
        return chosen[-1]

    with mock.patch.object(running_clips, 'best_queries', best_queries):
        tracklets, found = play(model, images, sizes, hw)
    queries, = chosen
    order = queries.argsort()
    compare.equal(f'{where}/query_ids', queries[order])
    _compare_rows(compare, where, tracklets, queries, 'row_query')
    masks = _decode(found, order.tolist(), hw)
    _compare_masks(compare, f'{where}/query_masks_packed', masks,
                   recording[f'{where}/near_zero'])


def _compare_clips(compare: Comparison, where: str, images: Tensor,
                   sizes: List[Tuple[int,
                                     int]], length: int, stride: int) -> None:
    """Results of the video by clips of some length."""
    recording = compare.recording
    model = load(
        recording,
        clip_length=length,
        clip_stride=stride,
        cls_thr=recording.hp['cls_thr']).eval()
    hw = tuple(recording[f'{where}/hw'].tolist())
    slots, frames = [], {}
    add, take = ClipMatcher.add, ClipMatcher.take

    def watched_add(self, *args):
        slots.append(add(self, *args))
        return slots[-1]

    def watched_take(self, end):
        for t, ids, masks in take(self, end):
            frames[t] = ids
            yield t, ids, masks

    with mock.patch.multiple(ClipMatcher, add=watched_add, take=watched_take):
        tracklets, found = play(model, images, sizes, hw)
    compare.equal(f'{where}/slots', torch.tensor(slots))
    num = len({i for clip in slots for i in clip})
    valid = torch.zeros(num, len(images), dtype=torch.bool)
    for t, ids in frames.items():
        valid[ids, t] = True
    compare.equal(f'{where}/valid', valid)
    compare.close(f'{where}/mean_cls', found.running_scores(range(num)), 2e-5)
    _compare_rows(compare, where, tracklets, torch.arange(num), 'row_instance')
    ids = recording[f'{where}/instance_ids'].tolist()
    masks = _decode(found, ids, hw)
    _compare_masks(compare, f'{where}/instance_masks_packed', masks, None)


# --- clip matching alone --------------------------------------------------


@lru_cache(maxsize=None)
@one_thread
def replay_matching(path: Path) -> List[Row]:
    """Match the recorded clips of made-up masks."""
    recording = Recording(path)
    compare = Comparison(recording)
    for k, (num_frames, length, stride) in enumerate(recording.hp['synth']):
        where = f'synth{k}'
        clips = []
        while f'{where}/clip{len(clips)}/frame_idx' in recording:
            clips.append(recording.below(f'{where}/clip{len(clips)}/'))
        starts = [int(clip['frame_idx'][0]) for clip in clips]
        compare.rows.append(
            Row(f'{where}/starts', 0.0, 0.0, 'equal',
                clip_starts(num_frames, length, stride) == starts))
        matcher = ClipMatcher(length)
        slots, scores = [], {}
        for clip in clips:
            masks = clip['masks_i8'].float() / 8 + 0.013
            slots.append(
                matcher.add(clip['frame_idx'].tolist(), masks.unbind(1)))
            for i, row in zip(slots[-1], clip['cls_probs']):
                scores.setdefault(i, []).append(row)
        compare.equal(f'{where}/out_slots', torch.tensor(slots))
        compare.close(
            f'{where}/out_cls',
            torch.stack(
                [torch.stack(scores[i]).mean(0) for i in sorted(scores)]),
            1e-5)
        expected = recording[f'{where}/out_masks']
        found = torch.full_like(expected, -99)
        for t, ids, masks in matcher.take(num_frames):
            found[ids, t] = masks
        compare.close(f'{where}/out_masks', found, 1e-4)
        compare.equal(f'{where}/out_valid', found[..., 0, 0] != -99)
    return compare.rows


# --- training -------------------------------------------------------------

LOSS_NAMES = dict(
    loss_cls='loss_ce',
    loss_bbox='loss_bbox',
    loss_iou='loss_giou',
    loss_mask='loss_mask',
    loss_dice='loss_dice')
# returned beside the losses, without gradient and weight
NO_LOSS = 'class_error'


def official_loss(name: str) -> str:
    """``'d0.loss_cls'`` -> ``'loss_ce_0'``."""
    layer, loss = re.fullmatch(r'(?:d(\d+)\.)?(loss_\w+)', name).groups()
    return LOSS_NAMES[loss] + ('' if layer is None else f'_{layer}')


def _targets(recording: Recording, run: str, index: int, shares: Tensor,
             canvas: Tuple[int, int]) -> ClipTargets:
    """Ground truth of a clip as the official preparation leaves it."""
    target = recording.below(f'{run}/target{index}/')
    clip = recording.below(f'clip{index}/')
    height, width = clip['mask_hw'].tolist()
    masks = unpack(clip['masks_packed'], width).transpose(0, 1)
    valid = (clip['ids'] >= 0).t()
    padded = torch.zeros((*masks.shape[:2], *canvas), dtype=torch.bool)
    padded[..., :height, :width] = masks & valid[..., None, None]
    boxes = target['boxes'].transpose(0, 1) * shares.repeat(1, 2)[:, None]
    num = len(target['labels'])
    return ClipTargets(
        torch.arange(num), target['labels'], valid, boxes, padded,
        torch.arange(len(boxes)))


def training_runs() -> List[Tuple[Path, str]]:
    """(file, run) of the recorded training steps."""
    return [(path, 'train') for path in seqformer_files()]


@lru_cache(maxsize=None)
@one_thread
def replay_training(path: Path, run: str) -> List[Row]:
    """Run a recorded training step and compare every recorded array."""
    recording = Recording(path)
    compare = Comparison(recording)
    model = load(recording).train()
    network = model.frame_model
    num_clips = len(recording.hp['train'])
    images, sizes = pad_images([
        image for i in range(num_clips)
        for image in recording[f'clip{i}/images']
    ])
    frames = network.encode_frames(images, sizes)
    num_frames = len(images) // num_clips
    targets = [
        _targets(recording, run, i,
                 frames.shares[i * num_frames:(i + 1) * num_frames],
                 images.shape[-2:]) for i in range(num_clips)
    ]
    costs, matches = [], {}
    match, assign = network.head.match, matching.\
        linear_sum_assignment

    def watched_match(layer, *args):
        matches[layer.prefix] = match(layer, *args)
        return matches[layer.prefix]

    def watched_assign(cost):
        costs.append(torch.as_tensor(cost))
        return assign(cost)

    compare.equal(f'{run}/valid_ratios', frames.ratios[::num_frames, 0])
    layers = network.decode([frames], num_clips)
    with mock.patch.object(network.head, 'match',
                           watched_match), mock.patch.object(
                               matching, 'linear_sum_assignment',
                               watched_assign):
        losses = network.head.loss_by_feat(layers, frames, targets)
    with torch.no_grad():
        _compare_predictions(compare, run, network, layers, frames, num_clips)
        _compare_matching(compare, run, network, layers, frames, matches,
                          costs)
    _compare_losses(compare, run, losses)
    model.zero_grad()
    sum(losses.values()).backward()
    _compare_gradients(compare, run, model)
    return compare.rows


def _compare_predictions(compare: Comparison, run: str, network, layers: list,
                         frames, num_clips: int) -> None:
    """Predictions of all layers."""
    scale = frames.shares.repeat(1, 2)[:, None]
    compare.close(f'{run}/pred_logits',
                  torch.stack([layer.cls_logits for layer in layers]), 5e-4)
    compare.close(
        f'{run}/pred_boxes',
        torch.stack([(layer.boxes / scale).unflatten(0, (num_clips, -1))
                     for layer in layers]), 1e-4)


def _compare_matching(compare: Comparison, run: str, network, layers: list,
                      frames, matches: dict, costs: List[Tensor]) -> None:
    """Assignments of all layers, and their masks."""
    left = iter(costs)
    for number, layer in enumerate(layers):
        name = f'aux{number}' if layer.prefix else 'final'
        num_clips = len(matches[layer.prefix])
        num_frames = len(frames) // num_clips
        for clip, matched in enumerate(matches[layer.prefix]):
            where = f'{name}/clip{clip}'
            queries = (matched.gt_inds >= 0).nonzero().flatten()
            compare.equal(f'{run}/match/{where}',
                          torch.stack([queries, matched.gt_inds[queries]]))
            if len(matched.best_query):
                compare.close(f'{run}/cost/{where}', next(left), 2e-3)
            rows = range(clip * num_frames, (clip + 1) * num_frames)
            compare.close(
                f'{run}/pred_masks/{where}',
                torch.stack([
                    network.segment(layer.mask_embeds[clip, queries],
                                    frames.mask_features[row],
                                    layer.mask_boxes[row, queries])
                    for row in rows
                ], 1), 5e-3)


def _compare_losses(compare: Comparison, run: str,
                    losses: Dict[str, Tensor]) -> None:
    """Every loss before and after its weight, and their sum."""
    recording = compare.recording
    weights = recording.meta['weight_dict']
    ours = {official_loss(name): loss for name, loss in losses.items()}
    for name, loss in ours.items():
        weight = weights[name]
        compare.close(f'{run}/loss_raw/{name}', loss / weight, 1e-4)
        compare.close(f'{run}/loss_weighted/{name}', loss, weight * 1e-4)
    compare.close(f'{run}/loss_total', sum(losses.values()), 0.0, 1e-4)
    recorded = set(recording.below(f'{run}/loss_raw/')) - {NO_LOSS}
    compare.rows.append(
        Row(f'{run}/loss_names', 0.0, 0.0, 'the official ones',
            recorded == set(ours)))


def _compare_gradients(compare: Comparison, run: str, model) -> None:
    """Norms of all gradients, of groups of them, and some whole ones."""
    recording = compare.recording
    params = dict(model.named_parameters())
    state = recording.state()
    table = convert_state_dict(state).table

    def gradient(official):
        """What the official tensor has, its parts one after the other."""
        grads = [
            params[item.target].grad
            for item in table.convert(official, state[official])
        ]
        return torch.zeros_like(state[official]) if not grads or \
            grads[0] is None else torch.cat(grads, -1)

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
                      2e-3 * float(expected.abs().max()))


# --- coverage -------------------------------------------------------------

# Arrays that are inputs or serve the comparison of others.
INPUTS = re.compile(r'meta_json|state/.*|clip\d+/.*|synth\d+/clip\d+/.*|'
                    r'.*/target\d+/.*|.*/grad(norm|group)_names|'
                    rf'video/images|.*/hw|.*near_zero|.*/{NO_LOSS}|'
                    r'.*/instance_ids')


def group_of(name: str) -> str:
    """What is tested together: ``video/enc/src0`` -> ``video/enc``."""
    return '/'.join(name.split('/')[:-1][:2])


def recorded_groups(recording: Recording, prefix: str) -> List[str]:
    """Groups of the arrays to compare, see :func:`compared_groups`."""
    return compared_groups(recording, INPUTS, group_of, prefix)


def assert_group(recording: Recording, rows: List[Row], group: str) -> None:
    """All recorded arrays of a group were compared and agree."""
    assert_compared(recording, rows, INPUTS,
                    lambda name: group_of(name) == group)
