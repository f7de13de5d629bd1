# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""tools/visualization/recovery_figure.py: what it picks, draws and refuses."""
import copy
import json
import sys

import cv2
import numpy as np
import pytest
import torch

from refinevis_mm.structures import VideoResult
from refinevis_mm.visualization import instance_color
from tests.tiny_files import CLASSES, random_frames, write_model_files
from tests.tiny_vis_json import DATA_SET
from tests.tool_module import load_tool

HEIGHT, WIDTH = 60, 80


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    return write_model_files(tmp_path_factory.mktemp('model'))


@pytest.fixture(scope='module')
def tool():
    """The command line tool as a module."""
    return load_tool('visualization/recovery_figure.py')


@pytest.fixture
def frames(tmp_path):
    """Seven frames, alone in their folder."""
    folder = tmp_path / 'frames'
    folder.mkdir()
    for k, frame in enumerate(random_frames(7, HEIGHT, WIDTH)):
        cv2.imwrite(str(folder / f'{k}.png'), frame)
    return folder


@pytest.fixture
def run(tool, monkeypatch):
    """Run the tool on hand-made results: boxes (x1, x2) of bars by frame."""

    def run(files, *args, before, after):
        monkeypatch.setattr(sys, 'argv',
                            [tool.__file__, *map(str, files + args)])
        with monkeypatch.context() as patch:
            patch.setattr(
                tool.VISInferencer, '__call__',
                lambda self, source, on_frame: RecordedBars(
                    before, after, source.num_frames))
            tool.main()

    return run


class RecordedBars:
    """Stands for a recording: boxes (x1, x2) of bars by instance and frame."""

    classes = CLASSES

    def __init__(self, before, after, num_frames):
        self.tubes = dict(frame_level=before, online=after)
        self.num_frames = num_frames

    def tracklets(self, view='online', cls_thr=0.05):
        video = VideoResult(self.num_frames)
        for t in range(self.num_frames):
            ids = [i for i, tube in self.tubes[view].items() if tube[t]]
            masks = torch.zeros(len(ids), HEIGHT, WIDTH, dtype=torch.bool)
            for mask, i in zip(masks, ids):
                left, right = self.tubes[view][i][t]
                mask[20 * i:20 * i + 20, left:right] = True
            scores = torch.tensor([[0., 0.9, 0., 0.]]).repeat(len(ids), 1)
            scored = torch.ones(len(ids), dtype=torch.bool)
            video.add_frame(t, ids, scores, scored, masks)
        return video.tracklets(cls_thr)


# bars of height 20: instance 0 is lost in frame 5, instance 1 in frame 2
BEFORE = {
    0: [(0, 20)] * 5 + [None, (0, 20)],
    1: [(40, 60)] * 2 + [None] + [(40, 60)] * 4
}
AFTER = {0: [(0, 20)] * 5 + [(0, 30), (0, 20)], 1: [(40, 60)] * 7}


def panel(picture, row, column, scale=4):
    """A panel of the picture, in the pixels of the frame."""
    height, width = scale * HEIGHT, scale * WIDTH
    top = 52 + row * (height + 26 + 8)
    left = 8 + column * (width + 8)
    return picture[top:top + height:scale, left:left + width:scale]


def annotate(path, objects, videos=1):
    """Write annotations of bars (top, left, right) as polygons."""

    def polygon(bar):
        top, left, right = bar
        return [[left, top, right, top, right, top + 20, left, top + 20]]

    content = dict(
        videos=[
            dict(
                id=video_id,
                width=WIDTH,
                height=HEIGHT,
                length=7,
                file_names=[f'{k}.png' for k in range(7)])
            for video_id in range(1, 1 + videos)
        ],
        categories=[dict(id=1, name='dog')],
        annotations=[
            dict(
                id=i,
                video_id=1,
                category_id=1,
                iscrowd=0,
                areas=[400] * 7,
                segmentations=[bar and polygon(bar) for bar in tube])
            for i, tube in enumerate(objects, 1)
        ])
    path.write_text(json.dumps(content))
    return path


def test_largest_mask_without_ground_truth(run, files, frames, tmp_path,
                                           capsys):
    out = tmp_path / 'new' / 'figure.png'
    run(files, frames, '--out', out, before=BEFORE, after=AFTER)
    # 600 of 4800 pixels
    assert capsys.readouterr().out.splitlines() == [
        '2 masks recovered; the best: dog 0, frame 5, share of the picture '
        '0.12',
        str(out)
    ]
    picture = cv2.imread(str(out))
    # frames 2 to 6: the last one is the end of the video
    assert picture.shape == (26 + 3 * (240 + 34), 8 + 5 * 328, 3)
    images = random_frames(7, HEIGHT, WIDTH)
    color = np.array(instance_color(0))
    for column in range(5):
        shown = [panel(picture, row, column).astype(int) for row in range(3)]
        assert np.abs(shown[0] - images[2 + column]).mean() < 10
        point = (15, 10)
        for row in (1, 2):
            tint = np.abs(shown[row][point] - shown[0][point]).sum()
            expected = 0.45 * np.abs(color - shown[0][point]).sum()
            lost = row == 1 and column == 3
            assert tint == pytest.approx(0 if lost else expected, abs=6)


