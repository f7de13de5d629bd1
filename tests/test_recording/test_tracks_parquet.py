# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Tracks as Parquet: the same as the CSV, and read by other programs."""
import csv
import sys

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from refinevis_mm.recording import (check_pyarrow, join_tracks_parquet,
                                    tracks_parquet, write_tracks_csv,
                                    write_tracks_parquet)
from tests.tiny_recordings import (SIZE, ResultStream, box, create,
                                   random_frames)


@pytest.fixture
def parquet():
    """pyarrow, where it is installed."""
    return pytest.importorskip('pyarrow.parquet')


@pytest.fixture
def recording(tmp_path):
    with create(tmp_path / 'recording.sqlite') as recording:
        for frame in random_frames(ResultStream(), 30, 3):
            recording.add(frame)
        recording.finish()
        yield recording


@pytest.mark.fleet
def test_by_hand(parquet, tmp_path):
    stream = ResultStream(['online'])
    with create(tmp_path / 'a.sqlite', ['online']) as recording:
        recording.add(
            stream.frame(dict(online=[(7, [.2, .7, .1], True, box(1, 2, 3))])))
        recording.add(
            stream.frame(dict(online=[(7, [.2, .3, .1], False, None)])))
        recording.finish()
        write_tracks_parquet(recording, tmp_path / 'a.parquet')
    first, second = parquet.read_table(tmp_path / 'a.parquet').to_pylist()
    mask = mask_utils.decode(dict(size=list(SIZE), counts=first.pop('mask')))
    assert np.array_equal(mask, box(1, 2, 3))
    assert first.pop('score') == pytest.approx(.7)
    assert first.pop('frame_score') == pytest.approx(.7)
    shared = dict(
        track_id=7, label=1, frame_height=6, frame_width=8, **{'class': 'dog'})
    assert first == dict(
        shared,
        frame=0,
        time_s=0.,
        state='detected',
        x=1,
        y=2,
        width=3,
        height=3,
        area_px=9,
        source_frame=0)
    assert (second['state'], second['x'], second['mask']) == ('missed', None,
                                                              None)


@pytest.mark.fleet
def test_the_same_as_the_csv(parquet, recording, tmp_path):
    write_tracks_csv(recording, tmp_path / 'a.csv', score_thr=.5)
    write_tracks_parquet(recording, tmp_path / 'a.parquet', score_thr=.5)
    rows = parquet.read_table(tmp_path / 'a.parquet').to_pylist()
    with open(tmp_path / 'a.csv', newline='') as file:
        expected = list(csv.DictReader(file))
    assert len(rows) == len(expected) > 20
    for row, cells in zip(rows, expected):
        for name, text in cells.items():
            value = row[name]
            if isinstance(value, float):
                value = round(value, 6)
            assert text == ('' if value is None else str(value)), name


@pytest.mark.fleet
def test_joined(parquet, recording, tmp_path, monkeypatch):
    monkeypatch.setattr(tracks_parquet, 'GROUP', 10)  # rows of a group
    for name in 'ab':
        write_tracks_parquet(recording, tmp_path / f'{name}.parquet')
    monkeypatch.undo()
    part = parquet.read_table(tmp_path / 'a.parquet')
    assert parquet.ParquetFile(tmp_path / 'a.parquet').num_row_groups > 1
    with create(tmp_path / 'none.sqlite') as empty:
        write_tracks_parquet(empty, tmp_path / 'none.parquet')
    videos = [(name, tmp_path / f'{name}.parquet')
              for name in ('b', 'none', 'a')]
    for name in ('1', '2'):
        join_tracks_parquet(videos, tmp_path / name)
    assert (tmp_path / '1').read_bytes() == (tmp_path / '2').read_bytes()
    table = parquet.read_table(tmp_path / '1')
    assert table['video'].to_pylist() == ['b'] * len(part) + ['a'] * len(part)
    assert table.drop(['video']).slice(len(part)).equals(part)


@pytest.mark.fleet
def test_pandas_and_duckdb(parquet, recording, tmp_path):
    pandas = pytest.importorskip('pandas')
    duckdb = pytest.importorskip('duckdb')
    write_tracks_parquet(recording, tmp_path / 'a.parquet')
    frame = pandas.read_parquet(tmp_path / 'a.parquet')
    tracks = recording.tracks()
    assert frame['track_id'].nunique() == len(tracks)
    seen = duckdb.sql('SELECT track_id, count(*) FILTER (state = '
                      "'detected') FROM "
                      f"'{tmp_path}/a.parquet' GROUP BY track_id").fetchall()
    assert dict(seen) == {track.id: track.num_detected for track in tracks}


@pytest.mark.fleet
def test_what_is_no_table(parquet, tmp_path):
    (tmp_path / 'a').write_bytes(b'no table at all')
    with pytest.raises(ValueError, match='is no Parquet table'):
        join_tracks_parquet([('a', tmp_path / 'a')], tmp_path / 'out')
    import pyarrow
    parquet.write_table(pyarrow.table(dict(x=[1])), tmp_path / 'b')
    with pytest.raises(
            ValueError, match="no table of tracks: its columns are "
            "\\['x'\\]"):
        join_tracks_parquet([('b', tmp_path / 'b')], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_pyarrow_missing_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    with pytest.raises(
            ImportError, match='Run: pip install "refinevis_mm'
            '\\[fleet\\]"') as caught:
        check_pyarrow()
    assert '\n' not in str(caught.value)
