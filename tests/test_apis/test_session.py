# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import io
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample, TrackDataSample
from mmengine.config import Config
from pycocotools import mask as mask_utils

from refinevis_mm.apis import Session, init_model
from refinevis_mm.structures import VideoResult
from tests.model_stream import ModelStream
from tests.tiny_files import CLASSES, random_frames, write_model_files

ROOT = Path(__file__).parents[2]
ALL_VIEWS = ('frame_level', 'online', 'offline')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def loaded(files):
    return init_model(*files)


@pytest.fixture
def model(loaded):
    loaded.mode, loaded.window = 'online', 4
    return loaded


def use(model, mode, window):
    model.mode, model.window = mode, window
    return model


def run(model, frames, views=None):
    return list(Session(model, views).stream(frames))


def assert_same_instances(first, second):
    first, second = asdict(first), asdict(second)
    for name in ('cls_scores', 'boxes'):
        assert np.array_equal(first.pop(name), second.pop(name))
    assert first == second


def assert_same(first, second):
    """Equal in all but the images, which must be equal too."""
    assert len(first) == len(second)
    for a, b in zip(first, second):
        assert (a.frame_id, a.time, a.discarded_ids) == (b.frame_id, b.time,
                                                         b.discarded_ids)
        assert np.array_equal(a.image, b.image)
        assert set(a.views) == set(b.views)
        for view, instances in a.views.items():
            assert_same_instances(instances, b.views[view])


