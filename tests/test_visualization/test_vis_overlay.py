# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import itertools

import numpy as np
import pytest
from pycocotools import mask as mask_utils

from refinevis_mm.structures import FrameInstances
from refinevis_mm.utils.palette import PALETTE
from refinevis_mm.visualization import vis_overlay
from refinevis_mm.visualization.vis_overlay import (display_scale, draw_frame,
                                                    draw_instances,
                                                    instance_color,
                                                    instance_text,
                                                    resize_image)

# What people without one kind of cone see, for linear RGB: Machado, Oliveira
# and Fernandes 2009, severity 1.0.
COLOR_VISION = dict(
    normal=np.eye(3),
    protanopia=[[0.152286, 1.052583,
                 -0.204868], [0.114503, 0.786281, 0.099216],
                [-0.003882, -0.048116, 1.051998]],
    deuteranopia=[[0.367322, 0.860646, -0.227968],
                  [0.280085, 0.672501, 0.047413],
                  [-0.011820, 0.042940, 0.968881]],
    tritanopia=[[1.255528, -0.076749, -0.178779],
                [-0.078411, 0.930809, 0.147602],
                [0.004733, 0.691367, 0.303900]])
RGB_TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375],
                       [0.2126729, 0.7151522, 0.0721750],
                       [0.0193339, 0.1191920, 0.9503041]])  # sRGB, D65


def to_linear(colors):
    """Linear RGB of colours in BGR."""
    rgb = np.array(colors)[:, ::-1] / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055)**2.4)


def to_lab(linear):
    """CIELAB of linear RGB."""
    xyz = linear @ RGB_TO_XYZ.T / RGB_TO_XYZ.sum(axis=1)
    f = np.where(xyz > (6 / 29)**3, np.cbrt(xyz),
                 xyz * (29 / 6)**2 / 3 + 4 / 29)
    return np.stack([
        116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 *
        (f[:, 1] - f[:, 2])
    ],
                    axis=1)


def make_instances(masks, size=None, scores=None, detected=None, name='cat'):
    """Instances 0, 1, 2 ... with boolean masks or None."""
    num = len(masks)
    size = size or masks[0].shape
    rles = [
        mask if mask is None else mask_utils.encode(
            np.asfortranarray(mask, np.uint8)) for mask in masks
    ]
    return FrameInstances(
        size=tuple(size),
        ids=list(range(num)),
        labels=[0] * num,
        classes=[name] * num,
        scores=[0.9] * num if scores is None else scores,
        cls_scores=np.ones((num, 1)),
        boxes=np.zeros((num, 4), np.float32),
        masks=rles,
        detected=[True] * num if detected is None else detected)


def rectangle(x, y, w, h, size=(400, 400)):
    mask = np.zeros(size, bool)
    mask[y:y + h, x:x + w] = True
    return mask


def ring_mask():
    mask = np.zeros((40, 60), bool)
    mask[18:38, 10:30] = True
    mask[24:32, 16:24] = False
    return mask


def test_colors_are_stable_and_differ():
    colors = [instance_color(i) for i in range(14)]
    assert colors[0] == (0, 159, 230)
    assert len(set(colors)) == 14
    assert instance_color(14) == colors[0]


def test_masks_are_blended_and_holes_stay():
    image = np.full((40, 60, 3), 100, np.uint8)
    drawn = draw_instances(image, [ring_mask()], [0], [''], alpha=0.4)
    assert (image == 100).all()
    # 0.6 * 100 plus 0.4 * (0, 159, 230)
    assert drawn[35, 20].tolist() == [60, 124, 152]
    assert drawn[28, 20].tolist() == [100, 100, 100]
    # the outline is smoothed
    outline = np.array([drawn[37, 20], drawn[24, 15]])
    assert np.abs(outline - np.array([0, 159, 230])).max() < 20


def test_highlight_adds_a_white_line():
    image = np.zeros((40, 60, 3), np.uint8)
    drawn = draw_instances(image, [ring_mask()], [0], [''], [True])
    assert drawn[38, 20].min() > 150
    assert drawn[37, 20, 0] < 60 and drawn[37, 20, 2] > 200


