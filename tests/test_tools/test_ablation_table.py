# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import json
import math
from pathlib import Path

import pytest
from mmengine.config import Config

from refinevis_mm.utils import trainings
from refinevis_mm.utils.trainings import AT_TEST, Training, Trainings, digest
from tests.tool_module import load_tool

ROOT = Path(__file__).parents[2]

MODULE = '''
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from torch.utils.data import Dataset


@DATASETS.register_module()
class AblatedNumbers(Dataset):
    metainfo = dict()

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


@MODELS.register_module()
class AblatedModel(BaseModel):
    def __init__(self, mode, window, exclusive_recovery, score_missed, tag):
        super().__init__()
        self.linear = torch.nn.Linear(1, 1)
        self.window = window

    def forward(self, inputs, mode='tensor'):
        out = self.linear(torch.stack(list(inputs)))
        if mode == 'loss':
            return dict(loss=((out - 1)**2).mean())
        return [dict(value=self.window / 100) for row in out]


@METRICS.register_module()
class AblatedMetric(BaseMetric):
    default_prefix = 'vis'

    def process(self, data_batch, data_samples):
        self.results.extend(data_samples)

    def compute_metrics(self, results):
        names = ('AP', 'AP50', 'AP75', 'AR1', 'AR10')
        return {name: results[0]['value'] for name in names}
'''

CONFIG = '''
custom_imports = dict(imports=['ablated_module', 'refinevis_mm'])
default_scope = 'mmengine'
model = dict(
    type='AblatedModel',
    mode='online',
    window=10,
    exclusive_recovery=True,
    score_missed=True,
    tag='{tag}')
loader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(type='AblatedNumbers'))
train_dataloader = test_dataloader = loader
train_cfg = dict(type='IterBasedTrainLoop', max_iters=20)
test_cfg = dict(type='TestLoop')
test_evaluator = dict(type='AblatedMetric')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=0.01))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=2, end=20)
]
default_hooks = dict(
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=10))
log_processor = dict(by_epoch=False)
randomness = dict(seed=5)
'''
# two configs with equal settings
EQUAL = ('ablation_table3-window', 'refinevis_mobilenet-v2')


@pytest.fixture(scope='module')
def tool():
    """The command line tool as a module."""
    return load_tool('analysis_tools/ablation_table.py')


