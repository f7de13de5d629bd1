# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Trainings that tables are made of: run once, shared, resumed, tested.

Files::

    WORK_DIR/<config>-<digest of the settings>/
        seed0.py              the config of the training
        seed0/                its work dir: checkpoints, logs
        seed0/<result>.py     the config of a test, such as offline_w10.py
        seed0/<result>.json   its numbers
"""
import argparse
import copy
import glob
import hashlib
import json
import os
import os.path as osp
import socket
import statistics
import subprocess
import sys
from math import inf
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, cast

from mmengine.config import Config, ConfigDict, DictAction
from terminaltables import AsciiTable, GithubFlavoredMarkdownTable

from refinevis_mm.files import write_text
from refinevis_mm.vis_json import load_json

# Settings that decide a training, beside the seed.
SETTINGS = ('model', 'train_dataloader', 'test_dataloader', 'test_evaluator',
            'train_cfg', 'optim_wrapper', 'param_scheduler', 'custom_hooks',
            'load_from', 'randomness', 'num_processes')
# Those of the model that act at test only: results of one training differ in
# them.
AT_TEST = ('mode', 'window', 'exclusive_recovery', 'score_missed')
# Another part that acts at test only, and in which results differ.
UNTRAINED = ('tracker', )
# Where a result keeps the digest of the model it was tested with.
TESTED_MODEL = 'tested_model'
FORMATS = dict(text=AsciiTable, markdown=GithubFlavoredMarkdownTable)
# Metrics that are no fractions.
COUNTS = ('id_switches', )


class Training(NamedTuple):
    """One training.

    Attributes:
        cfg (:obj:`Config`): Its whole config.
        folder (str): Its work dir.
    """

    cfg: Config
    folder: str

    @property
    def checkpoint(self) -> str:
        """Checkpoint of the last iteration."""
        return osp.join(self.folder,
                        f'iter_{self.cfg.train_cfg.max_iters}.pth')

    @property
    def last_checkpoint(self) -> Optional[str]:
        """Newest checkpoint, None before the first."""
        path = osp.join(self.folder, 'last_checkpoint')
        if not osp.exists(path):
            return None
        with open(path, encoding='utf-8') as file:
            name = osp.basename(file.read().strip())
        return osp.join(self.folder, name)


class Trainings:
    """Runs tools/train.py and tools/test.py for tables of results.

    What is finished is not repeated, and a killed training goes on at its
    last checkpoint.

    Args:
        tools (str): The folder with ``train.py`` and ``test.py``.
        configs_dir (str): Folder of the configs.
        work_dir (str): Where the trainings are kept.
        max_iters (int, optional): Iterations of every training; the learning
            rate schedule is shortened in proportion. Defaults to None, those
            of the configs.
        nproc (int): Processes of a training. Defaults to 1.
        cfg_options (dict, optional): Override settings of all configs.
            Defaults to None.
    """

    def __init__(self,
                 tools: str,
                 configs_dir: str,
                 work_dir: str,
                 max_iters: Optional[int] = None,
                 nproc: int = 1,
                 cfg_options: Optional[Dict[str, Any]] = None) -> None:
        self.tools = tools
        self.configs_dir = configs_dir
        self.work_dir = work_dir
        self.max_iters = max_iters
        self.nproc = nproc
        self.cfg_options = cfg_options or {}
        self._root = osp.dirname(tools)

    def get(self,
            config: str,
            seed: int,
            after: Optional[Training] = None) -> Training:
        """The training of a config with one seed.

        Args:
            config (str): Config below the configs folder.
            seed (int): Random seed.
            after (:obj:`Training`, optional): Its checkpoint is the start.
                Defaults to None, what the config says.

        Returns:
            :obj:`Training`: An earlier one of equal settings, whatever its
            config was called, or a new one.
        """
        cfg = Config.fromfile(
            osp.join(self.configs_dir, config), import_custom_modules=False)
        if self.max_iters is not None:
            shorten_schedule(cfg, self.max_iters)
        cfg.merge_from_dict(self.cfg_options)
        cfg.merge_from_dict(dict(randomness=dict(seed=seed)))
        cfg.num_processes = self.nproc
        if after is not None:  # wherever it lies, with whatever seed
            cfg.load_from = osp.basename(osp.dirname(after.folder))
        settings = digest(cfg)
        if after is not None:
            cfg.load_from = after.checkpoint
        name = osp.splitext(osp.basename(config))[0]
        found = sorted(
            glob.glob(osp.join(glob.escape(self.work_dir), f'*-{settings}')))
        folder = found[0] if found else osp.join(self.work_dir,
                                                 f'{name}-{settings}')
        return Training(cfg, osp.join(folder, f'seed{seed}'))

    def train(self, training: Training) -> None:
        """Train, or go on with what a killed run left; nothing if finished.

        Args:
            training (:obj:`Training`): What to train.

        Raises:
            ValueError: If the training fails.
        """
        last = training.last_checkpoint
        if last == training.checkpoint:
            return
        resume = [] if last is None else ['--resume', last]
        os.makedirs(training.folder, exist_ok=True)
        config = f'{training.folder}.py'
        training.cfg.dump(config)
        report(
            f'{"going on with" if resume else "training"} {training.folder}')
        execute([
            *self._command('train', [config]), '--work-dir', training.folder,
            *resume
        ], osp.join(training.folder, 'train.txt'), self._root)

    def result(self, chain: Sequence[Training], name: str,
               cfg_options: Dict[str, Any], metrics: Sequence[str],
               run: bool) -> Optional[Dict[str, float]]:
        """Numbers of a test, made if asked for and missing.

        Args:
            chain (Sequence[:obj:`Training`]): Trainings in their order; the
                last one is tested.
            name (str): Of the result.
            cfg_options (dict): Settings at test, by dotted key.
            metrics (Sequence[str]): What is asked for.
            run (bool): Train and test what is missing.

        Returns:
            dict[str, float] | None: See :func:`read_result`.

        Raises:
            ValueError: If a training or the test fails, or an earlier test
                has left no numbers.
        """
        tested = chain[-1]
        path = osp.join(tested.folder, f'{name}.json')
        model = digest_of_test(tested, cfg_options)
        numbers = read_result(path, metrics, model)
        if numbers is None and run:
            for training in chain:
                self.train(training)
            self.test(tested, name, cfg_options)
            numbers = read_result(path, metrics, model)
        return numbers

    def test(self, training: Training, name: str,
             cfg_options: Dict[str, Any]) -> None:
        """Test the last checkpoint and keep the numbers.

        Args:
            training (:obj:`Training`): A finished one.
            name (str): Of the result; its numbers go to
                ``<folder>/<name>.json``.
            cfg_options (dict): Settings at test, by dotted key.

        Raises:
            ValueError: If the test fails or has left no numbers.
        """
        folder = osp.join(training.folder, name)
        report(f'testing {folder}')
        os.makedirs(folder, exist_ok=True)
        inputs = [
            write_test_config(training, name, cfg_options), training.checkpoint
        ]
        execute([*self._command('test', inputs), '--work-dir', folder],
                osp.join(folder, 'test.txt'), self._root)
        # the runner writes <time>/<time>.json, and times sort
        written = sorted(
            glob.glob(osp.join(glob.escape(folder), '*', '*.json')))
        if not written:
            raise ValueError(f'the test has left no numbers in {folder}')
        numbers = dict(
            cast(dict, load_json(written[-1])),
            **{TESTED_MODEL: digest_of_test(training, cfg_options)})
        write_text(f'{folder}.json', json.dumps(numbers))
        os.remove(written[-1])

    def _command(self, tool: str, inputs: List[str]) -> List[str]:
        """Start of a command line of train.py or test.py."""
        if self.nproc == 1:
            return [
                sys.executable,
                osp.join(self.tools, f'{tool}.py'), *inputs
            ]
        return [
            'bash',
            osp.join(self.tools, f'dist_{tool}.sh'), *inputs,
            str(self.nproc)
        ]


def write_test_config(training: Training, name: str,
                      cfg_options: Dict[str, Any]) -> str:
    """Write the config with which a training is tested.

    Args:
        training (:obj:`Training`): Any.
        name (str): Of the result.
        cfg_options (dict): Settings at test, by dotted key.

    Returns:
        str: The file.
    """
    path = osp.join(training.folder, f'{name}.py')
    _config_of_test(training, cfg_options).dump(path)
    return path


def digest_of_test(training: Training, cfg_options: Dict[str, Any]) -> str:
    """Eight characters that tell the models of tests apart.

    Args:
        training (:obj:`Training`): Any.
        cfg_options (dict): Settings at test, by dotted key.

    Returns:
        str: Equal only for models of equal settings.
    """
    model = _config_of_test(training, cfg_options).model.to_dict()
    return _hash(json.dumps(model, sort_keys=True))


def _config_of_test(training: Training, cfg_options: Dict[str, Any]) -> Config:
    """The config of a training with settings for a test."""
    cfg = copy.deepcopy(training.cfg)
    cfg.merge_from_dict(cfg_options)
    return cfg


def add_table_arguments(parser: argparse.ArgumentParser, tools: str,
                        work_dir: str, seeds: Sequence[int]) -> None:
    """Options of all tools that print tables of trainings.

    Args:
        parser (:obj:`argparse.ArgumentParser`): Gets them.
        tools (str): The folder with ``train.py``.
        work_dir (str): Default of ``--work-dir``.
        seeds (Sequence[int]): Default of ``--seeds``.
    """
    parser.add_argument(
        '--configs-dir',
        default=osp.join(osp.dirname(tools), 'configs'),
        help='the configs folder (default: that of this tool)')
    parser.add_argument(
        '--work-dir',
        default=work_dir,
        help=f'where the runs are kept (default: {work_dir})')
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=list(seeds),
        help='random seeds of the trainings (default: '
        f'{" ".join(map(str, seeds))})')
    parser.add_argument(
        '--run', action='store_true', help='train and test what is missing')
    parser.add_argument(
        '--max-iters',
        type=int,
        help='train for this many iterations; the learning rate schedule is '
        'shortened in proportion')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of all configs, as in tools/train.py')
    parser.add_argument('--json', help='also write the numbers to this file')
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default='text',
        help='of the printed table (default: text)')


def check_table_arguments(parser: argparse.ArgumentParser,
                          args: argparse.Namespace) -> None:
    """End with exit code 2 if :func:`add_table_arguments` got nonsense."""
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        parser.error('--seeds must differ and not be negative, got '
                     f'{args.seeds}')
    if args.max_iters is not None and args.max_iters < 1:
        parser.error(f'--max-iters must be at least 1, got {args.max_iters}')


def execute(command: List[str], log: str, root: str) -> None:
    """Run a command to its end.

    Args:
        command (list[str]): The command line.
        log (str): File that receives what it prints.
        root (str): Folder from which it imports.

    Raises:
        ValueError: If it fails.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    env = dict(os.environ, PYTHON=sys.executable)
    env.setdefault('PORT', str(port))
    env['PYTHONPATH'] = os.pathsep.join([root, env.get('PYTHONPATH', '')])
    with open(log, 'a', encoding='utf-8') as file:
        code = subprocess.run(
            command, env=env, stdout=file, stderr=subprocess.STDOUT).returncode
    if code != 0:
        raise ValueError(f'{osp.basename(command[1])} ended with exit code '
                         f'{code}, see {log}')


