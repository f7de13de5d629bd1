# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The three phases of training in small, each from the checkpoint before.

    PYTHONPATH=. python tests/three_phases.py WORK_DIR \
        --coco instances.json images/ --vis train.json JPEGImages/ \
        --iters 100 --weights data/mobilenet-v2_imagenet.pth

Any COCO and YouTube-VIS data will do, miniature copies included: images ->
the same images as two-frame videos -> videos, with the small models and the
shipped configs; then an evaluation on the videos.
"""
import argparse
import json
from pathlib import Path
from typing import Dict, Optional, Tuple

from mmengine.config import Config
from mmengine.runner import Runner

import refinevis_mm  # noqa: F401  makes mmdet importable on mmcv-lite

CONFIGS = Path(__file__).parents[1] / 'configs'
PHASES = ('maskdino/maskdino_mobilenet-v2_2xb2-5k_custom-coco.py',
          'refinevis/refinevis_mobilenet-v2_2xb2-5k_custom-coco-pseudo.py',
          'refinevis/refinevis_mobilenet-v2_2xb2-5k_custom-vis.py')


def phase_cfg(phase: int, work_dir: Path, coco: Tuple[str, str],
              vis: Tuple[str, str], iters: int, weights: Optional[str],
              options: dict) -> Config:
    """Config of a phase.

    Args:
        phase: 1, 2 or 3.
        work_dir: Folder of all phases.
        coco: Annotation file and image folder.
        vis: Annotation file and frame folder.
        iters: Iterations.
        weights: ImageNet weights of the backbone, None for random ones.
        options: Merged last.
    """
    cfg = Config.fromfile(str(CONFIGS / PHASES[phase - 1]))
    ann_file, folder = map(str, vis if phase == 3 else coco)
    loaders = [cfg.train_dataloader]
    if phase == 3:
        loaders += [cfg.val_dataloader, cfg.test_dataloader]
        cfg.val_evaluator.ann_file = cfg.test_evaluator.ann_file = ann_file
    for loader in loaders:
        prefix = 'img' if phase == 1 else 'img_path'
        loader.num_workers = 0
        loader.dataset.update(
            data_root='', ann_file=ann_file, data_prefix={prefix: folder})
    num_classes = _num_classes(cfg, ann_file, phase)
    frame_model = cfg.model.frame_model
    for part in (frame_model.head, frame_model.dn_query_generator):
        part.num_classes = num_classes
    if phase < 3:  # nothing to validate on
        for name in ('val', 'test'):
            for key in ('dataloader', 'evaluator', 'cfg'):
                cfg[f'{name}_{key}'] = None
        cfg.default_hooks.checkpoint.save_best = None
    backbone = (cfg.model if phase == 1 else cfg.model.frame_model).backbone
    backbone.init_cfg = dict(
        type='Pretrained',
        checkpoint=weights) if weights and phase == 1 else None
    cfg.train_cfg.update(max_iters=iters, val_interval=iters + 1)
    cfg.param_scheduler[1].end = max(iters, 101)
    cfg.default_hooks.checkpoint.interval = iters
    cfg.default_hooks.logger.interval = 10
    cfg.load_from = str(checkpoint(work_dir, phase -
                                   1, iters)) if phase > 1 else None
    cfg.work_dir = str(work_dir / f'phase{phase}')
    cfg.experiment_name = f'{work_dir.name}_phase{phase}'
    cfg.merge_from_dict(options)
    return cfg


def checkpoint(work_dir: Path, phase: int, iters: int) -> Path:
    """File that a phase ends with."""
    return Path(work_dir) / f'phase{phase}' / f'iter_{iters}.pth'


def run_phases(work_dir: Path,
               coco: Tuple[str, str],
               vis: Tuple[str, str],
               iters: int,
               weights: Optional[str] = None,
               options: Optional[dict] = None) -> Dict[str, float]:
    """Train the three phases and evaluate.

    Args:
        work_dir: Folder for logs and checkpoints.
        coco: Annotation file and image folder.
        vis: Annotation file and frame folder.
        iters: Iterations of each phase.
        weights: ImageNet weights of the backbone.
        options: Merged into the config of each phase.

    Returns:
        dict: The metrics on the videos trained with.
    """
    for phase in (1, 2, 3):
        cfg = phase_cfg(phase, work_dir, coco, vis, iters, weights, options
                        or {})
        runner = Runner.from_cfg(cfg)
        runner.train()
    return runner.val_loop.run()


def _num_classes(cfg: Config, ann_file: str, phase: int) -> int:
    """Number of classes of a phase."""
    classes = cfg.train_dataloader.dataset.get('metainfo', {}).get('classes')
    if classes is None and phase < 3:
        return 80
    if classes is None:
        classes = json.loads(Path(ann_file).read_text())['categories']
    return len(classes)


def main() -> None:
    """Run the phases from the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dir', type=Path)
    names = ('ANN_FILE', 'FOLDER')
    parser.add_argument('--coco', nargs=2, required=True, metavar=names)
    parser.add_argument('--vis', nargs=2, required=True, metavar=names)
    parser.add_argument('--iters', type=int, default=20)
    parser.add_argument('--weights')
    args = parser.parse_args()
    print(
        run_phases(args.work_dir, args.coco, args.vis, args.iters,
                   args.weights))


if __name__ == '__main__':
    main()
