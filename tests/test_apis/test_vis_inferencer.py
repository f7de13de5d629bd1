# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import io
import json
import os.path as osp
import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from refinevis_mm.apis import VISInferencer
from refinevis_mm.recording import VideoRecording
from refinevis_mm.video_io import H264Writer, open_source
from tests.tiny_detectors import CLASSES as SQUARES
from tests.tiny_detectors import TRACKER, find_squares, squares
from tests.tiny_files import CLASSES, random_frames, write_model_files

NUM_FRAMES = 6


@pytest.fixture(scope='module')
def inferencer(tmp_path_factory):
    files = write_model_files(tmp_path_factory.mktemp('model'))
    return VISInferencer(*files, mode='offline', window=4)


@pytest.fixture(scope='module')
def videos(tmp_path_factory):
    """The same six frames in all forms; the file is not lossless."""
    folder = tmp_path_factory.mktemp('video')
    frames = random_frames(NUM_FRAMES)
    images = folder / 'images'
    images.mkdir()
    for k, frame in enumerate(frames):
        cv2.imwrite(str(images / f'{k}.png'), frame)
    with H264Writer(folder / 'video.mp4', 5., (80, 60)) as writer:
        for frame in frames:
            writer.write(frame)
    return dict(
        file=str(folder / 'video.mp4'),
        folder=images,
        glob=str(images / '*.png'),
        array=np.stack(frames),
        iterator=lambda: iter(frames),
        source=open_source(str(images)))


def test_options_reach_the_model(inferencer):
    assert inferencer.classes == list(CLASSES)
    assert (inferencer.model.mode, inferencer.model.window) == ('offline', 4)
    session = inferencer.session()
    assert session.views == ('frame_level', 'offline')
    assert inferencer.session(['online']).view == 'online'


@pytest.mark.parametrize(
    'form', ['file', 'folder', 'glob', 'array', 'iterator', 'source'])
def test_any_form_of_a_video(inferencer, videos, form):
    video = videos[form]
    recording = inferencer(video() if callable(video) else video)
    assert isinstance(recording, VideoRecording)
    assert recording.num_frames == NUM_FRAMES and recording.size == (60, 80)
    assert recording.fps == (5. if form == 'file' else 10.)
    assert recording.views == ['frame_level', 'offline']
    if form != 'file':
        frames = inferencer.stream(videos['array'])
        for frame, (frame_id, time, found) in zip(frames, recording.frames()):
            assert (frame.frame_id, frame.time) == (frame_id, time)
            assert frame.ids == found.ids and frame.masks == found.masks


def test_part_of_a_video(inferencer, videos):
    count = []
    recording = inferencer(
        videos['file'],
        views=['online'],
        on_frame=lambda: count.append(1),
        start=1,
        end=6,
        stride=2,
        max_size=40)
    assert len(count) == recording.num_frames == 3
    assert recording.size == (30, 40) and recording.views == ['online']
    assert recording.times() == pytest.approx([0.2, 0.6, 1.0])


def test_frames_of_a_part_lead_back(inferencer, videos):
    recording = inferencer(videos['folder'], start=1, stride=2)
    assert recording.origins() == [(1, '1.png'), (3, '3.png'), (5, '5.png')]
    recording = inferencer(videos['array'], start=4)
    assert recording.origins() == [(4, None), (5, None)]


def test_temporary_file_goes_with_the_recording(inferencer, videos):
    recording = inferencer(videos['array'])
    path = recording.path
    assert osp.exists(path)
    recording.close()
    del recording
    assert not osp.exists(path)


@pytest.mark.parametrize('video, error', [
    ('absent.mp4', FileNotFoundError),
    ([], ValueError),
    ([np.zeros((4, 4), np.uint8)], ValueError),
])
def test_bad_videos_leave_nothing(inferencer, video, error, monkeypatch,
                                  tmp_path):
    monkeypatch.setattr(tempfile, 'tempdir', str(tmp_path))
    with pytest.raises(error):
        inferencer(video)
    assert not list(tmp_path.iterdir())


def test_render(inferencer, videos, tmp_path):
    video = inferencer.render(
        videos['file'],
        str(tmp_path),
        outputs=['overlay', 'results'],
        end=4,
        score_thr=0.1)
    assert [Path(file).name
            for file in video.files] == ['overlay.mp4', 'results.json']
    assert video.num_frames == open_source(video.files[0]).num_frames == 4
    with pytest.raises(TypeError, match='colour'):
        inferencer.render(videos['file'], str(tmp_path), colour='red')


# ---- functions in place of a model ----


def follow(segment=find_squares, classes=SQUARES, **tracker):
    return VISInferencer.from_segmenter(segment, classes, **{
        **TRACKER,
        **tracker
    })


