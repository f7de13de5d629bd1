# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from refinevis_mm.zoo import UnknownNameError, find_entry, list_entries
from refinevis_mm.zoo import mmdet_names as mmdet_names_module
from refinevis_mm.zoo.mmdet_names import mmdet_models, mmdet_names, segments

CONFIGS = Path(find_spec('mmdet').origin).parent / '.mim' / 'configs'


def test_own_names():
    for entry in list_entries():
        assert find_entry(entry.name) is entry
    assert find_entry('Mask2Former-R50_COCO').name == 'mask2former-r50_coco'


def test_names_of_mmdet():
    entry = find_entry('mask-rcnn_r101_fpn_1x_coco')
    assert entry.config == 'mmdet::mask_rcnn/mask-rcnn_r101_fpn_1x_coco.py'
    assert entry.address == (
        'https://download.openmmlab.com/mmdetection/v2.0/mask_rcnn/'
        'mask_rcnn_r101_fpn_1x_coco/'
        'mask_rcnn_r101_fpn_1x_coco_20200204-1efe0ed5.pth')
    assert entry.file_name == 'mask_rcnn_r101_fpn_1x_coco_20200204-1efe0ed5' \
        '.pth'
    assert entry.sha256 == '1efe0ed5'
    assert entry.result.metrics == {'mask AP': 36.1}
    assert entry.loader == 'checkpoint' and entry.family == 'Mask R-CNN'
    assert len(entry.classes) == 80


@pytest.mark.parametrize('name, own', [
    ('rtmdet-ins_s_8xb32-300e_coco', 'rtmdet-ins-s_coco'),
    ('rtmdet-ins-s', 'rtmdet-ins-s_coco'),
    ('mask-rcnn_r50_fpn_mstrain-poly_3x_coco', 'mask-rcnn-r50_coco'),
    ('mask-rcnn_r50_fpn_ms-poly-3x_coco', 'mask-rcnn-r50_coco'),
    ('mask2former_r50_8xb2-8e_youtubevis2021',
     'mask2former-r50_youtubevis2021'),
])
def test_one_file_has_one_entry(name, own):
    assert find_entry(name).name == own


def test_all_instance_segmenters_of_mmdet():
    own = {entry.address: entry for entry in list_entries()}
    found = 0
    for model in mmdet_models():
        if not segments(model) or not model.get('Weights'):
            continue
        # two files have one name in mmdet
        if model['Name'] == 'mask-rcnn_regnetx-3.2GF_fpn_ms-3x_coco':
            continue
        for name in mmdet_names(model):
            entry = find_entry(name)
            assert entry.address == model['Weights']
            scope, _, path = entry.config.rpartition('::')
            if entry.address not in own:
                assert scope == 'mmdet' and (CONFIGS / path).is_file(), name
                assert len(entry.classes) in (80, 1203, 1230)
            assert entry.file_name.endswith('.pth')
            assert entry.sha256 in entry.file_name
        found += 1
    assert found > 150


def test_unknown_name():
    with pytest.raises(UnknownNameError) as caught:
        find_entry('mask2former-r5_coco')
    said = str(caught.value)
    assert '"mask2former-r5_coco"' in said and '\n' not in said
    assert 'mask2former-r50_coco' in said and 'refinevis_mm.zoo' in said
    with pytest.raises(UnknownNameError, match='mask-rcnn_r101_fpn_1x_coco'):
        find_entry('mask-rcnn_r101_fpn_1x')
    with pytest.raises(ValueError, match='the nearest are'):
        find_entry('')


@pytest.mark.parametrize('name, reason', [
    ('rtmdet_s_8xb32-300e_coco',
     'must find masks of instances in images, but its task is Object Det'),
    ('masktrack-rcnn_mask-rcnn_r50_fpn_8xb1-12e_youtubevis2019',
     'but its task is Video Instance Segmentation'),
    ('mask-rcnn_r50-caffe_fpn_rpn-2conv_4conv1fc_syncbn-all_lsj-100e_coco',
     'must have published weights, but has none'),
])
def test_what_mmdet_cannot_give(name, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        find_entry(name)
    assert not isinstance(caught.value, UnknownNameError)


def test_metafiles_are_not_run(tmp_path, monkeypatch):
    folder = tmp_path / 'configs' / 'x'
    folder.mkdir(parents=True)
    (folder / 'metafile.yml').write_text(
        '- Name: evil\n  Other: !!python/object/apply:os.mkdir '
        f'["{tmp_path}/made"]\n')
    monkeypatch.setattr(mmdet_names_module, '_root', lambda: str(tmp_path))
    with pytest.raises(yaml.YAMLError):
        list(mmdet_models())
    assert not (tmp_path / 'made').exists()
