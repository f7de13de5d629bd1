# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The three phases on miniature files: each starts from the one before."""
import pytest
import torch
from mmdet.datasets import CocoDataset

from refinevis_mm.compat.checkpoints import read_checkpoint
from refinevis_mm.datasets import coco_pseudo_video  # noqa: F401
from refinevis_mm.engine.hooks import class_rows_hook  # noqa: F401
from tests.three_phases import checkpoint, run_phases
from tests.tiny_coco import write_coco, write_vis

pytestmark = pytest.mark.slow  # what they share is trained first
COCO = CocoDataset.METAINFO['classes']
# standing still, so that what is passed on can be compared
OPTIONS = {
    'train_dataloader.batch_size': 1,
    'optim_wrapper.optimizer.lr': 0.0,
    'optim_wrapper.optimizer.weight_decay': 0.0,
    'model.frame_model.num_queries': 12,
    'model.frame_model.pixel_decoder.num_layers': 1,
    'model.frame_model.decoder.num_layers': 1,
}


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Metrics, and weights and classes after each phase."""
    folder = tmp_path_factory.mktemp('phases')
    coco = folder / 'instances.json', folder / 'images'
    vis = folder / 'train.json', folder / 'JPEGImages'
    write_coco(*coco, COCO)
    write_vis(*vis, ('kangaroo', 'Person'), length=4)
    metrics = run_phases(folder, coco, vis, 1, options=OPTIONS)
    phases = [
        read_checkpoint(str(checkpoint(folder, i, 1))) for i in (1, 2, 3)
    ]
    return metrics, phases


def test_frame_model_is_passed_on(run):
    _, phases = run
    first, second, third = (phase['state_dict'] for phase in phases)
    keys = [key for key in first if key.startswith('frame_model.')]
    assert keys and set(first) == set(keys)
    for key in keys:
        assert torch.equal(first[key], second[key]), key
        if 'fc_cls' not in key and 'label_embedding' not in key:
            assert torch.equal(first[key], third[key]), key


def test_refinement_is_passed_on(run):
    _, phases = run
    second, third = (phase['state_dict'] for phase in phases[1:])
    keys = [
        key for key in second
        if key.startswith(('tar_head.', 'association_head.'))
    ]
    assert keys
    assert all(torch.equal(second[key], third[key]) for key in keys)


def test_class_rows_are_passed_on_by_name(run):
    _, phases = run
    classes = [phase['meta']['dataset_meta']['classes'] for phase in phases]
    assert tuple(classes[1]) == tuple(classes[0]) == COCO
    assert tuple(classes[2]) == ('kangaroo', 'Person')
    second, third = (phase['state_dict'] for phase in phases[1:])
    for key in ('head.fc_cls.weight', 'head.fc_cls.bias',
                'dn_query_generator.label_embedding.weight'):
        old, new = (part[f'frame_model.{key}'] for part in (second, third))
        assert len(old) == 80 and len(new) == 2
        assert torch.equal(new[1], old[0])  # person is COCO's first class
    bias = second['frame_model.head.fc_cls.bias']
    assert third['frame_model.head.fc_cls.bias'][0] == pytest.approx(
        bias.mean().item())


def test_evaluated(run):
    metrics, _ = run
    assert 0 <= metrics['vis/AP'] <= 1
