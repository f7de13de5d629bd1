# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from pathlib import Path

import numpy as np
import pytest
from mmdet.registry import DATASETS
from mmdet.structures.bbox import HorizontalBoxes, get_box_tensor
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config

from refinevis_mm.datasets.occluded_shapes import (CLASSES,
                                                   OccludedShapesGenerator)
from refinevis_mm.datasets.transforms import VideoCopyPaste
from refinevis_mm.vis_json import YouTubeVISWriter

CONFIG = (
    Path(__file__).parents[3] / 'configs/refinevis' /
    'refinevis_mobilenet-v2_2xb2-5k_custom-vis-copy-paste.py')
KEYS = ('gt_bboxes', 'gt_bboxes_labels', 'gt_masks', 'gt_instances_ids',
        'gt_ignore_flags')


def _clip(size, frames, value=0, box_type=np.asarray):
    """A clip; a frame is a list of (id, label, x1, y1, x2, y2)."""
    clip = dict(img=[], frame_id=list(range(len(frames))))
    clip.update((key, []) for key in KEYS)
    for objects in frames:
        masks = np.zeros((len(objects), *size), np.uint8)
        for mask, (_, _, x1, y1, x2, y2) in zip(masks, objects):
            mask[y1:y2, x1:x2] = 1
        rows = np.array(objects, np.int32).reshape(-1, 6)
        clip['img'].append(np.full((*size, 3), value, np.uint8))
        clip['gt_bboxes'].append(box_type(rows[:, 2:].astype(np.float32)))
        clip['gt_bboxes_labels'].append(rows[:, 1].astype(np.int64))
        clip['gt_instances_ids'].append(rows[:, 0])
        clip['gt_ignore_flags'].append(np.zeros(len(rows), bool))
        clip['gt_masks'].append(BitmapMasks(masks, *size))
    return clip


def _exact(**kwargs):
    """Pastes one object, unscaled, in front of the centre of another."""
    return VideoCopyPaste(
        prob=1,
        max_tracks=1,
        scale_range=(1, 1),
        flip_prob=0,
        aim_prob=1,
        behind_prob=0,
        **kwargs)


def _objects(clip, t):
    """What the annotations of frame ``t`` say; they must be aligned."""
    frame = [clip[key][t] for key in KEYS]
    assert len({len(value) for value in frame}) == 1
    boxes, labels, masks, ids, _ = frame
    objects = {}
    for i, label, box, mask in zip(ids.tolist(), labels.tolist(),
                                   np.asarray(get_box_tensor(boxes)).tolist(),
                                   masks.masks):
        ys, xs = np.nonzero(mask)
        assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert i not in objects
        objects[i] = (label, mask.sum(), *map(int, box))
    return objects


@pytest.mark.parametrize('box_type', [np.asarray, HorizontalBoxes])
def test_covers_cuts_and_leaves_absent(box_type):
    clip = _clip((8, 10),
                 [[(3, 1, 4, 2, 6, 4),
                   (7, 0, 5, 4, 9, 6)], [(7, 0, 5, 4, 9, 6),
                                         (3, 1, 2, 2, 4, 4)]],
                 box_type=box_type)
    # seen in the first frame only, where its centre meets that of 3 or 7
    other = _clip((8, 10), [[(1, 5, 0, 0, 4, 4)], []], value=255)
    outcomes = set()
    for seed in range(12):
        np.random.seed(seed)
        out = _exact()({
            **{
                key: list(value)
                for key, value in clip.items()
            }, 'mix_results': [other]
        })
        assert 'mix_results' not in out
        assert isinstance(out['gt_bboxes'][0], type(clip['gt_bboxes'][0]))
        assert _objects(out, 1) == {
            7: (0, 8, 5, 4, 9, 6),
            3: (1, 4, 2, 2, 4, 4)
        }
        assert out['gt_instances_ids'][1].tolist() == [7, 3]
        assert not out['img'][1].any()
        objects = _objects(out, 0)
        pasted = objects[8]
        if pasted == (5, 16, 3, 1, 7, 5):  # on 3, which is covered
            # row 4, columns 5 and 6 are cut from 7
            assert objects == {7: (0, 6, 5, 4, 9, 6), 8: pasted}
            assert (out['img'][0][1:5, 3:7] == 255).all()
        else:  # on 7, which is covered; row 3, column 5 is cut from 3
            assert objects == {3: (1, 3, 4, 2, 6, 4), 8: (5, 16, 5, 3, 9, 7)}
            assert (out['img'][0][3:7, 5:9] == 255).all()
        assert (out['img'][0] == 255).sum() == 16 * 3
        outcomes.add(pasted)
    assert len(outcomes) == 2


def test_ids_and_types():
    clip = _clip((6, 6), [[(4, 1, 0, 0, 2, 2)], [(9, 1, 0, 0, 2, 2)]])
    others = [
        _clip((5, 7), [[(4, 2, 1, 1, 3, 3), (5, 3, 3, 3, 5, 5)]] * 2, value=9)
    ] * 2
    for seed in range(10):
        np.random.seed(seed)
        out = VideoCopyPaste(
            behind_prob=1, max_tracks=4)(
                dict(
                    clip,
                    **{key: list(clip[key])
                       for key in [*KEYS, 'img']},
                    mix_results=others))
        ids = np.concatenate(out['gt_instances_ids'])
        assert {4, 9} <= set(ids.tolist()) <= {4, 9, 10, 11, 12, 13}
        for key in ('gt_instances_ids', 'gt_bboxes_labels', 'gt_ignore_flags'):
            assert all(new.dtype == old.dtype
                       for new, old in zip(out[key], clip[key]))
        labels = {}
        for t in range(2):
            for i, (label, *_) in _objects(out, t).items():
                assert labels.setdefault(i, label) == label


