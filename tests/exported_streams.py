# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Streams of the shipped small model, by PyTorch and by others."""
from collections import deque

import numpy as np
import torch
from pycocotools import mask as mask_utils

from refinevis_mm.apis import Session
from refinevis_mm.datasets.occluded_shapes import OccludedShapesGenerator

NAME = 'refinevis-small_occluded-shapes'
VIEWS = ('frame_level', 'online', 'offline')
# Pixels whose logits are 0 but for rounding.
MAX_PIXELS = 2


def shapes_frames(num_frames: int = 24) -> list:
    """Frames of a video as ``make_occluded_shapes.py`` makes them."""
    generator = OccludedShapesGenerator(num_frames=(num_frames, num_frames))
    return generator.generate([100000]).frames


def run(model, frames) -> list:
    """All views of all frames."""
    return list(Session(model, VIEWS).stream(frames))


def run_in_two(first, second, frames, cut: int) -> list:
    """The same with a state that goes from one model to another."""
    session = Session(first, VIEWS)
    results = deque()
    for frame in frames[:cut]:
        results += session.step(frame)
    state = session.state_dict()
    session = Session(second, VIEWS)
    session.load_state_dict(state)
    return list(results) + list(session.stream(frames[cut:]))


def assert_equal_streams(found, wanted) -> None:
    """Ids and labels equal, scores within 1e-4, masks but for rounding."""
    assert len(found) == len(wanted) > 0
    num_objects = 0
    for ours, theirs in zip(found, wanted):
        for view in VIEWS:
            a, b = ours.views[view], theirs.views[view]
            assert (a.ids, a.labels, a.detected) == (b.ids, b.labels,
                                                     b.detected)
            np.testing.assert_allclose(a.cls_scores, b.cls_scores, atol=1e-4)
            num_objects += len(a.ids)
            for mask, other in zip(a.masks, b.masks):
                assert (mask is None) == (other is None)
                if mask is not None:
                    differ = mask_utils.decode(mask) != mask_utils.decode(
                        other)
                    assert differ.sum() <= MAX_PIXELS
    assert num_objects > len(wanted)


@torch.no_grad()
def frame_outputs(model, frames) -> list:
    """Embeddings and logits of single frames."""
    session = Session(model)
    outputs = []
    for frame_id, frame in enumerate(frames):
        image, meta = session.preprocess(frame, frame_id)
        outputs.append(
            model.frame_model.forward_frames(
                image[None], sizes=[meta['img_shape']]))
    return outputs
