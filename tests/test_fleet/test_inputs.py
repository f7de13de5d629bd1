# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Patterns, lists and manifests of videos, and what is wrong with them."""
import json

import fsspec
import pytest

from refinevis_mm.fleet import VideoUnit, check_names, read_units, share_of


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'')


def named(units):
    return {unit.name: unit.input for unit in units}


def test_names_of_a_pattern_begin_at_its_first_sign(tmp_path):
    paths = [tmp_path / name for name in ('b/1.mp4', 'a/1.mp4', 'a/v1.2.avi')]
    touch(*paths)
    units = read_units(f'{tmp_path}/**/*.*')
    assert [unit.name for unit in units] == ['a/1', 'a/v1.2', 'b/1']
    assert named(units)['b/1'] == str(paths[0])
    assert named(read_units(f'{tmp_path}/a/*')) == {
        '1': str(paths[1]),
        'v1.2': str(paths[2])
    }


def test_folders_of_frames(tmp_path):
    touch(tmp_path / '0001/0.jpg', tmp_path / '0002.5/0.jpg')
    assert list(named(read_units(f'{tmp_path}/*'))) == ['0001', '0002.5']


def test_one_video(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / 'a[1].mp4')
    assert read_units('a[1].mp4', dict(stride=2, allow_damaged=False)) == [
        VideoUnit('a[1]', str(tmp_path / 'a[1].mp4'), dict(stride=2))
    ]


def test_lines_are_relative_to_their_list(tmp_path):
    (tmp_path / 'clips.txt'
     ).write_text('# mine\nb.mp4\n\n/data/a.mp4\n s3://lab/c.mp4?sign=/x \n')
    assert named(read_units(str(tmp_path / 'clips.txt'))) == dict(
        a='/data/a.mp4', b=str(tmp_path / 'b.mp4'), c='s3://lab/c.mp4?sign=/x')


@pytest.mark.parametrize('name', ['m.json', 'dict.json', 'm.jsonl'])
def test_options_of_a_manifest_go_first(name, tmp_path):
    items = [
        dict(input='x/1.mp4', name='one', stride=1, start='1:02'),
        dict(input='y/1.mp4', max_size=None)
    ]
    path = tmp_path / name
    if name == 'm.jsonl':
        path.write_text('\n'.join(map(json.dumps, items)))
    else:
        path.write_text(
            json.dumps(items if name == 'm.json' else dict(videos=items)))
    units = read_units(str(path), dict(stride=3))
    assert units == [
        VideoUnit('1', str(tmp_path / 'y/1.mp4'), dict(stride=3)),
        VideoUnit('one', str(tmp_path / 'x/1.mp4'), dict(start='1:02'))
    ]


def test_a_manifest_in_a_storage():
    fs = fsspec.filesystem('memory')
    for name in ('a.mp4', 'more/b.mp4'):
        fs.pipe_file(f'/inputs/{name}', b'')
    fs.pipe_file('/inputs/list.txt', b'a.mp4\nhttp://host/c.mp4')
    assert named(read_units('memory://inputs/list.txt')) == dict(
        a='memory://inputs/a.mp4', c='http://host/c.mp4')
    assert named(read_units('memory://inputs/**/*.mp4')) == {
        'a': 'memory://inputs/a.mp4',
        'more/b': 'memory://inputs/more/b.mp4'
    }


@pytest.mark.parametrize('content, reason', [
    ([dict(input='a.mp4', strde=2)],
     'video 0 of manifest .* has the unknown option "strde"; there are input, '
     'name, fps, start'),
    ([dict(input='a.mp4', stride='2')], 'stride of video 0 .* must be int'),
    ([dict(input='a.mp4', start='soon')], "start of video 0 .* got 'soon'"),
    ([dict(input='a.mp4'), 'b.mp4'], 'video 1 of manifest .* must be a dict'),
    ([dict(name='a')], 'must be a dict with the text "input"'),
    (dict(videos=[], model='x'), 'unknown key "model"'),
    ([], 'must be a list of videos'),
    ('{', 'is no JSON'),
])
def test_what_is_wrong_with_a_manifest(content, reason, tmp_path):
    path = tmp_path / 'm.json'
    path.write_text(content if content == '{' else json.dumps(content))
    with pytest.raises(ValueError, match=reason):
        read_units(str(path))


@pytest.mark.parametrize('names, reason', [
    (['a', 'a'], 'two videos are called "a": "0.mp4" and "1.mp4"'),
    (['a/b', 'a'], 'the video "a/b" would lie in the results of the video'),
    (['../a'], "got '../a' for \"0.mp4\""),
    (['/a'], 'name of a video'),
    (['a//b'], 'name of a video'),
    (['a/.partial'], 'without hidden parts'),
    (['a\nb'], 'name of a video'),
    ([''], 'name of a video'),
])
def test_names_that_cannot_be(names, reason):
    with pytest.raises(ValueError, match=reason):
        check_names([
            VideoUnit(name, f'{number}.mp4')
            for number, name in enumerate(names)
        ])


def test_nothing_found(tmp_path):
    with pytest.raises(FileNotFoundError, match='stands for no video'):
        read_units(f'{tmp_path}/*.mp4')
    with pytest.raises(FileNotFoundError):
        read_units(f'{tmp_path}/absent.txt')
    with pytest.raises(FileNotFoundError, match='stands for no video'):
        read_units('memory://nowhere/*.mp4')


def test_shares_are_all_videos_once():
    units = [VideoUnit(str(number), '') for number in range(10)]
    shares = [share_of(units, index, 4) for index in range(4)]
    assert [len(share) for share in shares] == [3, 3, 2, 2]
    assert sorted(sum(shares, []), key=lambda unit: unit.name) == units
