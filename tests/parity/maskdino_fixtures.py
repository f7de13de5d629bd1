# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Replay of MaskDINO runs recorded with the official code.

Reads ``tests/data/parity`` and the folder ``REFINEVIS_PARITY_DIR``; the README
beside the files names every array and its tolerance. Models are built from
the recorded hyper-parameters and from the shapes of the recorded weights.

Officially, feature levels are ordered differently in encoder and decoder;
ours are ordered fine to coarse everywhere.
"""
import re
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Dict, Iterator, List, Optional
from unittest import mock

import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.models.frame_level.frame_model_detector import \
    FrameModelDetector
from refinevis_mm.structures import ClipTargets, FrameOutput, LayerOutput
from refinevis_mm.zoo.conversion import convert_state_dict
from refinevis_mm.zoo.conversion.maskdino import (frame_model_cfg,
                                                  infer_architecture)
from tests.parity.recorded_files import parity_files
from tests.parity.replay import (Comparison, Recording, Row, assert_compared,
                                 compared_groups, one_thread, random_rule,
                                 unpack)

LOGIT_EPS = 1e-5  # of every inverse sigmoid in the official code

PREPROCESSOR = dict(
    type='DetDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_size_divisor=32)


def forward_files() -> List[Path]:
    """Recorded inference runs of MaskDINO."""
    return [
        path for path in parity_files('maskdino')
        if 'variants' in Recording(path).meta
    ]


def training_runs() -> List[tuple]:
    """(file, run) of the recorded training runs of MaskDINO."""
    pairs = []
    for path in parity_files('maskdino'):
        pairs += [(path, run) for run in Recording(path).meta.get('runs', {})]
    return pairs


def inverse_sigmoid(boxes: Tensor) -> Tensor:
    """Logits as the official code computes them."""
    return torch.log(
        boxes.clamp(min=LOGIT_EPS) / (1 - boxes).clamp(min=LOGIT_EPS))


# --- models ---------------------------------------------------------------


def build_detector(recording: Recording,
                   state: Dict[str, Tensor],
                   anchor_init: str,
                   num_dn_queries: Optional[int] = None):
    """Build the detector of a recording with its weights.

    Args:
        recording (:obj:`Recording`): The recorded file.
        state (dict[str, Tensor]): Official weights.
        anchor_init (str): The recorded box initialisation.
        num_dn_queries (int, optional): Denoising queries; None for none.

    Returns:
        tuple: :obj:`FrameModelDetector` and the architecture.
    """
    hp = recording.hp
    weights = convert_state_dict(state).state_dict
    arch = infer_architecture(state)
    levels = ['res2', 'res3', 'res4', 'res5']
    assert arch.feature_order == hp['feature_order']
    assert arch.num_levels == hp['total_levels']
    assert arch.num_classes == hp['num_classes']
    assert (arch.embed_dims, arch.mask_dims) == (hp['hidden'], hp['mask_dim'])
    assert [levels[i]
            for i in arch.encoder_in_indices] == sorted(hp['enc_in_features'])
    for part, short in ((arch.encoder, 'enc'), (arch.decoder, 'dec')):
        assert part['num_layers'] == hp[f'{short}_layers']
        assert part['feedforward_channels'] == hp[f'{short}_ffn']
    if arch.backbone['type'] == 'SwinTransformer':
        arch.backbone['drop_path_rate'] = 0.0
    cfg = frame_model_cfg(
        arch,
        num_queries=hp['num_queries'],
        anchor_init=anchor_init,
        empty_mask_anchor='official')
    num_points = hp['num_points']
    cfg['head']['num_match_points'] = num_points
    cfg['head']['loss_mask']['num_points'] = num_points
    weight = recording.meta.get('weight_dict', {})
    for loss, official in (('loss_cls', 'loss_ce'), ('loss_bbox', 'loss_bbox'),
                           ('loss_iou', 'loss_giou')):
        if official in weight:
            assert weight[official] == cfg['head'][loss]['loss_weight']
    if num_dn_queries is None:
        cfg.pop('dn_query_generator')
        weights = {
            key: value
            for key, value in weights.items()
            if not key.startswith('frame_model.dn_query_generator.')
        }
    else:
        cfg['dn_query_generator']['num_dn_queries'] = num_dn_queries
    detector = FrameModelDetector(
        frame_model=cfg,
        data_preprocessor=PREPROCESSOR,
        test_cfg=dict(max_per_img=hp['topk']))
    detector.load_state_dict(weights, strict=True)
    return detector, arch


def preprocess(detector, images: List[Tensor]) -> Tensor:
    """Normalise and pad RGB images (H, W, 3), as the pipeline's BGR."""
    inputs = [image.flip(-1).permute(2, 0, 1) for image in images]
    return detector.data_preprocessor(dict(inputs=inputs))['inputs']


