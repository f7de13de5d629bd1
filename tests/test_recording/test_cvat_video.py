# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from pycocotools import mask as mask_utils
from scipy.ndimage import gaussian_filter

from refinevis_mm.recording import write_cvat_video
from refinevis_mm.vis_json import read_cvat_video
from tests.cvat_server import import_and_export
from tests.tiny_recordings import (ResultStream, box, create, kill_half,
                                   random_frames)

SIZE = (40, 60)


def blobs(seed, size=SIZE):
    """A mask with parts and holes."""
    rng = np.random.default_rng(seed)
    return gaussian_filter(rng.normal(size=size), 3) > 0


def record(path, frames, size=SIZE, numbers=None):
    """A recording of ``{id: mask}`` for each frame; even ids are cats."""
    stream = ResultStream(['online'], size)
    recording = create(path / 'recording.sqlite', ['online'], size)
    for index, masks in enumerate(frames):
        if numbers is not None:
            recording.add_origin(index, numbers[index])
        recording.add(
            stream.frame(
                dict(online=[(i, [0.75 - i % 2, i % 2, 0.], True, mask)
                             for i, mask in masks.items()])))
    return recording


def xml_of(folder):
    return (folder / 'annotations.xml').read_text('utf-8')


def test_by_hand(tmp_path):
    """Object 5 is gone in frame 1, object 6 has two parts in frame 2."""
    two = box(20, 20, 10, SIZE) | box(40, 10, 8, SIZE)
    frames = [{
        5: box(0, 0, 10, SIZE)
    }, {
        6: box(20, 20, 10, SIZE)
    }, {
        5: box(2, 0, 10, SIZE),
        6: two
    }]
    recording = record(tmp_path, frames)
    write_cvat_video(recording, tmp_path / 'cvat', name='a & <b>\x07')
    root = ElementTree.fromstring(xml_of(tmp_path / 'cvat'))
    assert root.findtext('version') == '1.1'
    facts = {item.tag: item.text for item in root.find('meta/task')}
    assert facts['name'] == 'a & <b> ' and facts['size'] == '3'
    assert facts['mode'] == 'interpolation'
    assert (facts['start_frame'], facts['stop_frame']) == ('0', '2')
    assert root.findtext('.//original_size/width') == '60'
    labels = [label.findtext('name') for label in root.iter('label')]
    assert labels == ['cat', 'dog', 'owl']
    tracks = [(track.get('label'), track.get('group_id'),
               [(shape.get('frame'), shape.get('outside')) for shape in track])
              for track in root.iter('track')]
    assert tracks == [
        ('dog', '6', [('0', '0'), ('1', '1'), ('2', '0')]),
        ('cat', '7', [('1', '0'), ('2', '0')]),
        ('cat', '7', [('2', '0')]),
    ]
    assert {shape.get('keyframe') for shape in root.iter('polygon')} == {'1'}
    ids = [track[0].findtext('attribute') for track in root.iter('track')]
    assert ids == ['5', '6', '6']
    assert [track[0].get('z_order') for track in root.iter('track')
            ] == ['1', '0', '0']  # the dog has the higher score
    raw = json.loads((tmp_path / 'cvat' / 'labels.json').read_text())
    assert [label['name'] for label in raw] == labels
    assert raw[0]['attributes'][0]['name'] == 'track_id'


@pytest.mark.parametrize('first, step', [(0, 1), (7, 3)])
def test_through_cvat_and_back(tmp_path, first, step):
    """Ids, classes and masks after CVAT has numbered the tracks anew."""
    frames = [{
        i: blobs(10 * t + i)
        for i in (0, 3, 12, 40) if (t + i) % 4
    } for t in range(9)]
    recording = record(
        tmp_path, frames, numbers=range(first, first + 9 * step, step))
    write_cvat_video(recording, tmp_path / 'cvat')
    path = tmp_path / 'export.xml'
    path.write_text(import_and_export(xml_of(tmp_path / 'cvat')), 'utf-8')
    video = read_cvat_video(str(path), SIZE)
    assert list(video.numbers) == list(range(first, first + 9 * step, step))
    assert video.classes == ['cat', 'dog', 'owl']
    assert {
        i: name
        for i, (name, _) in video.objects.items()
    } == {
        0: 'cat',
        3: 'dog',
        12: 'cat',
        40: 'cat'
    }
    for t, masks in enumerate(frames):
        for i, (_, codes) in video.objects.items():
            assert (t in codes) == (i in masks)
            if i in masks:
                found = mask_utils.decode(codes[t]).astype(bool)
                both = (found & masks[i]).sum()
                assert both / (found | masks[i]).sum() >= 0.98


def test_exact_on_demand(tmp_path):
    frames = [{0: blobs(1)}]
    write_cvat_video(record(tmp_path, frames), tmp_path / 'cvat', min_iou=1)
    video = read_cvat_video(str(tmp_path / 'cvat' / 'annotations.xml'), SIZE)
    found = mask_utils.decode(video.objects[0][1][0])
    assert np.array_equal(found, frames[0][0])


