# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json

import cv2
import pytest

from refinevis_mm.apis import init_model, render_video, stream_video
from refinevis_mm.evaluation.vis_eval import check_results
from refinevis_mm.structures import VideoResult
from refinevis_mm.visualization import ImageFilesSource, open_source
from tests.tiny_files import CLASSES, random_frames, write_model_files

NUM_FRAMES = 6


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return init_model(*write_model_files(tmp_path_factory.mktemp('model')))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / 'frames'
    folder.mkdir()
    for k, frame in enumerate(random_frames(NUM_FRAMES)):
        cv2.imwrite(str(folder / f'{k}.png'), frame)
    return open_source(str(folder))


@pytest.mark.parametrize('mode', ['online', 'offline'])
def test_files_and_results(model, source, tmp_path, mode):
    model.mode, model.window = mode, 4
    ticks = []
    video = render_video(
        model,
        source,
        str(tmp_path / 'out'),
        score_thr=0.05,
        on_frame=lambda: ticks.append(1))
    names = ['before_after.png', 'overlay.mp4', 'results.json']
    assert video.files == [str(tmp_path / 'out' / name) for name in names]
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == names
    assert video.num_frames == len(ticks) == NUM_FRAMES

    overlay = open_source(video.files[1])
    shapes = [frame.shape for frame in overlay]
    assert overlay.fps == 10. and shapes == [(360, 480, 3)] * NUM_FRAMES

    rows = json.loads((tmp_path / 'out' / 'results.json').read_text())
    videos = [dict(id=1, length=NUM_FRAMES, height=60, width=80)]
    categories = [dict(id=k + 1, name=n) for k, n in enumerate(CLASSES)]
    check_results(dict(videos=videos, categories=categories), rows)
    expected = VideoResult()
    for _, result in stream_video(model, source):
        expected.add_frame(result.frame_id, result.ids, result.cls_scores,
                           result.scored, result.masks)
    expected = expected.tracklets(model.cls_thr)
    assert rows == [
        dict(
            video_id=1,
            category_id=row['label'] + 1,
            score=row['score'],
            segmentations=row['segmentations']) for row in expected
    ]
    assert video.tracklets == expected and expected


def test_no_picture_without_refinement(model, source, tmp_path):
    model.mode, model.window = 'online', 0
    video = render_video(model, source, str(tmp_path / 'out'))
    assert [file.rsplit('/', 1)[1]
            for file in video.files] == ['overlay.mp4', 'results.json']


def test_score_thr_hides_objects(model, source, tmp_path):
    model.mode, model.window = 'online', 4
    video = render_video(model, source, str(tmp_path / 'out'), score_thr=1.1)
    for frame, image in zip(open_source(video.files[1]), source):
        large = cv2.resize(
            image, None, fx=6, fy=6, interpolation=cv2.INTER_CUBIC)
        assert abs(frame.astype(int) - large).mean() < 12


def test_failure_leaves_old_files_alone(model, source, tmp_path):
    out_dir = tmp_path / 'out'
    out_dir.mkdir()
    (out_dir / 'results.json').write_text('old')
    paths = [*source.paths, str(tmp_path / 'absent.png')]
    with pytest.raises(ValueError, match='absent.png" cannot be read'):
        render_video(model, ImageFilesSource(paths), str(out_dir))
    assert [path.name for path in out_dir.iterdir()] == ['results.json']
    assert (out_dir / 'results.json').read_text() == 'old'
