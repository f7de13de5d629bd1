# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from refinevis_mm.evaluation import ClassAgnosticCocoMetric
from refinevis_mm.registry import METRICS


def polygon(left, right):
    """A bar in an image of 10 by 1 pixels as COCO has it."""
    return [[left, 0, right, 0, right, 1, left, 1]]


@pytest.fixture
def ann_file(tmp_path):
    """One image with a cat, a dog and a crowd of cats."""
    content = dict(
        images=[dict(id=4, width=10, height=1, file_name='4.jpg')],
        categories=[dict(id=3, name='cat'),
                    dict(id=5, name='dog')],
        annotations=[
            dict(
                id=index + 1,
                image_id=4,
                category_id=category_id,
                iscrowd=iscrowd,
                area=right - left,
                bbox=[left, 0, right - left, 1],
                segmentation=polygon(left, right))
            for index, (left, right, category_id,
                        iscrowd) in enumerate([(0, 4, 3, 0), (5, 8, 5,
                                                              0), (8, 10, 3,
                                                                   1)])
        ])
    path = tmp_path / 'coco.json'
    path.write_text(json.dumps(content))
    return str(path)


def sample(*found):
    """What a detector returns: (left, right, label, score) of each."""
    masks = torch.zeros(len(found), 1, 10, dtype=torch.bool)
    for mask, (left, right, _, _) in zip(masks, found):
        mask[:, left:right] = True
    pred = dict(
        bboxes=torch.tensor([[left, 0., right, 1.]
                             for left, right, _, _ in found]).view(-1, 4),
        labels=torch.tensor([item[2] for item in found]).long(),
        scores=torch.tensor([item[3] for item in found]),
        masks=masks)
    return dict(img_id=4, ori_shape=(1, 10), pred_instances=pred)


FOUND = (
    (8, 10, 1, 0.95),  # in the crowd, but not of its class
    (0, 4, 1, 0.9),  # the cat as a dog
    (0, 4, 0, 0.8),  # the same mask with the right class
    (5, 8, 1, 0.7))


def evaluate(ann_file, found=FOUND, classes=('cat', 'dog'), **kwargs):
    """Numbers of one image."""
    init_default_scope('mmdet')
    metric = METRICS.build(
        dict(
            type='refinevis_mm.ClassAgnosticCocoMetric',
            ann_file=ann_file,
            **dict(dict(metric=['bbox', 'segm']), **kwargs)))
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, [sample(*found)])
    return metric.evaluate(1)


def test_by_hand(ann_file):
    numbers = evaluate(ann_file, classwise=True)
    # both objects are found first, the crowd does not count
    for name in ('AP', 'AP50', 'AR10'):
        assert numbers[f'coco/{name}_agnostic'] == pytest.approx(1)
    assert numbers['coco/AR1_agnostic'] == 0  # the crowd's is the first
    assert numbers['coco/cat_AP50'] == pytest.approx(1)
    assert numbers['coco/dog_AP50'] == pytest.approx(1 / 3)
    # mmdet's own numbers stay
    assert numbers['coco/dog_precision'] == pytest.approx(1 / 3, abs=1e-3)
    assert numbers['coco/segm_mAP_50'] == pytest.approx(2 / 3, abs=1e-3)
    assert 'coco/bbox_mAP' in numbers


def test_a_bad_mask_and_a_wrong_one(ann_file):
    # IoU 3 / 4 is right at 6 of 10 thresholds; the wrong one is the best
    found = ((4, 7, 0, 0.9), (0, 3, 1, 0.8))
    numbers = evaluate(ann_file, found)
    # IoU of the first with the dog 2 / 4: right at one threshold
    assert numbers['coco/AP50_agnostic'] == pytest.approx(1)
    # one of two objects: 51 of 101 recall points, at a precision of 1 / 2
    assert numbers['coco/AP75_agnostic'] == pytest.approx(51 / 101 / 2)
    assert numbers['coco/AR10_agnostic'] == pytest.approx((1 + 5 / 2) / 10)
    assert 'coco/dog_AP50' not in numbers


def test_the_same_mask_twice_with_one_class_is_wrong_once(ann_file):
    found = ((0, 4, 0, 0.9), (0, 4, 0, 0.8), (5, 8, 1, 0.7))
    numbers = evaluate(ann_file, found)
    # precision 1 up to a recall of 1 / 2, then 2 / 3
    assert numbers['coco/AP_agnostic'] == pytest.approx(
        (51 + 50 * 2 / 3) / 101)


def test_nothing_to_add(ann_file, tmp_path):
    assert evaluate(ann_file, ()) == {}
    prefix = str(tmp_path / 'out')
    assert evaluate(ann_file, format_only=True, outfile_prefix=prefix) == {}
    assert (tmp_path / 'out.segm.json').is_file()


def test_ids_of_objects_do_not_matter(ann_file):
    """pycocotools never finds the object of id 0."""
    expected = evaluate(ann_file, classwise=True)
    content = json.loads(Path(ann_file).read_text())
    for number, item in enumerate(content['annotations']):
        item['id'] = number
    Path(ann_file).write_text(json.dumps(content))
    assert evaluate(ann_file, classwise=True) == expected


def test_other_categories_do_not_count(ann_file):
    numbers = evaluate(ann_file, FOUND[2:3], classes=('cat', ))
    assert numbers['coco/AP_agnostic'] == pytest.approx(1)


def test_bad_input(ann_file):
    with pytest.raises(ValueError, match=r"must have 'segm', got \['bbox'\]"):
        ClassAgnosticCocoMetric(ann_file=ann_file, metric='bbox')
