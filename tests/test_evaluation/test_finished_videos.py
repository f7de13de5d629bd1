# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import os

import pytest

from refinevis_mm.evaluation.finished_videos import FinishedVideos


def test_round_trip(tmp_path):
    finished = FinishedVideos(str(tmp_path / 'new'))
    assert finished.ids() == set() and finished.load() == []
    tracklets = [dict(label=1, score=0.1 + 0.2, segmentations=[None])]
    finished.add(7, tracklets)
    finished.add('a/b', [])
    again = FinishedVideos(str(tmp_path / 'new'))
    assert again.ids() == {7, 'a/b'}
    assert again.load() == [(7, tracklets), ('a/b', [])]
    assert again.load(skip=[7]) == [('a/b', [])]


def test_a_killed_write_is_not_seen(tmp_path, monkeypatch):
    finished = FinishedVideos(str(tmp_path))

    def killed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'replace', killed)
    with pytest.raises(KeyboardInterrupt):
        finished.add(7, [])
    (tmp_path / '.8.json.123.partial').write_text('{"video')
    assert finished.ids() == set()


def test_broken_file(tmp_path):
    (tmp_path / '7.json').write_text('[]')
    with pytest.raises(ValueError, match='7.json is no result of a video'):
        FinishedVideos(str(tmp_path)).ids()


def test_a_folder_belongs_to_one_run(tmp_path):
    folder = str(tmp_path / 'new')
    FinishedVideos(folder).claim('one')
    FinishedVideos(folder).claim('one')
    with pytest.raises(ValueError, match='another checkpoint or config'):
        FinishedVideos(folder).claim('two')
    assert FinishedVideos(folder).ids() == set()


@pytest.mark.parametrize('text', [
    '[' * 10**5, '{"video_id": 7, "tracklets": [{"label": "a", "score": 1}]}',
    '{"video_id": 7, "tracklets": [{"label": 1, "score": NaN}]}',
    '{"video_id": 7, "tracklets": [3]}', '{"video_id": 7, "tracklets": 3}'
])
def test_edited_files(tmp_path, text):
    (tmp_path / '7.json').write_text(text)
    with pytest.raises(ValueError, match='7.json is no result of a video'):
        FinishedVideos(str(tmp_path)).ids()