def empty_targets(num_images: int, images: Tensor) -> List[ClipTargets]:
    """No ground truth; makes the model predict for every layer."""
    return [
        make_targets(
            images.new_zeros(0, 4), torch.zeros(0, dtype=torch.long),
            torch.zeros((0, *images.shape[-2:]), dtype=torch.bool))
        for _ in range(num_images)
    ]


def make_targets(boxes: Tensor, labels: Tensor, masks: Tensor) -> ClipTargets:
    """Ground truth of one image as a clip of one frame."""
    ids = torch.arange(len(labels))
    return ClipTargets(
        ids=ids,
        labels=labels,
        valid=torch.ones(1, len(labels), dtype=torch.bool),
        boxes=boxes[None],
        masks=masks[None],
        frame_inds=torch.zeros(1, dtype=torch.long))


class Levels:
    """Official orders of the feature levels.

    Args:
        arch: Architecture of the converter.
        shapes (list[tuple[int]]): (h, w) of our levels, fine to coarse.
    """

    def __init__(self, arch, shapes: List[tuple]) -> None:
        self.shapes = shapes
        fine_first = list(range(len(shapes)))
        fine_in_encoder = arch.feature_order == 'low2high'
        self.encoder = fine_first if fine_in_encoder else fine_first[::-1]
        self.decoder = self.encoder[::-1]
        sizes = [height * width for height, width in shapes]
        starts = np.cumsum([0] + sizes)
        # token i of the official decoder's memory is our token order[i]
        self.order = torch.cat([
            torch.arange(starts[level], starts[level + 1])
            for level in self.decoder
        ])
        self.official_position = self.order.argsort()


def run_frames(model, images: Tensor, targets: List[ClipTargets],
               seen: Dict[str, list]) -> FrameOutput:
    """Run a frame model and keep what its stages saw.

    Args:
        model (:obj:`MaskDINO`): The model.
        images (Tensor): Padded images, has shape (B, 3, H, W).
        targets (list[:obj:`ClipTargets`]): Ground truth.
        seen (dict): Receives ``feats``, ``src``, ``levels``,
            ``output_memory``, ``selection``, ``anchors``, ``states``,
            ``references`` and ``last_query``.

    Returns:
        :obj:`FrameOutput`: The output.
    """
    from refinevis_mm.models.frame_level import maskdino
    hooks = [
        model.pixel_decoder.register_forward_pre_hook(
            lambda module, args: seen.update(feats=list(args[0]))),
        model.pixel_decoder.register_forward_hook(
            lambda module, args, out: seen.update(pixel=out)),
        model.memory_trans_norm.register_forward_hook(
            lambda module, args, out: seen.update(output_memory=out)),
        model.decoder.register_forward_hook(
            lambda module, args, out: seen.update(states=out[0])),
        model.decoder.layers[-1].register_forward_hook(
            lambda module, args, out: seen.update(last_query=out))
    ]
    hooks += [
        conv.register_forward_hook(
            lambda module, args, out: seen.setdefault('src', []).append(out))
        for conv in model.pixel_decoder.input_convs
    ]
    hooks += [
        layer.register_forward_pre_hook(
            lambda module, args, kwargs: seen.setdefault('references', []).
            append(kwargs['reference_points'][:, :, 0]),
            with_kwargs=True) for layer in model.decoder.layers
    ]
    select, clamp = model.select_queries, maskdino._away_from_border

    def select_queries(*args):
        seen['selection'] = select(*args)
        return seen['selection']

    def away_from_border(boxes):
        seen.setdefault('unclamped', []).append(boxes)
        return clamp(boxes)

    init = model.init_anchors

    def init_anchors(*args):
        seen['unclamped'] = []
        anchors = init(*args)
        # as the official code has them, before the sigmoid
        seen['anchors'] = (seen['unclamped'] or [anchors])[0]
        return anchors

    try:
        with mock.patch.multiple(
                model, select_queries=select_queries,
                init_anchors=init_anchors), mock.patch.object(
                    maskdino, '_away_from_border', away_from_border):
            return model.forward_frames(images, targets)
    finally:
        for hook in hooks:
            hook.remove()


