# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where tensors of IDOL, Mask2Former and CTVIS go, by what they do."""
import pytest
import torch

from refinevis_mm.compat.checkpoints import CheckpointMismatchError
from refinevis_mm.zoo.conversion import convert_state_dict
from tests.official_weights import official_idol, official_mask2former

IDOL = {
    'input_proj.1.0.weight':
    'neck.convs.1.conv.weight',
    'input_proj.3.1.bias':
    'neck.extra_convs.0.gn.bias',
    'transformer.level_embed':
    'encoder.level_embed',
    'transformer.encoder.layers.1.norm2.bias':
    'encoder.encoder.layers.1.norms.1.bias',
    # self-attention comes first
    'transformer.decoder.layers.2.norm2.weight':
    'decoder.layers.2.norms.0.weight',
    'transformer.decoder.layers.2.norm1.weight':
    'decoder.layers.2.norms.1.weight',
    'transformer.decoder.layers.0.linear2.weight':
    'decoder.layers.0.ffn.layers.1.weight',
    'transformer.reference_points.bias':
    'decoder.reference_points.bias',
    'class_embed.2.bias':
    'head.fc_cls.2.bias',
    'bbox_embed.1.layers.2.weight':
    'head.fc_reg.1.layers.2.weight',
    'backbone.0.backbone.res3.0.shortcut.norm.running_mean':
    'backbone.layer2.0.downsample.1.running_mean',
}
# in the order in which the convolutions are applied
IDOL_MASKS = dict(
    lay3='fuse_convs.0',
    lay4='fuse_convs.1',
    dcn='fuse_convs.2',
    lay1='reduce_conv',
    lay2='out_conv')
MASK2FORMER = {
    'pixel_decoder.input_proj.0.0.weight':
    'pixel_decoder.input_convs.0.conv.weight',
    'pixel_decoder.transformer.level_embed':
    'pixel_decoder.level_encoding.weight',
    'pixel_decoder.adapter_1.norm.bias':
    'pixel_decoder.lateral_convs.0.gn.'
    'bias',
    'pixel_decoder.layer_1.weight':
    'pixel_decoder.output_convs.0.conv.weight',
    'predictor.transformer_cross_attention_layers.1.multihead_attn.out_proj.'
    'weight':
    'transformer_decoder.layers.1.cross_attn.attn.out_proj.weight',
    'predictor.transformer_cross_attention_layers.1.norm.bias':
    'transformer_decoder.layers.1.norms.0.bias',
    'predictor.transformer_self_attention_layers.1.norm.bias':
    'transformer_decoder.layers.1.norms.1.bias',
    'predictor.transformer_ffn_layers.3.norm.bias':
    'transformer_decoder.layers.3.norms.2.bias',
    'predictor.decoder_norm.weight':
    'transformer_decoder.post_norm.weight',
    'predictor.mask_embed.layers.2.weight':
    'mask_embed.4.weight',
    'predictor.level_embed.weight':
    'level_embed.weight',
}


def test_idol():
    official = official_idol()
    weights = convert_state_dict(official).state_dict
    for source, target in IDOL.items():
        assert torch.equal(weights[f'frame_model.{target}'],
                           official[f'detr.detr.{source}'])
    for source, target in IDOL_MASKS.items():
        key = f'frame_model.head.mask_branch.{target}.conv.weight'
        assert torch.equal(weights[key],
                           official[f'detr.mask_head.{source}.weight'])
    assert torch.equal(weights['association_head.mlp.layers.1.weight'],
                       official['detr.reid_embed_head.layers.1.weight'])
    width = official['detr.detr.query_embed.weight'].shape[1] // 2
    position = weights['frame_model.decoder.query_pos_embedding.weight']
    assert torch.equal(position,
                       official['detr.detr.query_embed.weight'][:, :width])


def test_copies_of_idol_are_compared():
    official = official_idol()
    uses = convert_state_dict(official).uses
    copies = [use.source for use in uses if 'copy of' in use.note]
    num_layers = 3
    assert len(copies) == num_layers * 6
    official[copies[0]] = official[copies[0]] + 1
    with pytest.raises(CheckpointMismatchError, match='must equal'):
        convert_state_dict(official)


def test_mask2former():
    official = official_mask2former()
    conversion = convert_state_dict(official)
    weights = conversion.state_dict
    for source, target in MASK2FORMER.items():
        assert torch.equal(weights[f'frame_model.head.{target}'],
                           official[f'sem_seg_head.{source}'])
    assert str(conversion).startswith('Mask2Former or MinVIS, ResNet-50, ')


def test_old_names_of_mask2former():
    official = official_mask2former()
    old = {
        key.replace('pixel_decoder.', '').replace('query_feat', 'static_query'):
        value
        for key, value in official.items()
    }
    expected = convert_state_dict(official).state_dict
    found = convert_state_dict(old).state_dict
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_ctvis():
    official = official_mask2former()
    width = len(official['sem_seg_head.predictor.decoder_norm.bias'])
    for i in range(3):
        name = f'sem_seg_head.predictor.reid_embed.layers.{i}'
        official[f'{name}.weight'] = torch.randn(width, width)
        official[f'{name}.bias'] = torch.randn(width)
    conversion = convert_state_dict(official)
    assert conversion.family.name == 'CTVIS'
    for i in range(3):
        assert torch.equal(
            conversion.state_dict[f'association_head.mlp.layers.{i}.bias'],
            official[f'sem_seg_head.predictor.reid_embed.layers.{i}.bias'])
    rest = {key: value for key, value in conversion.state_dict.items()
            if not key.startswith('association_head.')}  # yapf: disable
    dropped = conversion.fit_parts(rest)
    assert dropped == ['association_head']
    assert set(conversion.state_dict) == set(rest)