def reload(state):
    """The state as another process would read it."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


def test_preprocessing_equals_resize_normalise_pad(model, monkeypatch):
    frame = np.full((60, 80, 3), (10, 100, 200), np.uint8)  # BGR
    seen = []
    track = model.track

    def spy(image, meta, state):
        seen.append((image, meta))
        return track(image, meta, state)

    monkeypatch.setattr(model, 'track', spy)
    run(model, [frame])
    (image, meta), = seen
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    rgb = torch.tensor([(v - m) / s
                        for v, m, s in zip((200., 100., 10.), mean, std)])
    expected = F.pad(rgb[:, None, None].expand(3, 48, 64), (0, 0, 0, 16))
    torch.testing.assert_close(image, expected)
    assert meta == dict(
        frame_id=0,
        img_shape=(48, 64),
        ori_shape=(60, 80),
        scale_factor=(0.8, 0.8))


@pytest.mark.parametrize('mode, window, lag', [('online', 4, 1),
                                               ('online', 0, 1),
                                               ('offline', 4, 4)])
def test_frames_leave_in_order_and_soon(model, mode, window, lag):
    frames, num_read = random_frames(6), 0

    def read():
        nonlocal num_read
        for frame in frames:
            num_read += 1
            yield frame

    stream = Session(use(model, mode, window)).stream(read())
    for index, frame in enumerate(stream):
        assert frame.image is frames[index] and frame.frame_id == index
        assert frame.time == index / 10
        assert num_read - index <= lag
        assert frame.instances.size == (60, 80)
        assert len(frame.ids) > 0
    assert index == 5


@pytest.mark.parametrize('view', ALL_VIEWS)
def test_views_equal_the_model_frame_by_frame(model, view):
    """Each view is what the model of that mode reports, running scores too."""
    frames = random_frames(6)
    together = run(model, frames, ALL_VIEWS)
    mode, window = ('online', 0) if view == 'frame_level' else (view, 4)
    session = Session(use(model, mode, window))
    with torch.no_grad():
        inputs = [
            session.preprocess(frame, k) for k, frame in enumerate(frames)
        ]
        results = ModelStream(model).run(*zip(*inputs))
    video = VideoResult()
    assert len(results) == len(together) == 6
    for expected, frame in zip(results, together):
        video.add_frame(expected.frame_id, expected.ids, expected.cls_scores,
                        expected.scored, expected.masks)
        found = frame.views[view]
        assert found.ids == expected.ids
        assert np.array_equal(found.dense_masks(), expected.masks.numpy())
        assert found.detected == expected.detected.tolist()
        means = video.running_scores(found.ids).numpy()
        np.testing.assert_array_equal(
            found.cls_scores.astype(np.float32), means)
        assert found.labels == means.argmax(1).tolist()
        assert found.classes == [
            CLASSES[label] if label < 4 else f'class {label}'
            for label in found.labels
        ]
        for score, row, label in zip(found.scores, means, found.labels):
            assert score == pytest.approx(row[label], abs=1e-7)


def test_boxes_are_tight(model):
    for frame in run(model, random_frames(3)):
        for mask, box, dense in zip(frame.masks, frame.boxes,
                                    frame.instances.dense_masks()):
            if mask is None:
                assert not dense.any() and not box.any()
                continue
            ys, xs = np.nonzero(dense)
            assert box.tolist() == [
                xs.min(), ys.min(),
                xs.max() + 1, ys.max() + 1
            ]
            assert np.array_equal(mask_utils.decode(mask).astype(bool), dense)


def test_main_view(model):
    frame = run(model, random_frames(1), ALL_VIEWS[:2])[0]
    assert frame.view == 'online' and frame.instances is frame.views['online']
    assert frame.frame_level is frame.views['frame_level']
    for name in ('ids', 'labels', 'classes', 'scores', 'masks', 'detected'):
        assert getattr(frame, name) is getattr(frame.instances, name)
    frame, = run(model, random_frames(1), ('offline', ))
    assert frame.view == 'offline' and frame.frame_level is None
    frame, = run(use(model, 'offline', 0), random_frames(1))
    assert frame.view == 'frame_level'


def test_sessions_do_not_share_state(model):
    frames = random_frames(4)
    alone = run(model, frames)
    first, second = (Session(model).stream(frames) for _ in range(2))
    interleaved = [frame for pair in zip(first, second) for frame in pair]
    assert_same(interleaved[::2], alone)
    assert_same(interleaved[1::2], alone)


def test_reset_starts_anew(model):
    frames = random_frames(4)
    session = Session(model, ALL_VIEWS)
    alone = list(session.stream(frames))
    session.step(frames[0])
    session.reset()
    assert session.num_frames == 0
    assert_same(list(session.stream(frames)), alone)
    session.reset()  # of another size
    session.step(np.zeros((30, 40, 3), np.uint8))


@pytest.mark.parametrize('split', [0, 1, 5, 8])
def test_continued_stream_is_the_uninterrupted_one(model, split):
    """Cut inside and between clips; all views, tracks that come and go."""
    frames = random_frames(9)
    frames[3:6] = [np.zeros_like(frames[0])] * 3
    alone = run(model, frames, ALL_VIEWS)
    first = Session(model, ALL_VIEWS)
    results = [r for frame in frames[:split] for r in first.step(frame)]
    state = reload(first.state_dict())
    first.step(frames[0])  # does not touch what was saved
    second = Session(model, ALL_VIEWS)
    second.load_state_dict(state)
    assert second.num_frames == split
    results += second.stream(frames[split:])
    assert_same(results, alone)


PROGRAM = """
import pickle, sys
import numpy as np
import torch
from refinevis_mm.apis import VISInferencer

config, checkpoint, mode, frames, state, out = sys.argv[1:]
session = VISInferencer(config, checkpoint, mode=mode, window=4).session()
if state != '-':
    session.load_state_dict(torch.load(state, weights_only=True))
results = []
for frame in np.load(frames):
    results += session.step(frame)
torch.save(session.state_dict(), out + '.pth')
if state != '-':
    results += session.flush()
