# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pickle
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.datasets import CocoDataset, YouTubeVISDataset
from mmdet.models.backbones import SwinTransformer

from refinevis_mm.compat.checkpoints import (CheckpointError, check_state_dict,
                                             read_checkpoint)
from refinevis_mm.registry import MODELS

TOOL = (
    Path(__file__).parents[2] / 'tools' / 'model_converters' /
    'maskdino_to_refinevis.py')
DATA = Path(__file__).parents[1] / 'data'
CONVERTER = runpy.run_path(str(TOOL))
convert = CONVERTER['convert_state_dict']
HEADS, POINTS, DIMS = 8, 4, 32
COCO = CocoDataset.METAINFO['classes']


class Official(dict):
    """Random weights under official names, written out from its structure."""

    def add(self, name, *shape):
        self[name] = torch.randn(shape)

    def linear(self, name, num_out, num_in):
        self.add(f'{name}.weight', num_out, num_in)
        self.add(f'{name}.bias', num_out)

    def norm(self, name, channels, frozen=False):
        leaves = ('weight', 'bias', 'running_mean', 'running_var')
        for leaf in leaves if frozen else leaves[:2]:
            self.add(f'{name}.{leaf}', channels)

    def attention(self, name, levels):
        self.linear(f'{name}.sampling_offsets', HEADS * levels * POINTS * 2,
                    DIMS)
        self.linear(f'{name}.attention_weights', HEADS * levels * POINTS, DIMS)
        self.linear(f'{name}.value_proj', DIMS, DIMS)
        self.linear(f'{name}.output_proj', DIMS, DIMS)

    def mlp(self, name, *dims):
        for i, (num_in, num_out) in enumerate(zip(dims, dims[1:])):
            self.linear(f'{name}.layers.{i}', num_out, num_in)

    def conv(self, name, num_out, num_in, size, norm=True):
        self.add(f'{name}.weight', num_out, num_in, size, size)
        if norm:
            self.norm(f'{name}.norm', num_out, frozen=name[:8] == 'backbone')


def _resnet(state, base=4):
    state.conv('backbone.stem.conv1', base, 3, 7)
    channels = base
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = base * 2**stage
        for block in range(blocks):
            name = f'backbone.res{stage + 2}.{block}'
            if block == 0:
                state.conv(f'{name}.shortcut', width * 4, channels, 1)
            state.conv(f'{name}.conv1', width, channels, 1)
            state.conv(f'{name}.conv2', width, width, 3)
            state.conv(f'{name}.conv3', width * 4, width, 1)
            channels = width * 4
    return [base * 4 * 2**i for i in range(4)]


def _swin(state, dims=8, window=4):
    state.add('backbone.patch_embed.proj.weight', dims, 3, 4, 4)
    state.add('backbone.patch_embed.proj.bias', dims)
    state.norm('backbone.patch_embed.norm', dims)
    grid = torch.stack(
        torch.meshgrid([torch.arange(window)] * 2, indexing='ij')).flatten(1)
    steps = grid[:, :, None] - grid[:, None] + window - 1
    for stage, (depth, heads) in enumerate(zip((2, 2, 4, 2), (1, 2, 4, 4))):
        width = dims * 2**stage
        for block in range(depth):
            name = f'backbone.layers.{stage}.blocks.{block}'
            state.norm(f'{name}.norm1', width)
            state.norm(f'{name}.norm2', width)
            state.linear(f'{name}.attn.qkv', 3 * width, width)
            state.linear(f'{name}.attn.proj', width, width)
            state.add(f'{name}.attn.relative_position_bias_table',
                      (2 * window - 1)**2, heads)
            state[f'{name}.attn.relative_position_index'] = \
                steps[0] * (2 * window - 1) + steps[1]
            state.linear(f'{name}.mlp.fc1', 4 * width, width)
            state.linear(f'{name}.mlp.fc2', width, 4 * width)
        if stage < 3:
            down = f'backbone.layers.{stage}.downsample'
            state.add(f'{down}.reduction.weight', 2 * width, 4 * width)
            state.norm(f'{down}.norm', 4 * width)
        state.norm(f'backbone.norm{stage}', width)
    return [dims * 2**i for i in range(4)]


