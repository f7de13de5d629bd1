# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Draw what the loss sees: clips after the training pipeline.

One picture a clip: its frames side by side as they are after all transforms,
with the masks, boxes, ids and classes of the ground truth. An object keeps
its colour through the clip; ignored ones (crowds) are marked. Works for
images, too.

Example:
    python tools/analysis_tools/browse_dataset.py CONFIG --out-dir clips \\
        --number 20 --seed 0
"""
import argparse
import os
import os.path as osp
import random
from typing import Any, List, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmdet.structures import TrackDataSample
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmengine.utils import track_iter_progress

from refinevis_mm.registry import DATASETS
from refinevis_mm.utils import one_line_errors
from refinevis_mm.visualization.vis_overlay import (display_scale,
                                                    draw_instances,
                                                    instance_color)

GAP = 4  # pixels between frames
IGNORED = (160, 160, 160)  # BGR of boxes that no loss sees
DATALOADERS = dict(
    train='train_dataloader', val='val_dataloader', test='test_dataloader')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Draw what the loss sees')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--out-dir', default='clips', help='folder to write (default: clips)')
    parser.add_argument(
        '--split',
        choices=list(DATALOADERS),
        default='train',
        help='whose data set and pipeline (default: train)')
    parser.add_argument(
        '--number', type=int, default=20, help='of clips (default: 20)')
    parser.add_argument(
        '--seed', type=int, default=0, help='random seed (default: 0)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, as key=value pairs')
    args = parser.parse_args(argv)
    if args.number < 1:
        parser.error(f'--number must be at least 1, got {args.number}')
    return args


def seed_all(seed: int) -> None:
    """Make the transforms repeatable.

    Args:
        seed (int): For all random generators that transforms use.
    """
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def split_frames(packed: dict) -> List[Tuple[np.ndarray, Any]]:
    """Frames of a packed clip or image.

    Args:
        packed (dict): What a data set returns: ``inputs`` (T, 3, H, W) or
            (3, H, W) and ``data_samples``.

    Returns:
        list[tuple[np.ndarray, DetDataSample]]: T images (H, W, 3), BGR
        uint8, and their annotations.
    """
    inputs, data_sample = packed['inputs'], packed['data_samples']
    if isinstance(data_sample, TrackDataSample):
        samples = list(data_sample.video_data_samples)
    else:
        inputs, samples = inputs[None], [data_sample]
    images = inputs.numpy().transpose(0, 2, 3, 1)
    return list(zip(np.ascontiguousarray(images), samples))


def draw_frame(image: np.ndarray, sample: Any, classes: Sequence[str],
               title: str) -> np.ndarray:
    """Draw the annotations of a frame.

    Args:
        image (np.ndarray): (H, W, 3), BGR uint8.
        sample (DetDataSample): Its annotations.
        classes (Sequence[str]): Class names by label.
        title (str): Written above the frame.

    Returns:
        np.ndarray: The drawing, BGR uint8.
    """
    scale = display_scale(*image.shape[:2])
    masks, ids, texts, boxes, colors = [], [], [], [], []
    for key in ('gt_instances', 'ignored_instances'):
        instances = sample.get(key)
        for row in range(len(instances) if instances is not None else 0):
            number = int(instances.instances_ids[row]
                         ) if 'instances_ids' in instances else row
            name = classes[int(instances.labels[row])]
            ignored = key != 'gt_instances'
            boxes.append(_corners(instances.bboxes[row]) * scale)
            colors.append(IGNORED if ignored else instance_color(number))
            if 'masks' in instances:
                masks.append(instances.masks[row].to_ndarray()[0].astype(bool))
                ids.append(number)
                texts.append(f'{number} {name}' +
                             (' ignored' if ignored else ''))
    canvas = draw_instances(
        image,
        np.array(masks).reshape(-1, *image.shape[:2]),
        ids,
        texts,
        scale=scale)
    for box, color in zip(boxes, colors):
        x1, y1, x2, y2 = box.round().astype(int).tolist()
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), color, 1)
    strip = np.full((22, canvas.shape[1], 3), 255, np.uint8)
    cv2.putText(strip, title, (4, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5,
                (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, canvas])


def draw_clip(packed: dict, classes: Sequence[str]) -> np.ndarray:
    """Frames of a clip side by side.

    Args:
        packed (dict): What a data set returns.
        classes (Sequence[str]): Class names by label.

    Returns:
        np.ndarray: The drawing, BGR uint8.
    """
    drawn = []
    for image, sample in split_frames(packed):
        height, width = image.shape[:2]
        title = (f'{osp.basename(sample.get("img_path", ""))}  '
                 f'{width} x {height}  {len(sample.gt_instances)} objects')
        if sample.get('frame_id') is not None:
            title = f'frame {sample.frame_id}  {title}'
        drawn += [
            draw_frame(image, sample, classes, title),
            np.full((1, GAP, 3), 255, np.uint8)
        ]
    height = max(part.shape[0] for part in drawn)
    return np.concatenate([
        cv2.copyMakeBorder(
            part,
            0,
            height - part.shape[0],
            0,
            0,
            cv2.BORDER_CONSTANT,
            value=(255, 255, 255)) for part in drawn[:-1]
    ], 1)


def _corners(box: Any) -> np.ndarray:
    """A box of any type -> (x1, y1, x2, y2)."""
    return torch.as_tensor(getattr(box, 'tensor', box)).reshape(4).numpy()


@one_line_errors
def main() -> None:
    """Draw what the loss sees."""
    args = parse_args()
    cfg = Config.fromfile(args.config)
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    init_default_scope(cfg.get('default_scope', 'mmdet'))
    dataset = DATASETS.build(cfg[DATALOADERS[args.split]].dataset)
    classes = dataset.metainfo['classes']
    os.makedirs(args.out_dir, exist_ok=True)
    order = np.random.default_rng(args.seed).permutation(len(dataset))
    numbers = order[np.arange(args.number) % len(dataset)].tolist()
    for clip, index in enumerate(track_iter_progress(numbers)):
        seed_all(args.seed + clip)
        path = osp.join(args.out_dir, f'{clip:04d}.jpg')
        if not cv2.imwrite(path, draw_clip(dataset[index], classes)):
            raise OSError(f"cannot write '{path}'")
    print(f'\n{args.number} clips written to {args.out_dir}')


if __name__ == '__main__':
    main()