def mask_logits(layer: LayerOutput, mask_features: Tensor) -> Tensor:
    """Mask logits of a prediction set, (B, Q, h, w)."""
    return torch.einsum('bqc,bchw->bqhw', layer.mask_embeds, mask_features)


# --- inference ------------------------------------------------------------


@lru_cache(maxsize=None)
@one_thread
def replay_forward(path: Path) -> List[Row]:
    """Run a recorded inference and compare every recorded array."""
    recording = Recording(path)
    compare = Comparison(recording)
    state = recording.state()
    for variant in recording.meta['variants']:
        detector, arch = build_detector(recording, state, variant)
        detector.eval()
        with torch.no_grad():
            _compare_variant(compare, detector, arch, variant)
    return compare.rows


def _compare_variant(compare: Comparison, detector, arch,
                     variant: str) -> None:
    """Compare one box initialisation; shared stages with the first only."""
    recording, model = compare.recording, detector.frame_model
    images = preprocess(detector, [recording['image']])
    seen: Dict[str, list] = {}
    output = run_frames(model, images, empty_targets(1, images), seen)
    layers, mask_features = output.layers, output.mask_features
    if variant == recording.meta['variants'][0]:
        compare.close('input', images, 1e-5)
        _compare_encoder(compare, model, arch, seen)
        _compare_selection(compare, model, arch, seen)
        compare.close('interm/pred_logits', layers[0].cls_logits, 1e-4)
        compare.close('interm/pred_boxes', layers[0].boxes, 2e-5)
        compare.close('interm/pred_masks', mask_logits(layers[0],
                                                       mask_features), 1e-3)
    compare.close(f'{variant}/ref_unsigmoid', inverse_sigmoid(seen['anchors']),
                  1e-4)
    compare.close(f'{variant}/dec_hs', torch.stack(seen['states']), 1e-4)
    last = (model.head.fc_reg(seen['last_query']) +
            inverse_sigmoid(seen['references'][-1])).sigmoid()
    compare.close(f'{variant}/dec_refs',
                  torch.stack(seen['references'] + [last]), 2e-5)
    layers = layers[1:]
    compare.close(f'{variant}/pred_logits',
                  torch.stack([layer.cls_logits for layer in layers]), 1e-4)
    compare.close(f'{variant}/pred_boxes',
                  torch.stack([layer.boxes for layer in layers]), 2e-5)
    masks = torch.stack(
        [mask_logits(layer, mask_features) for layer in layers])
    compare.close(f'{variant}/pred_masks', masks, 1e-3)
    compare.close(f'{variant}/pred_masks_last', masks[-1], 1e-3)
    _compare_inference(compare, model, images, variant, output)
    for kind in sorted({
            name.split('/')[1]
            for name in recording.names if name.startswith(f'{variant}/result')
    }):
        _compare_results(compare, detector, images, f'{variant}/{kind}')


def _compare_encoder(compare: Comparison, model, arch, seen: dict) -> None:
    """Backbone, projections, position codes, encoder and mask features."""
    for i, feat in enumerate(seen['feats']):
        compare.close(f'feat/res{i + 2}', feat, 2e-4, 1e-5)
    mask_features, levels = seen['pixel']
    compare.close('pixel/mask_features', mask_features, 1e-4)
    order = Levels(arch, [tuple(level.shape[-2:]) for level in levels]).encoder
    for i, level in enumerate(order):
        compare.close(f'enc/src{i}', seen['src'][level], 1e-4)
        pos = model.pixel_decoder.positional_encoding(
            torch.zeros((1, *levels[level].shape[-2:]), dtype=torch.bool))
        compare.close(f'enc/pos{i}', pos, 1e-4)
        compare.close(f'pixel/ms{i}', levels[level], 1e-4)


