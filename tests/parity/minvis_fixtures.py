# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replay of MinVIS runs recorded with the official code.

Reads ``tests/data/parity`` and the folder ``REFINEVIS_PARITY_DIR``; the README
beside the files names every array. The model is that of the shipped config,
with the recorded sizes.
"""
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Callable, Dict, Iterator, List
from unittest import mock

import torch
from mmengine.config import Config
from torch import Tensor

from refinevis_mm.registry import MODELS
from refinevis_mm.structures import FrameTargets, RunningScores
from refinevis_mm.zoo.conversion import convert_state_dict
from tests.demo_clips import demo_clip
from tests.parity.recorded_files import parity_files
from tests.parity.replay import (Comparison, Recording, Row, one_thread,
                                 random_rule, unpack)

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs/minvis/minvis_r50_8xb4-6k_youtubevis2019.py'
LOSS_NAMES = dict(
    loss_cls='loss_ce', loss_mask='loss_mask', loss_dice='loss_dice')


def model_files() -> List[Path]:
    """Recorded models."""
    return [
        path for path in parity_files()
        if 'video/permutation' in Recording(path)
    ]


def training_runs() -> List[tuple]:
    """(file, run) of the recorded training steps."""
    return [(path, run) for path in model_files()
            for run in Recording(path).meta['runs']]


def build_model(recording: Recording):
    """The shipped model with the recorded sizes and weights."""
    return build_official(
        CONFIG, lambda cfg: shrink_mask2former(cfg.frame_model, recording.hp),
        recording)


def build_official(path: Path, shrink: Callable, recording: Recording):
    """A shipped model with recorded sizes and weights.

    Args:
        path (Path): Its config.
        shrink (Callable): Changes the sizes of the model's config.
        recording (:obj:`Recording`): Has the weights.
    """
    cfg = Config.fromfile(str(path)).model
    shrink(cfg)
    model = MODELS.build(cfg)
    conversion = convert_state_dict(recording.state())
    model.load_state_dict(conversion.state_dict)
    return model


def shrink_mask2former(frame_model: dict, hp: dict) -> None:
    """Give a frame model the recorded sizes."""
    attention = dict(embed_dims=hp['hidden'], num_heads=hp['heads'])
    head = frame_model.head
    head.update(
        in_channels=[hp['base'] * 4 * 2**i for i in range(4)],
        feat_channels=hp['hidden'],
        out_channels=hp['mask_dim'],
        num_things_classes=hp['num_classes'],
        num_queries=hp['num_queries'])
    head.loss_cls.class_weight = [1.0] * hp['num_classes'] + [0.1]
    head.train_cfg.num_points = hp['num_points']
    encoder = head.pixel_decoder.encoder
    encoder.num_layers = hp['enc_layers']
    encoder.layer_cfg.self_attn_cfg.update(attention)
    encoder.layer_cfg.ffn_cfg.embed_dims = hp['hidden']
    decoder = head.transformer_decoder
    decoder.num_layers = hp['dec_layers']
    decoder.layer_cfg.self_attn_cfg.update(attention)
    decoder.layer_cfg.cross_attn_cfg.update(attention)
    decoder.layer_cfg.ffn_cfg.update(
        embed_dims=hp['hidden'], feedforward_channels=hp['dec_ffn'])
    for part in (head, head.pixel_decoder):
        part.positional_encoding.num_feats = hp['hidden'] // 2
    frame_model.backbone.update(base_channels=hp['base'], init_cfg=None)
    frame_model.init_cfg = None


def preprocess(model, clips: List[Tensor]) -> Tensor:
    """Normalise and pad RGB clips (T, H, W, 3), as the pipeline's BGR."""
    inputs = [clip.flip(-1).permute(0, 3, 1, 2) for clip in clips]
    data = dict(inputs=inputs, data_samples=None)
    return model.data_preprocessor(data)['inputs']


# --- inference ------------------------------------------------------------


