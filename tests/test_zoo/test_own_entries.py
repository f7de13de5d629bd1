# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Names that a user gives to weights."""
import hashlib
import json

import pytest

from refinevis_mm.apis import VISInferencer
from refinevis_mm.zoo import (UnknownNameError, fetch_weights, find_entry,
                              list_entries, own_entries)
from refinevis_mm.zoo.listing import describe, text_table
from refinevis_mm.zoo.names import ZOO_ENV
from tests.test_zoo.servers import Answer, serving
from tests.tiny_files import random_frames, write_model_files

NAME = 'street-2026'
FACTS = dict(
    config='tiny.py',
    checkpoint='tiny.pth',
    classes=['car', 'person', 'bus'],
    licence='of our lab only')


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a file of names and tell the package of it."""

    def write(content, name='lab/names.json'):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            content if isinstance(content, str) else json.dumps(content))
        monkeypatch.setenv(ZOO_ENV, str(path))
        return path

    monkeypatch.setenv('REFINEVIS_MM_CACHE', str(tmp_path / 'cache'))
    return write


def test_none(monkeypatch):
    monkeypatch.delenv(ZOO_ENV, raising=False)
    assert own_entries() == ()
    monkeypatch.setenv(ZOO_ENV, '')
    assert own_entries() == ()


def test_a_model_by_its_name(write, monkeypatch, tmp_path):
    """From another folder; the weights stay where they are."""
    lab = write({NAME: FACTS}).parent
    files = write_model_files(lab)
    monkeypatch.chdir(tmp_path)
    images = random_frames(3)
    named, expected = ([(frame.ids, frame.scores, frame.masks)
                        for frame in inferencer.stream(images)]
                       for inferencer in (VISInferencer('Street-2026'),
                                          VISInferencer(*files)))
    assert named == expected and any(ids for ids, _, _ in named)
    inferencer = VISInferencer(NAME)
    assert inferencer.classes == FACTS['classes']
    assert inferencer.model.weights == str(lab / 'tiny.pth')
    assert not (tmp_path / 'cache').exists()


def test_listed_and_described(write):
    result = dict(
        task='Video Instance Segmentation',
        data='ours',
        metrics=dict(AP=40, AP50=60.5),
        source='a table')
    path = write({
        NAME:
        dict(
            FACTS,
            family='RefineVIS',
            result=result,
            non_commercial=True,
            training={'Iterations': 5})
    })
    row, = (
        line for line in text_table(own_entries()).splitlines()
        if line.startswith(NAME))
    assert row.split('  ')[0] == NAME and '40 AP, ours' in row
    assert 'of our lab only, NON-COMMERCIAL' in row and row.endswith('  -')
    (path.parent / 'tiny.pth').write_bytes(b'weights')
    assert text_table(own_entries()).splitlines()[1].endswith('in place')
    facts = describe(find_entry(NAME))
    assert f'{path.parent / "tiny.pth"}' in facts and '3: car, person' in facts
    assert NAME not in {entry.name for entry in list_entries()}


def test_shipped_configs_addresses_and_data_sets(write):
    content = b'weights'
    with serving() as server:
        server.answers['/latest.pth'] = Answer(content)
        write({
            NAME:
            dict(
                FACTS,
                config='mask2former-r50_coco.py',
                checkpoint=server.url('/latest.pth'),
                sha256=hashlib.sha256(content).hexdigest(),
                classes='COCO'),
            'other':
            dict(FACTS, config='mmdet::solov2/x.py', checkpoint='hf://a/b/c')
        })
        entry = find_entry(NAME)
        assert entry.config == 'mask2former-r50_coco.py'
        assert len(entry.classes) == 80
        assert entry.class_summary == '80 of COCO'
        path = fetch_weights(entry)
    assert path.endswith('-latest.pth') and open(path, 'rb').read() == content
    assert find_entry('other').class_summary == '3'


def test_several_files(write, monkeypatch, tmp_path):
    first, second = (
        write({name: FACTS}, f'{name}.json') for name in ('one', 'two'))
    monkeypatch.setenv(ZOO_ENV, f'{first}:{second}')
    assert [entry.name for entry in own_entries()] == ['one', 'two']
    write({'ONE': FACTS}, 'two.json')
    monkeypatch.setenv(ZOO_ENV, f'{first}:{second}')
    with pytest.raises(ValueError, match="'ONE' in .* must be a new name"):
        own_entries()


def test_the_file_that_is_meant(write):
    path = write({NAME: dict(FACTS, sha256='ab' * 32)})
    with pytest.raises(FileNotFoundError, match=f'of "{NAME}" must be at /'):
        fetch_weights(find_entry(NAME))
    weights = path.parent / 'tiny.pth'
    weights.write_bytes(b'others')
    with pytest.raises(ValueError, match='must begin with abab.*, got '):
        fetch_weights(find_entry(NAME))
    assert weights.read_bytes() == b'others'
    digest = hashlib.sha256(b'others').hexdigest()
    write({NAME: dict(FACTS, sha256=digest[:12].upper())})
    assert fetch_weights(find_entry(NAME)) == str(weights)
    assert [
        file.name for file in path.parent.iterdir() if file.suffix == '.sha256'
    ] == []


def test_nearest_names(write):
    write({NAME: FACTS})
    with pytest.raises(UnknownNameError, match=f'nearest are {NAME}'):
        find_entry('street-2025')


@pytest.mark.parametrize('content, reason', [
    ('{', 'is not valid JSON'),
    ([], 'must be dict, got list'),
    ({
        NAME: []
    }, 'must be dict, got list'),
    ({
        'refinevis-small_everyday': FACTS
    }, 'must be a new name'),
    ({
        '': FACTS
    }, 'must be a new name'),
    ({
        'a\nb': FACTS
    }, 'must be a new name'),
    ({
        'a.py': FACTS
    }, 'must be a new name'),
    ({
        NAME: dict(FACTS, colour='red')
    }, "may have config, .*, got 'colour'"),
    ({
        NAME: dict(FACTS, licence=None)
    }, 'licence of .* must be str, got None'),
    ({
        NAME: {
            key: FACTS[key]
            for key in FACTS if key != 'classes'
        }
    }, "lacks 'classes'"),
    ({
        NAME: dict(FACTS, classes=[])
    }, 'classes of .street-2026. in .* must be a list of names'),
    ({
        NAME: dict(FACTS, classes='Cityscapes')
    }, 'data set must be one of COCO'),
    ({
        NAME: dict(FACTS, sha256='xyz')
    }, 'sha256 must be hex digits'),
    ({
        NAME: dict(FACTS, config='absent/tiny.py')
    }, 'config must be a file or the name of a shipped config'),
    ({
        NAME: dict(FACTS, checkpoint='ftp://a/b.pth')
    }, 'address must begin with'),
    ({
        NAME: dict(FACTS, result=dict(task='a'))
    }, "result of .* lacks 'data'"),
    ({
        NAME: dict(FACTS, non_commercial='yes')
    }, 'non_commercial of .* must be bool'),
])
def test_bad_files(write, content, reason):
    path = write(content)
    with pytest.raises(ValueError, match=reason) as error:
        find_entry(NAME)
    assert '\n' not in str(error.value)
    assert path.name in str(error.value) or 'address' in str(error.value)
    # other names go on
    name = 'refinevis-small_occluded-shapes'
    assert find_entry(name).name == name


def test_missing_file(write, monkeypatch, tmp_path):
    monkeypatch.setenv(ZOO_ENV, str(tmp_path / 'absent.json'))
    with pytest.raises(FileNotFoundError, match='absent.json'):
        find_entry(NAME)
