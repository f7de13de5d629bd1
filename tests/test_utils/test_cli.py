# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import argparse
import socket
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import load_checkpoint

from refinevis_mm.compat.checkpoints import CheckpointError
from refinevis_mm.utils import cli


@pytest.mark.parametrize('error', [
    FileNotFoundError('no such video'),
    ValueError('worker failed\nTraceback\nValueError: no such video'),
    CheckpointError('no such video'),
    ImportError('no such video: pip install videos'),
    NotImplementedError('an operator needs torchvision: no such video')
])
def test_bad_input_ends_with_one_line(error, monkeypatch):
    monkeypatch.delenv(cli.TRACEBACK_ENV, raising=False)

    @cli.one_line_errors
    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        main()
    assert 'no such video' in stop.value.code
    assert stop.value.code.startswith('error: ')
    assert '\n' not in stop.value.code

    monkeypatch.setenv(cli.TRACEBACK_ENV, '1')
    with pytest.raises(type(error)):
        main()


@pytest.mark.parametrize('missing, ending', [
    ('data/efficientnet-lite0_imagenet.pth',
     'found. Run: make data/efficientnet-lite0_imagenet.pth (set'),
    ('data/mobilenet-v2_imagenet.pth',
     'found. Run: make data/mobilenet-v2_imagenet.pth (set'),
    ('checkpoints/another.pth', 'found. (set'),
])
def test_missing_backbone_names_what_makes_it(missing, ending, tmp_path,
                                              monkeypatch):
    monkeypatch.delenv(cli.TRACEBACK_ENV, raising=False)
    monkeypatch.chdir(tmp_path)

    @cli.one_line_errors
    def main():
        load_checkpoint(torch.nn.Linear(1, 1), missing)

    with pytest.raises(SystemExit) as stop:
        main()
    assert f'{missing} can not be {ending}' in stop.value.code
    assert '\n' not in stop.value.code


def test_names_do_not_move_the_cursor(monkeypatch):
    monkeypatch.delenv(cli.TRACEBACK_ENV, raising=False)

    @cli.one_line_errors
    def main():
        raise ValueError('"a\x1b[2Jb\udce9.jpg" is no frame of "café"')

    with pytest.raises(SystemExit) as stop:
        main()
    assert r'"a\x1b[2Jb\xdce9.jpg" is no frame of "café"' in stop.value.code


def test_errors_without_text_show_their_kind(monkeypatch):
    monkeypatch.delenv(cli.TRACEBACK_ENV, raising=False)

    @cli.one_line_errors
    def main():
        raise NotImplementedError

    with pytest.raises(SystemExit, match='error: NotImplementedError '):
        main()


def test_defects_keep_their_traceback():

    @cli.one_line_errors
    def main():
        raise AttributeError('a defect')

    with pytest.raises(AttributeError):
        main()


@pytest.mark.parametrize('words, config, checkpoint', [
    (['a-name_coco'], 'a-name_coco', None),
    (['config.py', 'model.pth'], 'config.py', 'model.pth'),
])
def test_model_arguments(words, config, checkpoint):
    parser = argparse.ArgumentParser()
    parser.add_argument('video')
    cli.add_model_arguments(parser)
    parser.add_argument('--out-dir')
    args = parser.parse_args(['street.mp4', *words, '--out-dir', 'out'])
    assert vars(args) == dict(
        video='street.mp4',
        config=config,
        checkpoint=checkpoint,
        out_dir='out')


def test_model_arguments_need_a_config(capsys):
    parser = argparse.ArgumentParser()
    cli.add_model_arguments(parser)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args([])
    assert stop.value.code == 2
    assert 'required: config\n' in capsys.readouterr().err
    assert 'python -m refinevis_mm.zoo' in ' '.join(
        parser.format_help().split())


def test_cpu_distributed(monkeypatch):
    started, at_exit = [], []
    monkeypatch.setattr(cli, 'get_device', lambda: 'cpu')
    monkeypatch.setattr(cli.atexit, 'register', at_exit.append)
    monkeypatch.setattr(cli.dist, 'is_initialized', lambda: False)
    monkeypatch.setattr(cli.dist, 'init_process_group',
                        lambda backend: started.append(backend))

    cfg = Config(dict(launcher='none'))
    cli.init_cpu_distributed(cfg)
    assert not started and 'model_wrapper_cfg' not in cfg

    cfg = Config(dict(launcher='pytorch', find_unused_parameters=True))
    cli.init_cpu_distributed(cfg)
    assert started == ['gloo']
    at_exit[0]()  # nothing to end here
    assert cfg.model_wrapper_cfg.device_ids is None
    assert cfg.model_wrapper_cfg.find_unused_parameters is True

    with pytest.raises(ValueError, match='"slurm"'):
        cli.init_cpu_distributed(Config(dict(launcher='slurm')))


# A model wrapper in a cycle, as in mmengine's runner, and the threads that are
# left when all at exit is done.
THREADS = """
import atexit, gc, glob
import torch
from mmengine.config import Config
from refinevis_mm.utils import init_cpu_distributed

@atexit.register
def show():
    print([open(path).read().strip()
           for path in glob.glob('/proc/self/task/*/comm')])

init_cpu_distributed(Config(dict(launcher='pytorch')))
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
runner = dict(model=model)
runner['runner'] = runner
gc.collect()  # an old runner, for which only a full collection looks
show()
del model, runner
"""


@pytest.mark.skipif(
    sys.platform != 'linux' or get_device() != 'cpu',
    reason='threads of gloo, as Linux lists them')
def test_no_thread_of_gloo_outlives_the_program(monkeypatch):
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    for key, value in dict(
            RANK=0, WORLD_SIZE=1, MASTER_ADDR='127.0.0.1',
            MASTER_PORT=port).items():
        monkeypatch.setenv(key, str(value))
    done = subprocess.run([sys.executable, '-c', THREADS],
                          capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    during, after = done.stdout.splitlines()
    assert 'gloo' in during and 'gloo' not in after


def test_accelerator_is_left_to_mmengine(monkeypatch):
    monkeypatch.setattr(cli, 'get_device', lambda: 'cuda')
    cfg = Config(dict(launcher='pytorch'))
    cli.init_cpu_distributed(cfg)
    assert 'model_wrapper_cfg' not in cfg