def shorten_schedule(cfg: Config, max_iters: int) -> None:
    """Train for fewer (or more) iterations, everything in proportion.

    Args:
        cfg (Config): Iteration-based config; changed in place.
        max_iters (int): Iterations.
    """
    ratio = max_iters / cfg.train_cfg.max_iters
    cfg.train_cfg.max_iters = max_iters
    schedulers: Any = cfg.param_scheduler
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    for scheduler in schedulers:
        if 'begin' in scheduler:
            scheduler.begin = round(ratio * scheduler.begin)
        if 'end' in scheduler:
            scheduler.end = max(
                round(ratio * scheduler.end),
                scheduler.get('begin', 0) + 1)
        if 'milestones' in scheduler:
            scheduler.milestones = [
                round(ratio * milestone) for milestone in scheduler.milestones
            ]


def get_settings(cfg: Config) -> dict:
    """What decides a training, apart from the seed."""
    settings = ConfigDict({key: cfg.get(key) for key in SETTINGS}).to_dict()
    for key in AT_TEST + UNTRAINED:
        settings['model'].pop(key, None)
    settings['randomness'].pop('seed')
    return settings


def digest(cfg: Config) -> str:
    """Eight characters that tell the settings of trainings apart."""
    return _hash(json.dumps(get_settings(cfg), sort_keys=True))


