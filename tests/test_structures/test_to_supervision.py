# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Results in the package supervision, its zones and annotators."""
import sys

import numpy as np
import pytest

from tests.tiny_recordings import SIZE, ResultStream, box

CAT, DOG = [0.75, 0., 0.], [0., 0.5, 0.]


def frames():
    """Track 7 is a cat that is missed in the second frame, track 2 a dog
    that refinement recovers there; in the third there is nothing."""
    stream = ResultStream(['online'])
    yield stream.frame(
        dict(online=[(7, CAT, True, box(0)), (2, DOG, True, box(4, 1, 3))]))
    yield stream.frame(
        dict(online=[(7, CAT, False, None), (2, DOG, False, box(5, 2, 3))]))
    yield stream.frame({})


@pytest.fixture
def supervision():
    return pytest.importorskip('supervision')


def test_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'supervision', None)
    with pytest.raises(ImportError) as error:
        next(frames()).to_supervision()
    assert '\n' not in str(error.value)
    assert 'pip install "refinevis_mm[supervision]"' in str(error.value)


@pytest.mark.zoo
def test_by_hand(supervision):
    first, second, third = (frame.to_supervision() for frame in frames())
    assert isinstance(first, supervision.Detections)
    assert first.xyxy.tolist() == [[0, 0, 2, 2], [4, 1, 7, 4]]
    assert first.mask.dtype == bool and first.mask.tolist() == [
        box(0).tolist(), box(4, 1, 3).tolist()
    ]
    assert first.tracker_id.tolist() == [7, 2]
    assert first.class_id.tolist() == [0, 1]
    assert first.confidence.tolist() == [0.75, 0.5]
    assert first['class_name'].tolist() == ['cat', 'dog']
    assert first['detected'].tolist() == [True, True]
    # the missed one is left out, the recovered one stays
    assert second.tracker_id.tolist() == [2]
    assert second.xyxy.tolist() == [[5, 2, 8, 5]]
    assert second['detected'].tolist() == [False]
    assert third.is_empty() and third.mask.shape == (0, *SIZE)
    assert third.tracker_id.tolist() == []


@pytest.mark.zoo
def test_parts_and_merges(supervision):
    """Its own selection and joining work, so all parts fit each other."""
    found = [frame.to_supervision() for frame in frames()]
    joined = supervision.Detections.merge(found)
    assert joined.tracker_id.tolist() == [7, 2, 2]
    dogs = joined[joined['class_name'] == 'dog']
    assert dogs.class_id.tolist() == [1, 1] and len(dogs.mask) == 2
    assert dogs.area.tolist() == [9, 9]


@pytest.mark.zoo
def test_zone_counts_by_hand(supervision):
    """The dog's anchor lies in the right half in both frames, the cat's in
    the left half in the first."""
    height, width = SIZE
    halves = [
        supervision.PolygonZone(
            np.array([[x, 0], [x + width // 2, 0], [x + width // 2, height],
                      [x, height]]),
            triggering_anchors=[supervision.Position.CENTER])
        for x in (0, width // 2)
    ]
    counts = []
    for frame in frames():
        detections = frame.to_supervision()
        for zone in halves:
            zone.trigger(detections)
        counts.append([zone.current_count for zone in halves])
    assert counts == [[1, 1], [0, 1], [0, 0]]


@pytest.mark.zoo
def test_annotators_draw_the_masks(supervision):
    """A colour for a track; pixels of the masks change and no others."""
    by_track = supervision.ColorLookup.TRACK
    annotator = supervision.MaskAnnotator(opacity=1, color_lookup=by_track)
    for frame in frames():
        detections = frame.to_supervision()
        image = annotator.annotate(
            np.full((*SIZE, 3), 9, np.uint8), detections)
        painted = (image != 9).any(axis=2)
        assert painted.tolist() == detections.mask.any(axis=0).tolist()
        for draw in (supervision.BoxAnnotator, supervision.LabelAnnotator,
                     supervision.TraceAnnotator):
            draw(color_lookup=by_track).annotate(image, detections)
