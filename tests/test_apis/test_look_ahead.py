# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.apis import init_model, look_ahead
from refinevis_mm.apis.session import Session
from refinevis_mm.video_io import IterableSource
from tests.tiny_files import random_frames, write_model_files

NUM_FRAMES = 11


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return init_model(*write_model_files(tmp_path_factory.mktemp('model')))


def video(num=NUM_FRAMES):
    return IterableSource(random_frames(NUM_FRAMES)[:num])


def run(session, source):
    results = []
    for frame, image, detected in look_ahead.look_ahead(session, source):
        results += session.step(image, frame.time, detected)
    return results + session.flush()


def embeds(session, source):
    """What is found in the frames that the session has not taken."""
    return [
        seen.detected.found.embeds[0].numpy()
        for seen in look_ahead.look_ahead(session, source)
    ]


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_results_are_those_of_single_frames(model, mode):
    model.mode, model.window = mode, 4
    alone = list(Session(model).stream(video()))
    together = run(Session(model), video())
    assert len(together) == NUM_FRAMES and any(len(f.ids) for f in alone)
    for frame, other in zip(alone, together):
        np.testing.assert_array_equal(frame.image, other.image)
        assert frame.time == other.time
        for view, instances in frame.views.items():
            seen = other.views[view]
            assert seen.ids == instances.ids
            assert seen.labels == instances.labels
            assert seen.masks == instances.masks
            assert seen.detected == instances.detected
            np.testing.assert_allclose(
                seen.cls_scores, instances.cls_scores, atol=1e-5)


def test_frames_go_in_batches_of_one_size(model, monkeypatch):
    sizes = []
    detect = model.detect
    monkeypatch.setattr(
        model, 'detect', lambda images, metas: sizes.append(
            ([meta['frame_id'] for meta in metas])) or detect(images, metas))
    assert len(embeds(Session(model), video())) == NUM_FRAMES
    assert sizes == [list(range(8)), list(range(8, 16))]


def test_a_late_start_and_an_early_end_change_nothing(model):
    whole = embeds(Session(model), video())
    session = Session(model)
    session.num_frames = 3
    np.testing.assert_array_equal(embeds(session, video()), whole[3:])
    session.num_frames = 9
    np.testing.assert_array_equal(embeds(session, video()), whole[9:])
    cut = embeds(Session(model), video(9))
    np.testing.assert_array_equal(cut, whole[:9])
    session.num_frames = NUM_FRAMES
    assert embeds(session, video()) == []


def test_large_frames_go_one_by_one(model, monkeypatch):
    frame = random_frames(1)[0]
    inputs, _ = Session(model).preprocess(frame, 0)
    monkeypatch.setattr(look_ahead, 'MAX_PIXELS', inputs[0].numel() * 2 - 1)
    seen = list(look_ahead.look_ahead(Session(model), video()))
    assert [frame.detected for frame in seen] == [None] * NUM_FRAMES
    monkeypatch.setattr(look_ahead, 'MAX_PIXELS', inputs[0].numel() * 2)
    seen = list(look_ahead.look_ahead(Session(model), video()))
    assert [frame.frame.index for frame in seen] == list(range(NUM_FRAMES))
    assert None not in [frame.detected for frame in seen]


def test_an_error_comes_behind_the_frames_before(model):

    def broken():
        yield from random_frames(NUM_FRAMES)[:5]
        raise OSError('unplugged')

    session = Session(model)
    with pytest.raises(OSError, match='unplugged'):
        run(session, IterableSource(broken()))
    assert session.num_frames == 5


def test_a_live_source_is_not_looked_ahead(model):
    taken = []

    def camera():
        for index, image in enumerate(random_frames(4)):
            taken.append(index)
            yield image

    source = IterableSource(camera())
    source.live = True
    for seen in look_ahead.look_ahead(Session(model), source):
        assert seen.detected is None
        assert taken[-1] == seen.frame.index


def test_a_frame_of_another_size_is_refused_where_it_comes(model):

    class Mixed(IterableSource):

        def scan(self):
            for frame in super().scan():
                image = frame.load()
                yield frame._replace(
                    load=lambda image=image, index=frame.index:
                    (image[:-8] if index == 3 else image))

    session = Session(model)
    with pytest.raises(ValueError, match='frame 3 must be'):
        run(session, Mixed(random_frames(6)))
    assert session.num_frames == 3
