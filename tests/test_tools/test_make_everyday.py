# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import runpy
import shutil
import sys
from pathlib import Path

import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.vis_json import NOTE, find_defects
from tests.tiny_everyday import HEIGHT, WIDTH, write_source

TOOL = str(
    Path(__file__).parents[2] / 'tools/dataset_converters/make_everyday.py')
COCO = ('full_train', 'full_valid', 'single_train')
CLIPS = ('clips_train', 'clips_valid', 'fine_tune_train', 'fine_tune_valid')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp('source'))


def _run(source, out, *options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, 'argv',
            [TOOL,
             str(source),
             str(out), '--valid-images', '1', *options])
        runpy.run_path(TOOL, run_name='__main__')


@pytest.fixture(scope='module')
def out(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'everyday'
    _run(source, folder)
    return folder


def _load(out, name):
    return json.loads((out / f'{name}.json').read_text())


def _names(content):
    return {
        video['file_names'][0].split('/')[0]
        for video in content['videos']
    }


def _kinds(names):
    return sorted(name.rstrip('0123456789') for name in names)


def test_images(out):
    full_train, full_valid, single = (_load(out, name) for name in COCO)
    ids = [{image['id']
            for image in content['images']}
           for content in (full_train, full_valid, single)]
    assert len(ids[1]) == 1 and ids[0] | ids[1] == {1, 2, 3, 4}
    assert not ids[0] & ids[1] and ids[2] == {11, 12}
    assert {path.name
            for path in (out / 'images').iterdir()
            } == {f'{i}.jpg'
                  for i in set().union(*ids)}
    # a person, a dog, a car and a crowd; a person and the rest
    assert [item['category_id']
            for item in full_valid['annotations']] == [1, 2, 3, 1]
    assert [item['iscrowd']
            for item in full_valid['annotations']] == [0, 0, 0, 1]
    rest = [item for item in single['annotations'] if item['iscrowd']]
    assert [item['area'] for item in rest] == [HEIGHT * WIDTH - 72] * 2


def test_clips(out):
    train, valid, tune, tune_valid = (_load(out, name) for name in CLIPS)
    for content in (train, valid, tune, tune_valid):
        assert find_defects(content) == []
        for video in content['videos']:
            for name in video['file_names']:
                assert (out / 'clips' / name).exists()
    assert _kinds(_names(valid)) == ['car', 'dog', 'dog', 'walk', 'walk']
    assert _kinds(_names(train)) == \
        ['car'] * 4 + ['dog'] * 3 + ['walk'] * 3
    assert _kinds(_names(tune)) == \
        ['bike'] * 4 + ['car'] * 2 + ['dog'] * 2 + ['walk'] * 2
    # those kept out of all training, and riders
    assert _names(valid) < _names(tune_valid)
    assert _kinds(_names(tune_valid) - _names(valid)) == ['bike'] * 2
    assert not _names(train) & _names(tune_valid)
    assert not _names(tune) & _names(tune_valid)
    assert [item['name'] for item in tune['categories']
            ] == ['person', 'animal', 'vehicle', 'rider']


def test_unlabelled_rest_of_clips(out):
    for name, categories in zip(CLIPS, ([1], [1, 2, 3], [1], [1, 2, 3, 4])):
        content = _load(out, name)
        for video in content['videos']:
            track, *rest = (
                item for item in content['annotations']
                if item['video_id'] == video['id'])
            assert not track['iscrowd']
            assert [item['category_id'] for item in rest] == categories
            for item in rest:
                assert item['iscrowd'] and \
                    item['areas'] == [12 * 16 - 30] * video['length']


def test_composed_of_the_validation_clips(out):
    content = _load(out, 'composed_valid')
    # an object may be hidden or outside all the time
    assert [item for item in find_defects(content) if item.level != NOTE] == []
    assert len(content['videos']) == 10
    for video in content['videos']:
        for name in video['file_names']:
            assert (out / 'composed_valid/JPEGImages' / name).exists()
        tracks = [
            item for item in content['annotations']
            if item['video_id'] == video['id']
        ]
        objects = [item for item in tracks if not item['iscrowd']]
        rest = [item for item in tracks if item['iscrowd']]
        assert 3 <= len(objects) <= 5
        assert [item['category_id'] for item in rest] == [1, 2, 3]
        for t in range(video['length']):
            masks = [
                mask_utils.decode(mask_utils.frPyObjects(mask, *mask['size']))
                for mask in (item['segmentations'][t]
                             for item in [*objects, rest[0]]) if mask
            ]
            assert (sum(masks) == 1).all()  # labelled or unknown


def test_statistics(out):
    stats = _load(out, 'statistics')
    assert stats['seed'] == 0
    assert 'CC BY-NC' in stats['licences']['clips']
    assert stats['licences']['coco_ids'] == {'0': 2, '1': 2, '2': 2}
    assert stats['full_train'] == dict(
        images=3, objects=dict(person=3, animal=3, vehicle=3), ignored=3)
    assert stats['single_train'] == dict(
        images=2, objects=dict(person=2, animal=0, vehicle=0), ignored=2)
    assert stats['fine_tune_train']['objects'] == dict(
        person=2, animal=2, vehicle=2, rider=4)
    assert set(stats['clips_valid']['clips']) == _names(
        _load(out, 'clips_valid'))
    assert stats['composed_valid']['videos'] == 10


def _contents(out):
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob('*')) if path.is_file()
    }


