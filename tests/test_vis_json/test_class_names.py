# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
from mmdet.datasets import YouTubeVISDataset

from refinevis_mm.vis_json.class_names import (OVIS, PRESETS, match_classes,
                                               preset_of, spelling_key)


@pytest.mark.parametrize('year', ['2019', '2021'])
def test_equal_to_mmdet(year):
    before = getattr(YouTubeVISDataset, 'METAINFO')
    try:
        YouTubeVISDataset.set_dataset_classes(year)
        classes = YouTubeVISDataset.METAINFO['classes']
    finally:
        YouTubeVISDataset.METAINFO = before
    assert PRESETS[f'youtube_vis_{year}'] == classes


def test_presets():
    assert [len(classes) for classes in PRESETS.values()] == [40, 40, 40, 25]
    assert OVIS[24] == 'Vehical'
    for classes in PRESETS.values():
        assert len({spelling_key(name) for name in classes}) == len(classes)


def test_match_classes():
    assert match_classes(['a', 'b'], ['b', 'a']) == dict(a='a', b='b')
    assert match_classes(['a'], ['a', 'b']) is None
    assert match_classes(['a', 'b'], ['a', 'c']) is None
    # equal names are told apart by case, others are not
    assert match_classes(['dog', 'Dog'], ['Dog', 'dog']) == dict(
        dog='dog', Dog='Dog')
    assert match_classes(['dog', 'Dog'], ['DOG', 'dog']) is None
    names = ['Vehicle', *OVIS[:24]]
    assert match_classes(names, OVIS)['Vehicle'] == 'Vehical'
    assert match_classes(['earless seal'], ['earless_seal']) == {
        'earless seal': 'earless_seal'
    }


def test_preset_of():
    for preset, classes in PRESETS.items():
        found = preset_of(reversed(classes))
        assert PRESETS[found] == classes
        assert found == preset or preset == 'youtube_vis_2022'
    assert preset_of(['a']) is None
