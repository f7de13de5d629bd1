# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What can be wrong with a Ray cluster; results are in other tests."""
import io

import pytest

import refinevis_mm
from refinevis_mm.fleet import FleetProgress, RayEngine, read_units, run_fleet
from tests.tiny_fleet import tiny_settings, write_clips

pytestmark = [pytest.mark.fleet, pytest.mark.slow]
ray = pytest.importorskip('ray', exc_type=ImportError)


@pytest.fixture
def root(tmp_path):
    write_clips(tmp_path / 'clips', 1)
    yield tmp_path
    ray.shutdown()


def start(hook=None):
    """Start Ray, with something that its workers do first."""
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env=dict(worker_process_setup_hook=hook) if hook else {})


def run(root):
    settings = tiny_settings(root, root / 'out')
    return run_fleet(
        read_units(f'{root}/clips/*'),
        settings,
        lambda: RayEngine(settings, 1),
        progress=FleetProgress(io.StringIO()))


def test_workers_with_another_version(root, monkeypatch):
    monkeypatch.setattr(refinevis_mm, '__version__', '0.9.0')  # here alone
    start()
    with pytest.raises(
            ValueError,
            match='all machines must have refinevis_mm '
            '0.9.0, as this one has, got a worker with 0.2'):
        run(root)


def test_workers_without_the_package(root):

    def hook():
        import sys
        sys.modules['refinevis_mm'] = None

    start(hook)
    with pytest.raises(
            ValueError,
            match='workers cannot start: .*refinevis_mm') as caught:
        run(root)
    assert '\n' not in str(caught.value)


def test_a_ray_of_the_caller_is_used_and_left(root):
    start()
    assert run(root).failures == []
    assert ray.is_initialized()


def test_no_cluster(root):
    settings = tiny_settings(root, root / 'out')
    for address in ('127.0.0.1:9', 'ray://127.0.0.1:9', 'nowhere'):
        with pytest.raises(OSError, match=f'no Ray cluster at "{address}"'):
            RayEngine(settings, address=address)
    with pytest.raises(OSError, match='no Ray cluster at "auto"') as caught:
        RayEngine(settings, address='auto')
    assert '\n' not in str(caught.value)


def test_gpus_that_are_not_there(root):
    start()
    settings = tiny_settings(root, root / 'out', device='cuda')
    with pytest.raises(ValueError, match='has 0 GPUs, a worker needs 1'):
        RayEngine(settings, num_gpus=1)
    settings = tiny_settings(root, root / 'out')
    with pytest.raises(ValueError, match='needs the device cuda, got 1 and'):
        RayEngine(settings, num_gpus=1)
    with pytest.raises(ValueError, match='max_workers must be positive'):
        RayEngine(settings, max_workers=0)