def facts(frames):
    """What frames say, to be compared."""
    return [(frame.frame_id, frame.ids, frame.labels, frame.classes,
             frame.scores, frame.boxes.tolist(), frame.masks, frame.detected,
             frame.discarded_ids) for frame in frames]


def test_a_function_is_followed():
    inferencer = follow()
    assert inferencer.classes == list(SQUARES)
    assert inferencer.session().views == ('frame_level', )
    assert (inferencer.model.mode, inferencer.model.window) == ('online', 0)
    frames = squares(16)
    for t, (frame, image) in enumerate(zip(inferencer.stream(frames), frames)):
        assert frame.image is image and frame.frame_id == t
        assert frame.ids == [0, 1] and frame.detected == [True, True]
        assert frame.labels == [1, 0] and frame.classes == ['light', 'dark']
        assert frame.scores == pytest.approx([0.9, 0.6])
        assert frame.boxes.tolist() == [[60 - 4 * t, 26, 76 - 4 * t, 42],
                                        [4 * t, 4, 4 * t + 16, 20]]
        for mask, grey in zip(frame.instances.dense_masks(), (200, 100)):
            assert np.array_equal(mask, image[..., 0] == grey)
    assert t == 15


def test_classes_are_voted_on():
    """A square that is called the other class in every third frame."""
    count = iter(range(9))

    def segment(image):
        masks, scores, labels = find_squares(image)
        if next(count) % 3 == 1:
            labels = 1 - labels
        return masks, scores, labels

    frames = list(follow(segment, class_weight=0).stream(squares(9)))
    assert [frame.ids for frame in frames] == [[0, 1]] * 9
    assert frames[0].classes == frames[8].classes == ['light', 'dark']
    # two of three frames
    assert frames[2].scores == pytest.approx([0.6, 0.4])
    assert frames[8].scores == pytest.approx([0.6, 0.4])


def test_objects_that_leave_and_come_back():
    """By look, where the function gives embeddings."""
    frames = squares(4) + [np.zeros_like(squares(1)[0])] * 5 + squares(1)

    def segment(image):
        masks, scores, labels = find_squares(image)
        looks = np.eye(2, 5)[labels].reshape(-1, 5)
        return dict(masks=masks, scores=scores, labels=labels,
                    embeds=looks)  # yapf: disable

    def bare(image):
        found = segment(image)
        found.pop('embeds')
        return found

    ids = [frame.ids for frame in follow(segment).stream(frames)]
    assert ids == [[0, 1]] * 4 + [[]] * 5 + [[0, 1]]
    ids = [frame.ids for frame in follow(bare).stream(frames)]
    assert ids == [[0, 1]] * 4 + [[]] * 5 + [[2, 3]]


def test_sessions_of_a_function_do_not_share_state():
    inferencer = follow()
    frames, other = squares(6), squares(6)[::-1]
    expected = [facts(inferencer.stream(video)) for video in (frames, other)]
    first, second = (inferencer.session() for _ in range(2))
    found = [], []
    for a, b in zip(frames, other):
        found[0].extend(first.step(a))
        found[1].extend(second.step(b))
    assert [facts(part) for part in found] == expected


@pytest.mark.parametrize('cut', [0, 3, 6])
def test_state_of_a_function_that_is_followed(cut):
    frames = squares(6)
    frames[2] = np.zeros_like(frames[2])
    inferencer = follow(min_track_frames=3)
    expected = facts(inferencer.stream(frames))
    session = inferencer.session()
    results = [r for frame in frames[:cut] for r in session.step(frame)]
    buffer = io.BytesIO()
    torch.save(session.state_dict(), buffer)
    session.step(frames[0])
    buffer.seek(0)
    other = follow(min_track_frames=3).session()
    other.load_state_dict(torch.load(buffer, weights_only=True))
    results += list(other.stream(frames[cut:]))
    assert facts(results) == expected


def test_recording_of_a_function():
    recording = follow()(np.stack(squares(5)))
    assert recording.num_frames == 5 and recording.views == ['frame_level']
    expected = facts(follow().stream(squares(5)))
    for (frame_id, _, found), fact in zip(recording.frames(), expected):
        assert (frame_id, found.ids, found.labels) == fact[:3]
        assert found.masks == fact[6]


OUTPUTS = ('overlay', 'timeline', 'results', 'csv', 'coco', 'masks',
           'recording')