def _compare_selection(compare: Comparison, model, arch, seen: dict) -> None:
    """Query selection, in the official order of tokens."""
    from refinevis_mm.models.frame_level.maskdino import generate_proposals
    shapes = [tuple(level.shape[-2:]) for level in seen['pixel'][1]]
    levels = Levels(arch, shapes)
    order = levels.order
    compare.equal('query/spatial_shapes',
                  torch.tensor([shapes[level] for level in levels.decoder]))
    memory = torch.cat(
        [level.flatten(2).transpose(1, 2) for level in seen['pixel'][1]], 1)
    compare.close('query/memory', memory[:, order], 1e-4)
    proposals, valid = generate_proposals(
        torch.tensor(shapes), model.proposal_wh_order == 'coarse_small')
    name = 'query/proposals_unsigmoid'
    if name in compare.recording:
        expected = compare.recording[name][0]
        usable = expected.isfinite().all(-1)
        compare.equal(name, valid[order], usable)
        compare.close(
            name,
            inverse_sigmoid(proposals)[order][usable],
            1e-4,
            expected=expected[usable])
    output_memory = seen['output_memory'][:, order]
    compare.close('query/output_memory', output_memory, 1e-4)
    scores = model.head.fc_cls(output_memory)
    compare.close('query/enc_class_all', scores, 1e-4)
    compare.close('query/score_all', scores.max(-1).values, 1e-4)
    content, _, inds = seen['selection']
    compare.equal('query/topk', levels.official_position[inds])
    compare.close('query/tgt', content, 1e-4)


def _compare_inference(compare: Comparison, model, images: Tensor,
                       variant: str, trained: FrameOutput) -> None:
    """The pass without ground truth, which may compute less and faster.

    Compared with the recorded final predictions, or with those of the other
    pass where they are not recorded.
    """
    output = model.forward_frames(images)
    masks = model.segment(output.embeds, output.mask_features, output.boxes)
    last = trained.layers[-1]
    ours = dict(
        logits=(output.cls_logits, last.cls_logits, 1e-4),
        boxes=(output.boxes, last.boxes, 2e-5),
        masks=(masks, mask_logits(last, trained.mask_features), 1e-3))
    for kind, (actual, expected, atol) in ours.items():
        name = f'{variant}/pred_{kind}'
        if name in compare.recording:
            expected = compare.recording[name][-1]
        diff = (actual - expected).abs()
        compare.check(f'{variant}/inference/{kind}', bool(
            (diff <= atol).all()), diff, expected, f'{atol:g}')


def _compare_results(compare: Comparison, detector, images: Tensor,
                     prefix: str) -> None:
    """Instance results at one output size, sorted by query and label."""
    from mmdet.structures import DetDataSample
    recording = compare.recording
    recorded = recording.below(f'{prefix}/')
    size = recorded['hw'].tolist() if 'hw' in recorded else \
        recording.meta['out_sizes'][prefix.rsplit('result_')[1]]
    meta = dict(
        img_shape=tuple(recording['image'].shape[:2]),
        ori_shape=tuple(size),
        batch_input_shape=tuple(images.shape[-2:]))
    sample = detector.predict(images, [DetDataSample(metainfo=meta)])[0]
    result: InstanceData = sample.pred_instances
    output = detector.frame_model.forward_frames(images)
    num_queries, num_classes = output.cls_logits.shape[1:]
    inds = output.cls_logits[0].sigmoid().flatten().topk(len(
        result.labels)).indices
    assert torch.equal(inds % num_classes, result.labels)
    queries = inds // num_classes
    rows = inds.argsort()
    order = (recorded['queries'] * num_classes + recorded['labels']).argsort()
    expected = {
        key: recorded[key][order]
        for key in ('queries', 'labels', 'boxes', 'scores', 'mask_area')
        if key in recorded
    }
    compare.equal(f'{prefix}/queries', queries[rows], expected['queries'])
    compare.equal(f'{prefix}/labels', result.labels[rows], expected['labels'])
    compare.close(
        f'{prefix}/boxes',
        result.bboxes[rows],
        5e-3,
        expected=expected.get('boxes'))
    slack = recorded.get('near_zero', torch.zeros(num_queries)) + 2
    area = result.masks.flatten(1).sum(1)[rows]
    if 'mask_area' in expected:
        diff = (area - expected['mask_area']).abs()
        compare.check(f'{prefix}/mask_area',
                      bool((diff <= slack[queries[rows]]).all()), diff,
                      expected['mask_area'], 'near_zero + 2 pixels')
    if 'scores' in expected:
        small = expected.get('mask_area', area) < 20
        diff = (result.scores[rows] - expected['scores']).abs()
        compare.check(f'{prefix}/scores',
                      bool((diff <= torch.where(small, 5e-2, 2e-4)).all()),
                      diff, expected['scores'],
                      '2e-4, 5e-2 of masks below 20 pixels')
    if 'query_masks_packed' in recorded:
        masks, _ = detector._segment(output, 0, torch.arange(num_queries),
                                     meta)
        assert torch.equal(masks[queries], result.masks)
        packed = unpack(recorded['query_masks_packed'], size[1])
        diff = (masks != packed).flatten(1).sum(1)
        compare.check(f'{prefix}/query_masks_packed',
                      bool((diff <= slack).all()), diff, packed,
                      'near_zero + 2 pixels')


