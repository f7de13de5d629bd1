# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Levels, layers and copies of MaskDINO."""
import pytest
import torch
from mmdet.models.backbones import SwinTransformer

from refinevis_mm.compat.checkpoints import (CheckpointError,
                                             CheckpointMismatchError)
from refinevis_mm.zoo.conversion import KeyUse, convert_state_dict
from refinevis_mm.zoo.conversion.checked_parts import check_conversion
from refinevis_mm.zoo.conversion.maskdino import infer_architecture
from tests.official_weights import (DIMS, official_maskdino, official_swin,
                                    recorded_weights)


def convert(official, feature_order=None, **options):
    """Our weights, which fit the model, the report and the architecture."""
    conversion = convert_state_dict(
        official, feature_order=feature_order, **options)
    assert conversion.family.name == 'MaskDINO'
    check_conversion(conversion, conversion.model, 'tiny')
    return (conversion.state_dict, conversion.uses,
            infer_architecture(official, feature_order))


@pytest.mark.parametrize(
    'options', [
        dict(),
        dict(order='high2low', extra=0),
        dict(order='high2low', extra=1, maps=(2, 3)),
        dict(backbone=official_swin, maps=(0, 1, 2, 3), dec_layers=9),
    ],
    ids=['r50-low2high', 'r50-high2low', 'r50-high2low-extra', 'swin-5levels'])
def test_every_tensor_is_accounted_for(options):
    official = official_maskdino(**options)
    converted, uses, arch = convert(official)
    assert [use.source for use in uses if use.source] == list(official)
    targets = [use.target for use in uses if use.target]
    assert sorted(targets) == sorted(converted)
    assert all(use.note for use in uses if not use.target)
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
    official = recorded_weights('maskdino_r50tiny')
    _, uses, _ = convert(official)
    assert [use.source for use in uses if use.source] == list(official)
    assert all(use.note for use in uses if not use.target)


def test_names_of_the_decoder():
    official = official_maskdino()
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
    official = official_maskdino(order=order)
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
    official = official_maskdino(official_swin, maps=(0, 1, 2, 3))
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
    official = official_maskdino(dec_layers=9)
    converted, uses, _ = convert(official, num_decoder_layers=6)
    key = 'decoder.layers.{}.linear1.weight'
    assert torch.equal(
        official['sem_seg_head.predictor.' + key.format(5)],
        converted['frame_model.decoder.layers.5.ffn.layers.0.0.weight'])
    assert KeyUse('sem_seg_head.predictor.' + key.format(6), None,
                  'layer beyond the first 6') in uses
    for wrong in (0, 10):
        with pytest.raises(ValueError, match='1..9, got'):
            convert(official, num_decoder_layers=wrong)


def test_unknown_and_contradicting_tensors():
    official = official_maskdino()
    with pytest.raises(
            CheckpointMismatchError,
            match='"checkpoint": 1 tensors are neither .*: extra.w'):
        convert(dict(official, **{'extra.w': torch.zeros(1)}))
    key = 'sem_seg_head.predictor.decoder.bbox_embed.2.layers.1.weight'
    with pytest.raises(
            CheckpointMismatchError, match='bbox_embed.2.* must equal'):
        convert(dict(official, **{key: official[key] + 1}))
    with pytest.raises(ValueError, match='must be low2high, .* got high2low'):
        convert(official, feature_order='high2low')
    two = dict(official)
    two['sem_seg_head.pixel_decoder.input_proj.4.0.weight'] = \
        torch.zeros(DIMS, DIMS, 3, 3)
    with pytest.raises(
            CheckpointError, match='at most one extra level .* got 2'):
        convert(two)
    for part, reason in (('backbone', 'the backbone must be'),
                         ('class_embed', 'no "sem_seg_head.predictor.cla')):
        rest = {
            key: value
            for key, value in official.items() if part not in key
        }
        with pytest.raises(CheckpointError, match=reason):
            convert(rest)


def test_order_of_one_map_must_be_given():
    official = official_maskdino(maps=(1, ), extra=1)
    with pytest.raises(ValueError, match='--feature-order must be given'):
        convert(official)
    _, _, arch = convert(official, feature_order='high2low')
    assert arch.feature_order == 'high2low'