def test_what_is_left_out(tmp_path):
    """Weak tracks; an object that was only missed; irregular frames."""
    stream = ResultStream(['online'], SIZE)
    recording = create(tmp_path / 'recording.sqlite', ['online'], SIZE)
    for index, number in enumerate([0, 1, 5]):
        recording.add_origin(index, number)
        recording.add(
            stream.frame(
                dict(online=[(
                    1, [0.5, 0., 0.], True, box(0, 0, 9, SIZE)
                ), (2, [0., 0.25, 0.], True,
                    box(9, 9, 9, SIZE)), (3, [0., 0.75, 0.], False, None)])))
    write_cvat_video(recording, tmp_path / 'cvat')
    root = ElementTree.fromstring(xml_of(tmp_path / 'cvat'))
    assert [track.get('group_id') for track in root.iter('track')] == ['2']
    assert [shape.get('frame')
            for shape in root.iter('polygon')] == ['0', '1', '5']
    assert not root.findtext('.//frame_filter')


def test_bad_input_leaves_no_folder(tmp_path):
    recording = record(tmp_path, [{1: box(0, 0, 9, SIZE)}])
    folder = tmp_path / 'out' / 'cvat'
    with pytest.raises(ValueError, match="got 'offline'"):
        write_cvat_video(recording, folder, view='offline')
    recording.classes[:] = ['cat', 'cat']
    with pytest.raises(ValueError, match='different names'):
        write_cvat_video(recording, folder)
    assert not folder.exists()
    recording.classes[:] = ['cat', 'dog']
    write_cvat_video(recording, folder)
    with pytest.raises(FileExistsError, match='cvat'):
        write_cvat_video(recording, folder)


def test_killed_run_leaves_no_folder(tmp_path):
    folder = tmp_path / 'out' / 'cvat'
    kill_half(tmp_path, lambda recording: write_cvat_video(recording, folder))
    assert not folder.exists()


@pytest.mark.zoo
def test_datumaro_reads_it(tmp_path):
    """The labels, tracks and masks by an independent reader."""
    datumaro = pytest.importorskip('datumaro')
    frames = [{i: blobs(10 * t + i) for i in (0, 3)} for t in range(4)]
    write_cvat_video(record(tmp_path, frames), tmp_path / 'cvat')
    data = datumaro.Dataset.import_from(str(tmp_path / 'cvat'), 'cvat')
    names = [
        item.name
        for item in data.categories()[datumaro.AnnotationType.label].items
    ]
    assert names == ['cat', 'dog', 'owl']
    items = list(data)
    assert len(items) == 4
    for item in items:
        t = item.attributes['frame']
        for i, mask in frames[t].items():
            parts = [
                shape for shape in item.annotations
                if shape.group == i + 1 and not shape.attributes['outside']
            ]
            assert {names[shape.label]
                    for shape in parts} == {['cat', 'dog'][i % 2]}
            found = mask_utils.decode(
                mask_utils.merge(
                    mask_utils.frPyObjects([shape.points for shape in parts],
                                           *SIZE))).astype(bool)
            assert (found & mask).sum() / (found | mask).sum() >= 0.98


@pytest.mark.zoo
def test_labels_are_those_of_the_sdk(tmp_path):
    """The classes with which CVAT's own client makes a task."""
    models = pytest.importorskip('cvat_sdk.models')
    attributes = pytest.importorskip('cvat_sdk.attributes')
    write_cvat_video(
        record(tmp_path, [{
            1: box(0, 0, 9, SIZE)
        }]), tmp_path / 'cvat')
    raw = json.loads((tmp_path / 'cvat' / 'labels.json').read_text())
    for label in raw:
        attribute, = (
            models.AttributeRequest(**item) for item in label['attributes'])
        models.PatchedLabelRequest(
            name=label['name'], type=label['type'], attributes=[attribute])
        valid = attributes.attribute_value_validator(attribute)
        assert [valid(text) for text in ('-1', '0', '65535', '-2', 'x')
                ] == [True, True, True, False, False]


def test_random_streams(tmp_path):
    """Whatever comes and goes, what is written can be read."""
    stream = ResultStream(['online'])
    recording = create(tmp_path / 'recording.sqlite', ['online'])
    for frame in random_frames(stream, 20, 3):
        recording.add(frame)
    write_cvat_video(recording, tmp_path / 'cvat', score_thr=0., min_iou=1)
    video = read_cvat_video(str(tmp_path / 'cvat' / 'annotations.xml'), (6, 8))
    for frame_id, _, instances in recording.frames():
        for track_id, mask in zip(instances.ids, instances.masks):
            if mask is None:
                assert frame_id not in video.objects.get(track_id, ('', {}))[1]
            else:
                assert video.objects[track_id][1][frame_id] == mask
