# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What all families share: recognition, rows, the report, bad input."""
import pytest
import torch
from torch import nn

from refinevis_mm.compat.checkpoints import CheckpointMismatchError
from refinevis_mm.zoo.conversion import (FAMILIES, KeyUse, convert_state_dict,
                                         find_family)
from refinevis_mm.zoo.conversion.checked_parts import find_model
from refinevis_mm.zoo.conversion.rules import RuleTable, drop, rename, split
from tests.official_weights import (ROOT, official_idol, official_mask2former,
                                    official_maskdino, read_manifest)

REID = 'sem_seg_head.predictor.reid_embed.layers.0.weight'


@pytest.mark.parametrize('keys, name', [
    (('vita_module.query_feat.weight', REID), 'VITA'),
    ((REID, ), 'CTVIS'),
    (('sem_seg_head.predictor.decoder.layers.0.norm1.bias', ), 'MaskDINO'),
    (('sem_seg_head.predictor.transformer_cross_attention_layers.0.norm.bias',
      ), 'Mask2Former or MinVIS'),
    (('detr.detr.transformer.level_embed', ), 'IDOL'),
    (('detr.detr.transformer.level_embed',
      'detr.detr.transformer.decoder.layers.0.norm1_box.bias'),
     'SeqFormer of VNext'),
    (('detr.transformer.decoder.layers.0.norm1_box.bias', ),
     'SeqFormer of its own repository'),
])  # yapf: disable
def test_a_family_is_known_by_its_keys(keys, name):
    keys = ('backbone.stem.conv1.weight', ) + keys
    family = find_family(dict.fromkeys(keys))
    assert family.name == name and family.official


def test_mmdet_is_known_where_the_model_takes_it():
    weights = dict.fromkeys(('backbone.conv1.weight', 'track_head.a'))
    assert find_family(weights) is None
    for keys, name in ((['frame_model.head.a'], 'Mask2FormerVideo of mmdet'),
                       (['segmenter.detector.a'],
                        'detector of mmdet'), (['panoptic_head.a'], None)):
        family = find_family(weights, keys)
        assert (family and family.name) == name


def test_unknown_families_are_told_their_keys_and_the_known_ones():
    weights = {f'encoder.{i}.weight': torch.ones(1) for i in range(9)}
    with pytest.raises(CheckpointMismatchError) as error:
        convert_state_dict(weights, name='a.pth')
    text = str(error.value)
    assert text.startswith('"a.pth" is of no known family: its first keys are '
                           'encoder.0.weight, encoder.1.weight, encoder.2.w')
    for family in FAMILIES:
        assert family.name in text


def test_options_of_another_family():
    with pytest.raises(ValueError, match='are for MaskDINO, got IDOL'):
        convert_state_dict(official_idol(), num_decoder_layers=3)


@pytest.mark.parametrize(
    'official', [official_idol, official_mask2former, official_maskdino])
def test_nothing_is_added_to_what_has_counters(official):
    """Gradients of ours, and files that were converted back, have them."""
    weights = official()
    conversion = convert_state_dict(weights)
    added = [use for use in conversion.uses if not use.source]
    assert len(added) == 53  # norms of ResNet-50
    assert all(use.note.startswith('added: ') for use in added)
    assert len(list(conversion.report(weights))) == len(conversion.uses)


def test_values_are_not_copied_unless_they_move():
    weights = official_mask2former()
    converted = convert_state_dict(weights).state_dict
    pointers = {value.data_ptr() for value in weights.values()}
    others = [
        key for key, value in converted.items()
        if value.data_ptr() not in pointers
    ]
    assert all(key.endswith('num_batches_tracked') for key in others)


def test_what_averaging_adds_is_dropped():
    weights = official_mask2former()
    plain = convert_state_dict(weights).state_dict
    weights['ema_' + 'backbone.stem.conv1.weight'.replace('.', '_')] = \
        torch.ones(1)
    weights['n_averaged'] = torch.tensor(3)
    conversion = convert_state_dict(weights)
    assert set(conversion.state_dict) == set(plain)
    dropped = {use.source: use.note for use in conversion.uses
               if not use.target}  # yapf: disable
    assert dropped['n_averaged'] == 'counter of the averaging of weights'
    assert dropped['ema_backbone_stem_conv1_weight'] == \
        'running average of another tensor'


def test_leftovers_can_be_allowed():
    weights = official_mask2former()
    weights['tracker.weight'] = torch.ones(1)
    with pytest.raises(CheckpointMismatchError, match=': tracker.weight$'):
        convert_state_dict(weights)
    conversion = convert_state_dict(weights, allow_leftovers=True)
    assert KeyUse('tracker.weight', None, 'not known') in conversion.uses


def test_rows_of_a_table():
    table = RuleTable([
        drop(r'a\.skip', 'not needed'),
        rename(r'a\.(\w+)', r'b.\1'),
        split(r'c', ['left', 'right'], 'in two', lambda value: value.chunk(2)),
    ])
    value = torch.arange(4.)
    (target, same), = table.convert('a.x', value)
    assert target == 'b.x' and same is value
    assert table.convert('a.skip', value) == []
    assert table.find('a.skip').note == 'not needed'
    parts = dict(table.convert('c', value))
    assert parts['left'].tolist() == [0, 1]
    assert parts['right'].tolist() == [2, 3]
    assert table.find('a.x.y') is None and table.convert('xa.b', value) == []


def test_a_gradient_converts_like_its_parameter():
    weights = official_idol()
    table = convert_state_dict(weights).table
    grad = torch.randn_like(weights['detr.detr.query_embed.weight'])
    parts = dict(table.convert('detr.detr.query_embed.weight', grad))
    width = grad.shape[1] // 2
    assert torch.equal(parts['frame_model.decoder.query_pos_embedding.weight'],
                       grad[:, :width])
    assert torch.equal(parts['frame_model.decoder.query_embedding.weight'],
                       grad[:, width:])


def test_a_half_is_saved_without_the_whole(tmp_path):
    converted = convert_state_dict(official_idol()).state_dict
    half = converted['frame_model.decoder.query_embedding.weight']
    assert half.untyped_storage().nbytes() == half.numel() * 4
    assert nn.Parameter(half).is_contiguous()


def test_mmdet_fits_the_shipped_configs():
    weights, _ = read_manifest(
        ROOT / 'tests/data/manifests/mmdet_mask2former_coco_r50.json.gz')
    conversion = convert_state_dict(weights, model_keys=['frame_model.head.'])
    assert str(conversion) == ('Mask2Former of mmdet, ResNet-50, 80 classes, '
                               '100 queries')
    assert find_model(conversion, ROOT / 'configs') == (
        'its config: minvis_r50_coco.py or mask2former-r50_coco.py')
    with pytest.raises(CheckpointMismatchError, match='of no known family'):
        convert_state_dict(weights)