def _hash(text: str) -> str:
    """Eight characters that tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def read_result(
        path: str,
        metrics: Sequence[str],
        tested_model: Optional[str] = None) -> Optional[Dict[str, float]]:
    """Numbers of a finished test.

    Args:
        path (str): Its JSON file.
        metrics (Sequence[str]): What it must hold.
        tested_model (str, optional): :func:`digest_of_test` of the test that
            counts. Defaults to None, any.

    Returns:
        dict[str, float] | None: By metric a fraction in [0, 1], -1 where no
        object counts, or one of ``COUNTS``; None if there is no such file, or
        it is of another test.

    Raises:
        ValueError: If the file does not hold the numbers.
    """
    if not osp.exists(path):
        return None
    try:
        with open(path, encoding='utf-8') as file:
            stats = json.load(file)
        if tested_model is not None and stats[TESTED_MODEL] != tested_model:
            return None
        numbers = {metric: float(stats[f'vis/{metric}']) for metric in metrics}
        if not all(-1 <= number <= (inf if metric in COUNTS else 1)
                   for metric, number in numbers.items()):
            raise ValueError(f'numbers outside [-1, 1] in {numbers}')
        return numbers
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{path} must hold the numbers of a test, got '
            f'{type(error).__name__}: {error}; remove it to test again'
        ) from None


def summarize(results: List[Dict[str, float]],
              metrics: Sequence[str]) -> Dict[str, dict]:
    """Mean and spread over the seeds.

    Args:
        results (list[dict[str, float]]): Numbers of each seed.
        metrics (Sequence[str]): What to summarize.

    Returns:
        dict[str, dict]: By metric ``mean`` and ``std``, the sample standard
        deviation, both in percent but for ``COUNTS``; None where it is not
        defined: without results or objects, and the deviation of a single
        seed.
    """
    summary = {}
    for metric in metrics:
        scale = 1 if metric in COUNTS else 100
        values = [scale * result[metric] for result in results]
        values = [value for value in values if value >= 0]
        summary[metric] = dict(
            mean=statistics.mean(values) if values else None,
            std=statistics.stdev(values) if len(values) > 1 else None)
    return summary


def format_cell(mean: Optional[float], std: Optional[float] = None) -> str:
    """A number in percent with its spread, '-' for none."""
    if mean is None:
        return '-'
    return f'{mean:.1f}' + ('' if std is None else f' ± {std:.1f}')


def report(message: str) -> None:
    """Tell what goes on, apart from the table."""
    print(message, file=sys.stderr, flush=True)
