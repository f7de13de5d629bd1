# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From a recording through CVAT to training data."""
import json
import sys
import zipfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils
from scipy.ndimage import gaussian_filter

from refinevis_mm.datasets import VISDataset
from refinevis_mm.recording import write_cvat_video, write_mots_png
from refinevis_mm.vis_json import find_defects
from tests.cvat_server import import_and_export
from tests.tiny_recordings import ResultStream, convert, create

TOOL = 'cvat_to_youtubevis'
SIZE, LENGTH = (40, 60), 6
LABELS = {3: 1, 17: 0, 42: 2}  # of the objects


def blobs(seed):
    """A mask with parts and holes."""
    rng = np.random.default_rng(seed)
    return gaussian_filter(rng.normal(size=SIZE), 3) > 0.02


def truth():
    """Masks by object and frame; each is gone in some frames."""
    return {
        i: [blobs(10 * t + i) if (t + i) % 4 else None for t in range(LENGTH)]
        for i in LABELS
    }


def record(folder, numbers):
    """The recording of these objects."""
    stream = ResultStream(['online'], SIZE)
    recording = create(folder / 'recording.sqlite', ['online'], SIZE)
    for t, number in enumerate(numbers):
        recording.add_origin(t, number)
        recording.add(
            stream.frame(
                dict(online=[(i, np.eye(3)[label].tolist(), True, masks[t])
                             for (i,
                                  label), masks in zip(LABELS.items(),
                                                       truth().values())])))
    return recording


def write_frames(folder, num, size=SIZE):
    folder.mkdir(parents=True)
    for index in range(num):
        Image.new('RGB', size[::-1]).save(folder / f'{index:05d}.jpg')


@pytest.fixture
def exports(tmp_path):
    """Frames of two videos; 'street' is exported from CVAT, every third frame
    from the first on of the frames that are there; 'park' by hand."""
    (tmp_path / 'exports').mkdir()
    write_frames(tmp_path / 'frames' / 'street', 18)
    write_cvat_video(
        record(tmp_path, range(1, 1 + 3 * LENGTH, 3)), tmp_path / 'cvat')
    text = (tmp_path / 'cvat' / 'annotations.xml').read_text('utf-8')
    with zipfile.ZipFile(tmp_path / 'exports' / 'street.zip', 'w') as archive:
        archive.writestr('annotations.xml', import_and_export(text))
    write_frames(tmp_path / 'frames' / 'park', 2)
    (tmp_path / 'exports' / 'park.xml').write_text('''<annotations><meta><job>
        <start_frame>0</start_frame><stop_frame>1</stop_frame>
        <labels><label><name>fox</name></label>
        <label><name>dog</name></label></labels></job></meta>
        <track id="0" label="dog"><polygon frame="1" outside="0"
        points="0,0;9,0;9,9;0,9"/></track>
        <track id="1" label="fox"><polygon frame="1" outside="1"
        points="0,0;9,0;9,9;0,9"/></track></annotations>''')
    return tmp_path


def run(monkeypatch, folder, *options):
    return convert(monkeypatch, TOOL, *options, folder / 'frames',
                   folder / 'exports', folder / 'out.json')


def refused(monkeypatch, folder):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, folder)
    assert not (folder / 'out.json').exists()
    assert stop.value.code.startswith('error: ')
    return stop.value.code


