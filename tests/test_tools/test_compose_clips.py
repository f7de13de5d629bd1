# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pycocotools.mask as mask_utils
import pytest

from refinevis_mm.datasets import VISDataset
from refinevis_mm.datasets.transforms.track_pasting import TrackPaster
from refinevis_mm.datasets.validation import find_defects
from refinevis_mm.datasets.vis_writer import VISJsonWriter

TOOL = str(
    Path(__file__).parents[2] / 'tools/dataset_converters/compose_clips.py')
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
GREY = (128, 128, 128)
CATEGORIES = [dict(id=5, name='box'), dict(id=8, name='bar')]


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(TOOL)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """Four videos with a moving rectangle each, of a colour of its own."""
    root = tmp_path_factory.mktemp('source')
    with VISJsonWriter(str(root / 'train.json'), CATEGORIES, 'test') as writer:
        for i, color in enumerate(COLORS):
            height, width = (48, 64) if i < 3 else (60, 50)
            names, masks = [], []
            for t in range(5):
                frame = np.full((height, width, 3), GREY, np.uint8)
                mask = np.zeros((height, width), bool)
                if (i, t) != (1, 2):  # absent once
                    mask[10 + t:30 + t, 8 + 2 * t:30 + 2 * t] = True
                frame[mask] = color
                names.append(f'{i}_{t}.png')
                cv2.imwrite(str(root / names[-1]), frame)
                masks.append(mask)
            video_id = writer.add_video(names, height, width)
            writer.add_annotation(video_id, CATEGORIES[i % 2]['id'], masks)
    return root


def _run(monkeypatch, source, out, *options):
    monkeypatch.setattr(sys, 'argv', [
        TOOL,
        str(source / 'train.json'),
        str(source),
        str(out), '--number', '3', '--length', '6', '9', *options
    ])
    runpy.run_path(TOOL, run_name='__main__')
    return json.loads((out / 'valid.json').read_text())


def _contents(root):
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob('*')) if path.is_file()
    }


def test_forth_and_back(tool):
    forth_and_back = tool['forth_and_back']
    assert forth_and_back(4, 2, 9) == [2, 3, 2, 1, 0, 1, 2, 3, 2]
    assert forth_and_back(1, 0, 3) == [0, 0, 0]
    assert forth_and_back(2, 1, 4) == [1, 0, 1, 0]
    assert forth_and_back(9, 3, 4) == [3, 4, 5, 6]


@pytest.mark.parametrize('seed', range(8))
def test_masks_are_exact(tool, source, seed):
    """An object's mask is where its colour is seen."""
    dataset = VISDataset(
        ann_file=str(source / 'train.json'),
        data_prefix=dict(img_path=str(source)),
        pipeline=[])
    composer = tool['ClipComposer'](dataset, TrackPaster(max_drift=1.0),
                                    (4, 4), (6, 6))
    clip = composer.compose(np.random.default_rng(seed))
    layers = clip.layers
    assert len(clip.labels) == len(layers.masks) == 4
    colors = set()
    for label, masks in zip(clip.labels, layers.masks):
        for mask, frame in zip(masks, layers.frames):
            # at the edge it is blended with what is around
            inside = cv2.erode(
                np.pad(mask, 2).astype(np.uint8), np.ones((5, 5)))
            inside = inside[2:-2, 2:-2] > 0
            seen = {tuple(color) for color in frame[inside].tolist()}
            assert len(seen) <= 1
            if seen:
                color = seen.pop()
                assert COLORS.index(color) % 2 == label
                assert mask[(frame == color).all(-1)].all()
                colors.add(color)
    assert len(colors) >= 3
    assert layers.masks.sum(0).max() == 1
    # by hand: shares of the silhouettes
    visibility = layers.visibility()
    for i, t in np.ndindex(*visibility.shape):
        full, seen = layers.silhouettes[i, t].sum(), layers.masks[i, t].sum()
        assert np.isnan(visibility[i, t]) if full == 0 else \
            visibility[i, t] == seen / full


def test_written_data(monkeypatch, source, tmp_path, capsys):
    content = _run(monkeypatch, source, tmp_path / 'out')
    assert [str(defect) for defect in find_defects(content)] == []
    assert [item['name'] for item in content['categories']] == ['box', 'bar']
    assert [video['id'] for video in content['videos']] == [1, 2, 3]
    shares = []
    for annotation in content['annotations']:
        length = content['videos'][annotation['video_id'] - 1]['length']
        assert 6 <= length <= 9
        assert len(annotation['visibility']) == length
        for share, mask in zip(annotation['visibility'],
                               annotation['segmentations']):
            # null: outside of the frame or hidden
            assert (mask is None) == (not share)
            shares.append(share)
    assert None in shares and 0 in shares and 1 in shares
    stats = json.loads((tmp_path / 'out/statistics.json').read_text())
    assert stats['valid']['instances'] == len(content['annotations'])
    assert stats['valid']['complete_occlusions'] > 0
    assert '"complete_occlusions"' in capsys.readouterr().out


def test_masks_of_a_frame_do_not_overlap(monkeypatch, source, tmp_path):
    content = _run(monkeypatch, source, tmp_path / 'out', '--seed', '4')
    for video in content['videos']:
        for t in range(video['length']):
            total = np.zeros((video['height'], video['width']), int)
            for annotation in content['annotations']:
                mask = annotation['segmentations'][t] \
                    if annotation['video_id'] == video['id'] else None
                if mask is not None:
                    total += mask_utils.decode(
                        mask_utils.frPyObjects(mask, *mask['size']))
            assert total.max() <= 1


def test_same_seed_same_bytes(monkeypatch, source, tmp_path):
    outs = [tmp_path / name for name in ('a', 'b', 'c')]
    for out, seed in zip(outs, '001'):
        _run(monkeypatch, source, out, '--seed', seed)
    first, second, third = map(_contents, outs)
    assert first == second
    assert first != third


@pytest.mark.parametrize('options, reason', [
    (['--objects', '3', '2'], '--objects must be positive and ascending'),
    (['--number', '0'], '--number must be at least 1'),
    (['--split', 'a/b'], '--split must be a word'),
])
def test_bad_arguments(monkeypatch, source, tmp_path, capsys, options, reason):
    with pytest.raises(SystemExit):
        _run(monkeypatch, source, tmp_path / 'out', *options)
    assert reason in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_one_line_errors(monkeypatch, source, tmp_path):
    with pytest.raises(SystemExit, match='aim_prob must be in'):
        _run(monkeypatch, source, tmp_path / 'out', '--aim-prob', '2')
    _run(monkeypatch, source, tmp_path / 'out')
    with pytest.raises(SystemExit, match='--force'):
        _run(monkeypatch, source, tmp_path / 'out')
