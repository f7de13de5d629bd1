# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import re

import numpy as np
import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.visualization import write_results_report

HEIGHT, WIDTH = 40, 60


def code(*box):
    """Run-length code of a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    mask[top:bottom, left:right] = 1
    rle = mask_utils.encode(mask)
    return dict(rle, counts=rle['counts'].decode())


LEFT, RIGHT, EMPTY = code(0, 0, 10, 20), code(30, 10, 50, 30), code(0, 0, 0, 0)
IMAGES = [np.full((HEIGHT, WIDTH, 3), 80 * i, np.uint8) for i in range(3)]


@pytest.fixture
def truth():
    """A cat in three frames, a dog in two."""
    tubes = [LEFT] * 3, [None, RIGHT, RIGHT]
    return dict(
        videos=[
            dict(
                id=4,
                width=WIDTH,
                height=HEIGHT,
                length=3,
                file_names=['a/0.jpg', 'a/1.jpg', 'a/2.jpg'])
        ],
        categories=[dict(id=5, name='cat'),
                    dict(id=9, name='dog')],
        annotations=[
            dict(
                id=1 + i,
                video_id=4,
                category_id=category,
                iscrowd=0,
                areas=[tube and 200 for tube in tubes[i]],
                segmentations=tubes[i]) for i, category in enumerate((5, 9))
        ])


def row(category_id, score, *segmentations, video_id=4):
    return dict(
        video_id=video_id,
        category_id=category_id,
        score=score,
        segmentations=list(segmentations))


RESULTS = {
    'Whole': [
        row(5, 0.6, LEFT, LEFT, LEFT),
        row(9, 0.7, LEFT, LEFT, LEFT),  # the same object
        row(9, 0.9, EMPTY, RIGHT, RIGHT),
        row(9, 0.1, RIGHT, None, None),  # too weak to be shown
        row(9, 0.9, LEFT, video_id=3),  # of another video
    ],
    'None <b>': [],
}


def blocks_of(path):
    """What is embedded in a report: by id."""
    found = re.findall(
        r'<script type="application/json" id="([\w-]+)">(.*?)</script>',
        path.read_text())
    return {name: json.loads(text) for name, text in found}


def test_a_view_for_each_system(truth, tmp_path):
    path = tmp_path / 'report.html'
    size = write_results_report(
        path, IMAGES, truth, RESULTS, 'A clip', dict(Seed='3'), fps=5)
    assert size == path.stat().st_size
    blocks = blocks_of(path)
    report = blocks['report']
    names = ['Whole', 'None <b>', 'Ground truth']
    assert [view['name'] for view in report['views']] == names
    assert report['times'] == [0, 0.2, 0.4] and report['fps'] == 5
    assert ['Seed', '3'] in report['facts']
    whole, none, annotated = report['views']
    # by falling score; those below the threshold are missing
    assert [(track['name'], track['score'], track['first'], track['last'])
            for track in whole['tracks']] == [('dog', 0.9, 1, 2),
                                              ('dog', 0.7, 0, 2)]
    assert none['tracks'] == []
    assert [track['name'] for track in annotated['tracks']] == ['cat', 'dog']
    # the dog is found, and the cat by the lower score of its two classes
    assert whole['metrics']['AP'] == pytest.approx(1)
    assert none['metrics']['AP'] == 0
    shown = [[[(obj[0], obj[4]) for obj in rows] for rows in frame['views']]
             for frame in (blocks[f'frame-{i}'] for i in range(3))]
    left, right = LEFT['counts'], RIGHT['counts']
    assert shown == [
        [[(1, left)], [], [(0, left)]],
        [[(0, right), (1, left)], [], [(0, left), (1, right)]],
        [[(0, right), (1, left)], [], [(0, left), (1, right)]],
    ]


@pytest.mark.parametrize('change, match', [
    (dict(results={}), 'results must have at least one name, got none'),
    (dict(frames=IMAGES[:2]), 'as many frames as results are needed, 3'),
    (dict(frames=[image[1:]
                  for image in IMAGES]), r'\(40, 60\) of the results, got'),
    (dict(quality=0), 'quality must lie in'),
    (dict(results=dict(A=[row(5, 0.5, LEFT)])), '^A: .*segmentations'),
    (dict(results=dict(A=[None])), '^A: '),
    (dict(results=dict(A=[dict(score=0.3)])), '^A: .*video_id'),
    (dict(fps=0), 'fps must be positive, got 0'),
])
def test_bad_input(truth, tmp_path, change, match):
    options = dict(
        frames=IMAGES, ground_truth=truth, results=RESULTS, title='A clip')
    with pytest.raises(ValueError, match=match):
        write_results_report(tmp_path / 'report.html', **{**options, **change})
    assert not list(tmp_path.iterdir())