def test_scale_enlarges_and_empty_masks_are_skipped():
    image = np.full((40, 60, 3), 7, np.uint8)
    drawn = draw_instances(
        image, np.zeros((2, 40, 60), bool), [0, 1], ['a', 'b'], scale=3)
    assert drawn.shape == (120, 180, 3) and (drawn == 7).all()
    assert draw_instances(image, [], [], []) is not image


def test_labels_do_not_cover_each_other():
    image = np.zeros((400, 400, 3), np.uint8)
    mask = np.zeros((400, 400), bool)
    mask[100:110, 50:60] = True
    one = draw_instances(image, [mask], [0], ['object'])
    two = draw_instances(image, [mask, mask], [0, 0], ['object'] * 2)
    filled = [np.count_nonzero(drawn.any(axis=2)) for drawn in (one, two)]
    assert filled[1] > 1.5 * filled[0]


def test_numbers_must_agree():
    with pytest.raises(ValueError, match='got 1, 0 and 1'):
        draw_instances(
            np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), bool), [1], [])


@pytest.mark.parametrize('size, scale', [((128, 192), 3), ((720, 1280), 1),
                                         ((360, 640), 1), ((359, 640), 2)])
def test_display_scale(size, scale):
    assert display_scale(*size) == scale


@pytest.mark.parametrize('rgb, lab', [((255, 255, 255), (100, 0, 0)),
                                      ((255, 0, 0), (53.24, 80.09, 67.20)),
                                      ((0, 0, 255), (32.30, 79.19, -107.86))])
def test_lab_of_known_colors(rgb, lab):
    np.testing.assert_allclose(
        to_lab(to_linear([rgb[::-1]]))[0], lab, atol=0.05)


@pytest.mark.parametrize('vision, distance', [('normal', 26.4),
                                              ('protanopia', 20.6),
                                              ('deuteranopia', 17.0),
                                              ('tritanopia', 16.0)])
def test_colors_differ_for_every_color_vision(vision, distance):
    seen = to_linear(PALETTE) @ np.array(COLOR_VISION[vision]).T
    lab = to_lab(seen.clip(0, 1))
    # a difference of about 2 can just be seen
    assert min(
        np.linalg.norm(a - b)
        for a, b in itertools.combinations(lab, 2)) >= distance


def test_an_id_has_its_color_in_every_frame():
    image = np.zeros((400, 400, 3), np.uint8)
    both = make_instances(
        [rectangle(20, 100, 80, 80),
         rectangle(200, 100, 80, 80)])
    alone = both.select([1])
    for instances, x in ((both, 240), (alone, 240)):
        drawn = draw_frame(image, instances)
        expected = 0.45 * np.array(instance_color(1))
        assert np.abs(drawn[140, x] - expected).max() <= 1


def test_only_what_has_a_mask_and_a_score_is_drawn():
    image = np.full((400, 400, 3), 50, np.uint8)
    masks = [rectangle(20, 100, 80, 80), None, rectangle(200, 100, 80, 80)]
    instances = make_instances(masks, (400, 400), [0.3, 0.9, 0.299])
    drawn = draw_frame(image, instances)
    assert (drawn[140, 60] != 50).any() and (drawn[140, 240] == 50).all()
    assert (drawn == draw_frame(image, instances.select([0]))).all()
    assert (draw_frame(image, instances, 0.95) == 50).all()
    assert (draw_frame(image, instances, 0.2)[140, 240] != 50).any()
    assert (image == 50).all()


def test_recovered_instances_are_dashed_on_white_and_say_so(monkeypatch):
    texts = []
    monkeypatch.setattr(vis_overlay, 'draw_text',
                        lambda canvas, text, *args: texts.append(text))
    image = np.zeros((400, 400, 3), np.uint8)
    mask = [rectangle(100, 100, 200, 200)]
    detected = draw_frame(image, make_instances(mask))
    recovered = draw_frame(image, make_instances(mask, detected=[False]))
    assert texts == ['cat #0 0.90', 'cat #0 0.90 recovered']
    # along the lower edge, away from its corners
    solid, dashed = (drawn[299, 120:280] for drawn in (detected, recovered))
    assert np.abs(solid - np.array(instance_color(0))).max() < 10
    white = (dashed > 190).all(axis=1)
    colored = (np.abs(dashed - np.array(instance_color(0))) < 40).all(axis=1)
    # dashes of 10 px, and as much between them, less their round ends
    assert 7 <= np.count_nonzero(np.diff(white.astype(int)) == 1) <= 9
    assert 7 <= np.count_nonzero(np.diff(colored.astype(int)) == 1) <= 9


