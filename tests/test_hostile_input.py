# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Broken files end in the project's errors, one line each, or in an object.

Trials at random; what must happen in known cases is tested beside each
reader. See docs/reliability.md.
"""
import csv
import io
import json
import re
import shutil
import sqlite3
from contextlib import closing

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as mask_utils

from refinevis_mm.apis import Session, VISInferencer, init_model
from refinevis_mm.compat.checkpoints import CheckpointError, read_bytes
from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.coco_results import CocoResults
from refinevis_mm.evaluation import (evaluate_best_tracklet, evaluate_tracking,
                                     evaluate_vis)
from refinevis_mm.recording import (VideoRecording, write_coco_video,
                                    write_id_masks, write_results_json,
                                    write_tracks_csv)
from refinevis_mm.structures import VIEWS
from refinevis_mm.video_io import decode_image
from refinevis_mm.vis_json import (check_ground_truth, check_results,
                                   compress_mask, find_defects,
                                   find_result_defects, load_json)
from refinevis_mm.visualization import (RefinementStrips, draw_timeline,
                                        select_video, write_report)
from tests.hostile import (VALUES, mutated, mutated_bytes, one_line,
                           other_state, other_value, trials)
from tests.tiny_detectors import CLASSES, TRACKER, find_squares, squares
from tests.tiny_files import random_frames, write_model_files
from tests.tiny_recordings import SIZE, ResultStream, create
from tests.tiny_recordings import random_frames as recorded_frames
from tests.tiny_vis_json import DATA_SET, RESULTS

COCO = dict(
    images=[dict(id=3, file_name='a/0.jpg'),
            dict(id=4, file_name='a/1.jpg')],
    categories=[dict(id=1, name='a'),
                dict(id=2, name='b')],
    annotations=[
        dict(
            image_id=3,
            category_id=2,
            score=0.5,
            segmentation=dict(size=[3, 4], counts='336')),
        dict(image_id=4, category_id=1, segmentation=[[0, 0, 2, 0, 2, 2]])
    ])


def test_annotations(tmp_path):
    """Validator, readers of evaluation and report, and the data set."""
    path = tmp_path / 'gt.json'
    for rng in trials('annotations', 60):
        content = mutated(DATA_SET, rng, other_value)
        data = json.dumps(content).encode()
        path.write_bytes(data if rng.random() <
                         0.8 else mutated_bytes(data, rng))
        with one_line():
            content = load_json(path)
            find_defects(content)
        with one_line() as errors:
            check_ground_truth(content, check_masks=True)
        if not errors:
            with one_line():
                evaluate_vis(content, RESULTS, num_workers=1)
            with one_line():
                select_video(content)
        with one_line():
            dataset = VISDataset(ann_file=str(path), pipeline=[])
            for index in range(len(dataset)):
                list(dataset.get_data_info(index)['images'])


def test_results(tmp_path):
    """Validator and evaluators."""
    path = tmp_path / 'results.json'
    for rng in trials('results', 150):
        path.write_text(json.dumps(mutated(RESULTS, rng, other_value)))
        rows = load_json(path)
        with one_line():
            find_result_defects(DATA_SET, rows)
        with one_line() as errors:
            check_results(DATA_SET, rows, check_masks=True)
        if not errors:
            for evaluate in (evaluate_vis, evaluate_tracking,
                             evaluate_best_tracklet):
                evaluate(DATA_SET, rows)


def test_coco_results():
    for rng in trials('COCO results', 400):
        content = mutated(COCO, rng, other_value)
        if rng.random() < 0.5 and isinstance(content, dict):
            content = content.get('annotations')
        with one_line():
            files = ['x/0.jpg', 'x/1.jpg'] if rng.random() < 0.7 else None
            results = CocoResults(json.loads(json.dumps(content)), files)
            for frame in range(2):
                results.frame(frame, 3, 4)


def random_code(rng):
    """A run-length code of a frame of 3 x 4 pixels, more or less."""
    mask = np.asfortranarray(
        np.frombuffer(rng.randbytes(12), np.uint8).reshape(3, 4) % 2)
    text = mask_utils.encode(mask)['counts']
    kind = rng.randrange(4)
    if kind == 0:
        return mutated_bytes(text, rng).decode('latin-1')
    if kind == 1:
        return [
            rng.choice((0, 1, 3, 12, 2**31, 2**32, 2**62, 2**63, -1, 0.5))
            for _ in range(rng.randrange(8))
        ]
    if kind == 2:
        return ''.join(chr(rng.randrange(40, 130)) for _ in range(9))
    return text.decode()


def test_run_length_codes():
    """What is accepted covers the frame, and pycocotools decodes it."""
    num_accepted = 0
    for rng in trials('run-length codes', 3000):
        code = dict(size=[3, 4], counts=random_code(rng))
        with one_line() as errors:
            data, area = compress_mask(code, 3, 4)
        if not errors:
            dense = mask_utils.decode(dict(size=[3, 4], counts=data))
            assert set(np.unique(dense)) <= {0, 1} and dense.sum() == area
            num_accepted += 1
    assert num_accepted > 300


def read_all(recording, folder):
    """Read a recording in all ways, and write all that is made of it."""
    assert recording.state is None or isinstance(recording.state, bytes)
    for view in recording.views:
        recording.tracks(view)
        recording.track_states(view)
        for *_, instances in recording.frames(view):
            instances.dense_masks()
        for tracklet in recording.tracklets(view):
            assert len(tracklet['segmentations']) == recording.num_frames
    write_tracks_csv(recording, folder / 'a.csv')
    write_results_json(recording, folder / 'a.json')
    write_coco_video(recording, folder / 'b.json')
    write_id_masks(recording, folder / 'masks', force=True)
    draw_timeline(recording)
    frames = [np.zeros((*recording.size, 3), np.uint8)] * recording.num_frames
    write_report(folder / 'a.html', frames, recording, 'title')


@pytest.fixture
def recording(tmp_path):
    """Path of a small recording, in a folder of its own."""
    path = tmp_path / 'whole' / 'recording.sqlite'
    path.parent.mkdir()
    with create(path) as made:
        for index, frame in enumerate(recorded_frames(ResultStream(), 5, 1)):
            made.add_origin(index, index + 3, f'a/{index}.jpg')
            made.add(frame)
        made.checkpoint(b'state')
        made.finish()
    return path


def test_recordings_of_other_bytes(recording, tmp_path):
    data, path = recording.read_bytes(), tmp_path / 'broken.sqlite'
    folder = tmp_path / 'out'
    folder.mkdir()
    for rng in trials('recordings, bytes', 60):
        path.write_bytes(mutated_bytes(data, rng))
        with one_line(), VideoRecording.open(path) as broken:
            read_all(broken, folder)
    assert {child.name
            for child in tmp_path.iterdir()
            } <= {'whole', 'broken.sqlite', 'out', 'broken.sqlite-journal'}


def edit(db, rng):
    """Put another value into a column of a recording."""
    table = rng.choice(('facts', 'frames', 'origins', 'instances', 'state'))
    columns = [row[1] for row in db.execute(f'PRAGMA table_info({table})')]
    row, = rng.choice(
        db.execute(f'SELECT rowid FROM {table}').fetchall() or [(0, )])
    value = rng.choice(VALUES)
    if table == 'facts' and rng.random() < 0.8:
        value = json.dumps(value)
    elif isinstance(value, (list, dict)) or rng.random() < 0.2:
        value = rng.randbytes(rng.choice((0, 8, 24)))
    action = f'UPDATE {table} SET {rng.choice(columns)} = ?'
    if rng.random() < 0.1:
        action = f'DELETE FROM {table} WHERE ? IS NOT 1'
    if rng.random() < 0.8:
        action += f'{" AND" if "DELETE" in action else " WHERE"} rowid = {row}'
    try:
        db.execute(action, (value, ))
    except (sqlite3.Error, OverflowError):
        pass  # not even SQLite takes it


def test_recordings_of_other_values(recording, tmp_path):
    path, folder = tmp_path / 'broken.sqlite', tmp_path / 'out'
    folder.mkdir()
    for rng in trials('recordings, values', 30):
        shutil.copy(recording, path)
        with closing(sqlite3.connect(path)) as db:
            for _ in range(rng.choice((1, 1, 2))):
                edit(db, rng)
            db.commit()
        with one_line(), VideoRecording.open(path) as broken:
            read_all(broken, folder)
    assert {child.name
            for child in tmp_path.iterdir()
            } == {'whole', 'broken.sqlite', 'out'}


def test_tables(tmp_path):
    """No cell of a table is a formula, and all rows come back."""
    alphabet = '=+-@\t\r\n\',";a é<\0'
    for seed, rng in enumerate(trials('CSV', 40)):
        names = [
            ''.join(rng.choice(alphabet) for _ in range(rng.randrange(6)))
            for _ in range(3)
        ]
        path = tmp_path / f'{seed % 8}.sqlite'
        path.unlink(missing_ok=True)
        stream = ResultStream(['online'])
        with VideoRecording.create(path, names, SIZE, 10., ['online'],
                                   'online', {}) as recording:
            for frame in recorded_frames(stream, 3, seed):
                recording.add(frame)
            write_tracks_csv(recording, tmp_path / 'a.csv')
            expected = {
                track.id: re.sub('[\t\r\n\0]', ' ', track.name)
                for track in recording.tracks()
            }
            num_rows = sum(len(row) for *_, row in recording.frames())
        with open(tmp_path / 'a.csv', encoding='utf-8', newline='') as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == num_rows
        for row in rows:
            name = expected[int(row['track_id'])]
            is_formula = re.match(' *[=+@-]', name)
            assert row['class'] == (f"'{name}" if is_formula else name)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return init_model(*write_model_files(tmp_path_factory.mktemp('model')))


def test_states_of_sessions(model):
    """What is loaded goes on, or says why not."""
    follower = VISInferencer.from_segmenter(find_squares, CLASSES, **TRACKER)
    frames, moving, cases = random_frames(6), squares(6), []
    for case in ((model, None, frames), (model, VIEWS, frames),
                 (follower.model, None, moving)):
        session = Session(*case[:2])
        for frame in case[2][:5]:
            session.step(frame)
        cases.append((*case, session.state_dict()))
    for rng in trials('states of sessions', 30):
        tried, views, frames, state = rng.choice(cases)
        session = Session(tried, views)
        with one_line() as errors:
            session.load_state_dict(mutated(state, rng, other_state))
        if not errors:
            with one_line():
                session.step(frames[5])
                session.flush()


def test_states_of_strips():
    stream, strips = ResultStream(), RefinementStrips(score_thr=0.)
    for frame in recorded_frames(stream, 12, 0):
        strips.add(frame)
    state, more = strips.state_dict(), list(recorded_frames(stream, 3, 1))
    for rng in trials('states of drawings', 120):
        strips = RefinementStrips(score_thr=0.)
        with one_line():
            strips.load_state_dict(mutated(state, rng, other_state))
            for frame in more:
                strips.add(frame)
            strips.draw()


def test_checkpoints():
    content = dict(
        state_dict=dict(a=torch.rand(2, 3), b=torch.ones(2).half()),
        meta=dict(iter=3, dataset_meta=dict(classes=('x', 'y'))),
        others=[np.float64(1), np.arange(3), None, 1.5, 'text'])
    files = []
    for is_zip in (True, False):
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=is_zip)
        files.append(buffer.getvalue())
    for rng in trials('checkpoints', 1000):
        with one_line(CheckpointError):
            read_bytes(mutated_bytes(rng.choice(files), rng), 'file')


@pytest.mark.filterwarnings('ignore')  # Pillow tells of damaged metadata
def test_images():
    files = []
    for kind in ('PNG', 'JPEG', 'BMP', 'TIFF', 'WEBP', 'GIF'):
        buffer = io.BytesIO()
        pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(buffer, kind)
        files.append(buffer.getvalue())
    for rng in trials('images', 1000):
        with one_line():
            image = decode_image(mutated_bytes(rng.choice(files), rng))
            assert image.dtype == np.uint8 and image.ndim == 3
