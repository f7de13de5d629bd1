# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import shutil
from pathlib import Path

import pytest
from mmengine.fileio import load

from refinevis_mm.zoo import list_entries, metafiles
from refinevis_mm.zoo.metafiles import render_metafiles, write_metafiles

ROOT = Path(__file__).parents[2]


def test_files_are_up_to_date():
    for name, text in render_metafiles(str(ROOT)).items():
        assert (ROOT / name).read_text() == text, \
            f'{name}: run {metafiles.COMMAND}'


def test_every_entry_with_a_shipped_config_is_in_a_metafile():
    models = {}
    for path in load(str(ROOT / 'model-index.yml'))['Import']:
        for model in load(str(ROOT / path))['Models']:
            assert model['Name'] not in models
            models[model['Name']] = model
    for entry in list_entries():
        if '::' in entry.config:  # those are in mmdet's
            assert entry.name not in models
            continue
        model = models[entry.name]
        assert model['Config'].endswith(f'/{entry.config}')
        # mim downloads from there
        assert model.get('Weights', 'shipped') == entry.address
        if entry.result is not None:
            assert model['Results'][0]['Metrics'] == entry.result.metrics
        assert model['Metadata']['Weights Licence'] == entry.licence


def test_all_metafiles_are_imported():
    imported = load(str(ROOT / 'model-index.yml'))['Import']
    assert sorted(imported) == sorted(
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob('configs/*/metafile.yml'))


def test_table_of_the_documentation():
    text = (ROOT / 'docs' / 'model_zoo.md').read_text()
    for entry in list_entries():
        assert text.count(f'| `{entry.name}` | {len(entry.classes)} ') == 1
    row, = (
        line for line in text.splitlines()
        if '`mask2former-r50_coco` | 80 ' in line)
    assert row == ('| `mask2former-r50_coco` | 80 of COCO | Apache-2.0 [4] | '
                   '42.9 mask AP, COCO | about 176 MB |')
    assert '\n[4] of OpenMMLab' in text


def test_write(tmp_path, monkeypatch):
    for name in render_metafiles(str(ROOT)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(metafiles, '__file__',
                        str(tmp_path / 'refinevis_mm' / 'zoo' / 'file.py'))
    assert write_metafiles() == []
    path = tmp_path / 'configs' / 'rfdetr' / 'metafile.yml'
    text = path.read_text()
    path.write_text(text.replace('40.3', '99.9'))
    assert write_metafiles() == [str(path)]
    assert path.read_text() == text
    path.write_text(text.replace(metafiles.END, 'the end'))
    with pytest.raises(ValueError, match='rfdetr/metafile.yml must have a '):
        write_metafiles()
    path.unlink()
    with pytest.raises(OSError, match='rfdetr'):
        write_metafiles()
