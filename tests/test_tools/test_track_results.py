# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""tools/track_results.py: two rectangles that cross keep their ids."""
import csv
import gzip
import json
import signal
import sys

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from refinevis_mm.apis.command_line import Progress
from refinevis_mm.recording import VideoRecording
from refinevis_mm.video_io import H264Writer, open_source, video_file_source
from tests.test_tools.test_video_demo import names_in, refuse, refuse_resume
from tests.tiny_files import random_frames
from tests.tool_module import load_tool

LENGTH, HEIGHT, WIDTH = 9, 50, 80
FILES = ('coco_video.json', 'masks', 'overlay.mp4', 'recording.sqlite',
         'results.json', 'timeline.png', 'tracks.csv')
DEFAULT_FILES = tuple(
    name for name in FILES if name not in ('coco_video.json', 'masks'))
ALL = ('--outputs', 'overlay', 'timeline', 'results', 'csv', 'coco', 'masks',
       'recording')
TRUCK, DOG = 8, 18  # COCO's ids


def boxes(frame):
    """(x, y, width, height) of two rectangles; they cross at frame 4."""
    return (4 + 7 * frame, 10, 16, 20), (60 - 7 * frame, 24, 16, 20)


def mask_of(box):
    x, y, width, height = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    mask[y:y + height, x:x + width] = 1
    return mask


def rle_of(box):
    code = mask_utils.encode(mask_of(box))
    return dict(code, counts=code['counts'].decode())


def rows(first_id=0, **keys):
    """Rows of both rectangles; their order changes from frame to frame."""
    found = []
    for frame in range(LENGTH):
        pair = [
            dict(
                keys,
                image_id=first_id + frame,
                category_id=category,
                score=score,
                segmentation=rle_of(box)) for box, category, score in zip(
                    boxes(frame), (TRUCK, DOG), (0.75, 0.5))
        ]
        found += pair[::-1] if frame % 2 else pair
    return found


@pytest.fixture
def tool():
    return load_tool('track_results.py')