def test_from_cvat_to_training_data(exports, monkeypatch, capsys):
    content = run(monkeypatch, exports)
    assert '2 videos, 4 objects written' in capsys.readouterr().out
    assert [str(defect) for defect in find_defects(content)] == []
    names = {item['id']: item['name'] for item in content['categories']}
    assert list(names.values()) == ['fox', 'dog', 'cat', 'owl']
    park, street = content['videos']
    assert park['file_names'] == ['park/00000.jpg', 'park/00001.jpg']
    assert street['file_names'] == [
        f'street/{number:05d}.jpg' for number in range(1, 19, 3)
    ]
    first, *objects = content['annotations']
    assert (first['video_id'], names[first['category_id']]) == (1, 'dog')
    assert first['areas'] == [None, 81] and first['track_id'] == 0
    assert {
        item['track_id']: names[item['category_id']]
        for item in objects
    } == {
        3: 'dog',
        17: 'cat',
        42: 'owl'
    }
    for item in objects:
        masks = truth()[item['track_id']]
        for mask, rle in zip(masks, item['segmentations'], strict=True):
            assert (mask is None) == (rle is None)
            if mask is not None:
                found = mask_utils.decode(rle).astype(bool)
                assert (found & mask).sum() / (found | mask).sum() >= 0.98
    # an instance of the data set for each object, as training reads them
    data = VISDataset(
        data_root=str(exports),
        ann_file='out.json',
        data_prefix=dict(img_path='frames/'),
        metainfo=dict(classes=list(names.values())),
        test_mode=True,
        pipeline=[])
    images = data.get_data_info(1)['images']
    ids = [{instance['instance_id']
            for instance in image['instances']} for image in images]
    assert len(set.union(*ids)) == len(objects)  # counted anew in each video
    assert list(map(len, ids)) == [
        sum(masks[t] is not None for masks in truth().values())
        for t in range(LENGTH)
    ]


def test_mots(exports, monkeypatch):
    """The same by MOTS PNG: what is visible of each, exactly."""
    for path in (exports / 'exports').iterdir():
        path.unlink()
    recording = record(exports / 'cvat', range(LENGTH))
    write_mots_png(recording, exports / 'exports' / 'street.zip')
    content = run(monkeypatch, exports)
    assert {item['track_id'] for item in content['annotations']} == set(LABELS)
    ids = {item['track_id']: item for item in content['annotations']}
    assert len(content['videos'][0]['file_names']) == 18
    for t in range(LENGTH):
        masks = {i: item[t] for i, item in truth().items()}
        covered = np.zeros(SIZE, bool)
        for i, item in ids.items():
            rle = item['segmentations'][t]
            if rle is not None:
                found = mask_utils.decode(rle).astype(bool)
                assert not (covered & found).any()
                assert not (found & ~masks[i]).any()
                covered |= found
        whole = [mask for mask in masks.values() if mask is not None]
        assert np.array_equal(covered, np.any(whole, axis=0))


def test_frames_of_the_task_alone(exports, monkeypatch):
    (exports / 'exports' / 'park.xml').unlink()
    for path in (exports / 'frames' / 'street').iterdir():
        if int(path.stem) >= LENGTH:
            path.unlink()
    content = run(monkeypatch, exports)
    assert content['videos'][0]['length'] == LENGTH
    assert content['videos'][0]['file_names'][-1] == 'street/00005.jpg'


def one_frame_less(folder):
    for path in (folder / 'frames' / 'street').iterdir():
        if int(path.stem) >= 16:
            path.unlink()


def other_size(folder):
    Image.new('RGB', (9, 9)).save(folder / 'frames' / 'park' / '00000.jpg')


def no_exports(folder):
    for path in (folder / 'exports').iterdir():
        path.rename(path.with_suffix('.json'))


def two_exports(folder):
    (folder / 'exports' / 'street.xml').write_text('')


def no_frames(folder):
    (folder / 'frames' / 'park').rename(folder / 'frames' / 'gone')


def damaged(folder):
    (folder / 'exports' / 'street.zip').write_bytes(b'PK')


@pytest.mark.parametrize('change, reason', [
    (one_frame_less, 'must have the 6 frames of the task, or all of its '
     "video's up to 16, got 16"),
    (other_size, 'video park: all frames must have one'),
    (no_exports, 'must have an export <video>.zip or <video>.xml'),
    (two_exports, 'one export of each video, got park.xml, street.xml, '
     'street.zip'),
    (no_frames, 'park'),
    (damaged, 'street.zip'),
])
def test_bad_input(exports, monkeypatch, change, reason):
    change(exports)
    assert reason in refused(monkeypatch, exports)


def test_existing_file_stays(exports, monkeypatch):
    (exports / 'out.json').write_text('mine')
    monkeypatch.setattr(sys, 'argv', [])
    with pytest.raises(SystemExit, match='use --force'):
        run(monkeypatch, exports)
    assert (exports / 'out.json').read_text() == 'mine'
    content = run(monkeypatch, exports, '--force')
    assert json.loads((exports / 'out.json').read_text()) == content
