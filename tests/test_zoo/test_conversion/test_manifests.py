# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Key lists of official full-size models against the shipped configs.

They lie outside of the repository, in the folder ``REFINEVIS_MANIFEST_DIR`` or
in ``shared/fixtures/manifests`` beside it.
"""
import re
from pathlib import Path

import pytest
from mmengine.config import Config

from refinevis_mm.compat.checkpoints import (CheckpointError,
                                             CheckpointMismatchError)
from refinevis_mm.zoo.conversion import convert_state_dict
from refinevis_mm.zoo.conversion.checked_parts import (check_conversion,
                                                       find_model)
from tests.official_weights import MANIFESTS, read_manifest

CONFIGS = Path(__file__).parents[3] / 'configs'
D2, MINVIS = 'mask2former/mask2former-', 'minvis/minvis_'
VITA = 'vita/vita_'
SEQFORMER = 'seqformer/seqformer_'
MASKDINO = 'maskdino/maskdino_{}_16xb1-lsj-50e_coco'
# manifest: config of the same size
SHIPPED = dict(
    mask2former_d2_coco_r50=D2 + 'r50_coco',
    mask2former_d2_coco_r101=D2 + 'r101_coco',
    mask2former_d2_coco_swint=D2 + 'swin-t_coco',
    mask2former_d2_coco_swins=D2 + 'swin-s_coco',
    mask2former_d2_coco_swinb=D2 + 'd2-swin-b_coco',
    mask2former_d2_coco_swinb_in21k=D2 + 'd2-swin-b_coco',
    mask2former_d2_coco_swinl=D2 + 'd2-swin-l_coco',
    mask2former_d2_cocopan_swinl=D2 + 'swin-l_coco',
    minvis_ytvis19_r50=MINVIS + 'r50_8xb4-6k_youtubevis2019',
    minvis_ytvis21_r50=MINVIS + 'r50_8xb4-8k_youtubevis2021',
    minvis_ovis_r50=MINVIS + 'r50_8xb4-10k_ovis',
    minvis_ytvis19_swinl=MINVIS + 'swin-l_8xb4-6k_youtubevis2019',
    minvis_ytvis21_swinl=MINVIS + 'swin-l_8xb4-8k_youtubevis2021',
    minvis_ovis_swinl=MINVIS + 'swin-l_8xb4-10k_ovis',
    ctvis_ytvis19_r50='ctvis/ctvis_r50_youtubevis2019',
    ctvis_ytvis21_r50='ctvis/ctvis_r50_youtubevis2021',
    ctvis_ovis_r50='ctvis/ctvis_r50_ovis',
    ctvis_ytvis19_swinl='ctvis/ctvis_swin-l_youtubevis2019',
    ctvis_ytvis21_swinl='ctvis/ctvis_swin-l_youtubevis2021',
    ctvis_ovis_swinl='ctvis/ctvis_swin-l_ovis',
    vita_coco_r50=VITA + 'r50_coco',
    vita_coco_r101=VITA + 'r101_coco',
    vita_coco_swinl=VITA + 'swin-l_coco',
    vita_ytvis19_r50=VITA + 'r50_8xb1-140k_youtubevis2019',
    vita_ytvis21_r50=VITA + 'r50_8xb1-187k_youtubevis2021',
    vita_ovis_r50=VITA + 'r50_8xb1-150k_ovis',
    vita_ytvis19_swinl=VITA + 'swin-l_8xb1-140k_youtubevis2019',
    vita_ytvis21_swinl=VITA + 'swin-l_8xb1-187k_youtubevis2021',
    vita_ovis_swinl=VITA + 'swin-l_8xb1-150k_ovis',
    seqformer_vnext_ytvis_r50=SEQFORMER + 'r50_8xb2-12k_youtubevis2019',
    seqformer_vnext_ytvis_swinl=SEQFORMER + 'swin-l_8xb2-12k_youtubevis2019',
    seqformer_orig_ytvis_r50=SEQFORMER + 'r50_8xb2-12k_coco-youtubevis2019',
    seqformer_orig_ytvis_r101=SEQFORMER + 'r101_youtubevis2019',
    seqformer_orig_ytvis_x101=SEQFORMER + 'x101_youtubevis2019',
    seqformer_orig_ytvis_swinl=SEQFORMER +
    'swin-l_8xb2-12k_coco-youtubevis2019',
    idol_coco_r50='idol/idol_r50_coco',
    idol_coco_r101='idol/idol_r101_coco',
    idol_coco_swinl='idol/idol_swin-l_coco',
    idol_ytvis19_r50='idol/idol_r50_8xb4-12k_youtubevis2019',
    idol_ytvis19_r101='idol/idol_r101_8xb4-12k_youtubevis2019',
    idol_ytvis19_swinl='idol/idol_swin-l_8xb4-12k_youtubevis2019',
    idol_ytvis21_r50='idol/idol_r50_8xb4-12k_youtubevis2021',
    idol_ytvis21_r101='idol/idol_r101_8xb4-12k_youtubevis2021',
    idol_ytvis21_swinl='idol/idol_swin-l_8xb4-12k_youtubevis2021',
    idol_ovis_r50='idol/idol_r50_8xb2-12k_ovis',
    idol_ovis_swinl='idol/idol_swin-l_8xb2-12k_ovis',
    maskdino_r50_3s_hid1024=MASKDINO.format('r50_3s-hid1024'),
    maskdino_r50_3s_hid2048=MASKDINO.format('r50_4s-hid2048'),
    maskdino_swinl_4s_hid2048=MASKDINO.format('swin-l_5s-hid2048'),
)
# manifest: a config, and what its model has else
OTHERS = dict(
    mask2former_d2_cocopan_r50=(
        D2 + 'r50_coco',
        dict(frame_model=dict(head=dict(
            num_stuff_classes=53,
            loss_cls=dict(class_weight=[1.0] * 134))))))  # yapf: disable
# of these there is no config, but the model is read off the weights
INFERRED = ('maskdino_r50_3sd1_hid1024', 'maskdino_r50_4s_hid2048',
            'maskdino_swinl_3s_hid2048', 'maskdino_swinl_4s_hid1024')
REFUSED = {
    'maskdino_r50_3s_downsample2_hid1024': 'at most one extra level',
}

pytestmark = pytest.mark.skipif(
    not MANIFESTS.is_dir(),
    reason=f'no key lists of official models in {MANIFESTS.name}; name their '
    'folder in REFINEVIS_MANIFEST_DIR')


def read(name):
    """Weights and metadata of a manifest."""
    return read_manifest(MANIFESTS / f'{name}.json.gz')


def model_of(config, changes=None):
    """Config of a model."""
    cfg = Config.fromfile(CONFIGS / f'{config}.py')
    cfg.merge_from_dict(dict(model=changes or {}))
    return cfg.model


def check_report(conversion, weights, meta):
    """Every tensor is used once or dropped for a known reason."""
    assert {use.source for use in conversion.uses} - {''} == set(weights)
    copies = {use.source for use in conversion.uses if 'copy of' in use.note}
    assert len(copies) == len(meta['aliases'])
    dropped = {use.source for use in conversion.uses if use.target is None}
    assert set(meta['criterion']) <= dropped
    # a norm of Swin, and what SeqFormer's encoder has and does not read
    assert all(
        re.search(r'\.norm0\.|encoder.*\.output_proj_box\.', key)
        for key in dropped - copies - set(meta['criterion']))
    # of 42 rows, which are ids of YouTube-VIS, 40 are classes
    num_classes = {42: 40}.get(meta['num_classes'], meta['num_classes'])
    assert conversion.traits.num_classes == num_classes


@pytest.mark.parametrize('name', [*SHIPPED, *OTHERS])
def test_official_file_fits_its_config(name):
    weights, meta = read(name)
    conversion = convert_state_dict(weights, name=name)
    check_report(conversion, weights, meta)
    config, changes = OTHERS.get(name) or (SHIPPED[name], None)
    check_conversion(conversion, model_of(config, changes), name)
    assert not any(
        use.note.startswith('the model has no') for use in conversion.uses)


@pytest.mark.parametrize('name', INFERRED)
def test_official_file_fits_the_model_that_it_tells_of(name):
    weights, meta = read(name)
    conversion = convert_state_dict(weights, name=name)
    check_report(conversion, weights, meta)
    line = find_model(conversion, CONFIGS)
    levels = len([key for key in weights if key.endswith('.0.weight')
                  and 'input_proj' in key])  # yapf: disable
    assert f"'num_levels': {levels}" in line


@pytest.mark.parametrize('name', REFUSED)
def test_official_file_is_refused_with_a_reason(name):
    weights, _ = read(name)
    with pytest.raises(CheckpointError, match=REFUSED[name]) as error:
        convert_state_dict(weights, name=name)
    assert str(error.value).startswith(f'"{name}"')


def test_no_manifest_is_left_out():
    names = {path.name[:-len('.json.gz')] for path in MANIFESTS.glob('*.gz')}
    others = {name for name in names if name.startswith(('mmdet_', 'rfdetr_'))}
    assert names - others <= {*SHIPPED, *OTHERS, *INFERRED, *REFUSED}


@pytest.mark.parametrize('name, config, message', [
    ('minvis_ovis_r50', SHIPPED['minvis_ovis_swinl'],
     'the file: Mask2Former or MinVIS, ResNet-50, 25 classes, 100 queries; '
     'the model: Swin-L, 25 classes, 200 queries'),
    ('idol_ovis_r50', SHIPPED['idol_ytvis19_r50'],
     'the file: IDOL, ResNet-50, 25 classes, 300 queries; the model: '
     'ResNet-50, 40 classes, 300 queries; tools/model_converters/'
     'convert_checkpoint.py --classes copies the rows of classes by name'),
    ('maskdino_r50_3s_hid1024', SHIPPED['maskdino_r50_3s_hid2048'],
     r'missing keys \(frame_model.pixel_decoder.input_convs.3.conv.weight'),
    ('idol_ytvis19_r50', SHIPPED['ctvis_ytvis19_r50'],
     'the file: IDOL, ResNet-50, 40 classes, 300 queries; the model: '
     'ResNet-50, 40 classes, 100 queries$'),
    ('seqformer_orig_ytvis_r50', SHIPPED['seqformer_vnext_ytvis_swinl'],
     'the file: SeqFormer of its own repository, ResNet-50, 40 classes, 300 '
     'queries; the model: Swin-L, 40 classes, 300 queries'),
    ('seqformer_vnext_ytvis_r50', SHIPPED['idol_ytvis19_r50'],
     'the file: SeqFormer of VNext, ResNet-50'),
    ('mask2former_d2_cocopan_swinl', SHIPPED['mask2former_d2_coco_swinl'],
     'Swin-L, 133 classes, 200 queries; the model: Swin-L, 80 classes'),
])  # yapf: disable
def test_wrong_pairs_are_named(name, config, message):
    conversion = convert_state_dict(read(name)[0])
    with pytest.raises(CheckpointMismatchError, match=message) as error:
        check_conversion(conversion, model_of(config), f'{name}.pth')
    line = str(error.value)
    assert line.startswith(f'"{name}.pth" does not fit the model: ')
    assert '\n' not in line and len(line) < 2500


def test_what_the_model_does_not_have_is_dropped():
    conversion = convert_state_dict(read('ctvis_ovis_r50')[0])
    check_conversion(conversion, model_of(SHIPPED['minvis_ovis_r50']), 'ctvis')
    dropped = [
        use.source for use in conversion.uses
        if use.note == 'the model has no association_head'
    ]
    assert len(dropped) == 6
    assert all('reid_embed' in key for key in dropped)


def test_what_the_file_does_not_have_is_told():
    conversion = convert_state_dict(read('minvis_ytvis19_r50')[0])
    model = model_of(SHIPPED['ctvis_ytvis19_r50'])
    assert check_conversion(conversion, model,
                            'minvis') == ['association_head']


@pytest.mark.parametrize('name, change', [
    ('mask2former_d2_coco_r50',
     lambda key: key.replace('query_feat', 'static_query')),
    ('minvis_ytvis19_swinl', lambda key: key.replace('pixel_decoder.', '')),
])
def test_old_layouts_give_the_same(name, change):
    weights, _ = read(name)
    old = {change(key): value for key, value in weights.items()}
    assert set(old) != set(weights)
    expected = convert_state_dict(weights).state_dict
    found = convert_state_dict(old).state_dict
    assert list(found) == list(expected)


@pytest.mark.parametrize('name, expected', [
    ('minvis_ytvis21_swinl', 'its config: minvis_swin-l_8xb4-6k_youtubevis2019'
     '.py or minvis_swin-l_8xb4-8k_youtubevis2021.py or mask2former-swin-l_'
     'youtubevis2021.py'),
    ('ctvis_ovis_r50', 'its config: ctvis_r50_ovis.py'),
    ('vita_ovis_swinl', 'its config: vita_swin-l_8xb1-150k_ovis.py'),
    ('vita_coco_r101', 'its config: vita_r101_coco.py'),
    ('seqformer_orig_ytvis_r101', 'its config: seqformer_r101_youtubevis2019'
     '.py'),
    ('seqformer_orig_ytvis_x101', 'its config: seqformer_x101_youtubevis2019'
     '.py'),
])  # yapf: disable
def test_shipped_configs_are_found(name, expected):
    assert find_model(convert_state_dict(read(name)[0]), CONFIGS) == expected


def test_no_shipped_config():
    weights, _ = read('mask2former_d2_cocopan_r50')
    with pytest.raises(ValueError, match='no shipped config .* 133 classes'):
        find_model(convert_state_dict(weights), CONFIGS)