@lru_cache(maxsize=None)
@one_thread
def replay_frames(path: Path) -> List[Row]:
    """Run the recorded frame and compare every stage."""
    recording = Recording(path)
    compare = Comparison(recording)
    model = build_model(recording).eval()
    frame_model = model.frame_model
    images = preprocess(model, [recording['image'][None]])[0]
    compare.close('input', images, 1e-5)
    seen: Dict[str, list] = {}
    decoder = frame_model.head.pixel_decoder
    hooks = [
        decoder.register_forward_hook(
            lambda module, args, out: seen.update(feats=args[0], pixel=out))
    ] + [
        conv.register_forward_hook(
            lambda module, args, out: seen.setdefault('src', []).append(out))
        for conv in decoder.input_convs
    ]
    with torch.no_grad():
        states, mask_features = frame_model.head.forward_states(
            frame_model.backbone(images))
        output = frame_model.forward_frames(images)
    for hook in hooks:
        hook.remove()
    for i, feat in enumerate(seen['feats']):
        compare.close(f'feat/res{i + 2}', feat, 2e-4, 1e-5)
    compare.close('pixel/mask_features', seen['pixel'][0], 1e-4)
    for i, level in enumerate(seen['pixel'][1]):
        compare.close(f'enc/src{i}', seen['src'][i], 1e-4)
        compare.close(
            f'enc/pos{i}',
            decoder.postional_encoding(
                torch.zeros((1, *level.shape[-2:]), dtype=torch.bool)), 1e-4)
        compare.close(f'pixel/ms{i}', level, 1e-4)
    states = torch.stack(states)
    compare.close('query', frame_model.match_embeds(states), 1e-4)
    compare.close('mask_embed', frame_model.head.mask_kernels(states), 1e-4)
    compare.close('pred_logits', frame_model.classify(states), 1e-4)
    masks = [frame_model.segment(state, mask_features) for state in states]
    compare.close('pred_masks', torch.stack(masks), 1e-3)
    # what is handed on
    probs = recording['pred_logits'][-1].softmax(-1)[..., :-1]
    compare.close(
        'cls_logits', output.cls_logits.sigmoid(), 2e-5, expected=probs)
    return compare.rows


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
        _compare_stages(compare, model, inputs[0], size)
        for kind in ('same', 'resized'):
            _compare_results(compare, model, inputs, size,
                             f'video/result_{kind}')
    return compare.rows


def _compare_stages(compare: Comparison, model, frames: Tensor,
                    size: tuple) -> None:
    """Predictions before, identities after matching, and their scores."""
    logits, embeds, masks, permutation = [], [], [], []
    tracker, running = model.init_tracker(), RunningScores(model.score_average)
    for frame_id, image in enumerate(frames):
        frame = model.frame_model.forward_frames(image[None])
        logits.append(model.frame_model.classify(frame.embeds)[0])
        embeds.append(model.frame_model.match_embeds(frame.embeds)[0])
        masks.append(
            model.frame_model.segment(frame.embeds, frame.mask_features)[0])
        meta = dict(frame_id=frame_id, img_shape=size, ori_shape=size)
        tracks = model.track(image, meta, tracker)
        assert tracks.ids == list(range(len(tracks.ids)))
        # tracks know no queries: find the rows of this frame
        distance = torch.cdist(tracks.embeds, frame.embeds[0])
        permutation.append(distance.argmin(1))
        scores = model.frame_model.class_scores(tracks.embeds)
        running.add(tracks.ids,
                    scores.double().numpy(), [True] * len(tracks.ids))
    compare.close('video/pred_logits', torch.stack(logits), 1e-3)
    compare.close('video/pred_embds', torch.stack(embeds), 5e-4)
    compare.close('video/pred_masks', torch.stack(masks), 1e-2)
    compare.equal('video/permutation', torch.stack(permutation[1:]))
    means = torch.tensor([running.mean(slot).tolist() for slot in running.ids])
    compare.close(
        'video/mean_logits',
        means,
        2e-5,
        expected=compare.recording['video/mean_logits'].softmax(-1)[:, :-1])


