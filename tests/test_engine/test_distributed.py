# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Two ranks are one process: losses, gradients, results, resuming, deaths."""
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from torch import Tensor

from refinevis_mm.compat.checkpoints import read_checkpoint
from refinevis_mm.registry import MODELS
from tests.demo_clips import demo_clip, tiny_model_cfg
from tests.training_checks import total_loss

ROOT = Path(__file__).parents[2]
WEIGHTS = 'checkpoints/refinevis_mobilenet-v2_occluded-shapes.pth'
SMALL = 'configs/refinevis/refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py'

needs_no_gpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason='two ranks over gloo')

# --- losses and gradients


def _clips(num_objects):
    """A clip of two objects and one of this many.

    There is an object for each rank: like DETR's, the losses of fewer are
    divided by the number of ranks.
    """
    boxes = [[(50, 30, 80, 60), (4, 4, 20, 30)],
             [(46, 30, 76, 60), (4, 8, 20, 34)]]
    return [
        demo_clip([frame[:count] for frame in boxes],
                  ids=[4, 7][:count],
                  labels=[2, 5][:count]) for count in (2, num_objects)
    ]


def _fixed_numbers(shape, *rest, device=None, **kwargs) -> Tensor:
    """Random numbers that rows of a batch have in common."""
    shape = shape if isinstance(shape,
                                (tuple, list, torch.Size)) else (shape, *rest)
    generator = torch.Generator().manual_seed(0)
    row = torch.empty(shape[1:]).uniform_(generator=generator)
    return row.expand(shape).clone()


def losses_and_gradients(rows, num_objects, wrap=lambda model: model):
    """Of some of two clips, without denoising queries, which are random."""
    torch.manual_seed(0)
    cfg = Config.fromfile(SMALL).model
    cfg.frame_model.backbone.init_cfg = None
    cfg.frame_model.dn_query_generator = None
    cfg.association_cdn = cfg.temporal_cdn = None
    cfg.tracklet_builder = dict(
        type='refinevis_mm.MatchedTrackletBuilder', score_thr=0., iou_thr=0.)
    model = MODELS.build(cfg)
    load_checkpoint(model, WEIGHTS, 'cpu')
    for module in model.modules():  # statistics of a batch differ by rank
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    images = torch.randn(2, 2, 3, 64, 96)[rows]
    samples = [_clips(num_objects)[row] for row in rows]
    wrapped = wrap(model)  # lives until the backward pass
    original, torch.rand = torch.rand, _fixed_numbers
    try:
        losses = wrapped(images, samples, mode='loss')
    finally:
        torch.rand = original
    # association losses are means over the anchors of a rank
    trained = {
        name: loss * (not name.startswith('loss_assoc'))
        for name, loss in losses.items()
    }
    total_loss(trained).backward()
    grads = {
        name: param.grad
        for name, param in model.named_parameters() if param.grad is not None
    }
    return {name: value.detach() for name, value in losses.items()}, grads


def _save_rank(rank, store, num_objects, out):
    """Run one of two ranks, with the clip of its number."""
    torch.set_num_threads(1)
    dist.init_process_group('gloo', f'file://{store}', rank=rank, world_size=2)
    wrap = torch.nn.parallel.DistributedDataParallel
    torch.save(
        losses_and_gradients([rank], num_objects, wrap), f'{out}.{rank}')
    dist.destroy_process_group()