@pytest.fixture
def track(tool, monkeypatch):
    """Run the tool in this process."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [tool.__file__, *map(str, args)])
        tool.main()

    return run


@pytest.fixture
def frames(tmp_path):
    folder = tmp_path / 'frames'
    folder.mkdir()
    for k, frame in enumerate(random_frames(LENGTH, HEIGHT, WIDTH)):
        cv2.imwrite(str(folder / f'{k:05d}.png'), frame)
    return folder


def write(path, content):
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def results(tmp_path):
    return write(tmp_path / 'found.json', rows())


def read_csv(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def followed(out_dir):
    """Boxes by id and frame."""
    found = {}
    for cells in read_csv(out_dir / 'tracks.csv'):
        assert cells['state'] == 'detected'
        box = tuple(int(cells[key]) for key in ('x', 'y', 'width', 'height'))
        found.setdefault(int(cells['track_id']), {})[int(cells['frame'])] = box
    return found


def both_followed():
    return {
        k: {
            frame: boxes(frame)[k]
            for frame in range(LENGTH)
        }
        for k in range(2)
    }


def test_all_outputs(track, frames, results, tmp_path, capsys):
    out_dir = tmp_path / 'out'
    track(frames, results, '--out-dir', out_dir, *ALL)
    assert names_in(out_dir) == list(FILES)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f'{LENGTH} frames, ')
    assert lines[0].endswith(
        '2 tracks, 2 of them with a score of at least 0.3')
    assert set(lines[1:]) == {str(out_dir / name) for name in FILES}

    assert followed(out_dir) == both_followed()
    cells = read_csv(out_dir / 'tracks.csv')[0]
    assert (cells['class'], cells['score'], cells['area_px']) == (
        'truck', '0.75', '320')  # yapf: disable
    found = json.loads((out_dir / 'results.json').read_text())
    # labels + 1, as of any model: 8 of COCO's, 17 without its category 12
    assert [(row['category_id'], row['score']) for row in found] == [(8, 0.75),
                                                                     (17, 0.5)]
    for k, row in enumerate(found):
        assert row['video_id'] == 1 and len(row['segmentations']) == LENGTH
        for frame, code in enumerate(row['segmentations']):
            assert code == rle_of(boxes(frame)[k])
    found = json.loads((out_dir / 'coco_video.json').read_text())
    assert len(found['images']) == LENGTH
    for row in found['annotations']:
        frame = row['image_id'] - 1
        assert row['bbox'] == list(boxes(frame)[row['instance_id']])
    for frame in range(LENGTH):
        # the truck has the better score: it is painted last
        truck, dog = map(mask_of, boxes(frame))
        ids = np.array(Image.open(out_dir / 'masks' / f'{frame:05d}.png'))
        assert np.array_equal(ids, np.where(truck, 1, 2 * dog))
    recording = VideoRecording.open(out_dir / 'recording.sqlite')
    assert [(item.id, item.name)
            for item in recording.tracks()] == [(0, 'truck'), (1, 'dog')]
    recording.close()
    assert open_source(str(out_dir / 'overlay.mp4')).num_frames == LENGTH
    assert cv2.imread(str(out_dir / 'timeline.png')) is not None


@pytest.mark.parametrize('form', ['names', 'polygons', 'gzip', 'glob'])
def test_forms_of_results(form, track, frames, tmp_path):
    content, path = rows(), tmp_path / 'found.json'
    if form == 'names':
        for row in content:
            row['file_name'] = f'video/{row.pop("image_id"):05d}.jpg'
    if form == 'polygons':
        for row in content:
            box = np.array(mask_utils.toBbox(row['segmentation']),
                           int).tolist()
            x, y, width, height = box
            row['segmentation'] = [[
                x, y, x + width, y, x + width, y + height, x, y + height
            ]]
    write(path, content)
    if form == 'gzip':
        path = tmp_path / 'found.json.gz'
        with gzip.open(path, 'wt') as file:
            json.dump(content, file)
    video = frames / '*.png' if form == 'glob' else frames
    track(video, path, '--out-dir', tmp_path / 'out')
    assert names_in(tmp_path / 'out') == list(DEFAULT_FILES)
    assert followed(tmp_path / 'out') == both_followed()


def test_annotation_file(track, frames, tmp_path):
    """Without scores; the ids of images run against the frames."""
    content = dict(
        images=[
            dict(id=1000 - k, file_name=f'{k:05d}.jpg') for k in range(LENGTH)
        ],
        categories=[dict(id=DOG, name='my dog'),
                    dict(id=TRUCK, name='lorry')],
        annotations=rows())
    for row in content['annotations']:
        row['image_id'] = 1000 - row['image_id']
        del row['score']
    path = write(tmp_path / 'annotations.json', content)
    track(frames, path, '--out-dir', tmp_path / 'out')
    names = {
        int(cells['track_id']): (cells['class'], cells['score'])
        for cells in read_csv(tmp_path / 'out' / 'tracks.csv')
    }
    assert sorted(names.values()) == [('lorry', '1.0'), ('my dog', '1.0')]
    lorry = [k for k in names if names[k][0] == 'lorry'][0]
    assert followed(tmp_path / 'out')[lorry] == both_followed()[0]


def test_images_of_another_file(track, frames, tmp_path):
    results = write(tmp_path / 'found.json', rows(first_id=50))
    images = write(
        tmp_path / 'images.json',
        dict(
            images=[
                dict(id=50 + k, file_name=f'{k:05d}.png')
                for k in range(LENGTH)
            ],
            categories=[
                dict(id=TRUCK, name='lorry'),
                dict(id=DOG, name='my dog')
            ]))
    message = refuse(track, tmp_path, frames, results)
    assert 'row 0 of the results' in message and 'got 50' in message
    out_dir = tmp_path / 'out'
    track(frames, results, '--images', images, '--out-dir', out_dir)
    assert followed(out_dir) == both_followed()
    assert read_csv(out_dir / 'tracks.csv')[0]['class'] == 'lorry'


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'video.mp4'
    with H264Writer(path, 5., (WIDTH, HEIGHT)) as writer:
        for frame in random_frames(LENGTH, HEIGHT, WIDTH):
            writer.write(frame)
    return path


def test_video_file(track, video, tmp_path):
    results = write(tmp_path / 'found.json', rows(first_id=1))
    message = refuse(track, tmp_path, video, results)
    assert f'must speak of the {LENGTH} frames' in message
    assert f'got frame {LENGTH}' in message
    message = refuse(track, tmp_path, video, results, '--first-id', 2)
    assert 'row 0 of the results' in message and 'got 1' in message
    out_dir = tmp_path / 'out'
    track(video, results, '--first-id', 1, '--fps', 4, '--out-dir', out_dir)
    assert followed(out_dir) == both_followed()
    cells = read_csv(out_dir / 'tracks.csv')[-1]
    assert (cells['frame'], cells['time_s']) == (str(LENGTH - 1), '2.0')


@pytest.mark.parametrize('guess, first_id, refused', [(LENGTH - 2, 0, False),
                                                      (LENGTH + 5, 1, True),
                                                      (0, 1, True)])
def test_frames_are_counted_where_the_header_guesses(track, video, tmp_path,
                                                     monkeypatch, guess,
                                                     first_id, refused):
    monkeypatch.setattr(video_file_source, '_num_frames', lambda _: guess)
    results = write(tmp_path / 'found.json', rows(first_id))
    if refused:
        message = refuse(track, tmp_path, video, results)
        assert f'must speak of the {LENGTH} frames' in message
    else:
        track(video, results, '--out-dir', tmp_path / 'out', '--outputs',
              'csv')
        assert followed(tmp_path / 'out') == both_followed()


def test_arguments_of_the_tracker(track, frames, results, tmp_path):
    out_dir = tmp_path / 'out'
    track(frames, results, '--out-dir', out_dir, '--tracker',
          'new_score_thr=0.6', 'min_track_frames=1')
    assert followed(out_dir) == {0: both_followed()[0]}
    out_dir = tmp_path / 'other'
    for option, reason in (('colour=1', 'no argument "colour".*match_thr'),
                           ('new_score_thr=7', 'new_score_thr must lie in'),
                           ('new_score_thr=high', 'new_score_thr')):
        with pytest.raises(SystemExit, match=f'^error: .*{reason}') as error:
            track(frames, results, '--out-dir', out_dir, '--tracker', option)
        assert '\n' not in error.value.code
        assert not out_dir.exists()


def stop_after(num_frames):
    """Stand-in for Progress.update that presses Ctrl-C."""

    def interrupt(progress):
        progress.num_frames += 1
        if progress.num_frames == num_frames:
            signal.raise_signal(signal.SIGINT)

    return interrupt


def test_interrupted_run_goes_on(track, frames, results, tmp_path, capsys,
                                 monkeypatch):
    track(frames, results, '--out-dir', tmp_path / 'whole', *ALL)
    options = (frames, results, '--out-dir', tmp_path / 'out', *ALL)
    with monkeypatch.context() as patch:
        patch.setattr(Progress, 'update', stop_after(5))
        with pytest.raises(SystemExit) as error:
            track(*options)
    assert error.value.code == 130
    assert 'stopped after 5 frames; go on' in capsys.readouterr().err
    assert names_in(tmp_path / 'out') == ['.partial']

    other = write(tmp_path / 'other.json', rows()[:-1])
    message = refuse_resume(track, frames, other, *options[2:])
    assert 'cannot be resumed' in message and 'segmenter' in message
    message = refuse_resume(track, *options, '--tracker', 'match_thr=0.4')
    assert 'match_thr' in message
    assert names_in(tmp_path / 'out') == ['.partial']

    track(*options, '--resume')
    assert f'{LENGTH - 5}/{LENGTH - 5}' in capsys.readouterr().err
    assert followed(tmp_path / 'out') == both_followed()
    for name in FILES:
        ours, theirs = (
            tmp_path / folder / name for folder in ('out', 'whole'))
        if name == 'masks':
            assert names_in(ours) == names_in(theirs)
            for path in ours.iterdir():
                assert path.read_bytes() == (theirs / path.name).read_bytes()
        elif name == 'overlay.mp4':
            assert [frame.time for frame in open_source(str(ours))
                    ] == [frame.time for frame in open_source(str(theirs))]
        elif name != 'recording.sqlite':
            assert ours.read_bytes() == theirs.read_bytes(), name
    # the same results under another name are the same
    moved = tmp_path / 'moved.json'
    moved.write_bytes(results.read_bytes())
    track(frames, moved, *options[2:], '--resume')
    assert 'complete already' in capsys.readouterr().out


def test_resume_with_other_frames_for_the_rows(track, video, tmp_path,
                                               monkeypatch):
    """Ids of images mean something else: the old frames are of no use."""
    results = write(tmp_path / 'found.json', rows(first_id=1)[:-2])
    options = (video, results, '--out-dir', tmp_path / 'out')
    with monkeypatch.context() as patch:
        patch.setattr(Progress, 'update', stop_after(3))
        with pytest.raises(SystemExit):
            track(*options)
    message = refuse_resume(track, *options, '--first-id', 1)
    assert 'cannot be resumed' in message
    images = write(tmp_path / 'images.json',
                   dict(images=[dict(id=k) for k in range(LENGTH, 0, -1)]))
    message = refuse_resume(track, *options, '--images', images)
    assert 'cannot be resumed' in message


def test_missing_and_unreadable_files(track, frames, results, tmp_path):
    message = refuse(track, tmp_path, tmp_path / 'no_frames', results)
    assert 'no_frames" does not exist' in message
    message = refuse(track, tmp_path, frames, tmp_path / 'no.json')
    assert 'no.json' in message
    message = refuse(track, tmp_path, frames, tmp_path)
    assert 'directory' in message.lower()
    message = refuse(track, tmp_path, frames, results, '--images',
                     tmp_path / 'no.json')
    assert 'no.json' in message
    (tmp_path / 'bad.json').write_text('{"annotations": [')
    message = refuse(track, tmp_path, frames, tmp_path / 'bad.json')
    assert 'bad.json is not valid JSON' in message
    (tmp_path / 'bad.json.gz').write_text('no gzip')
    message = refuse(track, tmp_path, frames, tmp_path / 'bad.json.gz')
    assert 'gzip' in message.lower()


@pytest.mark.parametrize('change, reason', [
    (dict(image_id=LENGTH), f'got {LENGTH}'),
    (dict(file_name='00020.png'), "got '00020.png'"),
    (dict(category_id=12), '12'),
    (dict(score=1.5), r'scores must lie in \[0, 1\], got 1.5'),
    (dict(segmentation=[[0, 0, 1, 1]]), 'a mask of frame 4'),
    (dict(segmentation=dict(size=[9, 9], counts=[81])), 'a mask of frame 4'),
])
def test_bad_rows(change, reason, track, frames, tmp_path):
    content = dict(
        annotations=rows(),
        categories=[dict(id=k, name=str(k)) for k in (TRUCK, DOG)],
    )
    content['annotations'][9].update(change)  # of frame 4
    results = write(tmp_path / 'found.json', content)
    with pytest.raises(SystemExit, match=f'^error: .*{reason}') as error:
        track(frames, results, '--out-dir', tmp_path / 'out')
    assert '\n' not in error.value.code
    assert not list(tmp_path.glob('out/*'))


@pytest.mark.parametrize('content', ['text', 7, dict(), dict(images=[]), [1]])
def test_no_results(content, track, frames, tmp_path):
    results = write(tmp_path / 'found.json', content)
    assert 'results' in refuse(track, tmp_path, frames, results)


def test_no_rows_are_no_tracks(track, frames, tmp_path, capsys):
    results = write(tmp_path / 'found.json', [])
    track(frames, results, '--out-dir', tmp_path / 'out')
    assert ' 0 tracks' in capsys.readouterr().out
    assert read_csv(tmp_path / 'out' / 'tracks.csv') == []


def test_help_names_the_outputs(track, capsys):
    with pytest.raises(SystemExit) as error:
        track('--help')
    assert error.value.code == 0
    text = ' '.join(capsys.readouterr().out.split())
    assert 'overlay (overlay.mp4)' in text and '--first-id' in text
