# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import dataclasses
import gzip
import json
import math
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from mmdet.datasets import YouTubeVISDataset
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from refinevis_mm.compat.checkpoints import read_checkpoint
from refinevis_mm.registry import MODELS
from refinevis_mm.zoo import fetch_weights, licence_line, list_entries
from refinevis_mm.zoo.class_lists import CLASS_LISTS, class_list_of
from refinevis_mm.zoo.entries import OPENMMLAB, openmmlab_entry
from refinevis_mm.zoo.entry import SHIPPED
from refinevis_mm.zoo.mmdet_names import mmdet_models
from refinevis_mm.zoo.official_entries import OFFICIAL_ENTRIES

ROOT = Path(__file__).parents[2]
MMDET = Path(find_spec('mmdet').origin).parent / '.mim'
ENTRIES = list_entries()


def ids(entry):
    return entry.name


@pytest.mark.parametrize('key', ['name', 'address', 'file_name', 'sha256'])
def test_no_two_are_the_same(key):
    values = [
        getattr(entry, key) for entry in ENTRIES
        if getattr(entry, key) not in ('', SHIPPED)
    ]
    assert values and len(set(values)) == len(values)


def test_names_that_were_asked_for():
    names = {entry.name for entry in ENTRIES if entry not in OFFICIAL_ENTRIES}
    sizes = dict(
        mask2former=('r50', 'r101', 'swin-t', 'swin-s', 'swin-b', 'swin-l'),
        rtmdet=('tiny', 's', 'm', 'l', 'x'),
        rfdetr=('nano', 'small', 'medium', 'large'))
    assert names == {
        'refinevis-small_occluded-shapes', 'refinevis-small_everyday',
        'maskdino-small_everyday', 'refinevis-small-phase1_occluded-shapes',
        'mask-rcnn-r50_coco', 'condinst-r50_coco', 'queryinst-r50_coco',
        'solov2-r50_coco', 'solov2-light-r18_coco',
        *(f'mask2former-{size}_coco' for size in sizes['mask2former']),
        *(f'mask2former-{size}_youtubevis2021'
          for size in ('r50', 'r101', 'swin-l')),
        *(f'rtmdet-ins-{size}_coco'
          for size in sizes['rtmdet']), *(f'rfdetr-seg-{size}_coco'
                                          for size in sizes['rfdetr'])
    }
    assert {entry.name
            for entry in OFFICIAL_ENTRIES} >= {
                'minvis-r50_ovis', 'minvis-swin-l_youtubevis2019',
                'mask2former-d2-r50_coco', 'maskdino-r50_coco',
                'idol-r50_coco', 'idol-swin-l_ovis'
            }


@pytest.mark.parametrize('entry', ENTRIES, ids=ids)
def test_config_exists(entry):
    scope, _, path = entry.config.rpartition('::')
    if scope:
        assert scope == 'mmdet' and (MMDET / 'configs' / path).is_file()
    else:
        assert len(list(ROOT.glob(f'configs/*/{path}'))) == 1


@pytest.mark.parametrize('entry', ENTRIES, ids=ids)
def test_facts_are_complete(entry):
    assert entry.licence and entry.verified
    if entry.result is None:  # of pre-training no AP is stated
        assert entry.family == 'IDOL' and entry.class_names == 'coco'
    else:
        assert entry.result.source and entry.result.metrics
    assert entry.class_names in CLASS_LISTS
    assert entry.num_bytes or entry.tensor_bytes
    assert re.fullmatch(r'[0-9a-f]{8}|[0-9a-f]{64}|', entry.sha256)
    # official code bases state none
    assert entry.sha256 or entry in OFFICIAL_ENTRIES or \
        entry.loader == 'rfdetr'
    assert bool(entry.untried) == (entry.address != SHIPPED)


@pytest.mark.parametrize(
    'entry',
    [entry for entry in ENTRIES if entry.address.startswith(OPENMMLAB)],
    ids=ids)
