# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The function for CVAT, by the driver of CVAT's own client."""
import json
import logging
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_utils

from refinevis_mm.apis import VISInferencer
from refinevis_mm.apis.cvat_function import CvatFunction, create
from refinevis_mm.vis_json import cvat_labels
from tests.tiny_detectors import CLASSES, TRACKER, find_squares, squares
from tests.tiny_files import random_frames, write_model_files
from tests.tiny_recordings import convert


def test_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cvat_sdk', None)
    monkeypatch.setitem(sys.modules, 'cvat_sdk.auto_annotation', None)
    with pytest.raises(ImportError) as error:
        create('refinevis-small_occluded-shapes')
    assert '\n' not in str(error.value)
    assert 'pip install "refinevis_mm[cvat]"' in str(error.value)


@pytest.fixture
def sdk():
    return pytest.importorskip('cvat_sdk.auto_annotation')


def tracked_squares():
    return VISInferencer.from_segmenter(find_squares, CLASSES, **TRACKER)


def annotate(sdk, monkeypatch, function, images, labels=None, **options):
    """Shapes that the driver uploads for images by name.

    The server is the only thing that is played: its task has the labels of
    ``labels.json``, with ids of its own.
    """
    models = pytest.importorskip('cvat_sdk.models')
    labels = cvat_labels(CLASSES) if labels is None else labels
    task = SimpleNamespace(
        labels=[
            models.Label(
                name=label['name'],
                id=100 + index,
                type=label['type'],
                sublabels=[],
                attributes=[
                    models.Attribute(
                        **{
                            **attribute, 'input_type':
                            models.InputTypeEnum(attribute['input_type'])
                        },
                        id=200 + index) for attribute in label['attributes']
                ]) for index, label in enumerate(labels)
        ],
        samples=[
            SimpleNamespace(
                frame_index=index,
                frame_name=name,
                media=SimpleNamespace(load_image=lambda image=image: Image.
                                      fromarray(image[..., ::-1])))
            for index, (name, image) in enumerate(images)
        ])
    monkeypatch.setattr('cvat_sdk.auto_annotation.driver.TaskDataset',
                        lambda *args, **kwargs: task)
    uploaded = []
    api = SimpleNamespace(partial_update_annotations=lambda action, task_id,
                          patched_labeled_data_request: uploaded.append(
                              (action, patched_labeled_data_request)))
    client = SimpleNamespace(
        logger=logging.getLogger('cvat'), tasks=SimpleNamespace(api=api))
    sdk.annotate_task(client, 137, function, **options)
    (action, data), = uploaded
    assert action == 'create' and data.tags == []
    return data.shapes


def facts(shapes):
    """Frame, label, track id and group of shapes."""
    return [(shape.frame, shape.label_id, int(shape.attributes[0].value),
             shape.group) for shape in shapes]


def annotate_squares(sdk, monkeypatch, num, **options):
    """Images, what a stream says of them, and the shapes that CVAT gets."""
    images = squares(num)
    inferencer = tracked_squares()
    expected = list(inferencer.stream(images))
    shapes = annotate(
        sdk,
        monkeypatch,
        CvatFunction(inferencer),
        [(f'a/{i}.png', image) for i, image in enumerate(images)],
        conf_threshold=0.,
        **options)
    return images, expected, shapes


@pytest.mark.zoo
def test_masks_keep_their_ids(sdk, monkeypatch):
    masks = pytest.importorskip('cvat_sdk.masks')
    images, expected, shapes = annotate_squares(sdk, monkeypatch, 6)
    assert facts(shapes) == [
        (frame.frame_id, 100 + label, track_id, track_id + 1)
        for frame in expected
        for label, track_id, mask in zip(frame.labels, frame.ids, frame.masks)
        if mask is not None
    ]
    assert len({track_id for _, _, track_id, _ in facts(shapes)}) > 1
    height, width = images[0].shape[:2]
    codes = [mask for frame in expected for mask in frame.masks if mask]
    for shape, code in zip(shapes, codes, strict=True):
        assert shape.type.value == 'mask' and shape.source == 'auto'
        assert shape.attributes[0].spec_id == shape.label_id + 100
        found = masks.decode_mask(
            shape.points, image_width=width, image_height=height)
        assert np.array_equal(found, mask_utils.decode(code))


@pytest.mark.zoo
def test_polygons(sdk, monkeypatch):
    _, expected, shapes = annotate_squares(
        sdk, monkeypatch, 3, conv_mask_to_poly=True)
    for frame in expected:
        for track_id, code in zip(frame.ids, frame.masks):
            parts = [
                shape.points for shape in shapes
                if shape.frame == frame.frame_id and shape.group == track_id +
                1
            ]
            assert bool(parts) == (code is not None)
            if parts:
                found = mask_utils.merge(
                    mask_utils.frPyObjects(parts, *code['size']))
                assert mask_utils.iou([found], [code], [0])[0, 0] >= 0.98


