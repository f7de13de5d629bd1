# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Runners with a model of known masks, whose pictures are read back."""
import json
import multiprocessing
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import cv2
import numpy as np
import pytest
import torch
import torch.distributed as torch_dist
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from pycocotools import mask as mask_utils

from refinevis_mm.engine.hooks.vis_visualization_hook import (
    VISVisualizationHook, best_tracklets)
from refinevis_mm.visualization import instance_color
from refinevis_mm.visualization.vis_track_visualizer import VISTrackVisualizer
from tests.demo_clips import tiny_model_cfg

HEIGHT, WIDTH, LENGTH = 48, 64, 5
GRAY = 100
VIDEO_IDS = (5, 2, 9)  # the last one has no annotations
TRUE_BOX, FOUND_BOX = (10, 10, 26, 30), (34, 10, 58, 30)  # x1, y1, x2, y2
MISSED = 2  # frame in which nothing is predicted
FOUND_ID = 4
CENTRES = dict(true=(18, 20), found=(46, 20))  # x, y of the boxes' middles
# where draw_panels puts the first panel, and what lies between panels
LEFT, TOP, GAP = 8, 52, 8


def _rle(box):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8, order='F')
    x1, y1, x2, y2 = box
    mask[y1:y2, x1:x2] = 1
    rle = mask_utils.encode(mask)
    return dict(size=[HEIGHT, WIDTH], counts=rle['counts'].decode())


def _tinted(instance_id):
    """BGR of a mask over gray."""
    color = np.array(instance_color(instance_id))
    return np.round(0.55 * GRAY + 0.45 * color)


class _KnownModel(BaseModel):
    """Predicts one object in all videos, or none in those of ``empty``."""

    def __init__(self, empty=()):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.empty = empty

    def forward(self, inputs, data_samples=None, mode='tensor'):
        if mode == 'loss':
            return dict(loss=self.weight.sum())
        sample, = data_samples
        meta = sample[0].metainfo
        if meta['frame_id'] == LENGTH - 1:
            masks = [_rle(FOUND_BOX)] * LENGTH
            masks[MISSED] = None
            rows = [(FOUND_ID, 0, 0.4), (FOUND_ID, 1, 0.8), (7, 0, 0.2)]
            sample.set_metainfo(
                dict(
                    video_id=meta['video_id'],
                    pred_tracklets=[
                        dict(
                            instances_id=instance_id,
                            label=label,
                            score=score,
                            segmentations=masks)
                        for instance_id, label, score in rows
                        if meta['video_id'] not in self.empty
                    ]))
        return [sample]


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Three gray videos in YouTube-VIS form."""
    root = tmp_path_factory.mktemp('videos')
    videos, annotations = [], []
    for video_id in VIDEO_IDS:
        names = [f'{video_id}/{t:05d}.png' for t in range(LENGTH)]
        (root / str(video_id)).mkdir()
        for name in names:
            image = np.full((HEIGHT, WIDTH, 3), GRAY, np.uint8)
            cv2.imwrite(str(root / name), image)
        videos.append(
            dict(
                id=video_id,
                file_names=names,
                height=HEIGHT,
                width=WIDTH,
                length=LENGTH))
        if video_id == 9:
            continue
        x1, y1, x2, y2 = TRUE_BOX
        annotations.append(
            dict(
                id=video_id,
                video_id=video_id,
                category_id=2,
                iscrowd=0,
                areas=[(x2 - x1) * (y2 - y1)] * LENGTH,
                bboxes=[[x1, y1, x2 - x1, y2 - y1]] * LENGTH,
                segmentations=[_rle(TRUE_BOX)] * LENGTH))
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
    content = dict(
        videos=videos, annotations=annotations, categories=categories)
    (root / 'valid.json').write_text(json.dumps(content))
    return root


def _loader(root):
    frame = [
        dict(type='refinevis_mm.LoadFrame'),
        dict(type='Resize', scale=(96, 72), keep_ratio=True)
    ]
    return dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='refinevis_mm.WholeVideoSampler'),
        dataset=dict(
            type='refinevis_mm.VISDataset',
            data_root=str(root),
            ann_file='valid.json',
            data_prefix=dict(img_path=''),
            test_mode=True,
            pipeline=[
                dict(type='TransformBroadcaster', transforms=frame),
                dict(type='PackTrackInputs')
            ]))


def _runner(root, work_dir, backends=('LocalVisBackend', ), **options):
    """A runner that trains two iterations and validates after each."""
    hook = dict(type='VISVisualizationHook', num_videos=3)
    hook.update(options.pop('hook', {}))
    model = _KnownModel(empty=options.pop('empty', ()))
    options.setdefault(
        'evaluator',
        dict(
            type='refinevis_mm.VISMetric',
            ann_file=str(root / 'valid.json'),
            collect_dir=str(work_dir / 'parts')))
    evaluator = options.pop('evaluator')
    return Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=torch.utils.data.DataLoader(
            [dict(inputs=torch.zeros(1))] * 2, collate_fn=pseudo_collate),
        val_dataloader=_loader(root),
        test_dataloader=_loader(root),
        train_cfg=dict(by_epoch=False, max_iters=2, val_interval=1),
        val_cfg=dict(),
        test_cfg=dict(),
        val_evaluator=evaluator,
        test_evaluator=evaluator,
        optim_wrapper=OptimWrapper(
            torch.optim.SGD(model.parameters(), lr=0.1)),
        custom_hooks=[dict(hook, type=f'refinevis_mm.{hook["type"]}')],
        default_hooks=dict(checkpoint=None),
        visualizer=dict(
            type='Visualizer',
            name=work_dir.name,
            vis_backends=[dict(type=name) for name in backends]),
        default_scope='mmdet',
        experiment_name=f'{work_dir.parent.name}_{work_dir.name}',
        **options)


def _frames(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == 'h264'
        assert float(stream.average_rate) == 6
        return [
            frame.to_ndarray(format='bgr24')
            for frame in container.decode(stream)
        ]


def _middle(picture, panel, box, scale, row=0):
    """Mean BGR colour around the middle of a box in one of the panels."""
    x, y = CENTRES[box]
    left = LEFT + panel * (WIDTH * scale + GAP) + x * scale
    top = TOP + row * (HEIGHT * scale + TOP - 26 + GAP) + y * scale
    return picture[top - 4:top + 4, left - 4:left + 4].mean((0, 1))


class _Writer:
    """In the place of TensorBoard's SummaryWriter."""
    images = []

    def __init__(self, folder):
        self.folder = folder

    def add_image(self, name, image, step, dataformats):
        assert dataformats == 'HWC'
        self.images.append((name, step, image))

    def __getattr__(self, name):
        return lambda *args, **kwargs: None