def test_label():
    assert instance_text('duck', 3, 0.871, True) == 'duck #3 0.87 recovered'
    assert instance_text('duck', 3) == 'duck #3'


@pytest.fixture
def labels(monkeypatch):
    """Places of the drawn labels and their texts."""
    found = []

    def record(canvas, text, corner, size, *args):
        found.append((*corner, *vis_overlay.text_size(text, size), text))

    monkeypatch.setattr(vis_overlay, 'draw_text', record)
    return found


def overlaps(labels):
    return sum(a[0] < b[0] + b[2] and b[0] < a[0] + a[2] and a[1] < b[1] +
               b[3] and b[1] < a[1] + a[3]
               for a, b in itertools.combinations(labels, 2))


@pytest.mark.parametrize('seed', range(4))
def test_labels_do_not_overlap_where_there_is_room(labels, seed):
    rng = np.random.default_rng(seed)
    size = (480, 640)
    masks = [
        rectangle(*rng.integers(0, (600, 440)), 40, 40, size)
        for _ in range(10)
    ] + [rectangle(300, 200, 30, 30, size)] * 4
    draw_frame(np.zeros((*size, 3), np.uint8), make_instances(masks))
    assert len(labels) == 14 and overlaps(labels) == 0
    for x, y, w, h, _ in labels:
        assert x >= 0 and y >= 0 and x + w <= 640 and y + h <= 480


def test_50_instances(labels):
    rng = np.random.default_rng(0)
    size = (360, 480)
    masks = [
        rectangle(*rng.integers(0, (450, 330)), 30, 30, size)
        for _ in range(50)
    ]
    drawn = draw_frame(
        np.zeros((*size, 3), np.uint8), make_instances(masks, name='elephant'))
    assert drawn.shape == (360, 480, 3)
    # all are named, where it is crowded by the id alone
    assert [text.split()[-2 if ' ' in text else 0]
            for *_, text in labels] == [f'#{k}' for k in range(50)]
    assert any(text.startswith('#') for *_, text in labels)


@pytest.mark.parametrize('scale', [0.1, 0.5, 1, 3])
def test_masks_of_one_pixel_are_seen(scale):
    image = np.zeros((40, 60, 3), np.uint8)
    for x, y in ((0, 0), (59, 39), (30, 20)):
        mask = rectangle(x, y, 1, 1, (40, 60))
        for dashed in (False, True):
            drawn = draw_instances(
                image, [mask], [0], [''], [dashed], scale=scale)
            rows, columns = drawn.any(axis=2).nonzero()
            assert len(rows)
            assert abs(rows.mean() / scale - y) < 4 / scale
            assert abs(columns.mean() / scale - x) < 4 / scale


@pytest.mark.parametrize('size', [(1, 1), (1, 300), (300, 1), (3, 2),
                                  (12, 20)])
def test_tiny_images(size):
    image = np.zeros((*size, 3), np.uint8)
    masks = [np.ones(size, bool), np.ones(size, bool)]
    for scale in (None, 1, 2.5):
        drawn = draw_frame(
            image, make_instances(masks, detected=[True, False]), scale=scale)
        assert drawn.dtype == np.uint8 and drawn.any()


def test_rle_and_dense_masks_are_drawn_alike():
    image = np.zeros((40, 60, 3), np.uint8)
    rle = mask_utils.encode(np.asfortranarray(ring_mask(), np.uint8))
    for scale in (0.5, 1, 2):
        drawn = [
            draw_instances(image, [mask], [2], ['a'], scale=scale)
            for mask in (ring_mask(), rle)
        ]
        assert (drawn[0] == drawn[1]).all()


def test_resized_images():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    same = resize_image(image, 1)
    assert (same == image).all() and same is not image
    assert resize_image(image, 0.01).shape == (1, 1, 3)
    assert resize_image(image, 2.5).shape == (5, 10, 3)