def _official(backbone=_resnet,
              order='low2high',
              maps=(1, 2, 3),
              extra=1,
              dec_layers=3,
              num_classes=5):
    torch.manual_seed(0)
    state = Official()
    channels = backbone(state)
    pixel, head = 'sem_seg_head.pixel_decoder', 'sem_seg_head.predictor'
    levels = len(maps) + extra
    inputs = [channels[i] for i in maps]
    inputs = inputs if order == 'low2high' else inputs[::-1]
    inputs += [max(inputs)] * extra
    for i, num_in in enumerate(inputs):
        size = 1 if i < len(maps) else 3
        state.add(f'{pixel}.input_proj.{i}.0.weight', DIMS, num_in, size, size)
        state.add(f'{pixel}.input_proj.{i}.0.bias', DIMS)
        state.norm(f'{pixel}.input_proj.{i}.1', DIMS)
    state.add(f'{pixel}.transformer.level_embed', levels, DIMS)
    for i in range(2):
        name = f'{pixel}.transformer.encoder.layers.{i}'
        state.attention(f'{name}.self_attn', levels)
        state.linear(f'{name}.linear1', 64, DIMS)
        state.linear(f'{name}.linear2', DIMS, 64)
        state.norm(f'{name}.norm1', DIMS)
        state.norm(f'{name}.norm2', DIMS)
    state.conv(f'{pixel}.adapter_1', DIMS, channels[0], 1)
    state.conv(f'{pixel}.layer_1', DIMS, DIMS, 3)
    state.conv(f'{pixel}.mask_features', DIMS, DIMS, 1, norm=False)
    state.add(f'{pixel}.mask_features.bias', DIMS)
    state.linear(f'{head}.enc_output', DIMS, DIMS)
    state.norm(f'{head}.enc_output_norm', DIMS)
    state.linear(f'{head}.class_embed', num_classes, DIMS)
    state.add(f'{head}.label_enc.weight', num_classes, DIMS)
    state.mlp(f'{head}.mask_embed', DIMS, DIMS, DIMS, DIMS)
    state.norm(f'{head}.decoder_norm', DIMS)
    for i in range(dec_layers):
        name = f'{head}.decoder.layers.{i}'
        state.attention(f'{name}.cross_attn', levels)
        state.add(f'{name}.self_attn.in_proj_weight', 3 * DIMS, DIMS)
        state.add(f'{name}.self_attn.in_proj_bias', 3 * DIMS)
        state.linear(f'{name}.self_attn.out_proj', DIMS, DIMS)
        state.linear(f'{name}.linear1', 48, DIMS)
        state.linear(f'{name}.linear2', DIMS, 48)
        for norm in ('norm1', 'norm2', 'norm3'):
            state.norm(f'{name}.{norm}', DIMS)
    state.mlp(f'{head}.decoder.ref_point_head', 2 * DIMS, DIMS, DIMS)
    state.mlp(f'{head}._bbox_embed', DIMS, DIMS, DIMS, 4)
    copies = [f'bbox_embed.{i}' for i in range(dec_layers)]
    copies += [f'decoder.{name}' for name in copies]
    for key in [key for key in state if '._bbox_embed.' in key]:
        for copy in copies:
            state[key.replace('_bbox_embed', copy)] = state[key].clone()
    for leaf in ('weight', 'bias'):
        state[f'{head}.decoder.norm.{leaf}'] = \
            state[f'{head}.decoder_norm.{leaf}'].clone()
    state.add('criterion.empty_weight', num_classes + 1)
    return state


def _check_fits(converted, arch):
    model = MODELS.build(CONVERTER['frame_model_cfg'](arch))
    check_state_dict(torch.nn.ModuleDict(dict(frame_model=model)), converted)


