# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Wheel and development install, beside the running environment, and mim."""
import hashlib
import os
import os.path as osp
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from glob import glob

import pytest
from mmengine.config import Config
from mmengine.fileio import load

from refinevis_mm.zoo import find_entry
from tests.test_zoo.servers import Answer, serving

pytest.importorskip('mim', reason='openmim is not installed')

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
SOURCES = ('refinevis_mm', 'configs', 'tools', 'requirements', 'setup.py',
           'pyproject.toml', 'setup.cfg', 'MANIFEST.in', 'LICENSE',
           'README.md', 'model-index.yml', 'checkpoints')
SHIPPED_NAME = 'refinevis-small_occluded-shapes'


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the repository."""
    folder = tmp_path_factory.mktemp('source')
    for name in SOURCES:
        path, target = osp.join(ROOT, name), str(folder / name)
        if osp.isdir(path):
            shutil.copytree(
                path,
                target,
                ignore=shutil.ignore_patterns('.mim', '__pycache__'))
        else:
            shutil.copy(path, target)
    return str(folder)


def pip(*args):
    """Run pip without a network."""
    done = subprocess.run([sys.executable, '-m', 'pip', *args],
                          capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    """Path of a wheel built from the copy."""
    folder = str(tmp_path_factory.mktemp('wheel'))
    pip('wheel', '--no-deps', '--no-build-isolation', '--no-index', '-w',
        folder, source)
    assert not osp.exists(osp.join(source, 'refinevis_mm', '.mim'))
    return glob(osp.join(folder, '*.whl'))[0]


def make_environment(folder):
    """Python and packages folder of an environment with ours behind it."""
    venv.create(folder / 'venv', with_pip=False)
    python = str(folder / 'venv' / 'bin' / 'python')
    site = subprocess.check_output([
        python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))'
    ],
                                   text=True).strip()
    # a folder named in a .pth file is searched after the environment's own,
    # and .pth files in it (an editable refinevis_mm) are not read
    with open(osp.join(site, 'behind.pth'), 'w') as file:
        file.write(sysconfig.get_path('purelib') + '\n')
    return python, site


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """Python of an environment with the wheel."""
    python, site = make_environment(tmp_path_factory.mktemp('installed'))
    pip('install', '--no-deps', '--no-index', '--target', site, wheel)
    return python


@pytest.fixture(scope='module')
def development(source, wheel, tmp_path_factory):
    """Python of an environment with ``pip install -e`` of the copy.

    It leaves files in the copy, so the wheel comes first.
    """
    python, _ = make_environment(tmp_path_factory.mktemp('development'))
    pip('--python', python, 'install', '--no-deps', '--no-build-isolation',
        '--no-index', '-e', source)
    return python


def run(installed, folder, *args):
    """Run Python from another folder, without the repository in sight."""
    env = dict(
        os.environ,
        OMP_NUM_THREADS='1',
        PYTHONWARNINGS='ignore',
        NO_PROXY='127.0.0.1')
    env.pop('PYTHONPATH', None)
    return subprocess.run([installed, *args],
                          cwd=folder,
                          env=env,
                          capture_output=True,
                          text=True)


def mim(installed, folder, *args):
    """Run mim in the same way."""
    return run(installed, folder, '-c', 'from mim.__main__ import cli; cli()',
               *args)


def test_wheel_contents(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in ('model-index.yml', 'tools/train.py', 'tools/test.py',
                 'tools/dist_train.sh', 'configs/refinevis/metafile.yml',
                 f'checkpoints/{find_entry(SHIPPED_NAME).file_name}'):
        assert f'refinevis_mm/.mim/{path}' in names
    # one checkpoint and code; the others lie in the repository only
    assert osp.getsize(wheel) < 11e6
    for folder in ('configs', 'tools'):
        for root, _, files in os.walk(osp.join(ROOT, folder)):
            for name in files:
                path = osp.relpath(osp.join(root, name), ROOT)
                if not name.endswith('.pyc'):
                    assert f'refinevis_mm/.mim/{path}' in names
    for name in ('template.html', 'report.css', 'report.js'):
        assert f'refinevis_mm/visualization/report/{name}' in names
    assert not any('__pycache__' in name for name in names)
    assert not any(name.startswith('tests/') for name in names)
    assert any(name.endswith('dist-info/top_level.txt') for name in names)


def test_config_names_are_unique():
    # mim looks a config up by its file name anywhere under the package
    names = [
        osp.basename(path) for folder in ('configs', 'refinevis_mm', 'tools')
        for path in glob(osp.join(ROOT, folder, '**', '*.py'), recursive=True)
    ]
    for path in glob(osp.join(ROOT, 'configs', '[!_]*', '*.py')):
        assert names.count(osp.basename(path)) == 1, path


def test_import_comes_from_the_wheel(installed, tmp_path):
    where = subprocess.check_output(
        [installed, '-c', 'import refinevis_mm; print(refinevis_mm.__file__)'],
        cwd=tmp_path,
        text=True)
    assert osp.dirname(osp.dirname(installed)) in where


@pytest.mark.slow
def test_shipped_weights_by_name(installed, tmp_path):
    fetch = ('-m', 'refinevis_mm.zoo', '--fetch')
    done = run(installed, tmp_path, *fetch, SHIPPED_NAME)
    path = done.stdout.strip()
    assert osp.dirname(osp.dirname(installed)) in path, done.stderr
    with open(path, 'rb') as file:
        digest = hashlib.sha256(file.read()).hexdigest()
    assert digest == find_entry(SHIPPED_NAME).sha256
    done = run(installed, tmp_path, *fetch,
               'refinevis-small-phase1_occluded-shapes')
    assert done.returncode == 1
    assert 'in the source repository only' in done.stderr.splitlines()[-1]


def test_search(installed, tmp_path):
    done = mim(installed, tmp_path, 'search', 'refinevis_mm', '--valid-config')
    assert done.returncode == 0, done.stderr
    for path in glob(osp.join(ROOT, 'configs', '*', 'metafile.yml')):
        for model in load(path)['Models']:
            assert osp.exists(osp.join(ROOT, model['Config']))
            assert f"'{model['Name'].lower()}'" in done.stdout


def test_search_for_named_weights(installed, tmp_path):
    done = mim(installed, tmp_path, 'search', 'refinevis_mm', '--config',
               'mask2former-r50_coco', '--field', 'weight', 'coco/mask_ap',
               'weights_licence', '--json', 'found.json')
    assert done.returncode == 0, done.stderr
    assert load(str(tmp_path / 'found.json')) == {
        'weight': {
            'mask2former-r50_coco': find_entry('mask2former-r50_coco').address
        },
        'coco/mask_ap': {
            'mask2former-r50_coco': 42.9
        },
        'weights_licence': {
            'mask2former-r50_coco': 'apache-2.0'
        }
    }


@pytest.mark.slow
def test_download_of_named_weights(installed, tmp_path):
    name = 'mask2former-r50_coco'
    entry = find_entry(name)
    host = 'https://download.openmmlab.com'
    site = osp.dirname(
        run(installed, tmp_path, '-c',
            'import refinevis_mm; print(refinevis_mm.__file__)').stdout)
    metafile = osp.join(site, '.mim', 'configs', 'mask2former', 'metafile.yml')
    with serving() as server, open(metafile, 'r+') as file:
        server.answers[entry.address[len(host):]] = Answer(b'PK weights')
        text = file.read()
        file.seek(0)
        # a server of this machine in place of OpenMMLab's
        file.write(text.replace(host, server.url('')))
        file.truncate()
        file.flush()
        done = mim(installed, tmp_path, 'download', 'refinevis_mm', '--config',
                   name, '--dest', 'weights')
        file.seek(0)
        file.write(text)
        file.truncate()
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / 'weights' /
            entry.file_name).read_bytes() == b'PK weights'
    cfg = Config.fromfile(str(tmp_path / 'weights' / f'{name}.py'))
    assert cfg.model.type == 'refinevis_mm.RefineVIS'


@pytest.mark.parametrize('script, args', [('train', ('absent.py', )),
                                          ('test', ('absent.py', 'x.pth'))])
def test_run_reaches_the_tools(script, args, installed, tmp_path):
    # `mim run PACKAGE SCRIPT --help` prints mim's own help
    done = mim(installed, tmp_path, 'run', 'refinevis_mm', script, *args)
    assert f'.mim/tools/{script}.py' in done.stdout
    assert 'error: ' in done.stderr and 'absent.py' in done.stderr


def test_missing_checkpoint_of_a_config_found_by_name(installed, tmp_path):
    names = sorted(
        osp.basename(path)
        for path in glob(osp.join(ROOT, 'configs', '[!_]*', '*.py')))
    done = mim(installed, tmp_path, 'test', 'refinevis_mm', names[0],
               '--checkpoint', 'absent.pth')
    assert done.returncode != 0
    assert 'we find the config file' in done.stdout
    assert 'checkpoint "absent.pth" does not exist' in done.stderr


@pytest.mark.slow
def test_development_install(development, source, tmp_path):
    done = run(development, tmp_path, '-c',
               'import refinevis_mm; print(refinevis_mm.__file__)')
    assert done.stdout.strip() == osp.join(source, 'refinevis_mm',
                                           '__init__.py')
    done = mim(development, tmp_path, 'search', 'refinevis_mm', '--config',
               SHIPPED_NAME)
    assert f'config id: {SHIPPED_NAME}' in done.stdout, done.stderr
    done = mim(development, tmp_path, 'run', 'refinevis_mm', 'train',
               'absent.py')
    assert 'error: ' in done.stderr and 'absent.py' in done.stderr
    name = 'refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py'
    done = mim(development, tmp_path, 'train', 'refinevis_mm', name,
               '--cfg-options', 'model.type=Absent')
    assert 'we find the config file' in done.stdout
    assert 'Absent' in done.stderr
    done = mim(development, tmp_path, 'test', 'refinevis_mm', name,
               '--checkpoint', 'absent.pth')
    assert 'checkpoint "absent.pth" does not exist' in done.stderr


# a few seconds' worth of the shipped model
SHIPPED = 'refinevis_*_occluded-shapes.py'
DATA = ('--split', 'train:2:0', '--split', 'valid:1:7', '--frames', '20', '20')
QUICK = ('--cfg-options', 'train_cfg.max_iters=2',
         'default_hooks.checkpoint.interval=2',
         'train_dataloader.num_workers=0', 'val_dataloader.num_workers=0',
         'test_dataloader.num_workers=0')
TINY = (*QUICK, 'train_dataloader.batch_size=1',
        'model.frame_model.backbone.init_cfg=None')


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize('config', [
    osp.basename(path)
    for path in sorted(glob(osp.join(ROOT, 'configs', 'refinevis', SHIPPED)))
])
def test_shipped_config_trains_and_tests(config, installed, tmp_path):
    steps = [
        ('run', 'refinevis_mm', 'make_occluded_shapes', 'data/occluded_shapes',
         *DATA),
        ('train', 'refinevis_mm', config, '--work-dir', 'run', *TINY),
        ('test', 'refinevis_mm', config, '--checkpoint', 'run/iter_2.pth',
         '--work-dir', 'run', *TINY),
    ]
    for step in steps:
        done = mim(installed, tmp_path, *step)
        assert done.returncode == 0, done.stdout + done.stderr
    assert 'AP' in done.stdout + done.stderr
    done = mim(installed, tmp_path, 'run', 'refinevis_mm', 'video_demo',
               'data/occluded_shapes/valid/JPEGImages/00001', config,
               'run/iter_2.pth', '--out-dir', 'out')
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / 'out' / 'overlay.mp4').exists()