def test_outputs_of_a_function(tmp_path):
    video = follow().render(
        np.stack(squares(5)), str(tmp_path), outputs=OUTPUTS, score_thr=0.5)
    assert (video.num_frames, video.num_tracks, video.num_shown) == (5, 2, 2)
    assert len(video.files) == len(OUTPUTS)
    rows = json.loads((tmp_path / 'results.json').read_text())
    assert sorted((row['category_id'], round(row['score'], 4))
                  for row in rows) == [(1, 0.6), (2, 0.9)]
    content = json.loads((tmp_path / 'coco_video.json').read_text())
    assert [item['name'] for item in content['categories']] == list(SQUARES)
    assert len(list((tmp_path / 'masks').iterdir())) == 5
    lines = (tmp_path / 'tracks.csv').read_text().splitlines()
    assert len(lines) == 1 + 5 * 2


def fail_at(num):
    """An ``on_frame`` that fails."""
    count = iter(range(num))

    def on_frame():
        if next(count, None) is None:
            raise OSError('unplugged')

    return on_frame


def test_resumed_equals_whole(tmp_path):
    whole, parts = tmp_path / 'whole', tmp_path / 'parts'
    options = dict(outputs=OUTPUTS, checkpoint_every=2)
    frames = np.stack(squares(9))
    follow().render(frames, str(whole), **options)
    with pytest.raises(OSError, match='unplugged'):
        follow().render(frames, str(parts), on_frame=fail_at(5), **options)
    video = follow().render(frames, str(parts), resume=True, **options)
    assert (video.num_frames, video.num_rendered) == (9, 5)
    for name in ('timeline.png', 'results.json', 'tracks.csv',
                 'coco_video.json', 'masks/000003.png'):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_another_function_or_tracker_does_not_resume(tmp_path):
    frames = np.stack(squares(5))
    options = dict(outputs=OUTPUTS, checkpoint_every=2)
    with pytest.raises(OSError, match='unplugged'):
        follow().render(frames, str(tmp_path), on_frame=fail_at(3), **options)

    def other(image):
        return find_squares(image)

    for inferencer, name in ((follow(other), 'model.segmenter'),
                             (follow(match_thr=0.31), 'tracker.match_thr'),
                             (follow(classes=['a', 'b']), 'classes')):
        with pytest.raises(ValueError, match=f'holds a run with .*{name}'):
            inferencer.render(frames, str(tmp_path), resume=True, **options)
    follow().render(frames, str(tmp_path), resume=True, **options)


@pytest.mark.parametrize('change, message', [
    (lambda masks, scores, labels: (masks[:, :-1], scores, labels),
     r'masks .* \(2, 48, 80\), got \(2, 47, 80\)'),
    (lambda masks, scores, labels: (masks * 0.7, scores, labels), 'be bool'),
    (lambda masks, scores, labels: (masks * np.uint8(255), scores, labels),
     'values from 0 to 255'),
    (lambda masks, scores, labels: (masks, scores, [1, 2]), 'got 1 to 2'),
    (lambda masks, scores, labels: (masks, [0.5, np.nan], labels), 'got nan'),
    (lambda masks, scores, labels: (masks, scores), 'got tuple'),
    (lambda masks, scores, labels: (masks, scores[:1], labels), 'as many mas'),
    (lambda masks, scores, labels: None, 'got NoneType'),
])  # yapf: disable
def test_bad_answers_of_a_function(change, message):
    """One line; the session goes on with the next frame."""
    bad = [False]

    def segment(image):
        found = find_squares(image)
        return change(*found) if bad[0] else found

    session, frames = follow(segment).session(), squares(3)
    session.step(frames[0])
    bad[0] = True
    with pytest.raises(ValueError, match=message) as error:
        session.step(frames[1])
    assert '\n' not in str(error.value)
    bad[0] = False
    result, = session.step(frames[1])
    assert result.frame_id == 1 and result.ids == [0, 1]


@pytest.mark.parametrize('classes', ['cat', []])
def test_bad_classes(classes):
    with pytest.raises(ValueError, match='classes must be a list of names'):
        follow(classes=classes)


@pytest.mark.parametrize('classes', [80, None])
def test_classes_that_have_no_length(classes):
    with pytest.raises(ValueError, match='classes must be a list of names'):
        follow(classes=classes)


def test_what_is_no_function():
    with pytest.raises((TypeError, ValueError), match='segment'):
        follow('mask2former-r50_coco')


def test_bad_arguments_of_the_tracker():
    with pytest.raises(ValueError, match='no argument "match"; there are sel'):
        follow(match=0.5)
    with pytest.raises(ValueError, match=r'match_thr must lie in \[0, 1\]'):
        follow(match_thr=5)
    with pytest.raises(ValueError, match='device "toaster" is not one'):
        VISInferencer.from_segmenter(find_squares, SQUARES, 'toaster')