@pytest.mark.zoo
def test_scores(sdk, monkeypatch):
    """At least 0.3, or what CVAT asks for."""
    images = squares(4)
    inferencer = tracked_squares()
    scores = [
        score for frame in inferencer.stream(images)
        for score, mask in zip(frame.scores, frame.masks) if mask
    ]
    names = [(f'{i}.png', image) for i, image in enumerate(images)]
    for least in (None, 0., 0.5, 1.):
        options = {} if least is None else dict(conf_threshold=least)
        shapes = annotate(sdk, monkeypatch, CvatFunction(inferencer), names,
                          **options)
        limit = 0.3 if least is None else least
        assert len(shapes) == sum(score >= limit for score in scores)


@pytest.mark.zoo
def test_new_videos(sdk, monkeypatch):
    """Another folder, size, or a name that has been there: ids from 0."""
    images = squares(3)
    small = [image[:, :-8] for image in images]
    first = [(f'a/{i}.png', image) for i, image in enumerate(images)]
    second = [(f'b/{i}.png', image) for i, image in enumerate(images)]
    third = [(f'b/{i + 3}.png', image) for i, image in enumerate(small)]
    function = CvatFunction(tracked_squares())
    shapes = annotate(
        sdk,
        monkeypatch,
        function,
        first + second + third + first,
        conf_threshold=0.)
    by_video = [[(frame % 3, *rest) for frame, *rest in facts(shapes)
                 if frame // 3 == video] for video in range(4)]
    assert by_video[0] and by_video[0] == by_video[1] == by_video[3]
    assert min(item[2] for item in by_video[2]) == 0


@pytest.mark.zoo
def test_back_as_training_data(sdk, monkeypatch, tmp_path):
    """What CVAT exports as COCO keeps the attribute, and so the ids."""
    images = squares(4)
    for index, image in enumerate(images):
        path = tmp_path / 'images' / 'clip' / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., ::-1]).save(path)
    shapes = annotate(
        sdk,
        monkeypatch,
        CvatFunction(tracked_squares()),
        [(f'clip/{i}.png', image) for i, image in enumerate(images)],
        conf_threshold=0.,
        conv_mask_to_poly=True)
    height, width = images[0].shape[:2]
    coco = dict(
        categories=[
            dict(id=index, name=name)
            for index, name in enumerate(CLASSES, 100)
        ],
        images=[
            dict(
                id=index,
                file_name=f'clip/{index}.png',
                height=height,
                width=width) for index in range(len(images))
        ],
        annotations=[
            dict(
                id=index,
                image_id=shape.frame,
                category_id=shape.label_id,
                segmentation=[shape.points],
                attributes=dict(track_id=int(shape.attributes[0].value)))
            for index, shape in enumerate(shapes, 1)
        ])
    (tmp_path / 'coco.json').write_text(json.dumps(coco))
    content = convert(monkeypatch, 'images_to_youtubevis', '--video', 'folder',
                      tmp_path / 'images', tmp_path / 'coco.json',
                      tmp_path / 'out.json')
    found = sorted((sum(code is not None for code in item['segmentations']))
                   for item in content['annotations'])
    ids = [track_id for _, _, track_id, _ in facts(shapes)]
    assert found == sorted(ids.count(track_id) for track_id in set(ids))


@pytest.mark.zoo
def test_create(sdk, monkeypatch, tmp_path):
    """As cvat-cli calls it; offline models refine online."""
    files = write_model_files(tmp_path)
    function = create(*files)
    names = [label.name for label in function.spec.labels]
    assert len(names) > 1 and len(set(names)) == len(names)
    labels = cvat_labels(names)
    images = [(f'{i}.png', image) for i, image in enumerate(random_frames(3))]
    shapes = annotate(
        sdk, monkeypatch, function, images, labels, conf_threshold=0.)
    # it has more classes than names
    expected = [
        (frame.frame_id, track_id)
        for frame in VISInferencer(*files, mode='online').stream(
            image for _, image in images)
        for track_id, label, mask in zip(frame.ids, frame.labels, frame.masks)
        if mask is not None and label < len(names)
    ]
    assert expected and [
        (frame, track_id) for frame, _, track_id, _ in facts(shapes)
    ] == expected
    # a task whose labels have no such attribute
    for label in labels:
        label['attributes'] = []
    with pytest.raises(Exception, match="'track_id' of label .* not in data"):
        annotate(sdk, monkeypatch, function, images, labels)


@pytest.mark.zoo
def test_what_is_refused(sdk, tmp_path):
    files = write_model_files(tmp_path)
    inferencer = VISInferencer(*files, mode='offline')
    with pytest.raises(ValueError, match="must have mode 'online'"):
        CvatFunction(inferencer)
    inferencer.model.classes = []
    with pytest.raises(ValueError, match='must name its classes'):
        CvatFunction(inferencer)
    with pytest.raises(ValueError, match='no weights of the name'):
        create('absent')