def test_best_agreement_with_ground_truth(run, files, frames, tmp_path,
                                          capsys):
    # instance 0 in frame 5: IoU 20/30; instance 1 in frame 2: 20/20
    objects = [[(0, 0, 20)] * 7, [(20, 40, 60)] * 7]
    ann = annotate(tmp_path / 'ann.json', objects, videos=2)
    run(files,
        ann,
        '--img-prefix',
        frames,
        '--out',
        tmp_path / 'a.png',
        '--num-frames',
        3,
        '--mode',
        'online',
        before=BEFORE,
        after=AFTER)
    # nothing touches an object in the second video, which has none
    assert capsys.readouterr().out.startswith(
        '2 masks recovered; the best: dog 1, frame 2, IoU 1.00\n')
    assert cv2.imread(str(tmp_path / 'a.png')).shape[1] == 8 + 3 * 328


def test_ground_truth_is_that_of_the_object_that_is_followed(
        run, files, frames, tmp_path, capsys):
    # what instance 0 finds in frame 5 is another object
    objects = [[(0, 0, 20)] * 5 + [None, (0, 0, 20)],
               [None] * 5 + [(0, 0, 30), None], [(20, 40, 55)] * 7]
    ann = annotate(tmp_path / 'ann.json', objects)
    run(files,
        ann,
        '--img-prefix',
        frames,
        '--out',
        tmp_path / 'a.png',
        before=BEFORE,
        after=AFTER)
    assert capsys.readouterr().out.startswith(
        '1 masks recovered; the best: dog 1, frame 2, IoU 0.75\n')


def test_masks_on_found_objects_are_not_recovered(tool):
    rle = tool.mask_utils.encode(np.asfortranarray(np.eye(8, dtype=np.uint8)))
    lost = [rle, None, rle]
    video = tool.FollowedVideo(None, {
        1: lost,
        2: [None, rle, None]
    }, {
        1: [rle] * 3,
        2: [None, rle, None]
    }, {})
    assert list(tool.find_recoveries(video, None)) == []
    video.before[2] = [None] * 3
    assert [(r.instance_id, r.frame_id)
            for r in tool.find_recoveries(video, None)] == [(1, 1), (2, 1)]


def test_with_the_model_itself(tool, files, frames):
    """Random weights: the masks of both sides are those of the stream."""
    inferencer = tool.VISInferencer(
        *files,
        mode='offline',
        cfg_options={'model.tracker.init_score_thr': 0.})
    source = tool.open_source(str(frames))
    bar = tool.ProgressBar(7, file=sys.stderr)
    video = tool.follow(inferencer, source, 0., bar)
    assert video.after and set(video.before) == set(video.after)
    assert set(video.names) == set(video.after)
    for frame in inferencer.stream(source):
        for view, tubes in (('offline', video.after), ('frame_level',
                                                       video.before)):
            instances = frame.views[view]
            masks = dict(zip(instances.ids, instances.masks))
            for i, tube in tubes.items():
                assert tube[frame.frame_id] == masks.get(i)


def test_refusals(run, files, frames, tmp_path):
    with pytest.raises(SystemExit, match='nothing was recovered in 1 video'):
        run(files,
            frames,
            '--out',
            tmp_path / 'a.png',
            before=BEFORE,
            after=BEFORE)
    assert not (tmp_path / 'a.png').exists()
    with pytest.raises(SystemExit, match='refinement is needed, got window=0'):
        run(files,
            frames,
            '--cfg-options',
            'model.window=0',
            before=BEFORE,
            after=AFTER)
    with pytest.raises(SystemExit, match='does not exist'):
        run(files, tmp_path / 'none', before=BEFORE, after=AFTER)
    for bad in (['ann.json'], [frames, '--img-prefix',
                               frames], [frames, '--num-frames',
                                         '0'], [frames, '--out',
                                                'figure.gif']):
        with pytest.raises(SystemExit) as error:
            run(files, *bad, before=BEFORE, after=AFTER)
        assert error.value.code == 2


def test_codes_that_keep_pycocotools_busy_are_refused(tool, tmp_path):
    """Two masks that cover different numbers of pixels: iou never ends."""
    path = tmp_path / 'gt.json'
    content = copy.deepcopy(DATA_SET)
    content['annotations'][0]['segmentations'][0]['counts'] = [3, 3, 5]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match='cover 11 pixels'):
        tool.open_videos(str(path), 'frames')
