# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Every command and every piece of Python in the documentation runs."""
import contextlib
import importlib
import importlib.util
import inspect
import io
import os.path as osp
import re
import runpy
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Set

import pytest
from mmengine.config import Config, config
from mmengine.registry import DefaultScope, Registry

import refinevis_mm
from refinevis_mm import registry
from refinevis_mm.apis.inference import find_config
from refinevis_mm.registry import MODELS
from refinevis_mm.zoo import find_entry
from refinevis_mm.zoo.part_file import CACHE_ENV
from tests import docs_markdown, docs_small
from tests.docs_checkout import (ROOT, make_checkout, make_data,
                                 write_backbone, write_class_names, write_clip,
                                 write_maskdino, write_named, write_official,
                                 write_tracked)
from tests.docs_runner import (SESSION, Call, Done, Terminal, as_process,
                               forget_modules, run_python)

PAGES = sorted([
    ROOT / 'README.md', *ROOT.glob('docs/*.md'),
    *ROOT.glob('configs/*/README.md')
])
NAMES = {page: page.relative_to(ROOT).as_posix() for page in PAGES}
# those with many commands
SLOW = ('README.md', 'docs/data.md', 'docs/fleet.md', 'docs/get_started.md',
        'docs/model_zoo.md', 'docs/own_video.md', 'docs/results.md',
        'docs/training.md', 'docs/visualization.md')
SMALL_CONFIG = ('configs/refinevis/'
                'refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py')

# words in capitals that a reader replaces, by page
STANDS_FOR = {
    'configs/ablation/README.md':
    dict(
        DIR='work_dirs/my_training',
        **{
            'configs/ablation/CONFIG.py':
            'configs/ablation/ablation_table3-window_1xb4-600_occluded-'
            'shapes.py'
        }),
    'configs/maskdino/README.md':
    dict(
        IMAGES='data/raw/frames/bear',
        INSTANCES='data/raw/maps/bear',
        LABELS='data/raw/maps/bear',
        config='configs/maskdino/'
        'maskdino_mobilenet-v2_2xb2-5k_custom-coco.py',
        checkpoint='maskdino.pth'),
    'configs/refinevis/README.md':
    dict(CONFIG='configs/refinevis/refinevis_mobilenet-v2_2xb2-5k_occluded-'
         'shapes.py'),
}
# what the reader of a page has done before
SHAPES = ('python tools/dataset_converters/make_occluded_shapes.py '
          'data/occluded_shapes\nmake data/mobilenet-v2_imagenet.pth')
EVERYDAY = ('python tools/dataset_converters/make_everyday.py my_sources '
            'data/everyday')
BEFORE = {
    'configs/refinevis/README.md': SHAPES,
    'docs/results.md': EVERYDAY,
    'docs/training.md': EVERYDAY
}
# files that a reader has besides the data, by page
FILES = {
    'configs/mask2former/README.md': {
        'mask2former.pth':
        partial(write_tracked,
                'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py')
    },
    'configs/maskdino/README.md': {
        'maskdino.pth': write_maskdino,
        'names.txt': write_class_names
    },
    'docs/any_segmenter.md': {
        'solov2.pth':
        partial(write_tracked,
                'mmdet::solov2/solov2-light_r18_fpn_ms-3x_coco.py')
    },
    'docs/fleet.md': {
        'clips/one.mp4': write_clip,
        'clips/two.mp4': write_clip
    },
    'docs/official_checkpoints.md': {
        'OFFICIAL.pth': write_official
    },
    'docs/training.md': {
        'OFFICIAL.pth': write_official
    }
}
# packages without which a page is not run; `make test-zoo` has them
NEEDS = {'docs/supervision.md': 'supervision'}
# weights that every reader has fetched
NAMED = ('mask2former-r50_coco', )


