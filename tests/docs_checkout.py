# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the reader of the documentation has: a checkout with tiny data."""
import json
import shutil
from functools import partial
from pathlib import Path
from typing import Dict

import cv2
import numpy as np
import torch
from mmdet.datasets import CocoDataset
from mmdet.models.backbones import MobileNetV2
from mmengine.config import Config

from refinevis_mm.apis.inference import find_config
from refinevis_mm.apis.video_config import as_video_config
from refinevis_mm.models.backbones import EfficientNetLite
from refinevis_mm.registry import MODELS
from refinevis_mm.vis_json import PRESETS
from refinevis_mm.zoo import find_entry
from tests.official_weights import official_maskdino
from tests.tiny_coco import write_coco, write_vis
from tests.tiny_everyday import write_source
from tests.tiny_files import random_frames

ROOT = Path(__file__).parents[1]
LINKED = ('Makefile', 'README.md', 'checkpoints', 'demo', 'docs',
          'model-index.yml', 'refinevis_mm', 'requirements', 'setup.py',
          'tests', 'tools')
COCO = CocoDataset.METAINFO['classes']
LENGTH = 6  # frames of a tiny video
BACKBONES = {
    'mobilenet-v2': partial(MobileNetV2, out_indices=(1, 2, 4, 7)),
    'efficientnet-lite0': EfficientNetLite
}
MASKDINO = 'configs/maskdino/maskdino_mobilenet-v2_2xb2-5k_custom-coco.py'


def make_checkout(folder: Path) -> Path:
    """A user's checkout: the repository, with tiny data in ``data``."""
    root = folder / 'checkout'
    root.mkdir(parents=True)
    for name in LINKED:
        (root / name).symlink_to(ROOT / name)
    # not a link: the documentation adds configs
    shutil.copytree(ROOT / 'configs', root / 'configs')
    return root


def make_data(root: Path) -> None:
    """The data sets of the documentation, in miniature."""
    data = root / 'data'
    for split in ('train', 'valid'):
        annotated = split == 'train'
        _vis(data / 'youtube_vis_2019', f'{split}.json', f'{split}/JPEGImages',
             PRESETS['youtube_vis_2019'], annotated)
        _vis(data / 'youtube_vis_2021', f'{split}/instances.json',
             f'{split}/JPEGImages', PRESETS['youtube_vis_2021'], annotated)
        _vis(data / 'ovis', f'annotations_{split}.json', split,
             PRESETS['ovis'], annotated)
        _vis(data / 'my_videos', f'{split}.json', f'{split}/JPEGImages',
             ('cat', 'dog', 'owl'))
        _vis(data / 'custom_vis', f'{split}.json', f'{split}/JPEGImages',
             PRESETS['youtube_vis_2019'][:7])
        write_coco(
            data / 'coco' / 'annotations' /
            f'instances_{"val" if split == "valid" else split}2017.json',
            data / 'coco' / f'{"val" if split == "valid" else split}2017',
            COCO)
        write_coco(data / 'custom_coco' / f'{split}.json',
                   data / 'custom_coco' / split, COCO)
    _vis(data / 'youtube_vis_2022', 'valid/instances.json', 'valid/JPEGImages',
         PRESETS['youtube_vis_2022'], False)
    _vis(data / 'ovis', 'validGT.json', 'valid', PRESETS['ovis'])
    _write_masks(data)
    write_source(root / 'my_sources')
    for name in ('street', 'left', 'right'):
        write_video(root / f'{name}.mp4')
    frames = root / 'frames'
    frames.mkdir()
    for index, image in enumerate(random_frames(LENGTH)):
        cv2.imwrite(str(frames / f'{index:05d}.jpg'), image)
    cv2.imwrite(str(root / 'image.jpg'), image)


def write_video(path: Path, length: int = LENGTH) -> None:
    """A video of 80 x 60 pixels at 10 frames per second."""
    writer = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'mp4v'), 10, (80, 60))
    for image in random_frames(length):
        writer.write(image)
    writer.release()


def write_clip(path: Path) -> None:
    """A tiny video in a folder."""
    path.parent.mkdir(exist_ok=True)
    write_video(path)


def write_backbone(path: Path) -> None:
    """What ``make data/<backbone>_imagenet.pth`` makes, random."""
    torch.manual_seed(0)
    model = BACKBONES[path.name.removesuffix('_imagenet.pth')]()
    torch.save(dict(state_dict=model.state_dict()), str(path))


def write_maskdino(path: Path) -> None:
    """Weights of the small MaskDINO, random."""
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(str(ROOT / MASKDINO)).model)
    meta = dict(dataset_meta=dict(classes=COCO))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), str(path))


def write_tracked(config: str, path: Path) -> None:
    """Weights of an image model that is followed, random."""
    torch.manual_seed(0)
    cfg = as_video_config(Config.fromfile(find_config(config)))
    cfg.merge_from_dict({})  # as small as where it is loaded
    meta = dict(dataset_meta=dict(classes=COCO))
    state_dict = MODELS.build(cfg.model).state_dict()
    for name, value in state_dict.items():
        if name.endswith('cls.bias'):  # so that few objects are found
            value.fill_(-3)
    torch.save(dict(state_dict=state_dict, meta=meta), str(path))


def write_named(cache: Path, name: str) -> None:
    """What is in the cache after the weights of a name were fetched."""
    entry = find_entry(name)
    cache.mkdir(parents=True, exist_ok=True)
    write_tracked(entry.config, cache / entry.file_name)


def write_class_names(path: Path) -> None:
    """Names of the values of a label map; 0 is no class."""
    path.write_text('\nbear\ncub\n')


def write_official(path: Path) -> None:
    """A checkpoint under the names of the official MaskDINO, random."""
    torch.save(
        dict(model=dict(official_maskdino(num_classes=80, dec_layers=9))),
        str(path))


def _vis(folder: Path,
         ann_file: str,
         frames: str,
         classes: tuple,
         annotated: bool = True) -> None:
    """A data set in YouTube-VIS form; official ones may have no labels."""
    write_vis(folder / ann_file, folder / frames, classes, LENGTH)
    if not annotated:
        content: Dict = json.loads((folder / ann_file).read_text())
        content['annotations'] = None
        (folder / ann_file).write_text(json.dumps(content))


def _write_masks(data: Path) -> None:
    """Frames with id maps, as painted by hand or as DAVIS has them."""
    for video in ('bear', 'camel'):
        frames = data / 'raw' / 'frames' / video
        maps = data / 'raw' / 'maps' / video
        frames.mkdir(parents=True)
        maps.mkdir(parents=True)
        for index, image in enumerate(random_frames(LENGTH)):
            cv2.imwrite(str(frames / f'{index:05d}.jpg'), image)
            ids = np.zeros(image.shape[:2], np.uint8)
            ids[10:40, 10 + index:40 + index] = 1
            ids[20:50, 50:75] = 2
            cv2.imwrite(str(maps / f'{index:05d}.png'), ids)
