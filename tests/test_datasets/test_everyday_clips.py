# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.datasets.everyday_clips import (check_clips, draw_clips,
                                                  sort_clips, write_clips)
from refinevis_mm.vis_json import find_defects
from tests.tiny_everyday import write_source


@pytest.fixture(scope='module')
def text(tmp_path_factory):
    source = write_source(tmp_path_factory.mktemp('source'))
    return (source / 'davis16/train.json').read_text()


@pytest.fixture
def content(text):
    return json.loads(text)


def _names(content):
    return [
        video['file_names'][0].split('/')[0] for video in content['videos']
    ]


def _track(content, name, **changes):
    """The track of a clip."""
    number = _names(content).index(name)
    content['annotations'][number].update(changes)
    return content['annotations'][number]


def test_clips_with_nothing_but_ignored_tracks_are_left_out(content):
    check_clips(content, 'x.json')
    clips = sort_clips(content, 'x.json')
    assert _names(clips) == [
        f'{name}{i}' for name in ('walk', 'dog', 'car') for i in range(5)
    ]
    assert not any(track['iscrowd'] for track in clips['annotations'])
    assert [item['name'] for item in clips['categories']
            ] == ['person', 'animal', 'vehicle']


def test_ignored_beside_others(content):
    # a composite and a rider go into a clip with a dog
    for name, track_id in (('hockey', 90), ('bike0', 91)):
        track = dict(_track(content, name), id=track_id)
        track['video_id'] = _names(content).index('dog1') + 1
        content['annotations'].append(track)
    clips = sort_clips(content, 'x.json')
    ignored = [track for track in clips['annotations'] if track['iscrowd']]
    assert [track['id'] for track in ignored] == [90, 91]
    riders = sort_clips(content, 'x.json', ('rider', 'person'))
    kinds = {
        track['id']: (track['category_id'], track['iscrowd'])
        for track in riders['annotations']
    }
    # a composite of an everyday class teaches nothing, a rider does
    assert kinds[91] == (1, 0) and kinds[90] == (1, 1)
    assert 'walk0' in _names(riders) and 'hockey' not in _names(riders)
    assert kinds[1] == (2, 0)


def test_nothing_left(content):
    for track in content['annotations']:
        track['composite'] = 1
    with pytest.raises(ValueError, match='x.json: at least one track must be'):
        sort_clips(content, 'x.json')


def test_crowds_of_the_source_stay(content):
    _track(content, 'walk0', iscrowd=1)
    assert 'walk0' not in _names(sort_clips(content, 'x.json'))


def test_draw(content):
    clips = sort_clips(content, 'x.json')
    numbers, outcomes = dict(person=2, animal=1), set()
    for seed in range(8):
        drawn, others = draw_clips(clips, numbers, seed, 'x.json')
        names = _names(drawn), _names(others)
        assert sorted(names[0] + names[1]) == sorted(_names(clips))
        assert [
            sum(name.startswith(kind) for name in names[0])
            for kind in ('walk', 'dog', 'car')
        ] == [2, 1, 0]
        for part in (drawn, others):
            assert [track['video_id'] for track in part['annotations']
                    ] == [video['id'] for video in part['videos']]
        assert (drawn, others) == draw_clips(clips, numbers, seed, 'x.json')
        outcomes.add(tuple(names[0]))
    assert len(outcomes) > 3
    with pytest.raises(
            ValueError, match='at least 6 clips of class animal, '
            'got 5'):
        draw_clips(clips, dict(animal=5), 0, 'x.json')
    with pytest.raises(ValueError, match='of class ship, got 0'):
        draw_clips(clips, dict(ship=1), 0, 'x.json')


def test_defect_is_refused(content):
    _track(content, 'walk1', segmentations=[None])
    with pytest.raises(ValueError, match='x.json: .*annotation 2'):
        check_clips(content, 'x.json')


def test_rest_is_unknown(content, tmp_path):
    # absent in the first frame
    _track(content, 'walk0')['segmentations'][0] = None
    clips = sort_clips(content, 'x.json')
    drawn, _ = draw_clips(clips, dict(person=4), 0, 'x.json')
    write_clips(str(tmp_path / 'a.json'), drawn, 'test', [1])
    write_clips(str(tmp_path / 'b.json'), drawn, 'test', [1, 2, 3])
    written = [
        json.loads((tmp_path / f'{name}.json').read_text()) for name in 'ab'
    ]
    for content, categories in zip(written, ([1], [1, 2, 3])):
        assert find_defects(content) == []
        assert _names(content) == _names(drawn)
        for video in content['videos']:
            track, *rest = (
                item for item in content['annotations']
                if item['video_id'] == video['id'])
            assert track['iscrowd'] == 0
            assert [item['category_id'] for item in rest] == categories
            for item in rest:
                assert item['iscrowd'] == 1
                for t in range(2):
                    absent = track['segmentations'][t] is None
                    mask = mask_utils.decode(item['segmentations'][t])
                    assert mask.sum() == 12 * 16 - 30 * (not absent)
                    assert mask[2:7, 1 + t:7 + t].any() == absent
    assert any(track['segmentations'][0] is None
               for track in written[0]['annotations']) == ('walk0'
                                                           in _names(drawn))
