# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import itertools
import json

import pytest

from refinevis_mm.vis_json.json_stream import VISJson

PARTS = dict(
    info=dict(version='1, "videos": []'),
    videos=[dict(id=1)],
    categories=[dict(id=2, name='a "quoted" name')],
    annotations=[dict(id=3, x=[[1, 2], None]),
                 dict(id=4), None])


@pytest.mark.parametrize('order', itertools.permutations(PARTS))
@pytest.mark.parametrize('indent', [None, 2])
def test_any_order(order, indent):
    content = {key: PARTS[key] for key in order}
    stream = VISJson(json.dumps(content, indent=indent) + '\n')
    for key in ('videos', 'categories'):
        assert stream.header[key] == PARTS[key]
    assert 'annotations' not in stream.header
    assert list(stream.annotations()) == PARTS['annotations']
    assert stream.header['info'] == PARTS['info']
    assert list(stream.annotations()) == []


@pytest.mark.parametrize('content', [
    dict(videos=[], categories=[]),
    dict(videos=[], categories=[], annotations=None),
    dict(annotations=[dict(id=1)], videos=[]), {}, [], 3, None
])
def test_the_header_holds_the_rest(content):
    stream = VISJson(json.dumps(content))
    assert stream.header == content
    assert list(stream.annotations()) == []


def test_no_annotations_in_the_list():
    stream = VISJson('{"annotations": [ ], "videos": [], "categories": []}')
    assert list(stream.annotations()) == []


TEXT = '{"videos": [], "categories": [], "annotations": [{"id": 1}, {}]}'


@pytest.mark.parametrize('text', [
    '',
    '{',
    TEXT[:12],
    TEXT[:34],
    TEXT[:-1],
    TEXT[:-2],
    TEXT[:-4],
    TEXT.replace('{}', ''),
    TEXT.replace(', {}', ' {}'),
    TEXT + ',',
    TEXT.replace(']}', '],}'),
    TEXT.replace(']}', '] "a": 1}'),
    TEXT.replace('"videos":', '"videos"'),
    TEXT.replace('"videos":', '3:'),
    '{"a": 1} x',
    '{} x',
])
def test_not_json(text):
    with pytest.raises(ValueError):
        json.loads(text)
    with pytest.raises(ValueError):
        list(VISJson(text).annotations())


@pytest.mark.parametrize('text', [
    TEXT.replace(']}', '], "annotations": [1]}'),
    '{"annotations": [], "categories": [], "videos": [1], '
    '"info": {"videos": []}}',
])
def test_ambiguous_keys(text):
    with pytest.raises(json.JSONDecodeError, match='once, in the outermost'):
        list(VISJson(text).annotations())


@pytest.mark.parametrize('value', ['[' * 10**5, '9' * 10**4])
@pytest.mark.parametrize('text', [
    '%s', '{"a": %s}', '{"annotations": [%s]}',
    '{"annotations": [], "videos": %s, "categories": []}'
])
def test_absurd_values_are_no_json(text, value):
    with pytest.raises(json.JSONDecodeError, match='recursion|digits|Expect'):
        list(VISJson(text % value).annotations())
