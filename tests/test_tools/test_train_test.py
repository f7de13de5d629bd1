# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The runner's tools on a model of one parameter, each in its own process."""
import os
import os.path as osp
import re
import runpy
import shutil
import socket
import subprocess
import sys

import pytest
import torch
from mmengine.fileio import load

from refinevis_mm.compat.checkpoints import read_checkpoint
from refinevis_mm.files import one_run

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))

needs_no_gpu = pytest.mark.skipif(
    torch.cuda.is_available(), reason='there is a GPU')

MODULE = '''
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch.utils.data import Dataset


@DATASETS.register_module()
class ToyNumbers(Dataset):
    metainfo = dict()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


@MODELS.register_module()
class ToyModel(BaseModel):
    def __init__(self, width=1):
        super().__init__()
        self.linear = torch.nn.Linear(1, width)

    def forward(self, inputs, mode='tensor'):
        out = self.linear(torch.stack(list(inputs)))
        if mode == 'loss':
            return dict(loss=((out - 1)**2).mean())
        return [dict(value=float(row.sum())) for row in out]


@METRICS.register_module()
class ToyCount(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        return dict(count=len(results))
'''

CONFIG = '''
custom_imports = dict(imports=['toy_module', 'refinevis_mm'])
default_scope = 'mmengine'
model = dict(type='ToyModel')
loader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='ToyNumbers'))
train_dataloader = val_dataloader = test_dataloader = loader
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
val_evaluator = test_evaluator = dict(type='ToyCount')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=0.01))
param_scheduler = dict(type='MultiStepLR', milestones=[1], gamma=0.1)
default_hooks = dict(logger=dict(type='LoggerHook', interval=2))
env_cfg = dict(dist_cfg=dict(backend='nccl'))
randomness = dict(seed=3)
'''


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """A folder with a toy config and its two trained epochs in ``run``."""
    folder = tmp_path_factory.mktemp('toy')
    (folder / 'toy_module.py').write_text(MODULE)
    (folder / 'toy_config.py').write_text(CONFIG)
    done = run(folder, 'train.py', 'toy_config.py', '--work-dir', 'run')
    assert done.returncode == 0, done.stderr
    return folder


def run(folder, tool, *args):
    """Run a tool in ``folder`` and return the finished process."""
    env = dict(os.environ, OMP_NUM_THREADS='1', PYTHON=sys.executable)
    env['PYTHONPATH'] = os.pathsep.join([str(folder), ROOT])
    env.pop('LOCAL_RANK', None)
    command = [osp.join(ROOT, 'tools', tool), *args]
    if tool.endswith('.py'):
        command = [sys.executable, *command]
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True)


def only_error(done):
    """The one line that a refused run ends with."""
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if 'rror' in line]
    assert len(lines) == 1 and lines[0].startswith('error: '), done.stderr
    assert 'Traceback' not in done.stderr
    return lines[0]


def test_train_validates_and_logs_progress(toy):
    log = next((toy / 'run').glob('*/*.log')).read_text()
    assert 'eta:' in log and 'count: 8' in log
    assert (toy / 'run' / 'epoch_2.pth').exists()
    assert (toy / 'run' / 'toy_config.py').exists()


def test_resumed_run_equals_an_uninterrupted_one(toy):
    # as if it had been interrupted after the first epoch
    (toy / 'rest').mkdir()
    shutil.copy(toy / 'run' / 'epoch_1.pth', toy / 'rest')
    (toy / 'rest' / 'last_checkpoint').write_text('rest/epoch_1.pth')
    done = run(toy, 'train.py', 'toy_config.py', '--work-dir', 'rest',
               '--resume')
    assert done.returncode == 0, done.stderr
    assert 'resumed epoch: 1, iter: 8' in done.stdout + done.stderr
    whole, rest = (
        read_checkpoint(str(toy / name / 'epoch_2.pth'))
        for name in ('run', 'rest'))
    for key, value in whole['state_dict'].items():
        assert torch.equal(value, rest['state_dict'][key])
    assert rest['meta']['iter'] == 16