# --- single operations ----------------------------------------------------


def replay_ops(path: Path) -> List[Row]:
    """Compare the recorded single operations."""
    from mmdet.models.layers import coordinate_to_encoding
    from mmdet.models.layers import inverse_sigmoid as ours

    from refinevis_mm.models.frame_level import maskdino
    recording = Recording(path)
    compare = Comparison(recording)
    for name in recording.names:
        match = re.fullmatch(r'ops/sine_out_(?:hidden|official_)(\d+)', name)
        if match:
            compare.close(
                name,
                coordinate_to_encoding(
                    recording['ops/sine_in'], num_feats=int(match[1]) // 2),
                1e-5)
    if 'ops/inverse_sigmoid_in' in recording:
        compare.close(
            'ops/inverse_sigmoid_out',
            ours(recording['ops/inverse_sigmoid_in'], eps=maskdino.LOGIT_EPS),
            1e-4)
    if 'ops/mask_in' in recording:
        masks = recording['ops/mask_in']
        scale = torch.tensor(masks.shape[-2:]).flip(0).repeat(2)
        for kind in ('bitmask', 'mask2box'):
            boxes, empty = maskdino.masks_to_boxes(masks, kind == 'bitmask')
            corners = torch.cat([
                boxes[:, :2] - boxes[:, 2:] / 2,
                boxes[:, :2] + boxes[:, 2:] / 2
            ], 1) * scale
            name = f'ops/mask_{kind}_box'
            compare.close(
                name, corners[~empty], 1e-5, expected=recording[name][~empty])
            boxes[empty] = boxes.new_tensor(
                maskdino.OFFICIAL_EMPTY_ANCHORS[kind])
            compare.close(f'ops/mask_{kind}_ref_unsigmoid',
                          inverse_sigmoid(boxes), 1e-4)
    return compare.rows


# --- training -------------------------------------------------------------

LOSS_NAMES = dict(
    loss_cls='loss_ce',
    loss_bbox='loss_bbox',
    loss_iou='loss_giou',
    loss_mask='loss_mask',
    loss_dice='loss_dice')


def official_layer(prefix: str) -> str:
    """``'d0.'`` -> ``'aux1'``."""
    if prefix in ('enc_', 'init.', ''):
        return {'enc_': 'interm', 'init.': 'aux0', '': 'final'}[prefix]
    return f'aux{int(prefix[1:-1]) + 1}'


def official_loss(name: str) -> str:
    """``'d0.dn_loss_cls'`` -> ``'loss_ce_dn_1'``."""
    prefix, dn, loss = re.fullmatch(r'(.*?)(dn_)?(loss_\w+)', name).groups()
    layer = official_layer(prefix)
    suffix = {'interm': '_interm', 'final': ''}.get(layer)
    if suffix is None:
        suffix = f'_{layer[len("aux"):]}'
    return LOSS_NAMES[loss] + ('_dn' if dn else '') + suffix


@contextmanager
def watch_matching(head, matches: dict, costs: dict) -> Iterator[None]:
    """Keep matches and costs of every prediction set and image."""
    from refinevis_mm.models.frame_level import matching
    order = []
    match = head.match
    assign = matching.linear_sum_assignment

    def watched_match(layers, features, targets):
        names = [official_layer(layer.prefix) for layer in layers]
        # all sets of a frame; a frame without objects asks for no assignment
        order[:] = [(name, i) for i, target in enumerate(targets)
                    for name in names if len(target)]
        out = match(layers, features, targets)
        for name, frames in zip(names, out):
            matches.update({
                (name, i): frame
                for i, frame in enumerate(frames)
            })
        return out

    def watched_assign(cost):
        costs[order.pop(0)] = torch.as_tensor(cost)
        return assign(cost)

    with mock.patch.object(head, 'match', watched_match), mock.patch.object(
            matching, 'linear_sum_assignment', watched_assign):
        yield


@lru_cache(maxsize=None)
@one_thread
def replay_training(path: Path, run: str) -> List[Row]:
    """Run a recorded training step and compare every recorded array."""
    recording = Recording(path)
    compare = Comparison(recording)
    info, state = recording.meta['runs'][run], recording.state()
    denoise = info['dn'] != 'no'
    detector, _ = build_detector(recording, state, info['init_box'],
                                 info['dn_num'] if denoise else None)
    detector.train()
    model = detector.frame_model
    num_images = len(info['objects_per_image'])
    images = preprocess(detector,
                        [recording[f'image{i}'] for i in range(num_images)])
    targets = [
        _recorded_targets(recording, i, count, images)
        for i, count in enumerate(info['objects_per_image'])
    ]
    matches, costs, seen = {}, {}, {}
    with random_rule(info['rule']) as calls, watch_matching(
            model.head, matches, costs):
        output = run_frames(model, images, targets, seen)
        losses = model.loss_frames(output,
                                   [target.frame(0) for target in targets])
    _compare_matching(compare, run, info, matches, costs)
    _compare_losses(compare, run, info, losses)
    _compare_outputs(compare, run, output)
    # an image without objects draws nothing here
    sizes, recorded = (
        set(map(_numel, part)) - {0} for part in (calls, info['random_calls']))
    compare.rows.append(
        Row(f'{run}/random_calls', 0.0, 0.0, 'same sizes', sizes == recorded))
    if output.dn_queries is not None:
        _compare_denoising(compare, run, model, output, targets)
    if any(name.startswith(f'{run}/grad') for name in recording.names):
        model.zero_grad()
        sum(losses.values()).backward()
        _compare_gradients(compare, run, detector, state)
    if records_outputs(recording, run):
        _compare_head(compare, run, info, model.head, targets)
    return compare.rows


def records_outputs(recording: Recording, run: str) -> bool:
    """Whether all predictions that the losses need are recorded."""
    return all(f'{run}/out/{prefix}pred_{kind}' in recording
               for prefix in ('', 'interm_')
               for kind in ('logits', 'boxes', 'masks'))


def _numel(call: tuple) -> int:
    """Numbers that a random call draws."""
    return int(np.prod(call[1]))


def _recorded_targets(recording: Recording, index: int, count: int,
                      images: Tensor) -> ClipTargets:
    """The first ``count`` objects of an image, on the common canvas."""
    height, width = recording[f'gt{index}/mask_hw'].tolist()
    masks = unpack(recording[f'gt{index}/masks_packed'][:count], width)
    canvas = torch.zeros((count, *images.shape[-2:]), dtype=torch.bool)
    canvas[:, :height, :width] = masks[:, :height]
    return make_targets(recording[f'gt{index}/boxes'][:count],
                        recording[f'gt{index}/labels'][:count], canvas)


def _compare_matching(compare: Comparison, run: str, info: dict, matches: dict,
                      costs: dict) -> None:
    """Assignments exactly, costs within 2e-3."""
    for (layer, image), frame in matches.items():
        queries = (frame.gt_inds >= 0).nonzero().flatten()
        compare.equal(f'{run}/match/{layer}/img{image}',
                      torch.stack([queries, frame.gt_inds[queries]]))
        empty = torch.zeros(len(frame.gt_inds), 0)
        compare.close(f'{run}/cost/{layer}/img{image}',
                      costs.get((layer, image), empty), 2e-3)


def _compare_losses(compare: Comparison, run: str, info: dict,
                    losses: Dict[str, Tensor]) -> None:
    """Every loss before and after its weight, and their sum."""
    recording = compare.recording
    atol = {'A': 1e-3, 'B': 2e-4}[info['rule']]
    ours = {official_loss(name): loss for name, loss in losses.items()}
    for name in sorted(recording.names):
        match = re.fullmatch(rf'{run}/loss_(raw|weighted)/(\w+)', name)
        if match:
            weight = recording.meta['weight_dict'][match[2]]
            # a batch without denoising is recorded as zero losses
            loss = ours.get(match[2], torch.tensor(0.0))
            if match[1] == 'raw':
                compare.close(name, loss / weight, atol)
            else:
                compare.close(name, loss, 5 * atol)
    total = sum(losses.values())
    compare.close(f'{run}/loss_total', total, 0.0, 1e-4)
    recorded = {
        name.rsplit('/', 1)[1]
        for name in recording.names if name.startswith(f'{run}/loss_raw/')
    }
    extra = sorted(
        name for name in set(ours) - recorded if float(ours[name]) != 0)
    compare.rows.append(
        Row(f'{run}/loss_names', len(extra), 0.0, 'no loss beside the official'
            f' ones {extra or ""}', not (recorded and extra)))


def _compare_outputs(compare: Comparison, run: str,
                     output: FrameOutput) -> None:
    """The predictions that the losses were computed from."""
    enc, *layers = output.layers
    for prefix, sets in (('interm_pred', [enc]), ('pred', layers)):
        values = dict(
            logits=[layer.cls_logits for layer in sets],
            boxes=[layer.boxes for layer in sets],
            masks=[mask_logits(layer, output.mask_features) for layer in sets])
        for kind, atol in (('logits', 1e-4), ('boxes', 2e-5), ('masks', 1e-3)):
            value = torch.stack(values[kind]) if sets is layers else \
                values[kind][0]
            compare.close(f'{run}/out/{prefix}_{kind}', value, atol)


def _compare_denoising(compare: Comparison, run: str, model,
                       output: FrameOutput,
                       targets: List[ClipTargets]) -> None:
    """Denoising queries, their mask and their predictions."""
    dn = output.dn_queries
    num_slots, num_queries = dn.num_slots, output.embeds.shape[1]
    compare.equal(f'{run}/dn/groups', torch.tensor(dn.num_groups))
    compare.equal(f'{run}/dn/pad_size', torch.tensor(dn.num_queries))
    compare.close(f'{run}/dn/input_query_label', dn.content, 1e-4)
    compare.close(f'{run}/dn/input_query_bbox', inverse_sigmoid(dn.boxes),
                  1e-4)
    compare.equal(f'{run}/dn/attn_mask', dn.attn_mask(num_queries))
    images, slots = dn.valid.nonzero(as_tuple=True)
    group = torch.arange(dn.num_groups).repeat_interleave(len(images))
    images = images.repeat(dn.num_groups)
    queries = group * num_slots + slots.repeat(dn.num_groups)
    compare.equal(f'{run}/dn/batch_index', images)
    compare.equal(f'{run}/dn/slot_index', queries)
    compare.close(f'{run}/dn/noised_boxes', dn.boxes[images, queries], 2e-5)
    table = model.dn_query_generator.label_embedding.weight
    distance = torch.cdist(dn.content[images, queries], table)
    compare.equal(f'{run}/dn/noised_labels', distance.argmin(1))
    compare.equal(
        f'{run}/dn/known_labels',
        torch.cat([target.labels for target in targets]).repeat(dn.num_groups))
    compare.close(
        f'{run}/dn/known_boxes',
        torch.cat([target.boxes[0]
                   for target in targets]).repeat(dn.num_groups, 1), 1e-6)
    compare.close(
        f'{run}/dn/out_pred_logits',
        torch.stack([layer.cls_logits for layer in output.dn_layers]), 1e-4)
    compare.close(f'{run}/dn/out_pred_boxes',
                  torch.stack([layer.boxes for layer in output.dn_layers]),
                  2e-5)


def _compare_gradients(compare: Comparison, run: str, detector,
                       state: Dict[str, Tensor]) -> None:
    """Norms of all gradients and some whole ones."""
    recording = compare.recording
    params = dict(detector.named_parameters())
    table = convert_state_dict(state).table

    def convert(key: str, value: Tensor) -> tuple:
        (target, value), = table.convert(key, value)
        param = params.get(target)
        # label embeddings do not exist without denoising
        no_grad = param is None or param.grad is None
        return value, torch.zeros_like(value) if no_grad else param.grad

    if f'{run}/gradnorm' in recording:
        names = recording.strings(f'{run}/gradnorm_names')
        norms = torch.stack(
            [convert(name, state[name])[1].norm() for name in names])
        compare.close(f'{run}/gradnorm', norms, 1e-3, 1e-3)
        none = recording[f'{run}/grad_is_none'] if \
            f'{run}/grad_is_none' in recording else torch.zeros(0)
        compare.equal(f'{run}/grad_is_none', none.bool() & (norms == 0))
    for key, grad in recording.below(f'{run}/grad/').items():
        expected, actual = convert(key, grad)
        atol = 1e-3 * float(expected.abs().max())
        compare.close(f'{run}/grad/{key}', actual, atol, expected=expected)


def _compare_head(compare: Comparison, run: str, info: dict, head,
                  targets: List[ClipTargets]) -> None:
    """Losses of the recorded predictions, without the network.

    The recorded mask logits stand in for mask features, and unit vectors for
    the mask kernels.
    """
    recording = compare.recording
    atol = {'A': 1e-3, 'B': 2e-4}[info['rule']]
    frames = [target.frame(0) for target in targets]
    out = recording.below(f'{run}/out/')
    num_layers = len(out['pred_logits'])
    sets = [
        ('enc_',
         [out[f'interm_pred_{kind}'] for kind in ('logits', 'boxes', 'masks')])
    ]
    for i in range(num_layers):
        prefix = 'init.' if i == 0 else f'd{i - 1}.'
        sets.append(
            ('' if i == num_layers - 1 else prefix,
             [out[f'pred_{kind}'][i]
              for kind in ('logits', 'boxes', 'masks')]))
    for prefix, (logits, boxes, masks) in sets:
        kernels = torch.eye(masks.shape[1]).expand(len(masks), -1, -1)
        layer = LayerOutput(prefix, logits, boxes, kernels)
        with random_rule(info['rule']), torch.no_grad():
            losses = head.loss_by_feat(
                FrameOutput(kernels, logits, boxes, masks, layers=[layer]),
                frames)
        for name, loss in losses.items():
            official = official_loss(name)
            name = f'{run}/loss_raw/{official}'
            if name in recording:
                expected = recording[name]
                diff = (loss / recording.meta['weight_dict'][official] -
                        expected).abs()
                compare.check(f'{run}/head/{official}',
                              float(diff) <= atol, diff, expected, f'{atol:g}')


# --- coverage -------------------------------------------------------------

# Arrays that are inputs or serve the comparison of others.
INPUTS = re.compile(r'meta_json|image\d*|state/.*|gt\d+/.*|'
                    r'.*/gradnorm_names|.*/result_\w+/(hw|near_zero)|'
                    r'ops/(sine_in|inverse_sigmoid_in|mask_in)')


def group_of(name: str) -> str:
    """What is tested together: ``no/result_same/boxes`` -> ``no/result_same``.
    """
    parts = name.split('/')
    if parts[0] in ('feat', 'enc', 'pixel', 'query', 'interm', 'ops'):
        return parts[0]
    return '/'.join(parts[:2])


def recorded_groups(recording: Recording, prefix: str = '') -> List[str]:
    """Groups of the arrays to compare, see :func:`compared_groups`."""
    return compared_groups(recording, INPUTS, group_of, prefix)


def assert_group(recording: Recording, rows: List[Row], group: str) -> None:
    """All recorded arrays of a group were compared and agree."""
    assert_compared(recording, rows, INPUTS,
                    lambda name: group_of(name) == group)
