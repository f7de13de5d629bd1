# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import csv

from refinevis_mm.recording import VideoRecording, write_tracks_csv
from tests.tiny_recordings import (SIZE, ResultStream, box, create, kill_half,
                                   random_frames)

TABLE = """\
frame,time_s,track_id,class,score,frame_score,state,x,y,width,height,area_px,source_frame
0,0.0,5,dog,0.5,0.5,detected,1,0,2,2,4,0
0,0.0,2,cat,0.25,0.25,detected,4,3,3,3,9,0
1,0.333333,5,dog,0.5,0.5,recovered,2,1,2,2,4,1
3,1.5,5,dog,0.5,0.5,detected,6,4,2,2,4,7
3,1.5,2,cat,0.25,0.25,missed,,,,,,7
"""


def test_by_hand(tmp_path):
    """Id 5 is a cat at first: its score there is 1/2, that of a dog 1/4."""
    stream = ResultStream(['frame_level'])
    recording = create(tmp_path / 'recording.sqlite', ['frame_level'])
    cat, dog = [0.5, 0.25, 0.], [0., 0.75, 0.]
    weak = [0.25, 0., 0.]
    for rows, time in [
        ([(5, cat, True, box(1)), (2, weak, True, box(4, 3, 3))], 0.),
        ([(5, cat, False, box(2, 1))], 1 / 3),
        ([], 1.),
        ([(5, dog, True, box(6, 4)), (2, weak, False, None)], 1.5),
    ]:
        recording.add(stream.frame(dict(frame_level=rows), time=time))
    recording.add_origin(3, 7)
    path = tmp_path / 'tracks.csv'
    write_tracks_csv(recording, path)
    assert path.read_text() == TABLE
    write_tracks_csv(recording, path, score_thr=0.5)
    assert path.read_text() == ''.join(
        line for line in TABLE.splitlines(True) if ',cat,' not in line)


def test_view_and_odd_names(tmp_path):
    stream = ResultStream()
    recording = VideoRecording.create(tmp_path / 'recording.sqlite',
                                      ['a, "b"', 'é'], SIZE, 10., stream.views,
                                      'online', {})
    for frame in random_frames(stream, 20, 0):
        recording.add(frame)
    for view in stream.views:
        path = tmp_path / f'{view}.csv'
        write_tracks_csv(recording, path, view)
        with open(path, encoding='utf-8', newline='') as file:
            rows = list(csv.DictReader(file))
        tracks = {track.id: track for track in recording.tracks(view)}
        assert len(rows) == sum(
            len(instances) for *_, instances in recording.frames(view)) > 20
        for row in rows:
            track = tracks[int(row['track_id'])]
            assert row['class'] == track.name
            assert abs(float(row['score']) - track.score) < 1e-6
            assert (row['state'] != 'missed') or row['area_px'] == ''
    assert 'class 2' in {track.name for track in tracks.values()}


def test_killed_run_leaves_no_file(tmp_path):
    path = tmp_path / 'out' / 'tracks.csv'
    kill_half(tmp_path, lambda recording: write_tracks_csv(recording, path))
    assert not path.exists()


def test_names_are_no_formulas(tmp_path):
    names = ['=HYPERLINK("http://x","y")', ' -2', 'a\r=1+1']
    expected = ['\'=HYPERLINK("http://x","y")', "' -2", 'a =1+1']
    stream = ResultStream(['online'])
    with VideoRecording.create(tmp_path / 'recording.sqlite', names, SIZE, 10.,
                               ['online'], 'online', {}) as recording:
        scores = [[0.5 * (k == label) for k in range(3)] for label in range(3)]
        rows = [(k, score, True, box(2 * k)) for k, score in enumerate(scores)]
        recording.add(stream.frame(dict(online=rows)))
        write_tracks_csv(recording, tmp_path / 'a.csv')
    with open(tmp_path / 'a.csv', encoding='utf-8', newline='') as file:
        assert [row['class'] for row in csv.DictReader(file)] == expected