@pytest.mark.slow
def test_resume_without_a_checkpoint_starts_as_the_config_says(toy):
    """Also if the start is the end of another training."""
    args = ('train.py', 'toy_config.py', '--work-dir', 'new', '--cfg-options',
            'load_from=run/epoch_2.pth', 'optim_wrapper.optimizer.lr=0.0')
    done = run(toy, *args, '--resume')
    assert done.returncode == 0, done.stderr
    assert 'Load checkpoint from run/epoch_2.pth' in done.stdout + done.stderr
    start, end = (
        read_checkpoint(str(toy / path))
        for path in ('run/epoch_2.pth', 'new/epoch_2.pth'))
    for key, value in start['state_dict'].items():
        assert torch.equal(value, end['state_dict'][key])
    # what there is now is continued instead, here behind its end
    done = run(toy, *args, '--resume')
    assert done.returncode == 0, done.stderr
    log = done.stdout + done.stderr
    assert 'resumed epoch: 2, iter: 16' in log
    assert 'Load checkpoint from run/epoch_2.pth' not in log


@pytest.mark.slow
def test_second_run_in_a_work_dir_is_refused(toy):
    with one_run(toy / 'taken'):
        error = only_error(
            run(toy, 'train.py', 'toy_config.py', '--work-dir', 'taken'))
    assert 'taken" is used by another run' in error
    assert not list((toy / 'taken').glob('*.pth'))


def test_test_and_dump(toy):
    done = run(toy, 'test.py', 'toy_config.py', 'run/epoch_1.pth',
               '--work-dir', 'tested', '--out', 'out.pkl')
    assert done.returncode == 0, done.stderr
    assert 'count: 8' in done.stdout + done.stderr
    assert len(load(str(toy / 'out.pkl'))) == 8


@pytest.mark.slow
def test_other_architecture_is_refused(toy):
    args = ('test.py', 'toy_config.py', 'run/epoch_1.pth', '--work-dir',
            'wide', '--cfg-options', 'model.width=2')
    error = only_error(run(toy, *args))
    assert 'linear.weight (1, 1) in the checkpoint, (2, 1)' in error
    assert run(toy, *args, '--allow-mismatch').returncode == 0


@pytest.mark.parametrize('args, reason', [
    (('train.py', 'absent.py'), 'absent.py'),
    (('test.py', 'absent.py', 'x.pth'), 'absent.py'),
    (('test.py', 'toy_config.py', 'x.pth'), '"x.pth" does not exist'),
    (('train.py', 'toy_config.py', '--resume', 'x.pth'),
     '"x.pth" does not exist'),
    (('test.py', 'toy_config.py', 'x.pth', '--out', 'x.json'), '--out must'),
    (('train.py', 'toy_config.py', '--auto-scale-lr'), 'base_batch_size'),
    pytest.param(('train.py', 'toy_config.py', '--amp'),
                 '--amp needs a GPU',
                 marks=needs_no_gpu),
])
def test_bad_input_is_one_line(args, reason, toy, monkeypatch):
    monkeypatch.chdir(toy)
    monkeypatch.syspath_prepend(str(toy))
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'argv', list(args))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(osp.join(ROOT, 'tools', args[0]), run_name='__main__')
    assert stop.value.code.startswith('error: ') and reason in stop.value.code
    assert '\n' not in stop.value.code


@pytest.mark.slow
@needs_no_gpu
def test_two_processes_without_a_gpu(toy, monkeypatch):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        monkeypatch.setenv('PORT', str(free.getsockname()[1]))
    done = run(toy, 'dist_train.sh', 'toy_config.py', '2', '--work-dir',
               'dist')
    assert done.returncode == 0, done.stderr
    done = run(toy, 'dist_test.sh', 'toy_config.py', 'dist/epoch_2.pth', '2',
               '--work-dir', 'dist')
    assert done.returncode == 0, done.stderr
    assert re.search(r'\[4/4\].*count: 8', done.stdout + done.stderr)


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_options_for_mim_and_torch_launch(tool):
    text = run(ROOT, tool, '-h').stdout
    assert '--gpus' not in text
    assert '--local-rank' in text and '--local_rank' in text