def test_facts_are_those_of_mmdet(entry):
    model, = (
        model for model in mmdet_models()
        if model.get('Weights') == entry.address)
    result, = (
        result for result in model['Results']
        if result['Task'] == entry.result.task)
    assert result['Metrics'] == entry.result.metrics
    assert result['Dataset'] == entry.result.data
    assert model['Metafile'] in entry.result.source
    if '::' in entry.config:
        assert entry.config == f'mmdet::{model["Config"][len("configs/"):]}'


@pytest.mark.parametrize(
    'entry', [entry for entry in ENTRIES if entry.family == 'RTMDet-Ins'][:2],
    ids=ids)
def test_size_of_the_weights(entry):
    cfg = Config.fromfile(
        str(MMDET / 'configs' / entry.config[len('mmdet::'):]))
    import_modules_from_strings(['mmdet.models'])
    # weights that the head's levels share are stored once
    tensors = MODELS.build(cfg.model).state_dict(keep_vars=True).values()
    tensors = {id(tensor): tensor for tensor in tensors}.values()
    assert sum(tensor.numel() * tensor.element_size()
               for tensor in tensors) == entry.tensor_bytes


@pytest.mark.parametrize(
    'entry', [entry for entry in ENTRIES if entry.loader == 'rfdetr'], ids=ids)
def test_size_of_the_weights_of_rfdetr(entry):
    size = entry.name.split('-')[-1].split('_')[0]
    path = ROOT / 'tests' / 'data' / 'manifests' / f'rfdetr_seg_{size}.json.gz'
    # names, shapes and types of the official state dict
    manifest = json.loads(gzip.decompress(path.read_bytes()))
    assert sum(
        math.prod(shape) * getattr(torch, dtype).itemsize
        for _, shape, dtype in manifest['keys']) == entry.tensor_bytes


def test_addresses_of_openmmlab():
    facts = dict(name='a', family='A', config='a.py', class_names='coco')
    entry = openmmlab_entry('https://host/a/a_20220506-41b088b6.pth', **facts)
    assert entry.file_name == 'a_20220506-41b088b6.pth'
    assert entry.sha256 == '41b088b6'
    assert openmmlab_entry('https://host/a_20200505.pth', **facts).sha256 == ''


@pytest.mark.parametrize(
    'entry', [entry for entry in ENTRIES if entry.address == SHIPPED], ids=ids)
def test_classes_of_the_shipped_checkpoints(entry):
    meta = read_checkpoint(fetch_weights(entry))['meta']['dataset_meta']
    assert entry.classes == tuple(meta['classes'])


def test_class_lists():
    classes = {key: item.read() for key, item in CLASS_LISTS.items()}
    numbers = {key: len(names) for key, names in classes.items()}
    assert numbers == dict(
        coco=80,
        lvis_v05=1230,
        lvis_v1=1203,
        youtube_vis_2019=40,
        youtube_vis_2021=40,
        ovis=25,
        occluded_shapes=7,
        everyday=3)
    assert classes['coco'][0] == 'person'
    assert classes['coco'][79] == 'toothbrush'
    YouTubeVISDataset.set_dataset_classes('2021')
    assert classes['youtube_vis_2021'] == YouTubeVISDataset.METAINFO['classes']
    assert class_list_of('LVIS v1') == 'lvis_v1'
    with pytest.raises(ValueError, match='LVIS v1.*, got Cityscapes'):
        class_list_of('Cityscapes')


def test_licence_line():
    entry = ENTRIES[0]
    assert licence_line(dataclasses.replace(entry, licence_note='')) == \
        'refinevis-small_occluded-shapes: weights under Apache-2.0'
    assert licence_line(
        dataclasses.replace(
            entry,
            licence='CC BY-NC 4.0',
            licence_note='of its README',
            non_commercial=True)) == (
                'refinevis-small_occluded-shapes: weights under CC BY-NC 4.0 '
                '(of its README): NOT FOR COMMERCIAL USE')