pickle.dump(results, open(out, 'wb'))
"""


@pytest.mark.parametrize('mode', ['online', 'offline'])
@pytest.mark.slow
def test_stream_continues_in_another_process(files, loaded, mode, tmp_path):
    frames, results = np.stack(random_frames(9)), []
    for state, name, part in (('-', 'first', frames[:5]),
                              (tmp_path / 'first.pth', 'second', frames[5:])):
        np.save(tmp_path / 'frames.npy', part)
        args = [*files, mode, tmp_path / 'frames.npy', state, tmp_path / name]
        subprocess.run([sys.executable, '-c', PROGRAM, *map(str, args)],
                       check=True,
                       cwd=ROOT)
        results += pickle.loads((tmp_path / name).read_bytes())
    alone = run(use(loaded, mode, 4), random_frames(9))
    assert [frame.ids for frame in results] == [frame.ids for frame in alone]
    for a, b in zip(results, alone):
        assert a.masks == b.masks
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)


def test_state_of_another_session_is_refused(model):
    state = Session(model).state_dict()
    with pytest.raises(ValueError, match="views .'offline'.*got .'frame_l"):
        Session(model, ['offline']).load_state_dict(state)
    with pytest.raises(ValueError, match='window 5, got 4'):
        Session(use(model, 'online', 5)).load_state_dict(state)
    with pytest.raises(ValueError, match='format 5, got None'):
        Session(model).load_state_dict({})
    with pytest.raises(ValueError, match='format 5, got 2'):
        Session(model).load_state_dict(dict(state, format=2))
    state['tracker']['memory_len'] += 1
    frames = random_frames(2)
    session = Session(use(model, 'online', 4))
    session.step(frames[0])
    with pytest.raises(ValueError, match='memory_len'):
        session.load_state_dict(state)
    assert_same(session.step(frames[1]), run(model, frames)[1:])


@pytest.mark.parametrize('path', [('tracker', ), ('waiting', ), ('weights', ),
                                  ('refiners', 'online'), ('num_frames', ),
                                  ('scores', 'frame_level')])
def test_a_state_that_lacks_a_part_changes_nothing(model, path):
    frames = random_frames(3)
    session = Session(model)
    first = session.step(frames[0])
    state = session.state_dict()
    *parents, name = path
    for parent in parents:
        state = state[parent]
    del state[name]
    whole = dict(session.state_dict(), **{path[0]: state
                                          }) if parents else state
    with pytest.raises(ValueError, match=f"session state lacks '{name}'"):
        session.load_state_dict(whole)
    assert_same(first + list(session.stream(frames[1:])), run(model, frames))


def test_state_of_other_weights_is_refused(files):
    model = init_model(*files)
    state = Session(model).state_dict()
    Session(model).load_state_dict(state)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] += 1e-3
    with pytest.raises(ValueError, match='must have weights [0-9a-f]{16}, '):
        Session(model).load_state_dict(state)


def test_discarded_tracks_leave_frames_that_wait(model, monkeypatch):
    """Noise found inside a clip is gone from the views decoded before."""
    frames = random_frames(5)
    track, noise = model.track, []

    def judge(image, meta, tracker):
        tracks = track(image, meta, tracker)
        if meta['frame_id'] == 2:
            noise.append(tracks.ids[0])
            tracker.discarded_ids.append(tracks.ids[0])
        return tracks

    alone = run(model, frames, ALL_VIEWS)
    monkeypatch.setattr(model, 'track', judge)
    results = run(model, frames, ALL_VIEWS)
    assert results[0].discarded_ids == noise
    for before, after in zip(alone[:2], results[:2]):
        for view in ('frame_level', 'online'):
            assert noise[0] in before.views[view].ids
            assert after.views[view].ids == [
                i for i in before.views[view].ids if i not in noise
            ]
    assert noise[0] in results[2].views['frame_level'].ids  # counts anew


def test_scores_of_dead_tracks_are_forgotten(model):
    session = Session(model, ALL_VIEWS)
    for seed in range(30):  # every frame other noise: tracks come and go
        image = np.random.default_rng(seed).integers(
            0, 256, (60, 80, 3), dtype=np.uint8)
        session.step(image)
    held = set(session._last_seen)
    for scores in session._scores.values():
        assert set(scores.ids) <= held
    reach = 30 - session.window - 4  # of the unfinished clip
    live = set(session._tracker.live_ids)
    assert all(i in live or last >= reach
               for i, last in session._last_seen.items())


@pytest.mark.parametrize('image, got', [
    ('a.jpg', 'got str'),
    (np.zeros((4, 4), np.uint8), r'got uint8 \(4, 4\)'),
    (np.zeros((4, 4, 3)), r'got float64 \(4, 4, 3\)'),
    (np.zeros((0, 4, 3), np.uint8), r'got uint8 \(0, 4, 3\)'),
])
def test_bad_images(model, image, got):
    with pytest.raises(ValueError, match=got):
        Session(model).step(image)


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_many_sessions_of_one_model_in_threads(model, mode):
    use(model, mode, 4)
    videos = [random_frames(3, seed=seed) for seed in range(24)]
    alone = [run(model, frames) for frames in videos]
    with ThreadPoolExecutor(len(videos)) as pool:
        together = list(pool.map(lambda frames: run(model, frames), videos))
    for first, second in zip(alone, together):
        assert_same(first, second)


def test_size_must_not_change(model):
    frames = random_frames(2)
    session = Session(model)
    session.step(frames[0])
    with pytest.raises(
            ValueError, match='frame 1 must be 80 x 60.*got 80 x 5'):
        session.step(frames[1][:50])
    assert len(session.step(frames[1])) == 1  # nothing was lost


@pytest.mark.parametrize('views, window', [((), 4), (('after', ), 4),
                                           (('online', 'online'), 4),
                                           (('online', ), 0)])
def test_bad_views(model, views, window):
    with pytest.raises(ValueError, match='views must be different ones of'):
        Session(use(model, 'online', window), views)


def test_no_frames(model):
    assert run(model, []) == []
    assert Session(model).flush() == []


def waiting_state(model):
    """A session with two frames of an unfinished clip, and its state."""
    session = Session(model, ALL_VIEWS)
    for frame in random_frames(2):
        session.step(frame)
    return session, reload(session.state_dict())


def flat(state):
    """A picture of no memory: every pixel is the same byte."""
    return torch.zeros(1, dtype=torch.uint8).expand(*state.shape)


@pytest.mark.parametrize('path, change, match', [
    (('num_frames', ), 'two', 'num_frames of session state must be int'),
    (('num_frames', ), 1, 'the last of its 1 frames as those that wait'),
    (('size', ), [10**6, 10**6], 'at most 268435456 pixels'),
    (('size', ), [60, 81], r'uint8 tensor \(60, 81, 3\)'),
    (('views', ), 3, 'views of session state must be list'),
    (('last_seen', ), {
        'a': 1
    }, 'each key of last_seen'),
    (('waiting', 0, 'frame_id'), 5, 'the last of its 2 frames'),
    (('waiting', 0, 'image'), flat, r'got a torch.uint8 tensor \(60, 80, 3'),
    (('waiting', 0, 'views', 'online', 'ids'), [], 'as many of all as ids'),
    (('waiting', 0, 'views', 'sideways'), lambda _: {},
     'state of a frame lac'),
    (('scores', 'online', 'counts'), {}, 'a count for each id'),
    (('refiners', 'online', 'memory'), {
        0: 1
    }, 'session state cannot be used'),
    (('refiners', 'offline', 'clip'), [], "wait for the view 'offline'"),
    (('refiners', 'offline', 'clip', 0, 'meta', 'ori_shape'),
     (10**6, 10**6), 'must be of the frames that wait'),
    (('refiners', 'offline', 'clip', 0, 'mask_features'), torch.zeros(
        2, 3, 4), 'session state cannot be used'),
    (('refiners', 'offline', 'clip', 0, 'embeds'), flat, 'floating-point'),
    (('tracker', 'tracks'), 3, 'state (cannot be used|must be dict)'),
])
def test_edited_states_change_nothing(model, path, change, match):
    session, state = waiting_state(model)
    part = state
    for key in path[:-1]:
        part = part[key]
    old = part.get(path[-1]) if isinstance(part, dict) else part[path[-1]]
    part[path[-1]] = change(old) if callable(change) else change
    other = Session(model, ALL_VIEWS)
    with pytest.raises(ValueError, match=match) as error:
        other.load_state_dict(state)
    assert '\n' not in str(error.value) and other.num_frames == 0


def test_masks_of_a_state_are_checked(model):
    _, state = waiting_state(model)
    masks = state['waiting'][0]['views']['online']['masks']
    row = next(k for k, mask in enumerate(masks) if mask is not None)
    masks[row] = dict(masks[row], counts='PPPP')
    with pytest.raises(ValueError, match='a mask of frame 0 .* is damaged'):
        Session(model, ALL_VIEWS).load_state_dict(state)


@pytest.mark.parametrize('state', [None, [], {1: 2}, dict(format='3')])
def test_what_is_no_state(model, state):
    with pytest.raises(ValueError, match='session state must be'):
        Session(model).load_state_dict(state)


@pytest.fixture(scope='module')
def stitching(files, tmp_path_factory):
    """The model with a tracker that joins fragments after three frames."""
    config = Config.fromfile(files[0])
    config.model.tracker = dict(
        type='refinevis_mm.StitchingTracker',
        delay=3,
        link_thr=0.01,
        tracker=dict(
            type='refinevis_mm.StreamingTracker',
            select_score_thr=0.,
            high_score_thr=0.,
            new_score_thr=0.,
            match_thr=0.9,
            num_active_frames=1,
            num_frames_retain=1,
            min_track_frames=1))
    path = tmp_path_factory.mktemp('stitching') / 'config.py'
    config.dump(path)
    return init_model(str(path), files[1])


def results_of(session, frames, stop=None):
    """Tracklets of the views as a user puts the results together."""
    results = {view: VideoResult() for view in session.views}
    merges = 0

    def add(frame):
        nonlocal session, merges
        merges += len(frame.merged_ids)
        for view, result in results.items():
            instances = frame.views[view]
            result.discard(frame.discarded_ids)
            result.merge(frame.merged_ids)
            result.add_frame(frame.frame_id, instances.ids,
                             torch.from_numpy(instances.cls_scores),
                             torch.ones(len(instances), dtype=torch.bool),
                             torch.from_numpy(instances.dense_masks()))

    for frame_id, image in enumerate(frames):
        for frame in session.step(image):
            add(frame)
        if frame_id == stop:
            state = reload(session.state_dict())
            session = Session(session.model, session.views)
            session.load_state_dict(state)
    for frame in session.flush():
        add(frame)
    for result in results.values():
        result.merge(session.last_merges.ids)
    return {
        view: [(row['instances_id'], row['segmentations'])
               for row in result.tracklets(0.)]
        for view, result in results.items()
    }, merges + len(session.last_merges.ids)


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_merged_ids_give_the_tracklets_of_the_test_loop(stitching, mode):
    """What a stream says is what `RefineVIS.predict` says of the video."""
    frames = random_frames(12)
    model = use(stitching, mode, 4)
    session = Session(model, [mode])
    found, num_merges = results_of(session, frames)
    assert num_merges > 0
    samples = []
    for frame_id, image in enumerate(frames):
        inputs, meta = session.preprocess(image, frame_id)
        sample = TrackDataSample()
        meta.update(video_id=0, video_length=len(frames))
        sample.video_data_samples = [DetDataSample(metainfo=meta)]
        with torch.no_grad():
            samples = model.predict(inputs[None, None], [sample])
    model_cls_thr, model.cls_thr = model.cls_thr, 0.05
    expected = {}
    for row in samples[0].pred_tracklets:
        expected[row['instances_id']] = row['segmentations']
    model.cls_thr = model_cls_thr
    assert expected and expected.items() <= dict(found[mode]).items()


@pytest.mark.parametrize('stop', [3, 6, 10])
def test_merges_survive_a_saved_state(stitching, stop):
    frames = random_frames(12)
    views = ('frame_level', 'online', 'offline')
    whole, num = results_of(
        Session(use(stitching, 'online', 4), views), frames)
    parts, same = results_of(
        Session(use(stitching, 'online', 4), views), frames, stop)
    assert parts == whole and num == same > 0


def test_offline_waits_until_ids_are_settled(stitching):
    session = Session(use(stitching, 'offline', 4), ['offline'])
    left = [len(session.step(image)) for image in random_frames(9)]
    assert left == [0, 0, 0, 0, 0, 0, 4, 0, 0]
    assert len(session.flush()) == 5
