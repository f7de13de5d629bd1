# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The evaluator against mmdet's copy of the official one."""
import json

import numpy as np
import pytest
from mmdet.evaluation.functional import YTVIS, YTVISeval
from pycocotools import mask as mask_utils

from refinevis_mm.evaluation import evaluate_vis


def _random_videos(seed, categories):
    """Annotations and results with gaps, crowds and several classes."""
    rng = np.random.default_rng(seed)

    def tube(base, length):
        frames = []
        for t in range(length):
            if rng.random() < 0.25:
                frames.append(None)
                continue
            top, left = base + rng.integers(-2, 3, 2)
            pixels = np.zeros((24, 32), np.uint8, order='F')
            pixels[max(top, 0):top + 9, max(left, 0):left + 11] = 1
            rle = mask_utils.encode(pixels)
            frames.append(dict(size=[24, 32], counts=rle['counts'].decode()))
        if not any(frames):
            return tube(base, length)
        return frames

    videos, anns, rows = [], [], []
    for video_id in (5, 2, 9):
        length = int(rng.integers(1, 6))
        videos.append(dict(id=video_id, width=32, height=24, length=length))
        for _ in range(int(rng.integers(1, 5))):
            base = rng.integers(0, 16, 2)
            category = int(rng.choice(categories))
            masks = tube(base, length)
            anns.append(
                dict(
                    id=len(anns) + 1,
                    video_id=video_id,
                    category_id=category,
                    iscrowd=int(rng.random() < 0.1),
                    segmentations=masks,
                    areas=[m and float(mask_utils.area(m)) for m in masks]))
            result = tube(base, length)
            # the same tracklet for two classes, as IDOL reports it
            for name in {category, int(rng.choice(categories))}:
                rows.append(
                    dict(
                        video_id=video_id,
                        category_id=name,
                        score=float(rng.random()),
                        segmentations=result))
    names = [dict(id=i, name=f'class {i}') for i in categories]
    return dict(videos=videos, annotations=anns, categories=names), rows


@pytest.mark.parametrize('seed', range(6))
def test_random_videos(seed, tmp_path, monkeypatch):
    # the copy asks for an old numpy
    monkeypatch.setattr(np, 'float', float, raising=False)
    linspace = np.linspace
    monkeypatch.setattr(
        np, 'linspace', lambda start, stop, num, **kwargs: linspace(
            start, stop, int(num), **kwargs))
    gt, rows = _random_videos(seed, [3, 1, 8])
    path = tmp_path / 'gt.json'
    path.write_text(json.dumps(gt))
    official = YTVISeval(YTVIS(str(path)), YTVIS(str(path)).loadRes(rows))
    official.evaluate()
    official.accumulate()
    ours = evaluate_vis(gt, rows, return_arrays=True)
    for name in ('precision', 'recall'):
        np.testing.assert_allclose(ours[name], official.eval[name], atol=1e-12)
    assert ours['AP'] > 0