def test_no_objects():
    np.random.seed(0)
    empty = _clip((6, 6), [[], []])
    out = VideoCopyPaste()(dict(_clip((6, 6), [[], []]), mix_results=[empty]))
    assert [len(ids) for ids in out['gt_instances_ids']] == [0, 0]
    other = _clip((6, 6), [[(1, 2, 2, 2, 4, 4)]] * 2)
    out = _exact()(dict(_clip((6, 6), [[], []]), mix_results=[other]))
    for t in range(2):
        assert [label for label, *_ in _objects(out, t).values()] == [2]
    clip = _clip((6, 6), [[(1, 2, 2, 2, 4, 4)]] * 2)
    out = VideoCopyPaste()(dict(clip, mix_results=[]))
    assert out == clip


def test_crowds_are_not_pasted():
    other = _clip((6, 6), [[(1, 2, 2, 2, 4, 4)]] * 2)
    other['gt_ignore_flags'][1][:] = True
    out = VideoCopyPaste()(dict(_clip((6, 6), [[], []]), mix_results=[other]))
    assert not any(map(len, out['gt_instances_ids']))


def test_another_number_of_frames_is_refused():
    other = _clip((6, 6), [[(1, 2, 2, 2, 4, 4)]])
    with pytest.raises(ValueError, match='but got 1 and 2'):
        VideoCopyPaste()(dict(_clip((6, 6), [[], []]), mix_results=[other]))


def test_how_often():
    np.random.seed(0)
    numbers = [
        len(VideoCopyPaste(prob=0.4, max_clips=2).get_indexes(range(5)))
        for _ in range(2000)
    ]
    shares = np.bincount(numbers, minlength=3) / 2000
    np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.03)
    drawn = [
        i for _ in range(50)
        for i in VideoCopyPaste(prob=1).get_indexes(range(5))
    ]
    assert set(drawn) == set(range(5))
    assert VideoCopyPaste(prob=0).get_indexes(range(5)) == []
    for kwargs in (dict(prob=1.5), dict(max_clips=0), dict(max_tracks=0)):
        with pytest.raises(ValueError, match=next(iter(kwargs))):
            VideoCopyPaste(**kwargs)


@pytest.fixture(scope='module')
def dataset(tmp_path_factory):
    """The shipped config's training data, videos of two sizes."""
    root = tmp_path_factory.mktemp('shapes')
    (root / 'train').mkdir()
    writer = YouTubeVISWriter(str(root), 'train', CLASSES, 'test')
    for size in ((64, 96), (100, 80)):
        generator = OccludedShapesGenerator(*size, num_frames=(20, 20))
        video = generator.generate((1, size[0]))
        writer.add_video(video.frames, video.labels, video.masks)
    writer.save()
    cfg = Config.fromfile(str(CONFIG)).train_dataloader.dataset
    cfg.pipeline[0].prob = 1.0
    cfg.dataset.data_root = str(root)
    return DATASETS.build(cfg)


@pytest.mark.parametrize('seed', range(10))
def test_shipped_config(dataset, seed):
    np.random.seed(seed)
    packed = dataset[seed % 2]
    assert packed['inputs'].shape == (2, 3, 192, 320)
    assert packed['data_samples'].key_frames_inds == [0]
    labels = {}
    for sample in packed['data_samples']:
        gt = sample.gt_instances
        masks = gt.masks.masks
        assert masks.sum(0).max(initial=0) <= 1  # shapes never overlap
        for i, label, mask, box in zip(gt.instances_ids.tolist(),
                                       gt.labels.tolist(), masks,
                                       gt.bboxes.tolist()):
            assert labels.setdefault(i, label) == label
            ys, xs = np.nonzero(mask)
            assert box == [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert len(set(gt.instances_ids.tolist())) == len(gt)
    np.random.seed(seed)
    again = dataset[seed % 2]
    assert (again['inputs'] == packed['inputs']).all()


@pytest.mark.parametrize('behind_prob', [0, 1])
def test_ignored_track_is_ground(behind_prob):
    """A track that is ignored loses what is pasted over it in each frame,
    is absent where nothing of it is left, and never hides an object."""
    clip = _clip((8, 10), [[(3, 1, 0, 0, 10, 8)], [(3, 1, 4, 2, 6, 4)]])
    clip['gt_ignore_flags'] = [np.ones(1, bool)] * 2
    other = _clip((8, 10), [[(1, 5, 2, 2, 6, 6)]] * 2, value=255)
    transform = VideoCopyPaste(
        prob=1, scale_range=(1, 1), behind_prob=behind_prob, flip_prob=0)
    absent = 0
    for seed in range(40):
        np.random.seed(seed)
        out = transform(
            dict({
                key: list(value)
                for key, value in clip.items()
            },
                 mix_results=[other]))
        pasted = out['img'][0].all(-1)  # does not move
        assert pasted.any()
        objects = _objects(out, 0)
        assert objects[4][1] == pasted.sum()
        assert objects[3][1] == 80 - pasted.sum()
        assert out['gt_ignore_flags'][0].tolist() == [True, False]
        left = 4 - pasted[2:4, 4:6].sum()
        assert (3 in _objects(out, 1)) == (left > 0)
        assert out['gt_ignore_flags'][1].tolist() == [True][:left] + [False]
        absent += left == 0
        # as the source of objects there is nothing to paste
        same = transform(dict(other, mix_results=[clip]))
        assert (same['img'][0] == 255).all()
    assert absent
