# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""``python -m refinevis_mm.zoo``."""
import dataclasses
import hashlib
import runpy
import sys

import pytest

from refinevis_mm.zoo import list_entries, names
from tests.test_zoo.servers import Answer, serving

CONTENT = b'PK weights'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('REFINEVIS_MM_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('REFINEVIS_TRACEBACK', raising=False)
    return tmp_path / 'cache'


def run(monkeypatch, *args):
    """Run the command; what it ends with is raised."""
    monkeypatch.setattr(sys, 'argv', ['zoo', *args])
    monkeypatch.delitem(sys.modules, 'refinevis_mm.zoo.__main__', False)
    runpy.run_module('refinevis_mm.zoo', run_name='__main__', alter_sys=True)


def error_of(monkeypatch, *args):
    """The line that the command ends with."""
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, *args)
    assert stop.value.code.startswith('error: ')
    assert '\n' not in stop.value.code
    return stop.value.code


def test_table(cache, monkeypatch, capsys):
    cache.mkdir()
    (cache / 'rtmdet-ins_tiny_8xb32-300e_coco_20221130_151727-ec670f7e.pth'
     ).write_bytes(b'mine')
    run(monkeypatch)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[0] == 'name' and header.split()[-1] == 'here'
    rows = {line.split()[0]: line for line in lines if line}
    for entry in list_entries():
        assert rows[entry.name].index(f'{entry.licence} [') == \
            header.index('licence')
    for name, state in (('refinevis-small_occluded-shapes',
                         'shipped'), ('rtmdet-ins-tiny_coco', 'cached'),
                        ('rtmdet-ins-s_coco', '-'), ('rfdetr-seg-nano_coco',
                                                     'by rfdetr')):
        assert rows[name].endswith(f'  {state}')
    assert '44.0 mask AP, COCO' in rows['mask2former-r101_coco']
    assert '  9.0 MB' in rows['refinevis-small_occluded-shapes']
    assert str(cache) in lines[-1]


def test_non_commercial_weights_stand_out(monkeypatch, capsys):
    entry = dataclasses.replace(
        list_entries()[0],
        licence='CC BY-NC 4.0',
        licence_note='',
        non_commercial=True)
    monkeypatch.setattr(names, 'ENTRIES', (entry, ))
    run(monkeypatch)
    assert 'CC BY-NC 4.0, NON-COMMERCIAL' in capsys.readouterr().out
    run(monkeypatch, entry.name)
    assert 'FORBIDDEN' in capsys.readouterr().out


def test_one_name(cache, monkeypatch, capsys):
    run(monkeypatch, 'mask2former-swin-l_coco')
    facts = dict(
        line.split('  ', 1) for line in capsys.readouterr().out.splitlines())
    facts = {key: value.strip() for key, value in facts.items()}
    assert facts['config'] == 'mask2former-swin-l_coco.py'
    assert facts['address'].startswith('https://download.openmmlab.com/')
    assert facts['file'] == str(cache / facts['address'].split('/')[-1])
    assert facts['accuracy'] == 'mask AP 48.5'
    assert facts['SHA-256'] == '82f8d28d'
    assert facts['classes'].startswith('80: person, bicycle, car,')
    assert facts['here'] == '-' and 'commercial use' not in facts
    assert 'without a network' in facts['not tried here']


def test_fetch(cache, monkeypatch, capsys):
    digest = hashlib.sha256(CONTENT).hexdigest()
    with serving() as server:
        server.answers['/a.pth'] = Answer(CONTENT)
        entry = dataclasses.replace(
            names.find_entry('mask2former-r50_coco'),
            address=server.url('/a.pth'),
            file_name='a.pth',
            sha256=digest)
        monkeypatch.setattr(names, 'ENTRIES', (entry, ))
        run(monkeypatch, '--fetch', entry.name)
    out, err = capsys.readouterr()
    assert out == f'{cache / "a.pth"}\n'
    assert err.startswith('mask2former-r50_coco: weights under Apache-2.0 (')
    assert (cache / 'a.pth').read_bytes() == CONTENT


def test_card(monkeypatch, capsys):
    run(monkeypatch, '--card', 'mask2former-d2-r50_coco')
    text = capsys.readouterr().out
    assert text.startswith('---\nlicense: cc-by-nc-4.0\n')
    assert text.endswith('\n') and not text.endswith('\n\n')
    assert '# mask2former-d2-r50_coco\n' in text


def test_errors(monkeypatch, capsys):
    assert 'the nearest are mask2former-r50_coco,' in error_of(
        monkeypatch, 'mask2former-r50_coc')
    for args in (['--fetch'], ['--card'], ['a', '--write-metafiles'],
                 ['a', '--fetch', '--write-metafiles']):
        with pytest.raises(SystemExit) as stop:
            run(monkeypatch, *args)
        assert stop.value.code == 2


def test_metafiles_need_no_change(monkeypatch, capsys):
    run(monkeypatch, '--write-metafiles')
    assert capsys.readouterr().out == ''
