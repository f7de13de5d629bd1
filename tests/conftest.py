# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import gc
import logging
import os
import signal

import pytest
import torch
from mmengine.registry import DefaultScope, init_default_scope

import refinevis_mm  # noqa: F401  makes mmdet importable on mmcv-lite

# small tensors: more threads only wait for each other, and for other workers
if 'OMP_NUM_THREADS' not in os.environ:
    torch.set_num_threads(1 if 'PYTEST_XDIST_WORKER' in os.environ else 2)
logging.getLogger('mmengine').setLevel(logging.WARNING)


def pytest_collection_finish():
    """What is imported stays: mmengine collects garbage at every data set."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session', autouse=True)
def mmdet_scope():
    """Bare type names are mmdet's, as in the shipped configs."""
    if DefaultScope.get_current_instance() is None:
        init_default_scope('mmdet')


@pytest.fixture
def one_thread():
    """Small operations on one thread, without waiting for others."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope='session', autouse=True)
def interrupts():
    """Ctrl-C is not ignored, as it is in what a shell starts with ``&``.

    Programs started by the tests inherit it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