class Allowed(NamedTuple):
    """A command that is not run.

    Attributes:
        pattern (str): Regular expression that the whole command matches.
        reason (str): Why it is not run.
        check (Callable, optional): Called with the :obj:`Call` and the
            checkout instead; what is wrong raises.
    """

    pattern: str
    reason: str
    check: Optional[Callable[[Call, Path], None]] = None


def check_pip(call: Call, root: Path) -> None:
    """Extras and files of a pip command exist."""
    setup = (root / 'setup.py').read_text()
    for word in call.words:
        for extra in re.findall(r'^(?:\.|refinevis_mm ?)\[([\w,]+)\]', word):
            for name in extra.split(','):
                assert re.search(rf'\b{name}=', setup), f'no extra {name!r}'
    for flag, value in zip(call.words, call.words[1:]):
        if flag in ('-r', '-c'):
            assert (Path(call.cwd) / value).exists(), value


def check_make(call: Call, root: Path) -> None:
    """Targets of a make command exist."""
    targets = re.findall(r'^([\w./%-]+):(?!=)',
                         (root / 'Makefile').read_text(), re.MULTILINE)
    for word in call.words[1:]:
        assert '=' in word or any(
            fnmatchcase(word, target.replace('%', '?*'))
            for target in targets), f'no target {word!r}'


def make_backbone(call: Call, root: Path) -> None:
    """The target exists; leaves a file with random weights."""
    check_make(call, root)
    write_backbone(root / call.words[1])


def check_exists(call: Call, root: Path) -> None:
    """The file exists."""
    assert (root / call.words[1]).exists(), call


def check_arguments(call: Call, root: Path) -> None:
    """The tool exists and understands its options."""
    words = call.words
    if words[0] == 'bash':
        words = resolve_bash(words)
    path = Path(call.cwd, words[1])
    with as_process(call, words[1:], [], root):
        module = runpy.run_path(str(path), run_name='docs_arguments')
        module['parse_args']()


def check_named(call: Call, root: Path) -> None:
    """The weights have a name and a config; options are understood."""
    check_arguments(call, root)
    entry = find_entry(call.words[3])
    assert osp.exists(find_config(entry.config)), entry.config


def check_function(call: Call, root: Path) -> None:
    """The module of a command for CVAT takes the parameters."""
    words = call.words
    module = importlib.import_module(words[words.index('--function-module') +
                                           1])
    known = inspect.signature(module.create).parameters
    for flag, value in zip(words, words[1:]):
        if flag == '-p':
            assert value.split('=')[0] in known, value


def check_serve(call: Call, root: Path) -> None:
    """The tool exists and, where FastAPI is, understands its options."""
    check_exists(call, root)
    if importlib.util.find_spec('fastapi') is not None:
        check_arguments(call, root)


