# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import runpy
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config
from mmengine.structures import InstanceData

from refinevis_mm.datasets.occluded_shapes import (CLASSES,
                                                   OccludedShapesGenerator)
from refinevis_mm.registry import DATASETS
from refinevis_mm.vis_json import YouTubeVISWriter
from refinevis_mm.visualization import instance_color

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / '_base_' / 'datasets' / 'custom_vis.py'
TOOL = ROOT / 'tools' / 'analysis_tools' / 'browse_dataset.py'


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Two written videos."""
    root = tmp_path_factory.mktemp('shapes')
    generator = OccludedShapesGenerator(num_frames=(20, 20))
    writer = YouTubeVISWriter(str(root), 'train', CLASSES, 'test')
    for i in range(2):
        video = generator.generate((1, i))
        writer.add_video(video.frames, video.labels, video.masks)
    writer.save()
    return root


def browse(monkeypatch, root, out, *args):
    """Pictures that the tool makes of the custom VIS config."""
    monkeypatch.setattr(sys, 'argv', [
        str(TOOL),
        str(CONFIG), '--out-dir',
        str(out), '--cfg-options',
        f'train_dataloader.dataset.data_root={root}', *map(str, args)
    ])
    runpy.run_path(str(TOOL), run_name='__main__')
    return [path.read_bytes() for path in sorted(out.iterdir())]


def test_seed_and_number(data, tmp_path, monkeypatch):
    first = browse(monkeypatch, data, tmp_path / 'a', '--number', 3)
    again = browse(monkeypatch, data, tmp_path / 'b', '--number', 3)
    other = browse(monkeypatch, data, tmp_path / 'c', '--number', 3, '--seed',
                   1)
    assert len(first) == 3 and first == again and first != other
    assert len(set(first)) == 3
    picture = cv2.imread(str(tmp_path / 'a' / '0000.jpg'))
    # frames of 320 x 192, twice as large, below a line of 22 and 4 between
    assert picture.shape == (22 + 2 * 192, 2 * 2 * 320 + 4, 3)


def test_what_is_drawn(tmp_path):
    """One object on black frames is drawn in its colour where it is."""
    names = [f'v/{t}.jpg' for t in range(3)]
    (tmp_path / 'train' / 'JPEGImages' / 'v').mkdir(parents=True)
    for name in names:
        cv2.imwrite(
            str(tmp_path / 'train' / 'JPEGImages' / name),
            np.zeros((128, 192, 3), np.uint8))
    polygon = [[48, 32, 144, 32, 144, 96, 48, 96]]
    content = dict(
        categories=[dict(id=1, name='a')],
        videos=[dict(id=1, width=192, height=128, length=3, file_names=names)],
        annotations=[
            dict(id=1, video_id=1, category_id=1, segmentations=[polygon] * 3)
        ])
    (tmp_path / 'train.json').write_text(json.dumps(content))
    dataset = Config.fromfile(str(CONFIG)).train_dataloader.dataset
    dataset.data_root = str(tmp_path)
    # sample and load, do not augment
    dataset.pipeline[1].transforms = dataset.pipeline[1].transforms[:2]
    packed = DATASETS.build(dataset)[0]
    assert packed['inputs'].shape == (2, 3, 128, 192)
    clip = runpy.run_path(str(TOOL))['draw_clip'](packed, ['a'])
    assert clip.shape == (22 + 3 * 128, 2 * 3 * 192 + 4, 3)
    blended = (0.45 * np.array(instance_color(1))).astype(int)
    for left in (0, 3 * 192 + 4):
        frame = clip[22:, left:left + 3 * 192].astype(int)
        assert abs(frame[3 * 64, 3 * 96] - blended).max() <= 1
        assert frame[3 * 20:3 * 25, 3 * 160:].max() == 0


def test_ignored_instances_and_images():
    tool = runpy.run_path(str(TOOL))
    sample = DetDataSample(metainfo=dict(img_path='x/a.jpg'))
    for key, left in (('gt_instances', 0), ('ignored_instances', 200)):
        mask = np.zeros((1, 400, 400), np.uint8)
        mask[:, 100:200, left:left + 100] = 1
        setattr(
            sample, key,
            InstanceData(
                bboxes=HorizontalBoxes(
                    torch.tensor([[left, 100., left + 100, 200]])),
                labels=torch.tensor([0]),
                masks=BitmapMasks(mask, 400, 400)))
    packed = dict(
        inputs=torch.zeros(3, 400, 400, dtype=torch.uint8),
        data_samples=sample)
    drawn = tool['draw_clip'](packed, ['dog'])
    assert drawn.shape == (422, 400, 3)
    # the lower edges of the boxes
    assert drawn[22 + 199, 50].tolist() != drawn[22 + 199, 250].tolist()
    assert drawn[22 + 199, 250].tolist() == list(tool['IGNORED'])


def test_bad_arguments(monkeypatch, tmp_path, data):
    with pytest.raises(SystemExit) as stop:
        browse(monkeypatch, data, tmp_path, '--number', 0)
    assert stop.value.code == 2
    with pytest.raises(SystemExit, match='error: .*train.json'):
        browse(monkeypatch, tmp_path / 'nowhere', tmp_path)