@pytest.mark.parametrize(
    'options', [
        dict(),
        dict(order='high2low', extra=0),
        dict(order='high2low', extra=1, maps=(2, 3)),
        dict(backbone=_swin, maps=(0, 1, 2, 3), dec_layers=9),
    ],
    ids=['r50-low2high', 'r50-high2low', 'r50-high2low-extra', 'swin-5levels'])
def test_every_tensor_is_accounted_for(options):
    official = _official(**options)
    converted, report, arch = convert(official)
    _check_fits(converted, arch)
    sources = [row.source for row in report if row.source != '-']
    assert sorted(sources) == sorted(official)
    targets = [row.target for row in report if row.target != '-']
    assert sorted(targets) == sorted(converted)
    assert all(
        row.action.startswith('dropped: ') for row in report
        if row.target == '-')
    order = options.get('order', 'low2high')
    assert arch.feature_order == order
    assert arch.encoder_in_indices == options.get('maps', (1, 2, 3))
    assert arch.num_levels == len(options.get('maps', '...')) + options.get(
        'extra', 1)
    assert arch.proposal_wh_order == {
        'low2high': 'coarse_small',
        'high2low': 'fine_small'
    }[order]


def test_every_tensor_of_an_official_model():
    """Names as the official code has written them."""
    with np.load(DATA / 'parity' / 'maskdino_r50tiny.npz') as file:
        official = {
            name[len('state/'):]: torch.as_tensor(file[name])
            for name in file.files if name.startswith('state/')
        }
    converted, report, arch = convert(official)
    _check_fits(converted, arch)
    assert sorted(row.source for row in report
                  if row.source != '-') == sorted(official)
    assert all(
        row.action.startswith('dropped: ') for row in report
        if row.target == '-')


def test_names_of_the_decoder():
    official = _official()
    converted, _, _ = convert(official)
    old, new = 'sem_seg_head.predictor.', 'frame_model.'
    layer = 'decoder.layers.1.'
    renamed = {
        f'{layer}norm2.weight': f'{layer}norms.0.weight',
        f'{layer}norm1.bias': f'{layer}norms.1.bias',
        f'{layer}norm3.weight': f'{layer}norms.2.weight',
        f'{layer}linear1.weight': f'{layer}ffn.layers.0.0.weight',
        f'{layer}linear2.bias': f'{layer}ffn.layers.1.bias',
        f'{layer}self_attn.in_proj_weight':
        f'{layer}self_attn.attn.in_proj_weight',
        f'{layer}cross_attn.value_proj.weight':
        f'{layer}cross_attn.value_proj.weight',
        'enc_output.weight': 'memory_trans_fc.weight',
        'label_enc.weight': 'dn_query_generator.label_embedding.weight',
        '_bbox_embed.layers.2.bias': 'head.fc_reg.layers.2.bias',
        'mask_embed.layers.0.weight': 'head.fc_mask.layers.0.weight',
        'decoder_norm.weight': 'decoder.norm.weight',
    }
    for source, target in renamed.items():
        assert torch.equal(official[old + source], converted[new + target])
    block = 'frame_model.backbone.layer3.0.'
    assert torch.equal(official['backbone.res4.0.shortcut.norm.running_var'],
                       converted[f'{block}downsample.1.running_var'])
    assert torch.equal(official['backbone.res4.0.conv2.norm.bias'],
                       converted[f'{block}bn2.bias'])
    assert converted[f'{block}bn2.num_batches_tracked'] == 0


