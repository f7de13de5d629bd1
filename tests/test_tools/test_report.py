# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""tools/visualization/report.py: what the page holds, what is refused.

How the page looks and works is tested in test_visualization.
"""
import base64
import importlib.util
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
from pycocotools import mask as mask_utils

from refinevis_mm.apis.vis_inferencer import VISInferencer
from refinevis_mm.evaluation import evaluate_tracking, evaluate_vis
from tests.tiny_files import CLASSES, random_frames, write_model_files

ROOT = Path(__file__).parents[2]
TOOL = ROOT / 'tools' / 'visualization' / 'report.py'
NUM_FRAMES = 6
HEIGHT, WIDTH = 60, 80
CATEGORY_IDS = {3: 11, 2: 12, 1: 13}  # by label, of the ground truth
# every detection of the random weights starts a track
OPTIONS = ('--cfg-options', 'model.tracker.init_score_thr=0.')


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def frames(tmp_path_factory):
    folder = tmp_path_factory.mktemp('videos') / 'clip'
    folder.mkdir()
    for k, frame in enumerate(random_frames(NUM_FRAMES, HEIGHT, WIDTH)):
        cv2.imwrite(str(folder / f'{k}.png'), frame)
    return folder


@pytest.fixture(scope='module')
def recording(files, frames):
    """What the tool has to show."""
    inferencer = VISInferencer(
        *files, cfg_options={'model.tracker.init_score_thr': 0.})
    with inferencer(
            str(frames),
            views=('frame_level', 'online', 'offline')) as recording:
        yield recording


@pytest.fixture
def tool(monkeypatch):
    """Run the tool in this process."""
    spec = importlib.util.spec_from_file_location('report', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [str(TOOL), *map(str, args)])
        module.main()

    return run


@pytest.fixture(scope='module')
def gt(recording, tmp_path_factory):
    """A file with two videos; objects are tracks of the model, in part."""
    videos = [
        dict(
            id=video_id,
            width=WIDTH,
            height=HEIGHT,
            length=NUM_FRAMES,
            file_names=[f'{name}/{k}.png' for k in range(NUM_FRAMES)])
        for video_id, name in ((4, 'other'), (9, 'clip'))
    ]
    # not all classes of the model, in another order
    categories = [
        dict(id=category_id, name=CLASSES[label])
        for label, category_id in CATEGORY_IDS.items()
    ]
    annotations = []
    for tracklet in recording.tracklets():
        if tracklet['label'] not in CATEGORY_IDS:
            continue
        tube = list(tracklet['segmentations'])
        tube[len(annotations) % NUM_FRAMES] = None
        annotations.append(
            dict(
                id=len(annotations) + 1,
                video_id=9,
                category_id=CATEGORY_IDS[tracklet['label']],
                iscrowd=0,
                areas=[mask and int(mask_utils.area(mask)) for mask in tube],
                segmentations=tube))
    path = tmp_path_factory.mktemp('gt') / 'gt.json'
    path.write_text(
        json.dumps(
            dict(
                videos=videos, categories=categories,
                annotations=annotations)))
    return path


def read(path):
    """The data of a report: of the video, and of every frame."""
    blocks = dict(
        re.findall(
            r'<script type="application/json" id="([\w-]+)">(.*?)</script>',
            path.read_text()))
    report = json.loads(blocks.pop('report'))
    return report, [json.loads(block) for block in blocks.values()]


def test_the_results_of_the_model(tool, files, frames, recording, tmp_path,
                                  capsys):
    out = tmp_path / 'new' / 'report.html'
    tool(frames, *files, '--out', out, '--score-thr', 0, *OPTIONS)
    first, *files = capsys.readouterr().out.splitlines()
    assert first.startswith('6 frames, ') and files == [str(out)]
    assert list(out.parent.iterdir()) == [out]
    assert '<title>clip</title>' in out.read_text()
    report, blocks = read(out)
    assert report['facts'] == [['Config', 'tiny'], ['Checkpoint', 'tiny.pth'],
                               ['Window', '4 frames'],
                               ['Frames', '6 at 10 fps'],
                               ['Size', '80 \u00d7 60']]
    assert report['times'] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert len(blocks) == NUM_FRAMES
    num_masks = 0
    for k, view in enumerate(report['views']):
        assert view['key'] == recording.views[k]
        assert view['metrics'] is None
        tracks = {track['id']: track for track in view['tracks']}
        assert list(tracks) == [t.id for t in recording.tracks(view['key'])]
        for frame_id, _, expected in recording.frames(view['key']):
            rows = {row[0]: row for row in blocks[frame_id]['views'][k]}
            assert sorted(rows) == sorted(expected.ids)
            for i, track_id in enumerate(expected.ids):
                _, label, score, state, code = rows[track_id]
                mask = expected.masks[i]
                assert code == (mask and mask['counts'])
                assert label == expected.labels[i]
                assert score == round(expected.scores[i], 4)
                assert report['states'][state] == (
                    'detected' if expected.detected[i] else
                    'recovered' if mask else 'missed')
                num_masks += code is not None
    assert num_masks > 3 * NUM_FRAMES  # there is something to compare
    for block, image in zip(blocks, random_frames(NUM_FRAMES, HEIGHT, WIDTH)):
        jpeg = cv2.imencode('.jpg', image, (cv2.IMWRITE_JPEG_QUALITY, 80))[1]
        assert base64.b64decode(block['jpeg']) == jpeg.tobytes()


def test_metrics(tool, files, frames, recording, gt, tmp_path):
    out = tmp_path / 'report.html'
    tool(frames, *files, '--out', out, '--gt', gt, '--video-name', 'clip',
         '--title', 'A & B', *OPTIONS)
    assert '<h1>A &amp; B</h1>' in out.read_text()
    content = json.loads(gt.read_text())
    one = dict(content, videos=content['videos'][1:])
    views = {view['key']: view for view in read(out)[0]['views']}
    assert list(views) == ['frame_level', 'online', 'offline', 'ground_truth']
    assert len(views['ground_truth']['tracks']) == len(content['annotations'])
    for view in recording.views:
        results = [
            dict(
                video_id=9,
                category_id=CATEGORY_IDS[tracklet['label']],
                score=tracklet['score'],
                segmentations=tracklet['segmentations'])
            for tracklet in recording.tracklets(view)
            if tracklet['label'] in CATEGORY_IDS
        ]
        numbers = evaluate_vis(one, results)
        tracking = evaluate_tracking(one, results, score_thr=0.3)
        assert views[view]['metrics'] == {
            **{
                name: numbers[name]
                for name in ('AP', 'AP50', 'AP75')
            },
            **{
                name: tracking[name.lower()]
                for name in ('HOTA', 'AssA', 'IDF1')
            }
        }
    assert views['online']['metrics']['HOTA'] > 0.3
    # the id does the same, and so do other runs
    again = tmp_path / 'again.html'
    tool(frames, *files, '--out', again, '--gt', gt, '--video-id', 9,
         '--title', 'A & B', *OPTIONS)
    assert again.read_bytes() == out.read_bytes()


def test_part_of_a_video_without_refinement(tool, files, frames, tmp_path):
    out = tmp_path / 'report.html'
    tool(frames, *files, '--out', out, '--window', 0, '--start', 1, '--end', 6,
         '--stride', 2, '--max-size', 40, '--fps', 5)
    report, blocks = read(out)
    assert [view['key'] for view in report['views']] == ['frame_level']
    assert report['size'] == [30, 40] and len(blocks) == 3
    assert report['times'] == [0.2, 0.6, 1.]  # of the source
    assert ['Window', 'none'] in report['facts']


def test_refusals(tool, files, frames, gt, tmp_path):
    folder = tmp_path / 'out'
    folder.mkdir()
    out = folder / 'report.html'
    base = (frames, *files, '--out', out)

    def refuse(*args, match):
        with pytest.raises(SystemExit) as error:
            tool(*args)
        message = str(error.value.code)
        assert re.match(f'error: .*{match}', message), message
        assert '\n' not in message
        assert list(folder.iterdir()) == []

    selected = ('--gt', gt, '--video-id', 9)
    refuse(*base, '--gt', gt, match='neither id nor name selects 2 of 2')
    refuse(*base, '--gt', gt, '--video-name', 'no', match="name 'no' selects")
    refuse(*base, '--gt', gt, '--video-id', 4, match='video 4 .* no annot')
    refuse(*base, '--gt', tmp_path / 'no.json', match='No such file')
    refuse(*base, *selected, '--end', 4, match='it has 6 .* the video 4 of')
    refuse(*base, *selected, '--max-size', 40, match='80 x 60 .* 40 x 30')
    refuse(*base, *selected, '--start', 1, match=r'0.png.*got frame 1 .*1.png')
    content = json.loads(gt.read_text())
    content['categories'] = [
        dict(category, name=f'tree {category["id"]}')
        for category in content['categories']
    ]
    trees = tmp_path / 'trees.json'
    trees.write_text(json.dumps(content))
    refuse(*base, '--gt', trees, '--video-id', 9, match='must share a class')
    refuse(tmp_path / 'no.mp4', *base[1:], match='no.mp4" does not exist')
    refuse(
        frames, files[0], 'no.pth', *base[3:], match='no.pth" does not exist')
    refuse(*base[:4], folder, match='out" cannot be written: Is a directory')
    refuse(*base[:4], gt / 'r.html', match='r.html" cannot be written: File')
    refuse(0, *base[1:], match='webcam 0')
    for args in (['--video-id', 3], [*selected, '--video-name', 'clip']):
        with pytest.raises(SystemExit) as error:
            tool(*base, *args)
        assert error.value.code == 2


def test_every_second_frame_is_annotated(tool, files, frames, gt, tmp_path):
    content = json.loads(gt.read_text())
    for owner in (*content['videos'], *content['annotations']):
        for key in ('file_names', 'segmentations', 'areas'):
            if key in owner:
                owner[key] = owner[key][::2]
        owner.pop('length', None)
    half, out = tmp_path / 'half.json', tmp_path / 'report.html'
    half.write_text(json.dumps(content))
    args = (frames, *files, '--out', out, '--gt', half, '--video-id', 9)
    tool(*args, '--stride', 2, *OPTIONS)
    assert read(out)[0]['views'][1]['metrics'] is not None
    with pytest.raises(SystemExit, match='frame 1 .*2.png.*got frame 3 of'):
        tool(*args, '--stride', 3, '--end', 6, *OPTIONS)


def test_a_link_in_the_place_of_the_hidden_folder_is_refused(
        tool, files, frames, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    (tmp_path / '.report.html.partial').symlink_to(other)
    with pytest.raises(SystemExit, match='partial" must not be a link'):
        tool(frames, *files, '--out', tmp_path / 'report.html')
    assert list(other.iterdir()) == []


def test_stopped_run_leaves_the_old_file_and_goes_on(tool, files, frames,
                                                     tmp_path, capsys):
    out = tmp_path / 'report.html'
    out.write_text('old')
    env = dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    process = subprocess.Popen(
        [sys.executable,
         str(TOOL),
         str(frames), *files, '--out',
         str(out)],
        env=env,
        stderr=subprocess.PIPE)
    seen = b''
    while b'1/6' not in seen:
        byte = process.stderr.read(1)
        assert byte, seen.decode()
        seen += byte
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert re.fullmatch(r'stopped after \d frames; go on with --resume',
                        rest.decode().splitlines()[-1])
    assert out.read_text() == 'old'
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        '.report.html.partial', 'report.html'
    ]
    args = (frames, *files, '--out')
    capsys.readouterr()
    with pytest.raises(SystemExit) as error:
        tool(*args, out, '--resume', '--title', 'B')
    assert "with title nothing, it cannot be resumed with title 'B'" in str(
        error.value.code)
    tool(*args, out, '--resume')
    assert '/6' not in capsys.readouterr().err  # fewer frames are left
    assert list(tmp_path.iterdir()) == [out]
    tool(*args, tmp_path / 'whole.html')
    assert out.read_bytes() == (tmp_path / 'whole.html').read_bytes()


def test_it_is_an_output_of_the_demo(tool, files, frames, gt, tmp_path,
                                     monkeypatch):
    demo = runpy.run_path(str(ROOT / 'tools' / 'video_demo.py'))
    options = (frames, *files, '--gt', gt, '--video-id', 9, *OPTIONS)
    out = tmp_path / 'report.html'
    tool(*options, '--out', out)
    words = ('--out-dir', tmp_path / 'all', '--outputs', 'report', 'overlay')
    monkeypatch.setattr(sys, 'argv', ['', *map(str, (*options, *words))])
    demo['main']()
    assert sorted(path.name for path in (tmp_path / 'all').iterdir()) == [
        'overlay.mp4', 'report.html'
    ]
    assert (tmp_path / 'all' / 'report.html').read_bytes() == out.read_bytes()
    words = ('--out-dir', tmp_path / 'all', '--outputs', 'csv')
    monkeypatch.setattr(sys, 'argv', ['', *map(str, (*options, *words))])
    with pytest.raises(SystemExit, match='need "report" among the outputs'):
        demo['main']()