MMTRACK = 'mmtrack with compiled mmcv is not installed; run by make test-ops'
ALLOWED = [
    Allowed(r'cvat-cli .*', 'needs a server; test_cvat_function.py runs it',
            check_function),
    Allowed(r'python demo/serve.py .*',
            'serves until Ctrl-C; run in test_serve.py', check_serve),
    Allowed(r'python my_project/send_video.py http.*',
            'needs that server; run in test_serve.py', check_exists),
    Allowed(r'pip install .*', 'installs', check_pip),
    Allowed(r'git clone REPOSITORY', 'downloads'),
    Allowed(r'source .venv/bin/activate', 'the environment of the test'),
    Allowed(r'make data/\S+_imagenet.pth',
            'downloads a package; leaves random weights here', make_backbone),
    Allowed(r'make .*', 'installs, tests or trains in full', check_make),
    Allowed(r'python -c .*find_spec.*mmtrack.*', MMTRACK),
    Allowed(r'python \S*/youtubevis2coco.py .*', MMTRACK),
    Allowed(r'python \S*t\S*.py \S*tar-mmtrack\S*.py .*', MMTRACK,
            check_arguments),
    Allowed(r'python \S+ .*(--ray-address|s3://).*',
            'a cluster or a bucket; run by make test-fleet', check_arguments),
    Allowed(r'python tests/parity/report.py',
            'ten seconds; the tests in tests/parity measure the same',
            check_exists),
    Allowed(r'python tools/video_demo.py \S+ (rtmdet-ins|mask-rcnn)\S* .*',
            'downloads; needs NMS of torchvision or compiled mmcv',
            check_named),
    Allowed(r'python tools/video_demo.py \S+ rfdetr\S* .*',
            'downloads; needs the rfdetr package', check_named),
    Allowed(r'python tools/analysis_tools/benchmark_zoo.py .*rfdetr.*',
            'needs the rfdetr package and NMS', check_arguments),
    Allowed(
        r'python tools/analysis_tools/benchmark.py .*--against.*',
        'starts processes, in which models stay large; run in '
        'test_comparison.py', check_arguments),
    Allowed(r'python tools/analysis_tools/benchmark_gpu.py .*',
            'a GPU and large models; run in test_benchmark_gpu.py on a CPU',
            check_arguments),
    Allowed(r'python tools/\S+ .*--(backend|graphs|format (onnx|openvino)) .*',
            'needs onnx, onnxruntime or OpenVINO; run by make test-zoo',
            check_arguments),
    Allowed(r'bash tools/dist_train.sh .*load_from=maskdino.pth',
            'the tiny model is not that of the converted checkpoint',
            check_arguments),
    Allowed(r'python tools/analysis_tools/ablation_table.py .* --run.*',
            'trainings and tests of a table; run in test_ablation_table.py',
            check_arguments),
    Allowed(r'python tools/analysis_tools/compare_systems.py --(run|measure)',
            'trainings of ten systems; run in test_compare_systems.py',
            check_arguments),
]


def check(allowed: Allowed, call: Call, root: Path) -> Done:
    """What running a command that is not run gives."""
    said = io.StringIO()
    if allowed.check is not None:
        try:
            with contextlib.redirect_stderr(said):
                allowed.check(call, root)
        except (AssertionError, OSError, SystemExit, ValueError) as error:
            return Done(1, '', f'{call}: {error}\n{said.getvalue()}')
    return Done(0, '')