@pytest.mark.slow
@needs_no_gpu
@pytest.mark.parametrize('num_objects', [2, 1, 0])
def test_losses_and_gradients(num_objects, tmp_path):
    context = multiprocessing.get_context('fork')
    args = (tmp_path / 'store', num_objects, tmp_path / 'out')
    ranks = [
        context.Process(target=_save_rank, args=(rank, *args))
        for rank in range(2)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(timeout=120)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    losses, grads = losses_and_gradients([0, 1], num_objects)
    found = [torch.load(tmp_path / f'out.{rank}') for rank in range(2)]
    for name, value in losses.items():
        mean = sum(rank_losses[name] for rank_losses, _ in found) / 2
        if name.startswith('loss_assoc'):
            continue
        torch.testing.assert_close(mean, value)
    largest = max(grad.abs().max() for grad in grads.values())
    for rank_losses, rank_grads in found:
        assert rank_losses.keys() == losses.keys()
        assert rank_grads.keys() == grads.keys()
        for name, grad in grads.items():
            torch.testing.assert_close(
                rank_grads[name],
                grad,
                rtol=1e-3,
                atol=1e-5 * largest,
                msg=name)


# --- the tools on two ranks; validation has one video

KILLED = '''
import os
import signal

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillRank(Hook):
    """Kills the second rank in the second iteration."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if get_rank() == 1 and runner.iter == 1:
            os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two clips to train on, one to validate, and a tiny config."""
    folder = tmp_path_factory.mktemp('two_ranks')
    done = _run(folder, 'dataset_converters/make_occluded_shapes.py', 'shapes',
                '--split', 'train:2:0', '--split', 'valid:1:7', '--frames',
                '20', '20', '--size', '64', '96')
    assert done.returncode == 0, done.stderr
    cfg = Config.fromfile(SMALL)
    for loader in (cfg.train_dataloader, cfg.val_dataloader,
                   cfg.test_dataloader):
        loader.dataset.data_root = 'shapes/'
    for evaluator in (cfg.val_evaluator, cfg.test_evaluator):
        evaluator.ann_file = 'shapes/valid.json'
        evaluator.outfile_prefix = 'results'
    cfg.dump(folder / 'shipped.py')
    cfg.model = tiny_model_cfg()
    cfg.train_dataloader.batch_size = 1
    cfg.train_cfg.update(max_iters=4, val_interval=2)
    cfg.default_hooks.checkpoint.update(
        interval=2, save_best=None, max_keep_ckpts=-1)
    cfg.dump(folder / 'tiny.py')
    (folder / 'kill_rank.py').write_text(KILLED)
    cfg.custom_imports.imports.append('kill_rank')
    cfg.custom_hooks = [dict(type='KillRank')]
    cfg.dump(folder / 'killed.py')
    return folder


def _run(folder, tool, *args):
    """Run a tool in a folder and return the finished process."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    env = dict(
        os.environ, OMP_NUM_THREADS='1', PYTHON=sys.executable, PORT=port)
    env['PYTHONPATH'] = os.pathsep.join([str(folder), str(ROOT)])
    env.pop('LOCAL_RANK', None)
    command = [str(ROOT / 'tools' / tool), *args]
    if tool.endswith('.py'):
        command = [sys.executable, *command]
    return subprocess.run(
        command,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=200)


def _weights(folder, name):
    return read_checkpoint(str(folder / name))['state_dict']


@pytest.fixture(scope='module')
def trained(folder):
    """The folder with four iterations in ``whole``."""
    done = _run(folder, 'dist_train.sh', 'tiny.py', '2', '--work-dir', 'whole')
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@needs_no_gpu
def test_resumed_run_equals_an_uninterrupted_one(trained):
    done = _run(trained, 'dist_train.sh', 'tiny.py', '2', '--work-dir', 'rest',
                '--resume', 'whole/iter_2.pth')
    assert done.returncode == 0, done.stderr
    half, whole, rest = (
        _weights(trained, name)
        for name in ('whole/iter_2.pth', 'whole/iter_4.pth',
                     'rest/iter_4.pth'))
    assert any(not torch.equal(whole[key], half[key]) for key in whole)
    assert [key for key in whole if not torch.equal(whole[key], rest[key])] \
        == []


@pytest.mark.slow
@needs_no_gpu
def test_results_of_more_ranks_than_videos(folder):
    results = []
    for tool, ranks in (('dist_test.sh', ['2']), ('test.py', [])):
        done = _run(folder, tool, 'shipped.py', str(ROOT / WEIGHTS), *ranks,
                    '--work-dir', 'tested')
        assert done.returncode == 0, done.stderr
        results.append((folder / 'results.json').read_text())
        (folder / 'results.json').unlink()
    assert len(json.loads(results[0])) > 0
    assert results[0] == results[1]


@pytest.mark.slow
@needs_no_gpu
def test_a_killed_rank_ends_the_others(folder):
    start = time.monotonic()
    done = _run(folder, 'dist_train.sh', 'killed.py', '2', '--work-dir',
                'killed')
    assert done.returncode != 0
    assert time.monotonic() - start < 60
    assert 'Signal 9 (SIGKILL)' in done.stderr
