# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Run or collect the ablations of configs/ablation and print a table.

Every row is trained once per seed and tested with the last checkpoint.
Trainings with equal settings are shared by all tables. What is finished is
not repeated, so a killed run goes on where it was
(refinevis_mm/utils/trainings.py says what lies where).

Example:
    python tools/analysis_tools/ablation_table.py table3 --run
    python tools/analysis_tools/ablation_table.py table2 --seeds 0 --paper
"""
import argparse
import json
import os.path as osp
import sys
from typing import Dict, List, NamedTuple, Optional, Tuple

from refinevis_mm.files import write_text
from refinevis_mm.utils.trainings import (AT_TEST, FORMATS, Training,
                                          Trainings, add_table_arguments,
                                          check_table_arguments, format_cell,
                                          report, summarize)

TOOLS = osp.dirname(osp.dirname(osp.abspath(__file__)))
METRICS = ('AP', 'AP50', 'AP75', 'AR1', 'AR10')
SHIPPED = ('refinevis/refinevis_mobilenet-v2_1xb4-600_occluded-shapes-'
           'temporal.py')
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


def test_options(training: Training, overrides: dict) -> dict:
    """Settings of the model at test.

    Args:
        training (:obj:`Training`): What is tested.
        overrides (dict): Those that are not taken from its config.

    Returns:
        dict: All of ``AT_TEST``.
    """
    options = {key: training.cfg.model[key] for key in AT_TEST}
    return dict(options, **overrides)


def result_name(options: dict) -> str:
    """Name of a result, such as offline_w10.

    Args:
        options (dict): From :func:`test_options`.

    Returns:
        str: Equal for tests that give the same.
    """
    if options['window'] == 0:
        return 'w0'  # nothing is refined: the others do not matter
    name = '{mode}_w{window}'.format(**options)
    name += '' if options['exclusive_recovery'] else '_whole-masks'
    return name + ('' if options['score_missed'] else '_real-scores')


def parse_args(argv: Optional[List[str]] = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Run or collect ablations and print their table',
        epilog='Give the same --max-iters, --nproc and --cfg-options to '
        'collect as to run. Exit code 0: there is a table, missing runs are '
        'named; 1: refused, the reason is printed; 2: wrong arguments.')
    parser.add_argument('table', choices=TABLES, help='which table')
    add_table_arguments(parser, TOOLS, 'work_dirs/ablation', (0, 1, 2))
    parser.add_argument(
        '--nproc',
        type=int,
        default=1,
        help='processes of a run, which multiply the batch size (default: 1, '
        'as the 1xb4 of the configs)')
    parser.add_argument(
        '--paper',
        action='store_true',
        help="also print the paper's numbers, which are of other data")
    args = parser.parse_args(argv)
    check_table_arguments(parser, args)
    if args.nproc < 1:
        parser.error(f'--nproc must be at least 1, got {args.nproc}')
    if args.paper and args.table not in PAPER:
        parser.error(f'--paper: the paper has no table {args.table}')
    return args


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
    runs = Trainings(TOOLS, args.configs_dir, args.work_dir, args.max_iters,
                     args.nproc, args.cfg_options)
    lines = []
    for row in table.rows:
        trainings = [runs.get(row.config, seed) for seed in args.seeds]
        for result, overrides in table.results.items():
            files, numbers = [], []
            for training in trainings:
                options = test_options(training, dict(overrides, **row.test))
                name = result_name(options)
                files.append(osp.join(training.folder, f'{name}.json'))
                settings = {
                    f'model.{key}': value
                    for key, value in options.items()
                }
                numbers.append(
                    runs.result([training], name, settings, METRICS, args.run))
            lines.append(
                dict(
                    row=row.label,
                    result=result,
                    config=row.config,
                    files=dict(zip(args.seeds, files)),
                    per_seed=dict(zip(args.seeds, numbers)),
                    summary=summarize([stats for stats in numbers if stats],
                                      METRICS)))
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