def _compare_results(compare: Comparison, model, inputs: Tensor, size: tuple,
                     prefix: str) -> None:
    """The ten results of a video at one output size."""
    recorded = compare.recording.below(f'{prefix}/')
    length = inputs.shape[1]
    sample = demo_clip([[]] * length, [], [])
    for frame_id, frame in enumerate(sample):
        frame.set_metainfo(
            dict(
                frame_id=frame_id,
                video_id=1,
                video_length=length,
                img_shape=size,
                ori_shape=tuple(recorded['hw'].tolist())))
    results = model.predict(inputs, [sample])[0].metainfo['pred_tracklets']
    num_classes = compare.recording.hp['num_classes']
    order = (recorded['queries'] * num_classes + recorded['labels']).argsort()
    compare.equal(f'{prefix}/queries',
                  torch.tensor([row['instances_id'] for row in results]),
                  recorded['queries'][order])
    compare.equal(f'{prefix}/labels',
                  torch.tensor([row['label'] for row in results]),
                  recorded['labels'][order])
    compare.close(
        f'{prefix}/scores',
        torch.tensor([row['score'] for row in results]),
        2e-5,
        expected=recorded['scores'][order])
    masks = torch.stack(
        [decode(row['segmentations'], recorded['hw']) for row in results])
    expected = unpack(recorded['masks_packed'], recorded['hw'][1])[order]
    diff = (masks != expected).flatten(2).sum(2)
    slack = recorded['near_zero'][order] + 2
    compare.check(f'{prefix}/masks_packed', bool((diff <= slack).all()), diff,
                  expected, 'near_zero + 2 pixels')


def decode(rles: list, size: Tensor) -> Tensor:
    """Bool masks (T, H, W) of run-length codes; None is empty."""
    from pycocotools import mask as mask_utils
    empty = torch.zeros(size.tolist(), dtype=torch.bool)
    return torch.stack([
        empty
        if rle is None else torch.from_numpy(mask_utils.decode(rle)).bool()
        for rle in rles
    ])


# --- training -------------------------------------------------------------


@contextmanager
def watch_matching(num_images: int, matches: dict,
                   costs: dict) -> Iterator[None]:
    """Keep the match and the costs of every prediction set and image."""
    from refinevis_mm.models.frame_level import matching
    assign = matching.linear_sum_assignment

    def watched_assign(cost):
        place = divmod(len(costs), num_images)
        costs[place] = torch.as_tensor(cost)
        queries, objects = assign(cost)
        matches[place] = torch.stack(
            [torch.as_tensor(queries),
             torch.as_tensor(objects)])
        return queries, objects

    with mock.patch.object(matching, 'linear_sum_assignment', watched_assign):
        yield


@lru_cache(maxsize=None)
@one_thread
def replay_training(path: Path, run: str) -> List[Row]:
    """Run a recorded training step and compare every recorded array."""
    recording = Recording(path)
    compare = Comparison(recording)
    info = recording.meta['runs'][run]
    num_frames = info['frames_per_clip']
    model = build_model(recording).train()
    num_clips = len(info['objects_per_image']) // num_frames
    clips = [
        torch.stack([
            recording[f'image{clip}/frame{frame}']
            for frame in range(num_frames)
        ]) for clip in range(num_clips)
    ]
    images = preprocess(model, clips).flatten(0, 1)
    targets = [
        recorded_targets(recording, clip, frame, images,
                         info['objects_per_image'][clip * num_frames + frame])
        for clip in range(num_clips) for frame in range(num_frames)
    ]
    matches, costs = {}, {}
    frame_model = model.frame_model
    with random_rule(info['rule']), watch_matching(
            len(images), matches, costs):
        # only that it is there: denoising targets are not read
        output = frame_model.forward_frames(images, [])
        losses = frame_model.loss_frames(output, targets)
    num_layers = len(output.layers)
    for (layer, image), match in matches.items():
        name = 'final' if layer == num_layers - 1 else f'aux{layer}'
        compare.equal(f'{run}/match/{name}/img{image}', match)
        compare.close(f'{run}/cost/{name}/img{image}', costs[layer, image],
                      2e-3)
    _compare_losses(compare, run, info, losses, num_layers)
    if f'{run}/out/pred_logits' in recording:
        compare.close(f'{run}/out/pred_logits',
                      torch.stack([la.cls_logits for la in output.layers]),
                      1e-4)
        compare.close(f'{run}/out/mask_embed',
                      torch.stack([la.mask_embeds for la in output.layers]),
                      1e-4)
        compare.close(f'{run}/out/mask_features', output.mask_features, 1e-4)
    model.zero_grad()
    sum(losses.values()).sum().backward()
    compare_gradients(compare, run, model)
    return compare.rows


