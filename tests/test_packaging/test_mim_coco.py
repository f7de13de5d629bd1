# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""An image model under openmim, from PNG maps to COCO's metric."""
import cv2
import numpy as np
import pytest

from tests.test_packaging import test_mim

# what a fixture needs is looked for here as well
source, wheel = test_mim.source, test_mim.wheel
installed = test_mim.installed

CONFIG = 'maskdino_mobilenet-v2_2xb2-5k_custom-coco.py'
DATA = 'data/custom_coco'
TINY = (*test_mim.QUICK, 'train_cfg.val_interval=2',
        'model.backbone.init_cfg=None')


def write_maps(folder, label):
    """Write an image of a bright square with its maps."""
    maps = dict(
        train=np.zeros((48, 64, 3), np.uint8),
        instances=np.full((48, 64), 9, np.uint8),
        labels=np.full((48, 64), 255, np.uint8))
    for name, value in dict(train=255, instances=0, labels=label).items():
        maps[name][10:40, 20:50] = value
        path = folder / 'data' / 'custom_coco' / name
        path.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path / f'{label}.png'), maps[name])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_image_config_trains_and_tests(installed, tmp_path):
    for label in (0, 2):
        write_maps(tmp_path, label)
    (tmp_path / DATA / 'valid').symlink_to(tmp_path / DATA / 'train')
    steps = [
        *(('run', 'refinevis_mm', 'instance_png_to_coco', f'{DATA}/train',
           f'{DATA}/instances', f'{DATA}/labels', f'{DATA}/{split}.json',
           '--classes', 'coco') for split in ('train', 'valid')),
        ('train', 'refinevis_mm', CONFIG, '--work-dir', 'run', *TINY),
        ('test', 'refinevis_mm', CONFIG, '--checkpoint', 'run/iter_2.pth',
         '--work-dir', 'run', *TINY),
    ]
    for step in steps:
        done = test_mim.mim(installed, tmp_path, *step)
        assert done.returncode == 0, done.stdout + done.stderr
    assert 'coco/segm_mAP' in done.stdout + done.stderr
