# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from refinevis_mm.recording import write_mots_png
from refinevis_mm.vis_json import read_mots_png
from tests.tiny_recordings import (SIZE, ResultStream, box, create, kill_half,
                                   random_frames)


def two_objects(path, *ids):
    """An owl below a cat, which is the better one, and a weak dog."""
    stream = ResultStream(['online'])
    recording = create(path / 'recording.sqlite', ['online'])
    rows = [(ids[0], [0.75, 0., 0.], True, box(0, 0, 4)),
            (ids[1], [0., 0., 0.5], True, box(2, 2, 4)),
            (ids[2], [0., 0.25, 0.], True, box(0, 0, 6))]
    recording.add(stream.frame(dict(online=rows)))
    recording.add(
        stream.frame(dict(online=[(ids[0], rows[0][1], False, None)])))
    return recording


def test_by_hand(tmp_path):
    """Only classes that occur are counted."""
    path = tmp_path / 'mots.zip'
    write_mots_png(two_objects(tmp_path, 4, 0, 3), path)
    expected = np.zeros(SIZE, int)
    expected[2:6, 2:6] = 2000
    expected[:4, :4] = 1004
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == [
            f'default/instances/{name}'
            for name in ('labels.txt', '000000.png', '000001.png')
        ]
        assert archive.read('default/instances/labels.txt') == b'cat\nowl\n'
        maps = []
        for name in archive.namelist()[1:]:
            with archive.open(name) as file, Image.open(file) as image:
                assert image.mode == 'I;16'
                maps.append(np.asarray(image))
    assert maps[0].tolist() == expected.tolist() and not maps[1].any()


def test_back(tmp_path):
    """Ids, classes and masks but for what others hide of them."""
    stream = ResultStream(['online'])
    recording = create(tmp_path / 'recording.sqlite', ['online'])
    for frame in random_frames(stream, 20, 0):
        recording.add(frame)
    path, again = tmp_path / 'mots.zip', tmp_path / 'again.zip'
    for file in (path, again):
        write_mots_png(recording, file, score_thr=0.)
    assert path.read_bytes() == again.read_bytes()
    stems = [f'{i:05d}' for i in range(20)]
    video = read_mots_png(str(path), stems, SIZE)
    tracks = sorted(recording.tracks(), key=lambda track: -track.score)
    seen = set()
    for frame_id, _, instances in recording.frames():
        taken = np.zeros(SIZE, bool)
        masks = dict(zip(instances.ids, instances.dense_masks()))
        for track in tracks:
            mask = masks.get(track.id, taken) & ~taken
            taken = taken | mask
            if mask.any():
                name, codes = video.objects[track.id]
                assert name == track.name
                found = mask_utils.decode(codes[frame_id])
                assert np.array_equal(found, mask)
                seen.add((track.id, frame_id))
    assert {(track_id, frame_id)
            for track_id, (_, codes) in video.objects.items()
            for frame_id in codes} == seen


def test_bad_input_leaves_no_file(tmp_path):
    recording = two_objects(tmp_path, 1, 1000, 3)
    path = tmp_path / 'out' / 'mots.zip'
    for change, match in [
        (dict(), 'ids must be below 1000 .* got 1000'),
        (dict(view='offline'), "got 'offline'"),
        (dict(file_names=['a']), 'must be 2 different names'),
    ]:
        with pytest.raises(ValueError, match=match):
            write_mots_png(recording, path, **change)
    assert not path.exists()


def test_killed_run_leaves_no_file(tmp_path):
    path = tmp_path / 'out' / 'mots.zip'
    kill_half(tmp_path, lambda recording: write_mots_png(recording, path))
    assert not path.exists()


@pytest.mark.zoo
def test_datumaro_reads_it(tmp_path):
    datumaro = pytest.importorskip('datumaro')
    write_mots_png(two_objects(tmp_path, 4, 0, 3), tmp_path / 'mots.zip')
    with zipfile.ZipFile(tmp_path / 'mots.zip') as archive:
        archive.extractall(tmp_path / 'mots')
    data = datumaro.Dataset.import_from(str(tmp_path / 'mots'), 'mots')
    names = [
        item.name
        for item in data.categories()[datumaro.AnnotationType.label].items
    ]
    found = {
        (item.id, names[mask.label], int(mask.attributes['track_id'])):
        int(mask.image.sum())
        for item in data
        for mask in item.annotations
    }
    assert found == {
        ('000000', 'cat', 4): 16,
        ('000000', 'owl', 0): 12,
    }