def recorded_targets(recording: Recording, clip: int, frame: int,
                     images: Tensor, count: int) -> FrameTargets:
    """The objects of a frame; of clips also those that are absent there."""
    gt = recording.below(f'gt{clip}/')
    masks = unpack(gt['masks_packed'][:, frame], gt['mask_hw'][1])
    canvas = torch.zeros((len(masks), *images.shape[-2:]), dtype=torch.bool)
    canvas[:, :masks.shape[1], :masks.shape[2]] = masks
    kept = torch.ones(len(masks), dtype=torch.bool)
    if count < len(masks):  # one frame per clip: only what is seen
        kept = gt['ids'][:, frame] >= 0
    assert int(kept.sum()) == count
    num = int(kept.sum())
    return FrameTargets(
        slots=torch.arange(num),
        labels=gt['labels'][kept],
        boxes=torch.zeros(num, 4),
        masks=canvas[kept])


def _compare_losses(compare: Comparison, run: str, info: dict,
                    losses: Dict[str, Tensor], num_layers: int) -> None:
    """Every loss before and after its weight, and their sum."""
    recording = compare.recording
    atol = {'A': 1e-3, 'B': 2e-4}[info['rule']]
    for name, loss in losses.items():
        loss = loss.sum()  # mmdet's have one element
        prefix, _, kind = name.rpartition('.')
        official = LOSS_NAMES[kind] + (f'_{prefix[1:]}' if prefix else '')
        weight = recording.meta['weight_dict'][official]
        compare.close(f'{run}/loss_raw/{official}', loss / weight, atol)
        compare.close(f'{run}/loss_weighted/{official}', loss, 5 * atol)
    compare.close(f'{run}/loss_total', sum(losses.values()).sum(), 0.0, 1e-4)


def compare_gradients(compare: Comparison, run: str, model) -> None:
    """Norms of all gradients, of groups of them, and some whole ones."""
    recording = compare.recording
    state = recording.state()
    table = convert_state_dict(state).table
    params = dict(model.named_parameters())

    def grad_of(name: str, value: Tensor) -> Tensor:
        (target, _), = table.convert(name, value)
        grad = params[target].grad
        return torch.zeros_like(value) if grad is None else grad

    names = recording.strings(f'{run}/gradnorm_names')
    norms = torch.stack([grad_of(name, state[name]).norm() for name in names])
    compare.close(f'{run}/gradnorm', norms, 1e-3, 1e-3)
    none = recording[f'{run}/grad_is_none']
    compare.equal(f'{run}/grad_is_none', none & (norms == 0), none)
    if f'{run}/gradgroup_norm' in recording:
        groups = recording.strings(f'{run}/gradgroup_names')
        squares = torch.zeros(len(groups))
        for name, norm in zip(names, norms):
            first = next(i for i, group in enumerate(groups)
                         if name.startswith(group))
            squares[first] += norm**2
        compare.close(f'{run}/gradgroup_norm', squares.sqrt(), 1e-3, 1e-3)
    for name, expected in recording.below(f'{run}/grad/').items():
        atol = 5e-3 if 'backbone' in name or 'level_embed' in name else 2e-3
        compare.close(f'{run}/grad/{name}', grad_of(name, expected),
                      atol * float(expected.abs().max()))