@pytest.fixture
def folder(tool, tmp_path, monkeypatch):
    """The working directory, with a config for every row of every table."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'ablated_module.py').write_text(MODULE)
    for table in tool.TABLES.values():
        for row in table.rows:
            path = tmp_path / 'configs' / row.config
            path.parent.mkdir(parents=True, exist_ok=True)
            tag = 'equal' if path.name.startswith(EQUAL) else path.stem
            path.write_text(CONFIG.format(tag=tag))
    return tmp_path


def numbers(ap, other=0.5):
    """What a test of the runner leaves."""
    stats = dict.fromkeys(('AP50', 'AP75', 'AR1', 'AR10'), other)
    return {f'vis/{key}': value for key, value in dict(stats, AP=ap).items()}


class FakeRunner:
    """Stands for tools/train.py and tools/test.py; remembers the commands.

    AP is 40 % + the seed + the window in tenths of a percent.
    """

    def __init__(self):
        self.trained, self.tested = [], []
        self.killed_at = None

    def __call__(self, command, log, root):
        assert Path(log).parent.is_dir()
        name, config = Path(command[1]).name, command[2]
        config = Config.fromfile(config, import_custom_modules=False)
        work_dir = Path(command[command.index('--work-dir') + 1])
        if name in ('train.py', 'dist_train.sh'):
            self.trained.append(command)
            last = self.killed_at or config.train_cfg.max_iters
            (work_dir /
             'last_checkpoint').write_text(f'elsewhere/iter_{last}.pth')
            if self.killed_at:
                raise KeyboardInterrupt
        else:
            self.tested.append(config.model)
            ap = 0.4 + 0.01 * config.randomness.seed + \
                0.001 * config.model.window
            (work_dir / 'time').mkdir()
            (work_dir / 'time' / 'time.json').write_text(
                json.dumps(numbers(ap)))


@pytest.fixture
def runner(monkeypatch):
    """A fake runner in place of the real one."""
    fake = FakeRunner()
    monkeypatch.setattr(trainings, 'execute', fake)
    return fake


def call(tool, *args):
    """Run the tool on the configs in the working directory."""
    return tool.main([*args, '--configs-dir', 'configs'])


def cells_of(text):
    """Table cells of the printed text, by the first two cells."""
    rows = [[cell.strip() for cell in line.strip('|').split('|')]
            for line in text.splitlines() if line.startswith('|')]
    return {tuple(row[:2]): row[2:] for row in rows}


def test_run_prints_and_repeats_nothing(tool, folder, runner, capsys):
    args = ('table3', '--run', '--seeds', '0', '2', '--json', 'out/t3.json')
    assert call(tool, *args) == 0
    cells = cells_of(capsys.readouterr().out)
    # seeds 0 and 2: 40 and 42 plus a tenth of W; sqrt(1 + 1)
    assert cells['10', 'offline'] == ['42.0 ± 1.4'] + \
        ['50.0 ± 0.0'] * 4 + ['2']
    assert cells['0', 'offline'][0] == '41.0 ± 1.4'
    assert len(runner.trained) == 2 and len(runner.tested) == 14
    assert runner.tested[-1].mode == 'offline'
    lines = json.loads((folder / 'out' / 't3.json').read_text())['lines']
    assert [line['row'] for line in lines] == \
        ['0', '2', '4', '8', '10', '16', '20']
    assert lines[4]['per_seed']['2']['AP'] == pytest.approx(0.43)
    assert call(tool, *args) == 0
    assert call(tool, *args[:1], *args[2:]) == 0
    assert len(runner.trained) == 2 and len(runner.tested) == 14


def test_equal_trainings_are_shared(tool, folder, runner):
    assert call(tool, 'table3', '--run', '--seeds', '1') == 0
    assert call(tool, 'table5', '--run', '--seeds', '1') == 0
    # the last row of table 5 is the training and test of table 3
    assert len(runner.trained) == 1 + 3 and len(runner.tested) == 7 + 3
    # other settings are another training
    assert call(tool, 'table3', '--run', '--seeds', '1', '--cfg-options',
                'optim_wrapper.optimizer.lr=0.02') == 0
    assert len(runner.trained) == 5 and len(runner.tested) == 17


def test_shipped_training_is_shared(tool):
    runs = Trainings('tools', str(ROOT / 'configs'), 'work_dirs/ablation')
    configs_of = {}
    for table in tool.TABLES.values():
        for row in table.rows:
            cfg = runs.get(row.config, 0).cfg
            configs_of.setdefault(digest(cfg), set()).add(row.config)
    assert len(configs_of) == 14
    shared = {
        configs
        for configs in map(frozenset, configs_of.values()) if len(configs) > 1
    }
    names = ('table2-temporal-cdn', 'table3-window', 'table4-2-frames',
             'tar-whole-masks', 'tar-real-scores')
    assert shared == {
        frozenset([tool.SHIPPED, *(tool.ablation(name) for name in names)])
    }


def test_names_of_results(tool):
    model = dict.fromkeys(AT_TEST, True)
    cfg = Config(dict(model=dict(model, mode='online', window=10)))
    training = Training(cfg, 'seed0')
    for overrides, name in [
        ({}, 'online_w10'),
        (dict(mode='offline', window=4), 'offline_w4'),
        (dict(exclusive_recovery=False), 'online_w10_whole-masks'),
        (dict(score_missed=False), 'online_w10_real-scores'),
            # nothing is recovered
        (dict(window=0, mode='offline', exclusive_recovery=False), 'w0'),
    ]:
        options = tool.test_options(training, overrides)
        assert set(options) == set(AT_TEST)
        assert tool.result_name(options) == name


def test_killed_run_goes_on(tool, folder, runner):
    args = ('table4', '--run', '--seeds', '0', '--nproc', '3')
    runner.killed_at = 10
    with pytest.raises(KeyboardInterrupt):
        call(tool, *args)
    assert '--resume' not in runner.trained[0]
    runner.killed_at = None
    assert call(tool, *args) == 0
    assert len(runner.trained) == 4 and len(runner.tested) == 3
    resumed = runner.trained[1]
    work_dir = Path(resumed[resumed.index('--work-dir') + 1])
    assert resumed[resumed.index('--resume') + 1] == \
        str(work_dir / 'iter_10.pth')
    assert resumed[:2] == ['bash', str(ROOT / 'tools' / 'dist_train.sh')]
    assert resumed[3] == '3'
    assert all('--resume' not in command for command in runner.trained[2:])


def test_trained_but_not_tested(tool, folder, runner):
    args = ('table3', '--run', '--seeds', '0')
    assert call(tool, *args) == 0
    for path in folder.glob('work_dirs/ablation/*/seed0/offline_w4.json'):
        path.unlink()
    for path in folder.glob('work_dirs/ablation/*/seed0/*/time'):
        path.rmdir()
    assert call(tool, *args) == 0
    assert len(runner.trained) == 1 and len(runner.tested) == 8
    assert runner.tested[-1].window == 4


def test_missing_runs_are_named(tool, folder, runner, capsys):
    assert call(tool, 'table2') == 1
    output = capsys.readouterr()
    assert output.out == '' and output.err.startswith('error: ')
    assert 'work_dirs/ablation has no results of table2' in output.err
    assert call(tool, 'table2', '--run', '--seeds', '0') == 0
    capsys.readouterr()
    assert call(tool, 'table2', '--seeds', '0', '3') == 0
    output = capsys.readouterr()
    cells = cells_of(output.out)
    assert len(cells) == 1 + 6
    assert cells['+ association', 'frame level'][0] == '40.0'
    assert cells['+ association', 'frame level'][-1] == '1 of 2'
    missing = output.err.splitlines()
    assert len(missing) == 6
    assert 'table2-frame-cdn' in missing[0] and 'seed3/w0' in missing[0]


def test_paper_numbers_are_labelled(tool, folder, runner, capsys):
    args = ('table2', '--run', '--seeds', '0', '--paper', '--format',
            'markdown')
    assert call(tool, *args) == 0
    text = capsys.readouterr().out
    cells = cells_of(text)
    assert cells['denoising', 'result'][5:] == [
        'AP (paper)', 'AP50 (paper)', 'AP75 (paper)', 'seeds'
    ]
    assert cells['frame', 'offline'][5:] == ['31.0', '53.1', '29.3', '1']
    assert cells['+ temporal', 'frame level'][5:8] == ['-', '-', '-']
    assert 'Table 2, OVIS, ResNet-50; another model on other data' in text


def test_rows_of_the_paper_exist(tool):
    for name, paper in tool.PAPER.items():
        table = tool.TABLES[name]
        lines = {(row.label, result)
                 for row in table.rows
                 for result in table.results}
        assert set(paper.numbers) <= lines


def test_configs_exist(tool):
    for table in tool.TABLES.values():
        for row in table.rows:
            assert (ROOT / 'configs' / row.config).is_file()


@pytest.mark.parametrize('content', [
    '{"vis/AP": 0.4',
    '[]',
    '{"vis/AP": 0.4}',
    json.dumps(numbers('high')),
    json.dumps(numbers(40.0)),
    json.dumps(numbers(math.nan)),
])
def test_damaged_result_is_named(content, tool, folder, runner, capsys):
    assert call(tool, 'table4', '--run', '--seeds', '0') == 0
    path = next(folder.glob('work_dirs/*/*table4-3*/seed0/offline_w10.json'))
    path.write_text(content)
    capsys.readouterr()
    assert call(tool, 'table4', '--seeds', '0') == 1
    error = capsys.readouterr().err
    assert error.startswith('error: ') and len(error.splitlines()) == 1
    assert f'{path.relative_to(folder)} must hold the numbers' in error


@pytest.mark.parametrize('args, reason', [
    (['table9'], 'invalid choice'),
    (['table2', '--seeds', '1', '1'], '--seeds must differ'),
    (['table2', '--seeds', '-1'], '--seeds must'),
    (['table2', '--max-iters', '0'], '--max-iters must be at least 1'),
    (['table2', '--nproc', '0'], '--nproc must be at least 1'),
    (['tar', '--paper'], 'the paper has no table tar'),
])
def test_wrong_arguments(args, reason, tool, capsys):
    with pytest.raises(SystemExit) as stop:
        tool.main(args)
    assert stop.value.code == 2 and reason in capsys.readouterr().err


def test_absent_configs(tool, capsys):
    assert tool.main(['table2', '--configs-dir', 'absent']) == 1
    assert 'absent' in capsys.readouterr().err


@pytest.mark.slow
def test_real_tools(tool, folder, monkeypatch, capsys):
    monkeypatch.setenv('PYTHONPATH', str(folder))
    monkeypatch.setitem(
        tool.TABLES, 'table3',
        tool.TABLES['table3']._replace(rows=tool.TABLES['table3'].rows[1:2]))
    args = ('table3', '--run', '--seeds', '4', '--max-iters', '2')
    assert call(tool, *args) == 0
    cells = cells_of(capsys.readouterr().out)
    assert cells['2', 'offline'] == ['2.0'] * 5 + ['1']
