# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Two settings or two checkouts, measured turn by turn."""
import json
import os
import os.path as osp
import select
import subprocess
import sys
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Dict, Optional

import refinevis_mm
from .medians import compare
from .settings import ProfileSettings

CHECKOUT = osp.dirname(osp.dirname(osp.abspath(refinevis_mm.__file__)))
# Settings of their own beside those of the config.
AGAINST = ('backend', 'batch_size', 'checkpoint', 'compile', 'dtype', 'graphs',
           'runtime', 'threads')
# Imports the package of one checkout, and this package as a part of it.
LAUNCH = '''
import importlib.util, os.path, sys
checkout, folder = sys.argv[1:]
sys.path[0] = checkout
import refinevis_mm
found = os.path.dirname(os.path.dirname(os.path.abspath(
    refinevis_mm.__file__)))
if os.path.realpath(found) != os.path.realpath(checkout):
    sys.exit(f'refinevis_mm was found in "{found}", not in "{checkout}"')
spec = importlib.util.spec_from_file_location(
    'refinevis_mm.profiling', os.path.join(folder, '__init__.py'),
    submodule_search_locations=[folder])
module = importlib.util.module_from_spec(spec)
sys.modules['refinevis_mm.profiling'] = module
spec.loader.exec_module(module)
module.serve()
'''


class WorkerError(ValueError):
    """A worker could not do what it was asked.

    Attributes:
        kind (str): Class of what was raised there, '' if the process ended.
    """

    def __init__(self, message: str, kind: str = '') -> None:
        super().__init__(message)
        self.kind = kind


class WorkerProcess(AbstractContextManager):
    """A process that measures when it is asked.

    Args:
        checkout (str, optional): Folder of the package that is measured.
            Defaults to None, this one.

    Raises:
        FileNotFoundError: If it has no package.
    """

    def __init__(self, checkout: Optional[str] = None) -> None:
        checkout = osp.abspath(CHECKOUT if checkout is None else checkout)
        package = osp.join(checkout, 'refinevis_mm', '__init__.py')
        if not osp.isfile(package):
            raise FileNotFoundError(f'there is no checkout in "{checkout}": '
                                    'it has no refinevis_mm')
        command = [
            sys.executable, '-c', LAUNCH, checkout,
            osp.dirname(osp.abspath(__file__))
        ]
        environment = dict(os.environ, PYTHONWARNINGS='ignore')
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, env=environment)
        assert self._process.stdin and self._process.stdout
        self._requests = self._process.stdin
        self._answers = self._process.stdout

    def ask(self,
            do: str,
            timeout: Optional[float] = None,
            **options: Any) -> Dict[str, Any]:
        """Ask for something and wait.

        Args:
            do (str): 'open', 'measure' or 'report'.
            timeout (float, optional): Seconds to wait. Defaults to None, as
                long as it takes.
            **options: Its arguments.

        Returns:
            dict: The answer.

        Raises:
            TimeoutError: If the time is over; the process is of no more use.
            WorkerError: If it failed, or the process ended.
        """
        line = json.dumps(dict(do=do, options=options)) + '\n'
        try:
            self._requests.write(line.encode())
            self._requests.flush()
        except BrokenPipeError:
            pass
        if timeout is not None and not select.select([self._answers], [], [],
                                                     max(timeout, 0))[0]:
            raise TimeoutError(f'no answer within {timeout:.0f} s')
        text = self._answers.readline()
        if not text:
            raise WorkerError('a process that measures ended with code '
                              f'{self._process.wait()}')
        answer = json.loads(text)
        if 'error' in answer:
            raise WorkerError(answer['error'], answer['kind'])
        return answer

    def __exit__(self, kind: Optional[type], error: Optional[BaseException],
                 trace: Optional[TracebackType]) -> None:
        process = self._process
        for pipe in (self._requests, self._answers):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def change(settings: ProfileSettings, against: Dict[str,
                                                    Any]) -> ProfileSettings:
    """Settings that differ in some.

    Args:
        settings (:obj:`ProfileSettings`): The settings.
        against (dict): What differs: names out of ``AGAINST``, or dotted
            names of the config.

    Returns:
        :obj:`ProfileSettings`: The others.

    Raises:
        ValueError: If a name is neither.
    """
    own = {key: value for key, value in against.items() if key in AGAINST}
    rest = {key: value for key, value in against.items() if key not in own}
    for key in rest:
        if '.' not in key:
            raise ValueError(f'what differs must be one of {AGAINST} or a '
                             f'setting of the config such as model.window, '
                             f'got {key!r}')
    return replace(
        settings, cfg_options=dict(settings.cfg_options, **rest), **own)


def run_pairs(settings: ProfileSettings,
              repeats: int,
              warmup: int,
              against: Optional[Dict[str, Any]] = None,
              checkout: Optional[str] = None,
              top: int = 0) -> Dict[str, Any]:
    """Measure two settings, or those of two checkouts, in turns.

    Each has a process of its own; the other one waits. Who begins changes
    from pair to pair.

    Args:
        settings (:obj:`ProfileSettings`): The first ones.
        repeats (int): Number of pairs.
        warmup (int): Runs of each before them.
        against (dict, optional): See :func:`change`. Defaults to None,
            nothing.
        checkout (str, optional): Folder of the second checkout. Defaults to
            None, this one.
        top (int): Operators to name. Defaults to 0.

    Returns:
        dict: ``reports``, those of both (:meth:`Profile.report`), and
        ``ratio``, first to second (:func:`compare`).

    Raises:
        OSError: If there is no such checkout.
        ValueError: If a setting is not allowed.
        WorkerError: If one of them cannot be measured.
    """
    both = (settings, change(settings, against or {}))
    with ExitStack() as stack:
        workers = [
            stack.enter_context(WorkerProcess(folder))
            for folder in (None, checkout)
        ]
        for worker, options in zip(workers, both):
            worker.ask('open', **asdict(options))
        for worker in workers:
            for _ in range(warmup):
                worker.ask('measure', keep=False)
        runs: tuple = ([], [])
        for i in range(repeats):
            for side in (0, 1) if i % 2 == 0 else (1, 0):
                runs[side].append(workers[side].ask('measure'))
        reports = [worker.ask('report', top=top) for worker in workers]
    return dict(reports=reports, ratio=compare(*runs))