@pytest.fixture(scope='module')
def trained(root, tmp_path_factory):
    """Folder of a training and what TensorBoard and W&B got."""
    with pytest.MonkeyPatch.context() as patch:
        tensorboard = ModuleType('torch.utils.tensorboard')
        tensorboard.SummaryWriter = _Writer
        patch.setitem(sys.modules, 'torch.utils.tensorboard', tensorboard)
        logged = []
        wandb = ModuleType('wandb')
        wandb.init = wandb.join = lambda **kwargs: None
        wandb.Image = lambda image: SimpleNamespace(image=image)
        wandb.log = lambda values, commit: logged.append(values)
        wandb.config = SimpleNamespace(update=lambda *args, **kwargs: None)
        wandb.run = SimpleNamespace(log_code=lambda name: None)
        patch.setitem(sys.modules, 'wandb', wandb)
        patch.setattr(_Writer, 'images', [])
        work_dir = tmp_path_factory.mktemp('work') / 'trained'
        runner = _runner(
            root,
            work_dir,
            backends=('LocalVisBackend', 'TensorboardVisBackend',
                      'WandbVisBackend'),
            empty=(2, ))
        runner.train()
        images = [(name, value.image) for values in logged
                  for name, value in values.items() if 'video' in name]
        return Path(runner.log_dir) / 'vis_data', list(_Writer.images), images