@pytest.mark.parametrize('order', ['low2high', 'high2low'])
def test_levels_become_fine_to_coarse(order):
    official = _official(order=order)
    converted, _, _ = convert(official)
    pixel = 'sem_seg_head.pixel_decoder.'
    ours = 'frame_model.pixel_decoder.'
    attentions = dict(
        encoder=(f'{pixel}transformer.encoder.layers.0.self_attn.',
                 f'{ours}encoder.layers.0.self_attn.'),
        decoder=('sem_seg_head.predictor.decoder.layers.0.cross_attn.',
                 'frame_model.decoder.layers.0.cross_attn.'))
    coarse_first = 'decoder' if order == 'low2high' else 'encoder'
    for part, (old, new) in attentions.items():
        for leaf, width in (('sampling_offsets', 2), ('attention_weights', 1)):
            before = official[f'{old}{leaf}.bias'].view(8, 4, 4, width)
            after = converted[f'{new}{leaf}.bias'].view(8, 4, 4, width)
            for level in range(4):
                source = 3 - level if part == coarse_first else level
                assert torch.equal(after[:, level], before[:, source])
            before = official[f'{old}{leaf}.weight'].view(8, 4, 4, -1)
            after = converted[f'{new}{leaf}.weight'].view(8, 4, 4, -1)
            source = 3 if part == coarse_first else 0
            assert torch.equal(after[:, 0], before[:, source])
    # the extra level is always the last projection
    sources = [0, 1, 2, 3] if order == 'low2high' else [2, 1, 0, 3]
    for level, source in enumerate(sources):
        assert torch.equal(converted[f'{ours}input_convs.{level}.conv.weight'],
                           official[f'{pixel}input_proj.{source}.0.weight'])
        assert torch.equal(converted[f'{ours}input_convs.{level}.gn.bias'],
                           official[f'{pixel}input_proj.{source}.1.bias'])
    embed = official[f'{pixel}transformer.level_embed']
    if order == 'high2low':
        embed = embed.flip(0)
    assert torch.equal(converted[f'{ours}level_embed'], embed)


def test_swin_merges_the_same_neighbours():
    """Patch merging by the definition of the original layout."""
    official = _official(_swin, maps=(0, 1, 2, 3))
    converted, _, arch = convert(official)
    assert arch.backbone['depths'] == (2, 2, 4, 2)
    assert arch.backbone['num_heads'] == (1, 2, 4, 4)
    assert arch.backbone['window_size'] == 4
    options = {
        key: value
        for key, value in arch.backbone.items() if key != 'type'
    }
    model = SwinTransformer(**options)
    model.eval()  # returns None
    prefix = 'frame_model.backbone.'
    own = model.state_dict()
    index = 'stages.2.blocks.1.attn.w_msa.relative_position_index'
    assert torch.equal(own[index], converted[prefix + index])
    model.load_state_dict(
        {
            key[len(prefix):]: value
            for key, value in converted.items() if key.startswith(prefix)
        },
        strict=True)
    x = torch.randn(1, 6 * 4, 8)  # 6 rows, 4 columns
    with torch.no_grad():
        actual, size = model.stages[0].downsample(x, (6, 4))
    grid = x.view(1, 6, 4, 8)
    merged = torch.cat([
        grid[:, 0::2, 0::2], grid[:, 1::2, 0::2], grid[:, 0::2, 1::2],
        grid[:, 1::2, 1::2]
    ], -1).flatten(1, 2)
    down = 'backbone.layers.0.downsample.'
    merged = torch.nn.functional.layer_norm(merged, (32, ),
                                            official[f'{down}norm.weight'],
                                            official[f'{down}norm.bias'])
    expected = merged @ official[f'{down}reduction.weight'].T
    assert tuple(size) == (3, 2)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-4)


def test_first_decoder_layers_are_kept():
    official = _official(dec_layers=9)
    converted, report, arch = convert(official, num_decoder_layers=6)
    _check_fits(converted, arch)
    key = 'decoder.layers.{}.linear1.weight'
    assert torch.equal(
        official['sem_seg_head.predictor.' + key.format(5)],
        converted['frame_model.decoder.layers.5.ffn.layers.0.0.weight'])
    dropped = {row.source: row.action for row in report if row.target == '-'}
    assert dropped['sem_seg_head.predictor.' + key.format(6)] == \
        'dropped: layer beyond the first 6'
    for wrong in (0, 10):
        with pytest.raises(ValueError, match='1..9, got'):
            convert(official, num_decoder_layers=wrong)


