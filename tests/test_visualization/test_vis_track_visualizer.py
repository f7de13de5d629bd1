# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import cv2
import numpy as np
import pytest
import torch
from mmdet.engine.hooks import TrackVisualizationHook
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import InstanceData
from mmengine.visualization import Visualizer

from refinevis_mm.visualization import instance_color
from refinevis_mm.visualization.vis_track_visualizer import VISTrackVisualizer

HEIGHT, WIDTH = 400, 500  # not enlarged
RGB = (200, 100, 40)
TRUE_SPOT, FOUND_SPOT = (200, 100), (200, 300)  # y, x inside of the masks
CLASSES = ('cat', 'dog')


def _masks(*columns):
    masks = np.zeros((len(columns), HEIGHT, WIDTH), bool)
    for mask, left in zip(masks, columns):
        mask[150:250, left:left + 100] = True
    return masks


def _tinted(instance_id):
    """RGB of a mask of the default opacity over the image."""
    color = np.array(instance_color(instance_id)[::-1])
    return np.round(0.55 * np.array(RGB) + 0.45 * color)


@pytest.fixture
def image():
    return np.full((HEIGHT, WIDTH, 3), RGB, np.uint8)


@pytest.fixture
def sample():
    """A frame as mmdet packs and predicts it."""
    sample = DetDataSample()
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[50., 150, 150, 250]]),
        labels=torch.tensor([1]),
        masks=BitmapMasks(_masks(50), HEIGHT, WIDTH),
        instances_ids=torch.tensor([8]))
    sample.pred_track_instances = InstanceData(
        bboxes=torch.tensor([[250., 150, 350, 250], [50, 150, 150, 250]]),
        labels=torch.tensor([0, 5]),
        masks=torch.from_numpy(_masks(250, 50)),
        scores=torch.tensor([0.9, 0.2]),
        instances_id=torch.tensor([3, 4]))
    return sample


@pytest.fixture
def visualizer(request, tmp_path):
    visualizer = VISUALIZERS.build(
        dict(
            type='refinevis_mm.VISTrackVisualizer',
            name=request.node.name,
            save_dir=str(tmp_path),
            vis_backends=[dict(type='LocalVisBackend')]))
    visualizer.dataset_meta = dict(classes=CLASSES)
    return visualizer


def _read(path):
    return cv2.imread(str(path))[..., ::-1].astype(int)


def test_side_by_side(visualizer, image, sample, tmp_path):
    assert isinstance(visualizer, VISTrackVisualizer)
    assert Visualizer.get_current_instance() is visualizer
    visualizer.add_datasample('clip', image, sample, step=12)
    drawn = _read(tmp_path / 'vis_data/vis_image/clip_12.png')
    assert drawn.shape == (HEIGHT, 2 * WIDTH, 3)
    assert (image == RGB).all()
    left, right = np.split(drawn, 2, axis=1)
    assert left[TRUE_SPOT] == pytest.approx(_tinted(8), abs=1)
    assert (left[FOUND_SPOT] == RGB).all()
    assert right[FOUND_SPOT] == pytest.approx(_tinted(3), abs=1)
    assert (right[TRUE_SPOT] == RGB).all()  # score below 0.3
    assert np.abs(visualizer.get_image().astype(int) - drawn).max() <= 1


def test_choice_of_panels(visualizer, image, sample, tmp_path):
    path = str(tmp_path / 'new' / 'picture.png')
    visualizer.add_datasample(
        'clip',
        image,
        sample,
        draw_gt=False,
        out_file=path,
        pred_score_thr=0.2)
    drawn = _read(path)
    assert drawn.shape == image.shape
    assert drawn[TRUE_SPOT] == pytest.approx(_tinted(4), abs=1)
    visualizer.add_datasample(
        'clip', image, sample, draw_pred=False, out_file=path)
    assert _read(path)[TRUE_SPOT] == pytest.approx(_tinted(8), abs=1)
    # the backends get no picture that goes to a file
    assert not (tmp_path / 'vis_data').exists()


def test_what_is_missing_is_left_out(visualizer, image, sample, tmp_path):
    path = str(tmp_path / 'picture.png')
    visualizer.add_datasample('clip', image.astype(np.float32), out_file=path)
    assert (_read(path) == image).all()
    sample.gt_instances = InstanceData()  # no annotations loaded
    visualizer.add_datasample('clip', image, sample, out_file=path)
    assert _read(path).shape == image.shape
    # loaded, but nothing is there
    sample.gt_instances = InstanceData(
        labels=torch.zeros(0, dtype=torch.long),
        masks=BitmapMasks(_masks(), HEIGHT, WIDTH),
        instances_ids=torch.zeros(0, dtype=torch.long))
    visualizer.add_datasample('clip', image, sample, out_file=path)
    assert (_read(path)[:, :WIDTH] == RGB).all()


def test_small_images_are_enlarged(visualizer, sample, tmp_path):
    small = np.zeros((40, 60, 3), np.uint8)
    path = str(tmp_path / 'picture.png')
    visualizer.add_datasample('clip', small, out_file=path)
    assert _read(path).shape == (360, 540, 3)


def test_hook_of_mmdet(visualizer, image, sample, tmp_path):
    path = tmp_path / 'a' / 'b' / 'frame.png'
    path.parent.mkdir(parents=True)
    cv2.imwrite(str(path), image[..., ::-1])
    sample.set_metainfo(dict(img_path=str(path)))
    hook = TrackVisualizationHook(draw=True)
    hook.visualize_single_image(sample, step=3)
    drawn = _read(tmp_path / 'vis_data/vis_image/test_img_3.png')
    assert drawn[FOUND_SPOT[0], WIDTH + FOUND_SPOT[1]] == pytest.approx(
        _tinted(3), abs=1)


def test_errors(visualizer, image, sample):
    with pytest.raises(
            ValueError,
            match=r'size \(200, 500\) of the image, '
            r'got \(400, 500\); a test pipeline'):
        visualizer.add_datasample('clip', image[:200], sample)
    del sample.gt_instances.masks
    with pytest.raises(
            ValueError, match='gt_instances must have masks.* got .*bboxes'):
        visualizer.add_datasample('clip', image, sample)
    with pytest.raises(ValueError, match=r'lie in \[0, 1\], got 2'):
        VISTrackVisualizer(alpha=2)