def test_films(trained):
    folder, _, _ = trained
    films = sorted(
        str(path.relative_to(folder / 'vis_video'))
        for path in folder.rglob('*.mp4'))
    assert films == [
        f'val_iter_{step}/video_{i}.mp4' for step in (1, 2) for i in (2, 5, 9)
    ]
    frames = _frames(folder / 'vis_video/val_iter_2/video_5.mp4')
    assert len(frames) == LENGTH
    # two panels of 640 x 480, margins, and two lines of text
    assert frames[0].shape == (2 * 26 + 480 + 8, 2 * 640 + 3 * 8, 3)
    for t, frame in enumerate(frames):
        close = dict(abs=6)  # the film is compressed
        assert _middle(frame, 0, 'true',
                       10) == pytest.approx(_tinted(1), **close)
        assert _middle(frame, 0, 'found', 10) == pytest.approx(GRAY, **close)
        assert _middle(frame, 1, 'true', 10) == pytest.approx(GRAY, **close)
        color = GRAY if t == MISSED else _tinted(FOUND_ID)
        assert _middle(frame, 1, 'found', 10) == pytest.approx(color, **close)


def test_video_without_predictions(trained):
    frames = _frames(trained[0] / 'vis_video/val_iter_1/video_2.mp4')
    assert len(frames) == LENGTH
    assert _middle(frames[0], 0, 'true', 10) == pytest.approx(
        _tinted(1), abs=6)
    assert _middle(frames[0], 1, 'found', 10) == pytest.approx(GRAY, abs=6)


def test_video_without_annotations(trained):
    frames = _frames(trained[0] / 'vis_video/val_iter_1/video_9.mp4')
    assert len(frames) == LENGTH
    assert frames[0].shape == (2 * 26 + 480 + 8, 640 + 2 * 8, 3)
    assert _middle(frames[0], 0, 'found', 10) == pytest.approx(
        _tinted(FOUND_ID), abs=6)


def test_pictures_of_all_backends(trained):
    folder, tensorboard, wandb = trained
    names = [f'val_video_{i}' for i in VIDEO_IDS]
    assert [row[:2] for row in tensorboard] == [(name, step) for step in (1, 2)
                                                for name in names]
    assert [name for name, _ in wandb] == 2 * names
    local = [
        cv2.imread(str(folder / 'vis_image' / f'{name}_{step}.png'))
        for step in (1, 2) for name in names
    ]
    for picture, (_, _, shown), (_, logged) in zip(local, tensorboard, wandb):
        assert shown.dtype == np.uint8
        assert np.array_equal(picture[..., ::-1], shown)
        assert np.array_equal(shown, logged)
    # five frames of 320 x 240 in two rows
    picture = local[0]
    assert picture.shape == (26 + 2 * (26 + 240 + 8), 8 + 5 * 328, 3)
    for t in range(LENGTH):
        assert _middle(picture, t, 'true', 5) == pytest.approx(
            _tinted(1), abs=1)
        color = GRAY if t == MISSED else _tinted(FOUND_ID)
        assert _middle(
            picture, t, 'found', 5, row=1) == pytest.approx(
                color, abs=1)


def test_test_and_clips(root, tmp_path):
    runner = _runner(
        root,
        tmp_path / 'tested',
        hook=dict(video_ids=[2], max_frames=3, strip_frames=9))
    runner.test()
    folder = Path(runner.log_dir) / 'vis_data'
    film, = folder.rglob('*.mp4')
    assert film == folder / 'vis_video/test_iter_0/video_2.mp4'
    assert len(_frames(film)) == 3
    picture = cv2.imread(str(folder / 'vis_image/test_video_2_0.png'))
    assert picture.shape[1] == 8 + 3 * 328


def test_every_second_validation(root, tmp_path):
    runner = _runner(
        root, tmp_path / 'some', hook=dict(num_videos=1, interval=2))
    runner.train()
    films = Path(runner.log_dir, 'vis_data/vis_video').rglob('*.mp4')
    assert [path.parent.name for path in films] == ['val_iter_1']


def _validate_rank(rank, root, work_dir):
    torch_dist.init_process_group(
        'gloo', f'file://{work_dir}/store', rank=rank, world_size=2)
    runner = _runner(root, work_dir / 'ranks')
    drawn = []
    runner.register_hook(_Seen(drawn), priority='VERY_LOW')
    runner.val()
    (work_dir / f'rank_{rank}').write_text(json.dumps(drawn))
    torch_dist.destroy_process_group()


class _Seen(Hook):
    """Keeps the ids of the videos that a rank has tested."""

    def __init__(self, seen):
        self.seen = seen

    def after_val_iter(self, runner, batch_idx, data_batch, outputs):
        if outputs[0].get('pred_tracklets') is not None:
            self.seen.append(outputs[0].get('video_id'))