def test_class_lists_are_those_of_the_data_sets():
    for year in (2019, 2021):
        YouTubeVISDataset.set_dataset_classes(str(year))
        assert CONVERTER['CLASSES'][f'coco->youtube_vis_{year}'] == \
            YouTubeVISDataset.METAINFO['classes']
    assert len(CONVERTER['OVIS']) == 25


def test_classes_are_matched_by_name():

    def names(target):
        matches = CONVERTER['match_classes'](f'coco->{target}')
        return {
            ours: COCO[source]
            for ours, source in zip(CONVERTER['CLASSES'][f'coco->{target}'],
                                    matches) if source is not None
        }

    shared = {
        name: name
        for name in ('person', 'skateboard', 'dog', 'cat', 'cow', 'train',
                     'horse', 'bear', 'giraffe', 'surfboard', 'airplane',
                     'truck', 'zebra', 'elephant', 'snowboard', 'boat')
    }
    shared.update(motorbike='motorcycle', tennis_racket='tennis racket')
    assert names('youtube_vis_2019') == dict(shared, sedan='car')
    assert names('youtube_vis_2021') == dict(
        shared, car='car', bird='bird', flying_disc='frisbee')
    animals = 'bird cat dog horse sheep cow elephant bear zebra giraffe'
    others = 'person bicycle motorcycle airplane boat'
    assert names('ovis') == dict(
        {name.capitalize(): name
         for name in f'{animals} {others}'.split()},
        Vehical='car')
    with pytest.raises(ValueError, match="in quotes .* got 'coco-'"):
        CONVERTER['match_classes']('coco-')


def test_class_rows():
    official = _official(num_classes=80)
    converted, report, arch = convert(official, classes='coco->ovis', seed=3)
    _check_fits(converted, arch)
    assert arch.num_classes == 25
    sources = CONVERTER['match_classes']('coco->ovis')
    head = 'sem_seg_head.predictor.'
    for old, new in (('class_embed.weight', 'head.fc_cls.weight'),
                     ('class_embed.bias', 'head.fc_cls.bias'),
                     ('label_enc.weight',
                      'dn_query_generator.label_embedding.weight')):
        before, after = official[head + old], converted['frame_model.' + new]
        assert len(after) == 25
        for target, source in enumerate(sources):
            if source is not None:
                assert torch.equal(after[target], before[source])
        row, = (row for row in report if row.target == f'frame_model.{new}')
        assert row.source == head + old and row.shape == tuple(after.shape)
        assert row.action.startswith('16 class rows copied by name, 9 new')
        assert 'Poultry, Giant_panda' in row.action
    new_bias = converted['frame_model.head.fc_cls.bias'][11]
    assert new_bias == official[head + 'class_embed.bias'].mean()
    weight = converted['frame_model.head.fc_cls.weight']
    assert 0 < weight[11].abs().max() <= DIMS**-0.5
    again = convert(official, classes='coco->ovis', seed=3)[0]
    assert all(torch.equal(again[key], converted[key]) for key in converted)
    other = convert(official, classes='coco->ovis', seed=4)[0]
    other = other['frame_model.head.fc_cls.weight']
    assert torch.equal(other[0], weight[0])
    assert not torch.equal(other[11], weight[11])
    with pytest.raises(ValueError, match='needs 80 classes .* got 5'):
        convert(_official(), classes='coco->ovis')


def test_unknown_and_contradicting_tensors():
    official = _official()
    with pytest.raises(ValueError, match='1 tensors are neither .*: extra.w'):
        convert(dict(official, **{'extra.w': torch.zeros(1)}))
    key = 'sem_seg_head.predictor.decoder.bbox_embed.2.layers.1.weight'
    with pytest.raises(ValueError, match='bbox_embed.2.* must equal'):
        convert(dict(official, **{key: official[key] + 1}))
    with pytest.raises(ValueError, match='must be low2high, .* got high2low'):
        convert(official, feature_order='high2low')
    two = dict(official)
    two['sem_seg_head.pixel_decoder.input_proj.4.0.weight'] = \
        torch.zeros(DIMS, DIMS, 3, 3)
    with pytest.raises(ValueError, match='at most one extra level .* got 2'):
        convert(two)
    with pytest.raises(ValueError, match='the backbone must be'):
        convert(dict(weight=torch.zeros(1)))
    no_head = {
        key: value
        for key, value in official.items() if 'class_embed' not in key
    }
    with pytest.raises(ValueError, match='no "sem_seg_head.predictor.class_e'):
        convert(no_head)


