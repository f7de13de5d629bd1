# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Videos of one moving rectangle each."""
from pathlib import Path

import cv2
import numpy as np

from refinevis_mm.vis_json import VISJsonWriter

COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
GREY = (128, 128, 128)
CATEGORIES = [dict(id=5, name='box'), dict(id=8, name='bar')]


def write_rectangles(root: Path, with_rest: bool = False) -> None:
    """Write four videos of five frames, ``train.json`` and their frames.

    Each has a rectangle of a colour of its own on grey ground.

    Args:
        root: Folder to be written to.
        with_rest: Whether each video has a crowd that covers the ground.
    """
    with VISJsonWriter(str(root / 'train.json'), CATEGORIES, 'test') as writer:
        for i, color in enumerate(COLORS):
            height, width = (48, 64) if i < 3 else (60, 50)
            names, masks = [], []
            for t in range(5):
                frame = np.full((height, width, 3), GREY, np.uint8)
                mask = np.zeros((height, width), bool)
                if (i, t) != (1, 2):  # absent once
                    mask[10 + t:30 + t, 8 + 2 * t:30 + 2 * t] = True
                frame[mask] = color
                names.append(f'{i}_{t}.png')
                cv2.imwrite(str(root / names[-1]), frame)
                masks.append(mask)
            video_id = writer.add_video(names, height, width)
            writer.add_annotation(video_id, CATEGORIES[i % 2]['id'], masks)
            if with_rest:
                writer.add_annotation(
                    video_id,
                    CATEGORIES[1]['id'], [~mask for mask in masks],
                    iscrowd=1)
