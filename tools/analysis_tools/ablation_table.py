# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Run or collect the ablations of configs/ablation and print a table.

Every row is trained once per seed and tested with the last checkpoint.
Trainings with equal settings are shared by all tables. What is finished is
not repeated, so a killed run goes on where it was. Files::

    WORK_DIR/<config>-<digest of the settings>/
        seed0.py              the config of the training
        seed0/                its work dir: checkpoints, logs
        seed0/<result>.json   result of a test, such as offline_w10.json

Example:
    python tools/analysis_tools/ablation_table.py table3 --run
    python tools/analysis_tools/ablation_table.py table2 --seeds 0 --paper
"""
import argparse
import glob
import hashlib
import json
import os
import os.path as osp
import socket
import statistics
import subprocess
import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

from mmengine.config import Config, ConfigDict, DictAction
from terminaltables import AsciiTable, GithubFlavoredMarkdownTable

from refinevis_mm.files import write_text

TOOLS = osp.dirname(osp.dirname(osp.abspath(__file__)))
METRICS = ('AP', 'AP50', 'AP75', 'AR1', 'AR10')
FORMATS = dict(text=AsciiTable, markdown=GithubFlavoredMarkdownTable)
SHIPPED = ('refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-'
           'temporal.py')
# Settings that decide a training. Those of the model that act at test only
# and the seed are left out: they differ between the results of one training.
SETTINGS = ('model', 'train_dataloader', 'test_dataloader', 'test_evaluator',
            'train_cfg', 'optim_wrapper', 'param_scheduler', 'custom_hooks',
            'load_from', 'randomness', 'num_processes')
AT_TEST = ('mode', 'window', 'exclusive_recovery', 'score_missed')

FRAME_LEVEL = dict(window=0)
ONLINE = dict(mode='online')
OFFLINE = dict(mode='offline')


class Row(NamedTuple):
    """A row of a table.

    Attributes:
        label (str): First cell.
        config (str): Config below the configs folder.
        test (dict): Settings of the model at test, some of ``AT_TEST``, over
            those of the config and of the result.
    """

    label: str
    config: str
    test: dict = {}


class Table(NamedTuple):
    """A table: each row is tested in every way of ``results``.

    Attributes:
        title (str): What is compared.
        header (str): Header of the first column.
        results (dict[str, dict]): Settings at test, some of ``AT_TEST``, by
            name of the result.
        rows (list[:obj:`Row`]): The rows.
    """

    title: str
    header: str
    results: Dict[str, dict]
    rows: List[Row]


class PaperTable(NamedTuple):
    """Numbers of the paper, of other data.

    Attributes:
        source (str): Where they come from.
        numbers (dict[tuple[str], tuple[float]]): Percent, in the order of
            ``METRICS``, by row and result.
    """

    source: str
    numbers: Dict[Tuple[str, str], Tuple[float, ...]]


def ablation(name: str) -> str:
    """Config of an ablation."""
    return f'ablation/ablation_{name}_1xb4-600_occluded-shapes.py'


TABLES = dict(
    table2=Table(
        title='Where denoising queries are used',
        header='denoising',
        results={
            'frame level': FRAME_LEVEL,
            'offline': OFFLINE
        },
        rows=[
            Row('frame', ablation('table2-frame-cdn')),
            Row('+ association', ablation('table2-assoc-cdn')),
            Row('+ temporal', ablation('table2-temporal-cdn')),
        ]),
    table3=Table(
        title='Frames seen by refinement',
        header='W',
        results={'offline': OFFLINE},
        rows=[
            Row(str(window), ablation('table3-window'), dict(window=window))
            for window in (0, 2, 4, 8, 10, 16, 20)
        ]),
    table4=Table(
        title='Frames of a training clip',
        header='frames',
        results={'offline': OFFLINE},
        rows=[
            Row(str(frames), ablation(f'table4-{frames}-frames'))
            for frames in (2, 3, 5)
        ]),
    table5=Table(
        title='Refinement (TAR) and jitter (LSJ)',
        header='trained with',
        results={'offline': OFFLINE},
        rows=[
            Row('neither', ablation('table5-no-tar-no-lsj')),
            Row('LSJ', ablation('table5-no-tar')),
            Row('TAR', ablation('table5-no-lsj')),
            Row('TAR and LSJ', SHIPPED),
        ]),
    tar=Table(
        title='Options of TAR',
        header='TAR',
        results={
            'frame level': FRAME_LEVEL,
            'online': ONLINE,
            'offline': OFFLINE
        },
        rows=[
            Row('as shipped', SHIPPED),
            Row("pe_placement='qk'", ablation('tar-pe-qk')),
            Row('mask_missing=True', ablation('tar-mask-missing')),
            Row('drop_prob=0', ablation('tar-no-drop')),
            Row('recursive_prob=0', ablation('tar-no-recursion')),
            Row('tracklets of a tracker', ablation('tar-tracker')),
            Row('own heads', ablation('tar-own-heads')),
            Row('exclusive_recovery=False', ablation('tar-whole-masks')),
            Row('score_missed=False', ablation('tar-real-scores')),
        ]))

# The paper's numbers in the order of METRICS, by row and result.
PAPER = dict(
    table2=PaperTable(
        'Table 2, OVIS, ResNet-50', {
            ('frame', 'frame level'): (30.1, 51.3, 29.6),
            ('frame', 'offline'): (31.0, 53.1, 29.3),
            ('+ association', 'frame level'): (31.2, 52.0, 30.7),
            ('+ association', 'offline'): (31.8, 54.2, 30.8),
            ('+ temporal', 'offline'): (32.3, 55.5, 31.7),
        }),
    table3=PaperTable(
        'Table 3, OVIS, ResNet-50', {
            ('0', 'offline'): (32.7, ),
            ('2', 'offline'): (32.1, ),
            ('4', 'offline'): (32.9, ),
            ('8', 'offline'): (33.5, ),
            ('10', 'offline'): (33.7, ),
            ('16', 'offline'): (33.3, ),
            ('20', 'offline'): (32.9, ),
        }),
    table4=PaperTable(
        'Table 4, YouTube-VIS 2021, ResNet-50', {
            ('2', 'offline'): (50.2, 72.8, 55.4, 41.2, 56.3),
            ('3', 'offline'): (49.9, 72.8, 55.5, 41.2, 55.3),
            ('5', 'offline'): (49.4, 72.1, 55.0, 41.1, 55.5),
        }),
    table5=PaperTable(
        'Table 5, YouTube-VIS 2021, ResNet-50', {
            ('neither', 'offline'): (48.1, 70.5, 53.0, 39.3, 53.2),
            ('LSJ', 'offline'): (48.9, 73.0, 53.1, 40.7, 54.9),
            ('TAR', 'offline'): (49.1, 71.9, 54.1, 39.8, 54.3),
            ('TAR and LSJ', 'offline'): (50.2, 72.8, 55.4, 41.2, 56.3),
        }))


class Training(NamedTuple):
    """One training of a row.

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

    def test_options(self, overrides: dict) -> dict:
        """Settings of the model at test.

        Args:
            overrides (dict): Those that are not taken from the config.

        Returns:
            dict: All of ``AT_TEST``.
        """
        options = {key: self.cfg.model[key] for key in AT_TEST}
        return dict(options, **overrides)

    def result_file(self, options: dict) -> str:
        """Where the result of a test is kept.

        Args:
            options (dict): From :meth:`test_options`.

        Returns:
            str: Path of a JSON file.
        """
        if options['window'] == 0:
            name = 'w0'  # nothing is refined: the others do not matter
        else:
            name = '{mode}_w{window}'.format(**options)
            name += '' if options['exclusive_recovery'] else '_whole-masks'
            name += '' if options['score_missed'] else '_real-scores'
        return osp.join(self.folder, f'{name}.json')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Run or collect ablations and print their table',
        epilog='Give the same --max-iters, --nproc and --cfg-options to '
        'collect as to run. Exit code 0: there is a table, missing runs are '
        'named; 1: refused, the reason is printed; 2: wrong arguments.')
    parser.add_argument('table', choices=TABLES, help='which table')
    parser.add_argument(
        '--configs-dir',
        default=osp.join(osp.dirname(TOOLS), 'configs'),
        help='the configs folder (default: that of this tool)')
    parser.add_argument(
        '--work-dir',
        default='work_dirs/ablation',
        help='where the runs are kept (default: work_dirs/ablation)')
    parser.add_argument(
        '--seeds',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='random seeds of the trainings (default: 0 1 2)')
    parser.add_argument(
        '--run', action='store_true', help='train and test what is missing')
    parser.add_argument(
        '--max-iters',
        type=int,
        help='train for this many iterations; the learning rate schedule is '
        'shortened in proportion')
    parser.add_argument(
        '--nproc',
        type=int,
        default=1,
        help='processes of a run, which multiply the batch size (default: 1, '
        'as the 1xb4 of the configs)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='override settings of all configs, as in tools/train.py')
    parser.add_argument(
        '--paper',
        action='store_true',
        help="also print the paper's numbers, which are of other data")
    parser.add_argument('--json', help='also write the numbers to this file')
    parser.add_argument(
        '--format',
        choices=FORMATS,
        default='text',
        help='of the printed table (default: text)')
    args = parser.parse_args(argv)
    if len(set(args.seeds)) < len(args.seeds) or min(args.seeds) < 0:
        parser.error('--seeds must differ and not be negative, got '
                     f'{args.seeds}')
    for name in ('max_iters', 'nproc'):
        value = getattr(args, name)
        if value is not None and value < 1:
            option = name.replace('_', '-')
            parser.error(f'--{option} must be at least 1, got {value}')
    if args.paper and args.table not in PAPER:
        parser.error(f'--paper: the paper has no table {args.table}')
    return args


def shorten_schedule(cfg: Config, max_iters: int) -> None:
    """Train for fewer (or more) iterations, everything in proportion.

    Args:
        cfg (Config): Iteration-based config; changed in place.
        max_iters (int): Iterations.
    """
    ratio = max_iters / cfg.train_cfg.max_iters
    cfg.train_cfg.max_iters = max_iters
    schedulers = cfg.param_scheduler
    for scheduler in [schedulers] if isinstance(schedulers,
                                                dict) else schedulers:
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
    for key in AT_TEST:
        settings['model'].pop(key, None)
    settings['randomness'].pop('seed')
    return settings


def digest(cfg: Config) -> str:
    """Eight characters that tell the settings of trainings apart."""
    text = json.dumps(get_settings(cfg), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def get_training(config: str, seed: int, args: argparse.Namespace) -> Training:
    """The training of a config with one seed, as the options have it.

    Args:
        config (str): Config below the configs folder.
        seed (int): Random seed.
        args (argparse.Namespace): The command line.

    Returns:
        :obj:`Training`: An earlier one of equal settings, whatever its
        config was called, or a new one.
    """
    cfg = Config.fromfile(
        osp.join(args.configs_dir, config), import_custom_modules=False)
    if args.max_iters is not None:
        shorten_schedule(cfg, args.max_iters)
    cfg.merge_from_dict(args.cfg_options)
    cfg.merge_from_dict(dict(randomness=dict(seed=seed)))
    cfg.num_processes = args.nproc
    settings = digest(cfg)
    name = osp.splitext(osp.basename(config))[0]
    found = sorted(
        glob.glob(osp.join(glob.escape(args.work_dir), f'*-{settings}')))
    folder = found[0] if found else osp.join(args.work_dir,
                                             f'{name}-{settings}')
    return Training(cfg, osp.join(folder, f'seed{seed}'))


def read_result(path: str) -> Optional[Dict[str, float]]:
    """Numbers of a finished test.

    Args:
        path (str): Its JSON file.

    Returns:
        dict[str, float] | None: Fractions in [0, 1], or -1 where no object
        counts, by metric; None if there is no such file.

    Raises:
        ValueError: If the file does not hold the numbers.
    """
    if not osp.exists(path):
        return None
    try:
        with open(path, encoding='utf-8') as file:
            stats = json.load(file)
        numbers = {metric: float(stats[f'vis/{metric}']) for metric in METRICS}
        if not all(-1 <= number <= 1 for number in numbers.values()):
            raise ValueError(f'numbers outside [-1, 1] in {numbers}')
        return numbers
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f'{path} must hold the numbers of a test, got '
            f'{type(error).__name__}: {error}; remove it to test again'
        ) from None


def tool_command(tool: str, inputs: List[str], nproc: int) -> List[str]:
    """Start of a command line of tools/train.py or tools/test.py.

    Args:
        tool (str): 'train' or 'test'.
        inputs (list[str]): Its positional arguments.
        nproc (int): Number of processes.

    Returns:
        list[str]: Options can be added.
    """
    if nproc == 1:
        return [sys.executable, osp.join(TOOLS, f'{tool}.py'), *inputs]
    return ['bash', osp.join(TOOLS, f'dist_{tool}.sh'), *inputs, str(nproc)]


def execute(command: List[str], log: str) -> None:
    """Run a command to its end.

    Args:
        command (list[str]): The command line.
        log (str): File that receives what it prints.

    Raises:
        ValueError: If it fails.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    env = dict(os.environ, PYTHON=sys.executable)
    env.setdefault('PORT', str(port))
    env['PYTHONPATH'] = os.pathsep.join(
        [osp.dirname(TOOLS), env.get('PYTHONPATH', '')])
    with open(log, 'a', encoding='utf-8') as file:
        code = subprocess.run(
            command, env=env, stdout=file, stderr=subprocess.STDOUT).returncode
    if code != 0:
        raise ValueError(f'{osp.basename(command[1])} ended with exit code '
                         f'{code}, see {log}')


def last_checkpoint(training: Training) -> Optional[str]:
    """Newest checkpoint of a training, None before the first."""
    path = osp.join(training.folder, 'last_checkpoint')
    if not osp.exists(path):
        return None
    with open(path, encoding='utf-8') as file:
        name = osp.basename(file.read().strip())
    return osp.join(training.folder, name)


def train(training: Training, nproc: int) -> None:
    """Train, or go on with what a killed run left; nothing if finished.

    Args:
        training (:obj:`Training`): What to train.
        nproc (int): Number of processes.

    Raises:
        ValueError: If the training fails.
    """
    last = last_checkpoint(training)
    if last == training.checkpoint:
        return
    resume = [] if last is None else ['--resume', last]
    os.makedirs(training.folder, exist_ok=True)
    config = f'{training.folder}.py'
    training.cfg.dump(config)
    report(f'{"going on with" if resume else "training"} {training.folder}')
    execute(
        tool_command('train', [config], nproc) +
        ['--work-dir', training.folder, *resume],
        osp.join(training.folder, 'train.txt'))


def test(training: Training, options: dict, nproc: int) -> None:
    """Test the last checkpoint and keep the result.

    Args:
        training (:obj:`Training`): A finished one.
        options (dict): From :meth:`Training.test_options`.
        nproc (int): Number of processes.

    Raises:
        ValueError: If the test fails or has left no numbers.
    """
    path = training.result_file(options)
    folder = osp.splitext(path)[0]
    report(f'testing {folder}')
    os.makedirs(folder, exist_ok=True)
    inputs = [f'{training.folder}.py', training.checkpoint]
    execute([
        *tool_command('test', inputs, nproc), '--work-dir', folder,
        '--cfg-options', *(f'model.{key}={value}'
                           for key, value in options.items())
    ], osp.join(folder, 'test.txt'))
    # the runner writes <time>/<time>.json, and times sort
    written = sorted(glob.glob(osp.join(glob.escape(folder), '*', '*.json')))
    if not written:
        raise ValueError(f'the test has left no numbers in {folder}')
    os.replace(written[-1], path)


def report(message: str) -> None:
    """Tell what goes on, apart from the table."""
    print(message, file=sys.stderr, flush=True)


def summarize(results: List[Dict[str, float]]) -> Dict[str, dict]:
    """Mean and spread over the seeds.

    Args:
        results (list[dict[str, float]]): Numbers of each seed.

    Returns:
        dict[str, dict]: By metric ``mean`` and ``std``, the sample standard
        deviation, both in percent; None where it is not defined: without
        results or objects, and the deviation of a single seed.
    """
    summary = {}
    for metric in METRICS:
        values = [100 * result[metric] for result in results]
        values = [value for value in values if value >= 0]
        summary[metric] = dict(
            mean=statistics.mean(values) if values else None,
            std=statistics.stdev(values) if len(values) > 1 else None)
    return summary


def collect(table: Table, args: argparse.Namespace) -> List[dict]:
    """Results of a table; with ``--run`` missing ones are made.

    Args:
        table (:obj:`Table`): The table.
        args (argparse.Namespace): The command line.

    Returns:
        list[dict]: For each row and way of testing ``row``, ``result``,
        ``config``, ``files`` and ``per_seed`` (numbers by seed, None where
        missing) and ``summary``, see :func:`summarize`.
    """
    lines = []
    for row in table.rows:
        trainings = [
            get_training(row.config, seed, args) for seed in args.seeds
        ]
        for result, overrides in table.results.items():
            files = []
            for training in trainings:
                options = training.test_options(dict(overrides, **row.test))
                files.append(training.result_file(options))
                if args.run and not osp.exists(files[-1]):
                    train(training, args.nproc)
                    test(training, options, args.nproc)
            numbers = [read_result(path) for path in files]
            lines.append(
                dict(
                    row=row.label,
                    result=result,
                    config=row.config,
                    files=dict(zip(args.seeds, files)),
                    per_seed=dict(zip(args.seeds, numbers)),
                    summary=summarize([stats for stats in numbers if stats])))
    return lines


def format_table(lines: List[dict], header: str, style: str,
                 paper: Optional[PaperTable]) -> str:
    """The table as text, in percent.

    Args:
        lines (list[dict]): From :func:`collect`.
        header (str): Header of the first column.
        style (str): One of ``FORMATS``.
        paper (:obj:`PaperTable`, optional): Gets columns of its own.

    Returns:
        str: The table and its legend.
    """
    columns = list(METRICS)
    legend = 'mean ± sample standard deviation over the seeds, in percent'
    numbers = {}
    if paper is not None:
        numbers = paper.numbers
        count = max(map(len, numbers.values()))
        columns += [f'{metric} (paper)' for metric in METRICS[:count]]
        legend += (
            f'\npaper: its {paper.source}; another model on other data, '
            'not to be compared with these numbers')
    cells = [[header, 'result', *columns, 'seeds']]
    for line in lines:
        own = [format_cell(**line['summary'][metric]) for metric in METRICS]
        theirs = numbers.get((line['row'], line['result']), ())
        theirs = [format_cell(number) for number in theirs]
        theirs += ['-'] * (len(columns) - len(own) - len(theirs))
        done = sum(stats is not None for stats in line['per_seed'].values())
        total = len(line['per_seed'])
        cells.append([
            line['row'], line['result'], *own, *theirs,
            str(done) if done == total else f'{done} of {total}'
        ])
    return f'{FORMATS[style](cells).table}\n\n{legend}'


def format_cell(mean: Optional[float], std: Optional[float] = None) -> str:
    """A number in percent with its spread, '-' for none."""
    if mean is None:
        return '-'
    return f'{mean:.1f}' + ('' if std is None else f' ± {std:.1f}')


def main(argv: Optional[List[str]] = None) -> int:
    """Run, collect and print; returns the exit code."""
    args = parse_args(argv)
    table = TABLES[args.table]
    try:
        lines = collect(table, args)
        missing = [
            path for line in lines for seed, path in line['files'].items()
            if line['per_seed'][seed] is None
        ]
        if len(missing) == len(lines) * len(args.seeds):
            raise ValueError(
                f'{args.work_dir} has no results of {args.table} with these '
                f'options, the first would be {missing[0]}; --run makes them')
        paper = PAPER[args.table] if args.paper else None
        print(table.title, end='\n\n')
        print(format_table(lines, table.header, args.format, paper))
        for path in missing:
            report(f'missing: {path}')
        if args.json is not None:
            content = dict(table=args.table, lines=lines)
            write_text(args.json, json.dumps(content, indent=1))
    except (OSError, ValueError) as error:
        report(f'error: {error}')
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