def test_order_of_one_map_must_be_given():
    official = _official(maps=(1, ), extra=1)
    with pytest.raises(ValueError, match='--feature-order must be given'):
        convert(official)
    _, _, arch = convert(official, feature_order='high2low')
    assert arch.feature_order == 'high2low'


def _run(monkeypatch, *args):
    monkeypatch.setattr(sys, 'argv', ['convert', *map(str, args)])
    runpy.run_path(str(TOOL), run_name='__main__')


def test_command_line(tmp_path, monkeypatch, capsys):
    official = _official(num_classes=80)
    arrays = {
        f'module.{key}': value.numpy() if 'label_enc' in key else value
        for key, value in official.items()
    }
    source, target = tmp_path / 'model.pth', tmp_path / 'out' / 'ours.pth'
    torch.save(dict(model=arrays, iteration=9), source)
    _run(monkeypatch, source, target, '--num-decoder-layers', 2)
    lines = capsys.readouterr().out.splitlines()
    assert any(
        line.startswith('criterion.empty_weight -> - (81,) dropped: ')
        for line in lines)
    assert "proposal_wh_order='coarse_small'" in lines[-1]
    checkpoint = read_checkpoint(str(target))
    expected = convert(official, num_decoder_layers=2)[0]
    assert set(checkpoint['state_dict']) == set(expected)
    assert all(
        torch.equal(checkpoint['state_dict'][key], expected[key])
        for key in expected)
    assert checkpoint['meta']['dataset_meta']['classes'] == list(COCO)
    assert list(target.parent.iterdir()) == [target]

    torch.save(dict(official), source)
    _run(monkeypatch, source, target, '--classes', 'coco->youtube_vis_2021')
    meta = read_checkpoint(str(target))['meta']
    assert meta['dataset_meta']['classes'][24] == 'parrot'


def test_command_line_fails(tmp_path, monkeypatch):
    source, target = tmp_path / 'model.pth', tmp_path / 'ours.pth'
    torch.save(dict(_official(), extra=torch.zeros(1)), source)
    with pytest.raises(SystemExit, match='error: 1 tensors .*: extra'):
        _run(monkeypatch, source, target)
    incomplete = _official()
    del incomplete['sem_seg_head.predictor.decoder.layers.1.norm3.bias']
    torch.save(dict(incomplete), source)
    with pytest.raises(SystemExit, match='missing keys .*layers.1.norms.2'):
        _run(monkeypatch, source, target)
    assert not target.exists()


def test_pickle_is_not_run(tmp_path):
    marker = tmp_path / 'ran'

    class Payload:

        def __reduce__(self):
            return Path.touch, (marker, )

    plain, zipped = tmp_path / 'model.pkl', tmp_path / 'model.pth'
    plain.write_bytes(
        pickle.dumps(dict(model=dict(w=np.zeros(1)), payload=Payload())))
    torch.save(dict(model=dict(w=torch.zeros(1)), payload=Payload()), zipped)
    for path in (plain, zipped):
        with pytest.raises(CheckpointError, match='more than weights: .*'):
            CONVERTER['read_official'](str(path))
    assert not marker.exists()
    torch.save(dict(model=dict(w='text')), zipped)
    with pytest.raises(RuntimeError, match='must hold a dict of tensors'):
        CONVERTER['read_official'](str(zipped))
    with pytest.raises(FileNotFoundError, match='does not exist'):
        CONVERTER['read_official'](str(tmp_path / 'no.pth'))