class Reader:
    """Somebody who types all that a page says.

    Args:
        root (Path): The checkout.
        page (Path): The page.
        used (set[str]): Receives the patterns of ``ALLOWED`` that were met.
        monkeypatch (MonkeyPatch): For what commands start themselves.
    """

    def __init__(self, root: Path, page: Path, used: Set[str],
                 monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.page = page
        self.used = used
        self.stands_for = STANDS_FOR.get(NAMES[page], {})
        self.monkeypatch = monkeypatch
        self.namespace = dict(self.stands_for, __name__=SESSION)
        self.terminal = Terminal(root, self.execute)

    def close(self) -> None:
        """Leave nothing behind."""
        self.terminal.close()
        forget_modules(self.root)

    def read(self, block: docs_markdown.Block) -> None:
        """Type a block, or save it if it is a file."""
        if block.language == 'bash':
            self.terminal.run(block.text)
        elif block.language == 'python':
            if block.file:
                path = self.root / block.file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(block.text)
            if block.text.lstrip().startswith('_base_') or (
                    block.file and '\n_base_' in block.text):
                self.build(block)
            elif not block.file:
                self.python(block)

    def python(self, block: docs_markdown.Block) -> None:
        """Run Python in the session of the page."""
        call = Call(['python'], str(self.root), {})
        code = compile('\n' * (block.line - 1) + block.text, str(block.page),
                       'exec')
        nowhere = self.root / 'no_modules'  # a session keeps its modules
        with as_process(call, [''], [str(self.root)], nowhere):
            exec(code, self.namespace)

    def build(self, block: docs_markdown.Block) -> None:
        """Load a config and build its model."""
        path = self.root / (
            block.file
            or osp.join(osp.dirname(NAMES[block.page]), 'from_the_page.py'))
        path.write_text(block.text)
        call = Call(['python'], str(self.root), {})
        with as_process(call, [''], [str(self.root)], self.root):
            cfg = Config.fromfile(str(path))
            DefaultScope.get_instance('docs', scope_name='mmdet')
            if not any(kind in cfg.model.type for kind in NEEDS_COMPILED):
                MODELS.build(cfg.model)

    def execute(self, call: Call) -> Done:
        """Run a command of the terminal, or check it if it cannot run."""
        words = [self.stands_for.get(word, word) for word in call.words]
        call = call._replace(words=words)
        for allowed in ALLOWED:
            if re.fullmatch(allowed.pattern, ' '.join(words), re.DOTALL):
                self.used.add(allowed.pattern)
                return check(allowed, call, self.root)
        if words[0] == 'bash':
            words = resolve_bash(words)
            if not words:
                return Done(127, '', f'unknown script: {call}')
        if words[0] == 'mim':
            return self.mim(call)
        if words[0] == 'python':
            return self.run(call._replace(words=words))
        return Done(127, '', f'neither run nor allowed: {call}')

    def run(self, call: Call) -> Done:
        """Run Python with a little less work."""
        words = [
            word for word in call.words if word not in docs_small.NEEDS_GPU
        ]
        more = docs_small.ARGUMENTS.get(osp.basename(words[1]), '')
        return run_python(call._replace(words=words + more.split()), self.root)

    def mim(self, call: Call) -> Done:
        """Run mim's own command; the Python that it starts runs here."""
        testing = pytest.importorskip('click.testing')
        cli = pytest.importorskip('mim.__main__').cli
        site = self.root.parent / 'site' / 'refinevis_mm'
        if not site.exists():  # an installed wheel
            (site / '.mim').mkdir(parents=True)
            for name in ('configs', 'tools', 'model-index.yml'):
                (site / '.mim' / name).symlink_to(ROOT / name)

        check_output = subprocess.check_output

        def start(command: List[str], **kwargs) -> bytes:
            if command[0] != sys.executable:
                return check_output(command, **kwargs)
            done = self.run(call._replace(words=['python', *command[1:]]))
            if done.code:
                raise subprocess.CalledProcessError(done.code, command,
                                                    done.out, done.err)
            return done.out.encode()

        fakes = dict(
            get_installed_path=lambda name: str(site),
            is_installed=lambda name: True,
            module_full_name=lambda name: name)
        with self.monkeypatch.context() as patch, as_process(
                call, ['mim'], [], self.root):
            patch.setattr(refinevis_mm, '__file__', str(site / '__init__.py'))
            patch.setattr(subprocess, 'check_output', start)
            patch.setattr(
                subprocess, 'check_call',
                lambda command, **kwargs: print(start(command).decode()) or 0)
            for name, module in list(sys.modules.items()):
                for key in fakes if name.startswith('mim.') else ():
                    if hasattr(module, key):
                        patch.setattr(module, key, fakes[key])
            result = testing.CliRunner().invoke(cli, call.words[1:])
        error = result.exception
        return Done(
            result.exit_code, result.output,
            '' if error is None else f'{error!r} '
            f'{getattr(error, "stderr", "")}')


NEEDS_COMPILED = ('MaskTrackRCNN', )  # their operators are not in mmcv-lite


def resolve_bash(words: List[str]) -> List[str]:
    """What the scripts of ``tools`` start in each process."""
    tool = osp.basename(words[1])
    if tool == 'dist_train.sh':
        return ['python', 'tools/train.py', words[2], *words[4:]]
    if tool == 'dist_test.sh':
        return ['python', 'tools/test.py', *words[2:4], *words[5:]]
    return []


@pytest.fixture(scope='module')
def user_data(tmp_path_factory, small_configs) -> Path:
    """The files of a user, made once."""
    folder = tmp_path_factory.mktemp('user')
    make_data(folder)
    return folder


@pytest.fixture(scope='module')
def named_weights(tmp_path_factory, small_configs) -> Path:
    """The cache of a user who has fetched weights, made once."""
    folder = tmp_path_factory.mktemp('cache')
    for name in NAMED:
        write_named(folder, name)
    return folder


@pytest.fixture(scope='module')
def small_configs():
    """Every config that is loaded is made small."""
    fromfile, merge = Config.fromfile, Config.merge_from_dict

    def load(*args, **kwargs) -> Config:
        return docs_small.small(fromfile(*args, **kwargs))

    def merge_from_dict(self, *args, **kwargs) -> None:
        merge(self, *args, **kwargs)
        docs_small.small(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Config, 'fromfile', staticmethod(load))
        patch.setattr(Config, 'merge_from_dict', merge_from_dict)
        # the layout of the configs that runs write, 5 times a run: most of
        # the time otherwise
        patch.setattr(config, 'FormatCode', lambda text, **kwargs:
                      (text, True))
        yield


@pytest.fixture(scope='module')
def used() -> Dict[str, Set[str]]:
    """Patterns of ``ALLOWED`` that each page has met."""
    return dict()


@pytest.mark.parametrize('page', [
    pytest.param(
        page,
        id=name,
        marks=[pytest.mark.slow] * (name in SLOW) + [pytest.mark.zoo] *
        (name in NEEDS)) for page, name in NAMES.items()
])
def test_page(page, tmp_path, user_data, named_weights, small_configs, used,
              monkeypatch):
    monkeypatch.setenv(CACHE_ENV, str(named_weights))
    root = make_checkout(tmp_path)
    shutil.copytree(user_data, root, dirs_exist_ok=True)
    for name, write in FILES.get(NAMES[page], {}).items():
        write(root / name)
    found = used.setdefault(NAMES[page], set())
    if NAMES[page] in NEEDS:
        pytest.importorskip(NEEDS[NAMES[page]])
    with contextlib.closing(Reader(root, page, found, monkeypatch)) as reader:
        reader.terminal.run(BEFORE.get(NAMES[page], ''))
        for block in docs_markdown.blocks(page):
            try:
                reader.read(block)
            except Exception as error:
                pytest.fail(f'{block.place}: {error!r}'.replace('\\n', '\n'))


@pytest.mark.parametrize('text, reason', [
    ('nosuchtool street.mp4', 'command not found'),
    ('wget street.mp4', 'command not found'),
    ('cat absent.txt', 'No such file'),
    ('echo $ABSENT', 'unbound variable'),
    ('echo "unfinished', 'unexpected EOF'),
    ('python tools/absent.py', "can't open file"),
    ('python -m refinevis_mm.absent', 'No module named'),
    ('python --absent', 'unknown option'),
    (f'python tools/test.py {SMALL_CONFIG} absent.pth', 'does not exist'),
    (f'python tools/test.py {SMALL_CONFIG}', 'are required: checkpoint'),
    (f'python tools/train.py {SMALL_CONFIG} --absent', 'unrecognized'),
    (f'python tools/train.py {SMALL_CONFIG}', 'train.json'),
    ('bash tools/absent.sh', 'unknown script'),
    ('mim train refinevis_mm absent.py', 'absent.py'),
    ('mim absent refinevis_mm', 'SystemExit(2)'),
    ('git push', 'neither run nor allowed'),
    ('python tools/video_demo.py docs/before_after.jpg mask2forme --out-dir '
     'out', 'no weights of the name "mask2forme"'),
    ('python tools/video_demo.py street.mp4 rfdetr-seg-huge --out-dir out',
     'no weights of the name "rfdetr-seg-huge"'),
    ('python tools/video_demo.py street.mp4 rfdetr-seg-nano_coco --out-dir out '
     '--absent', 'unrecognized'),
    ('python tools/video_demo.py street.mp4 mask-rcnn_absent --out-dir out',
     'no weights of the name "mask-rcnn_absent"'),
    ('python tools/video_demo.py street.mp4 mmdet::absent/absent.py absent.pth '
     '--out-dir out', 'absent.py'),
    ('cvat-cli task auto-annotate 1 --function-module '
     'refinevis_mm.apis.cvat_function -p absent=str:a', 'absent=str:a'),
    ('make absent', "no target 'absent'"),
    ('pip install -e ".[absent]"', "no extra 'absent'"),
    ('pip install -r absent.txt', 'absent.txt'),
    ('python tools/analysis_tools/ablation_table.py table9 --run',
     'invalid choice'),
])
def test_what_is_wrong_fails(text, reason, tmp_path, small_configs,
                             monkeypatch):
    root = make_checkout(tmp_path)
    used = set()
    with contextlib.closing(Reader(root, PAGES[0], used,
                                   monkeypatch)) as reader:
        with pytest.raises(AssertionError, match=re.escape(reason)):
            reader.terminal.run(f'{text}\ntrue')


def test_bash_ends_where_a_program_raises(tmp_path):

    def programs(call):
        raise KeyError(str(call))

    terminal = Terminal(tmp_path, programs)
    with pytest.raises(KeyError, match='true'):
        terminal.run('python true.py')
    terminal.close()  # bash still waits for an answer


def test_nothing_is_allowed_in_vain(used):
    if len(used) < len(PAGES):
        pytest.skip('needs all pages')
    met = set().union(*used.values())
    assert [item.pattern for item in ALLOWED if item.pattern not in met] == []


@pytest.mark.parametrize('page', PAGES, ids=NAMES.values())
def test_links(page):
    for target in docs_markdown.links(page):
        if re.match(r'(https?|mailto):', target):
            continue
        path, _, anchor = target.partition('#')
        path = (page.parent / path).resolve() if path else page
        assert path.exists(), target
        if anchor:
            assert anchor in docs_markdown.anchors(path), target


@pytest.mark.parametrize('page', PAGES, ids=NAMES.values())
def test_names(page):
    text = page.read_text(encoding='utf-8')
    stems = {path.stem for path in ROOT.glob('configs/*/*.py')}
    for name in docs_markdown.CONFIG_NAME.findall(text):
        assert name.removesuffix('.py') in stems, name
    for name in docs_markdown.ZOO_NAME.findall(text):
        if name not in stems:
            find_entry(name)
    for name in docs_markdown.MMDET_CONFIG.findall(text):
        assert osp.exists(find_config(name)), name
    for match in docs_markdown.PACKAGE_NAME.finditer(text):
        name = match[1].strip('.')
        assert name == 'X' or exists(name) or made_on(text, name), match[0]
    for path in docs_markdown.FILE_NAME.findall(text):
        assert made_on(text, path) or (ROOT / path).exists() or \
            path in STANDS_FOR.get(NAMES[page], {}), path


def made_on(text: str, name: str) -> bool:
    """Whether a page has a file or a class of its own."""
    return f'```python\n# {name}\n' in text or f'\nclass {name}(' in text \
        or f'\nclass {name}:' in text


def exists(name: str) -> bool:
    """Whether ``refinevis_mm.<name>`` is registered or can be imported.

    A class or module that needs mmtrack has to be in the source at least.
    """
    if (ROOT / 'refinevis_mm' / f'{name.replace(".", "/")}.py').exists():
        return True
    if any(
            isinstance(kind, Registry) and kind.get(name) is not None
            for kind in vars(registry).values()):
        return True
    parts = ['refinevis_mm', *name.split('.')]
    for cut in range(len(parts), 0, -1):
        try:
            value = importlib.import_module('.'.join(parts[:cut]))
        except ImportError:  # no module, or one that needs mmtrack
            continue
        with contextlib.suppress(AttributeError):
            for part in parts[cut:]:
                value = getattr(value, part)
            return True
    return any(f'\nclass {name}(' in path.read_text()
               for path in (ROOT / 'refinevis_mm').rglob('*.py'))