def test_same_seed_same_bytes(source, out, tmp_path):
    _run(source, tmp_path / 'a')
    assert _contents(tmp_path / 'a') == _contents(out)
    with pytest.raises(SystemExit, match='--force'):
        _run(source, tmp_path / 'a', '--seed', '1')
    _run(source, tmp_path / 'a', '--seed', '1', '--force')
    assert _names(_load(tmp_path / 'a',
                        'clips_valid')) != _names(_load(out, 'clips_valid'))


def _no_animals(source):
    path = source / 'coco_small/instances.json'
    content = json.loads(path.read_text())
    content['annotations'] = [
        item for item in content['annotations'] if item['category_id'] != 18
    ]
    path.write_text(json.dumps(content))


def _no_supercategory(source):
    path = source / 'coco_small/person_single.json'
    content = json.loads(path.read_text())
    del content['categories'][1]['supercategory']
    path.write_text(json.dumps(content))


def _too_few_vehicles(source):
    path = source / 'davis16/train.json'
    content = json.loads(path.read_text())
    for track in content['annotations']:
        track['composite'] |= track['category_id'] == 3
    path.write_text(json.dumps(content))


@pytest.mark.parametrize('change, reason', [
    (_no_animals, 'instances.json: each class must have an object in the '
     'training images of seed 0, but animal has none'),
    (_no_supercategory, 'person_single.json: each category must have a '
     'supercategory, but car lacks it'),
    (_too_few_vehicles, 'train.json: there must be at least 2 clips of class '
     'vehicle, got 0'),
    (lambda source: (source / 'davis16/train.json').write_text('{'),
     'train.json is not valid JSON'),
    (lambda source: shutil.rmtree(source / 'davis16'), 'No such file'),
    (lambda source: shutil.rmtree(source / 'coco_small/person_images'),
     'person_images/11.jpg" cannot be read: No such file'),
    (lambda source: shutil.copy(source / 'davis16/JPEGImages/car0/00000.jpg',
                                source / 'coco_small/images/1.jpg'),
     r"images/1.jpg' must have \(height, width\) \(24, 32\), got \(12, 16\)"),
])
def test_bad_input_leaves_nothing(source, tmp_path, change, reason):
    copy = tmp_path / 'copy'
    shutil.copytree(source, copy)
    change(copy)
    with pytest.raises(SystemExit, match=reason):
        _run(copy, tmp_path / 'out')
    assert [path.name for path in tmp_path.iterdir()] == ['copy']


def test_bad_arguments(source, tmp_path, capsys):
    with pytest.raises(SystemExit):
        _run(source, tmp_path / 'out', '--seed', '-1')
    assert '--seed must not be negative' in capsys.readouterr().err
    with pytest.raises(SystemExit, match='must be 1 to 3 of the 4, got 4'):
        _run(source, tmp_path / 'out', '--valid-images', '4')
    assert not list(tmp_path.iterdir())