def test_two_ranks(root, tmp_path):
    context = multiprocessing.get_context('fork')
    ranks = [
        context.Process(target=_validate_rank, args=(rank, root, tmp_path))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    seen = [json.loads((tmp_path / f'rank_{i}').read_text()) for i in (0, 1)]
    assert seen == [[5, 9], [2]]
    files = [path.name for path in (tmp_path / 'ranks').rglob('*video_*.*')]
    assert sorted(files) == sorted([f'video_{i}.mp4' for i in VIDEO_IDS] +
                                   [f'val_video_{i}_0.png' for i in VIDEO_IDS])


def test_refinevis(root, tmp_path):
    """The hook by its config, with RefineVIS and without training data."""
    cfg = tiny_model_cfg(
        **{
            'model.window': 3,
            'model.cls_thr': 0.,
            'model.frame_model.head.num_classes': 2,
            'model.frame_model.dn_query_generator.num_classes': 2
        })
    work_dir = tmp_path / 'refinevis'
    runner = Runner.from_cfg(
        Config(
            dict(
                model=cfg,
                work_dir=str(work_dir),
                train_dataloader=dict(
                    batch_size=1,
                    num_workers=0,
                    sampler=dict(type='DefaultSampler'),
                    dataset=dict(
                        type='refinevis_mm.VISDataset',
                        ann_file=str(root / 'none.json'))),
                train_cfg=dict(by_epoch=False, max_iters=1),
                optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
                val_dataloader=_loader(root),
                val_cfg=dict(),
                val_evaluator=dict(
                    type='refinevis_mm.VISMetric',
                    ann_file=str(root / 'valid.json')),
                default_hooks=dict(
                    visualization=dict(
                        type='refinevis_mm.VISVisualizationHook',
                        num_videos=1,
                        score_thr=0.)),
                visualizer=dict(
                    type='refinevis_mm.VISTrackVisualizer',
                    name='refinevis',
                    vis_backends=[dict(type='LocalVisBackend')]),
                experiment_name=tmp_path.name,
                default_scope='mmdet')))
    assert isinstance(runner.visualizer, VISTrackVisualizer)
    runner.val()
    folder = Path(runner.log_dir) / 'vis_data'
    assert len(_frames(folder / 'vis_video/val_iter_0/video_5.mp4')) == LENGTH
    assert (folder / 'vis_image/val_video_5_0.png').is_file()


def test_nothing_to_draw_is_said(root, tmp_path):
    runner = _runner(root, tmp_path / 'none', hook=dict(video_ids=[9]))
    hook = next(
        hook for hook in runner._hooks
        if isinstance(hook, VISVisualizationHook))
    hook.before_val(runner)
    hook.after_val(runner)
    log, = Path(runner.log_dir).glob('*.log')
    assert 'drew nothing: no video of [9]' in log.read_text()


def test_unknown_video_is_refused_before_training(root, tmp_path):
    runner = _runner(root, tmp_path / 'bad', hook=dict(video_ids=[5, 33]))
    with pytest.raises(ValueError, match='got the unknown id 33'):
        runner.train()
    assert runner.iter == 0


@pytest.mark.parametrize('options, message', [
    (dict(num_videos=0), 'num_videos must be a positive whole number, got 0'),
    (dict(interval=1.5), 'interval must be a positive whole number, got 1.5'),
    (dict(max_frames=-1), 'max_frames must be .* got -1'),
    (dict(strip_frames=0), 'strip_frames must be .* got 0'),
    (dict(score_thr=30), r'score_thr must lie in \[0, 1\], got 30'),
    (dict(fps=0), 'fps must be positive, got 0'),
    (dict(video_ids=[]), r'at least one id, got \[\]'),
    (dict(video_ids=5), 'at least one id, got 5'),
])
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        VISVisualizationHook(**options)


def test_best_tracklets():
    rows = [(3, 0, 0.4), (3, 1, 0.8), (1, 0, 0.3), (2, 0, 0.2), (3, 2, 0.5)]
    keys = ('instances_id', 'label', 'score')
    best = best_tracklets([dict(zip(keys, row)) for row in rows], 0.3)
    assert [tuple(row.values()) for row in best] == [(3, 1, 0.8), (1, 0, 0.3)]
