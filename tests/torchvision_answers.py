# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""NMS and RoIAlign as torchvision answers them, in tests/data/ops.

``make test-ops`` has compiled mmcv and no torchvision, ``make test-zoo`` has
torchvision and no compiled mmcv: each is compared with the same file. It was
written by torchvision 0.29.1 with torch 2.14.1 on a CPU:

    .venv-zoo/bin/python tests/torchvision_answers.py
"""
import os.path as osp
from itertools import product
from typing import Dict, List, NamedTuple

import numpy as np
import torch
from torch import Tensor

PATH = osp.join(osp.dirname(__file__), 'data', 'ops', 'torchvision.npz')
NMS_CASES = ('random', 'ties', 'same_box', 'degenerate', 'empty')
NMS_THRS = (0.0, 0.3, 0.5, 0.7)


class RoICase(NamedTuple):
    """Arguments of RoIAlign beside features and RoIs."""

    size: tuple
    scale: float
    sampling_ratio: int
    aligned: bool

    @property
    def key(self) -> str:
        """str: Start of the names of the answers."""
        return 'roi_' + '_'.join(str(value) for value in self)


ROI_CASES = [
    RoICase(*case)
    for case in product(((3, 2), (5, 5)), (0.25, 1.0), (0, 2), (False, True))
]


def nms_inputs() -> Dict[str, Tensor]:
    """Boxes (n, 4) and scores (n, ) of all cases."""
    gen = torch.Generator().manual_seed(0)

    def boxes(num: int) -> Tensor:
        corner = torch.rand(num, 2, generator=gen) * 60
        side = torch.rand(num, 2, generator=gen) * 40 + 1
        return torch.cat([corner, corner + side], 1)

    found = dict(
        random_boxes=boxes(200), random_scores=torch.rand(200, generator=gen))
    found.update(
        ties_boxes=boxes(120),
        ties_scores=torch.randint(0, 4, (120, ), generator=gen) / 4)
    found.update(
        same_box_boxes=boxes(1).repeat(9, 1),
        same_box_scores=torch.tensor([.5, .9, .9, .1, .5, .9, .5, .5, .1]))
    # a line, a point, a point again, and sides of negative length
    points = torch.tensor([[5., 5, 5, 20], [7, 7, 7, 7], [7, 7, 7, 7],
                           [30, 30, 10, 10], [0, 0, 40, 40], [0, 0, 40, 39]])
    found.update(
        degenerate_boxes=points,
        degenerate_scores=torch.tensor([.2, .8, .7, .9, .5, .6]))
    found.update(empty_boxes=torch.zeros(0, 4), empty_scores=torch.zeros(0))
    return found


def roi_inputs() -> Dict[str, Tensor]:
    """Features (2, 3, 11, 14), RoIs (n, 5) and a cotangent to slice."""
    gen = torch.Generator().manual_seed(1)
    rois: List[list] = [
        [0, 0, 0, 10, 8],
        [1, 2.5, 1.25, 30.75, 20.5],  # leaves the map at scale 1
        [0, -6, -4, 5, 3],  # begins outside
        [1, 3, 3, 3, 3],  # a point
        [0, 4, 2, 4.25, 2.125],  # smaller than a cell
        [1, 100, 100, 120, 130],  # nowhere
        [1, 0, 0, 56, 44],
    ]
    return dict(
        features=torch.randn(2, 3, 11, 14, generator=gen),
        rois=torch.tensor(rois, dtype=torch.float32),
        cotangent=torch.randn(len(rois), 3, 5, 5, generator=gen))


def load() -> Dict[str, Tensor]:
    """Inputs and answers."""
    with np.load(PATH) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def record() -> None:
    """Ask torchvision."""
    from torchvision import ops
    found = {**nms_inputs(), **roi_inputs()}
    for name, thr in product(NMS_CASES, NMS_THRS):
        found[f'nms_{name}_{thr}'] = ops.nms(found[f'{name}_boxes'],
                                             found[f'{name}_scores'], thr)
    for case in ROI_CASES:
        features = found['features'].clone().requires_grad_()
        pooled = ops.roi_align(features, found['rois'], case.size, case.scale,
                               case.sampling_ratio, case.aligned)
        height, width = case.size
        pooled.backward(found['cotangent'][:, :, :height, :width])
        found[f'{case.key}_out'] = pooled.detach()
        found[f'{case.key}_grad'] = features.grad
    np.savez_compressed(
        PATH, **{
            name: value.numpy()
            for name, value in found.items()
        })


if __name__ == '__main__':
    record()
