# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Who may import whom, read from the source; see docs/architecture.md."""
import ast
import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = 'refinevis_mm'

# Rooms from the ground up: an import goes to a lower floor, never up and
# never sideways. `__init__` is the package itself.
FLOORS = (
    ('version', 'files'),
    ('registry', 'structures', 'compat', 'storage'),
    ('video_io', 'vis_json'),
    ('__init__', 'models', 'datasets'),
    ('utils', ),
    ('zoo', 'deployment', 'evaluation'),
    ('recording', ),
    ('visualization', ),
    ('engine', 'apis'),
    ('fleet', 'profiling'),
)
# The same inside of refinevis_mm.models.
MODEL_FLOORS = (
    ('layers', 'backbones'),
    ('frame_level', ),
    ('association', ),
    ('denoising', 'refinement'),
    ('base_video_model', ),
    ('base_vis_model', ),
    ('refinevis', 'adapters', 'seqformer', 'vita'),
    ('__init__', ),
)
# A package uses another one through what its `__init__` names. Modules that
# others open all the same, and why; the list should shrink.
ONE_BY_ONE = 'runs before anything of mmdet is imported, so each by itself'
IN_CONFIGS = 'what datasets names is for configs'
PART = 'only a part of it is named'
OLDER = 'profiling also measures older checkouts, which name less'
OPEN = {
    'apis.backends': OLDER,
    'apis.inference': OLDER,
    'apis.look_ahead': OLDER,
    'apis.video_config': OLDER,
    'models.layers.ms_deform_attn': OLDER,
    'compat.checkpoints': ONE_BY_ONE,
    'compat.mmcv_lite': ONE_BY_ONE,
    'compat.mmtrack': ONE_BY_ONE,
    'compat.versions': ONE_BY_ONE,
    'datasets.coco_results': IN_CONFIGS,
    'datasets.everyday_images': IN_CONFIGS,
    'datasets.occluded_shapes': IN_CONFIGS,
    'models.base_vis_model': PART,
    'models.frame_level.rfdetr_package': 'its functions are called as '
    'rfdetr_package.X, so that the reader sees whose they are',
    'models.frame_level.rfdetr_weights': PART,
    'utils.palette': 'colours; all that utils names is for command lines',
    'visualization.refinement_figure': PART,
    'visualization.vis_overlay': PART,
    'zoo.loading': 'fills models; all that zoo names is about files',
}
# Libraries that one place imports.
DOORS = {
    'av': 'video_io',
    'cvat_sdk': 'apis.cvat_function',
    'fsspec': 'storage',
    'mmtrack': 'compat.mmtrack',
    'onnx': 'deployment',
    'onnxruntime': 'deployment',
    'openvino': 'deployment',
    'pyarrow': 'recording.tracks_parquet',
    'ray': 'fleet.ray_engine',
    'rfdetr': 'models.frame_level.rfdetr_package',
    'supervision': 'structures.frame_result',
}


class Import(NamedTuple):
    """An import statement, of one name.

    Attributes:
        module (str): The module that has it.
        line (int): Its line.
        source (str): The module that is imported, or imported from.
        name (str, optional): What is imported from it.
    """

    module: str
    line: int
    source: str
    name: Optional[str] = None

    def __str__(self) -> str:
        return f'{self.module}:{self.line} imports {self.source}'


class Package:
    """The modules of a package and what they import, without running them.

    Args:
        root (Path): Folder that has the package.
        name (str): The package.
    """

    def __init__(self, root: Path, name: str = PACKAGE) -> None:
        self.name = name
        self.trees: Dict[str, ast.Module] = {}
        self.packages: Set[str] = set()
        for path in sorted((root / name).rglob('*.py')):
            parts = path.relative_to(root).with_suffix('').parts
            if '.mim' in parts:
                continue
            if parts[-1] == '__init__':
                parts = parts[:-1]
                self.packages.add('.'.join(parts))
            self.trees['.'.join(parts)] = ast.parse(path.read_text('utf-8'))
        self.imports = [
            item for module in self.trees for item in self._read(module)
        ]

    def _read(self, module: str) -> Iterator[Import]:
        """The imports of a module, those inside of functions too."""
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(module, node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom):
                source = self._absolute(module, node)
                for alias in node.names:
                    child = f'{source}.{alias.name}'
                    if child in self.trees and \
                            alias.name not in self.named(source):
                        yield Import(module, node.lineno, child)
                    else:
                        yield Import(module, node.lineno, source, alias.name)

    def _absolute(self, module: str, node: ast.ImportFrom) -> str:
        """The module that ``from`` names."""
        if node.level == 0:
            return node.module
        up = node.level - (module in self.packages)
        parts = module.split('.')
        parts = parts[:len(parts) - up] + (node.module or '').split('.')
        return '.'.join(part for part in parts if part)

    def room(self, module: str, base: str) -> Optional[str]:
        """The part of ``base`` that a module is in, None if it is outside."""
        if module == base:
            return '__init__'
        if not module.startswith(f'{base}.'):
            return None
        return module[len(base) + 1:].split('.')[0]

    def rooms(self, base: str) -> Set[str]:
        """All parts of ``base``."""
        return {self.room(module, base) for module in self.trees} - {None}

    def climbing(self, base: str,
                 floors: Sequence[Sequence[str]]) -> List[str]:
        """Imports between parts of ``base`` that do not go down."""
        floor_of = {
            room: floor
            for floor, rooms in enumerate(floors)
            for room in rooms
        }
        found = []
        for item in self.imports:
            above = self.room(item.module, base)
            below = self.room(item.source, base)
            if None not in (above, below) and above != below and \
                    floor_of[above] <= floor_of[below]:
                found.append(str(item))
        return found

    def named(self, package: str) -> Set[str]:
        """What the ``__all__`` of a package lists, nothing for a module."""
        if package not in self.packages:
            return set()
        for node in self.trees[package].body:
            if isinstance(node, ast.Assign) and \
                    getattr(node.targets[0], 'id', '') == '__all__':
                return set(ast.literal_eval(node.value))
        return set()

    def opened(self) -> Dict[str, List[str]]:
        """Imports of a room from another one past what its packages name.

        Returns:
            dict[str, list[str]]: By the module that is opened.
        """
        found = defaultdict(list)
        for item in self.imports:
            above = self.room(item.module, self.name)
            below = self.room(item.source, self.name)
            if below in (None, above, '__init__') or \
                    f'{self.name}.{below}' not in self.packages:
                continue
            if item.source not in self.packages or \
                    item.name not in self.named(item.source):
                found[item.source[len(self.name) + 1:]].append(str(item))
        return found

    def order(self) -> List[str]:
        """Modules, each after those that it imports.

        Raises:
            CycleError: If there is a circle.
        """
        graph = {module: set() for module in self.trees}
        for item in self.imports:
            if item.source in graph and item.source != item.module:
                graph[item.module].add(item.source)
        return list(TopologicalSorter(graph).static_order())


@pytest.fixture(scope='module')
def package():
    """The source of refinevis_mm."""
    return Package(ROOT)


@pytest.mark.parametrize('base, floors', [(PACKAGE, FLOORS),
                                          (f'{PACKAGE}.models', MODEL_FLOORS)])
def test_every_room_has_a_floor(package, base, floors):
    rooms = [room for floor in floors for room in floor]
    assert sorted(rooms) == sorted(package.rooms(base))


@pytest.mark.parametrize('base, floors', [(PACKAGE, FLOORS),
                                          (f'{PACKAGE}.models', MODEL_FLOORS)])
def test_imports_go_down(package, base, floors):
    assert package.climbing(base, floors) == []


def test_no_circle(package):
    assert len(package.order()) == len(package.trees)


def test_packages_use_what_is_named(package):
    opened = package.opened()
    assert {key: opened[key] for key in opened if key not in OPEN} == {}
    assert [key for key in OPEN if key not in opened] == []


def test_one_door_to_a_library(package):
    users = defaultdict(set)
    for item in package.imports:
        users[item.source.split('.')[0]].add(item.module)
    for library, door in DOORS.items():
        door = f'{PACKAGE}.{door}'
        for module in users[library]:
            assert f'{module}.'.startswith(f'{door}.'), library


def test_nothing_below_the_tools_imports_them(package):
    roots = {item.source.split('.')[0] for item in package.imports}
    assert not roots & {'tools', 'demo', 'tests', 'setup'}


def test_the_page_shows_the_floors():
    text = (ROOT / 'docs' / 'architecture.md').read_text('utf-8')
    for title, floors in (('## Rooms', FLOORS), ('### Inside of models',
                                                 MODEL_FLOORS)):
        table = text.split(f'{title}\n')[1].split('\n#')[0]
        rows = [
            re.findall(r'`(\w+)(?:\.py)?`',
                       row.split('|')[1]) for row in table.splitlines()
            if row.startswith('| `')
        ]
        assert [sorted(rooms) for rooms in reversed(rows)
                ] == [sorted(rooms) for rooms in floors]


@pytest.mark.parametrize('text, climbing, opened', [
    ('from house.cellar import wine', 0, 0),
    ('from ..cellar import wine', 0, 0),
    ('from .. import cellar', 0, 1),
    ('from ..cellar.rack import wine', 0, 1),
    ('from ..cellar import water', 0, 1),
    ('import house.cellar.rack', 0, 1),
    ('from ..roof import tile', 1, 0),
    ('def later():\n    from ..roof import tile', 1, 0),
    ('if True:\n    import house.roof', 1, 1),
    ('from ..hall import door', 1, 0),
    ('from .chair import leg', 0, 0),
])
def test_what_is_wrong_is_found(text, climbing, opened, tmp_path):
    files = {
        '__init__': '',
        'cellar/__init__': 'from .rack import wine\n__all__ = ["wine"]',
        'cellar/rack': 'wine, water = 1, 2',
        'kitchen/__init__': '',
        'kitchen/chair': 'leg = 1',
        'kitchen/table': text,
        'hall/__init__': 'door = 1\n__all__ = ["door"]',
        'roof/__init__': 'tile = 1\n__all__ = ["tile"]',
    }
    for name, content in files.items():
        path = tmp_path / 'house' / f'{name}.py'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    house = Package(tmp_path, 'house')
    floors = (('cellar', ), ('__init__', 'kitchen', 'hall'), ('roof', ))
    assert len(house.climbing('house', floors)) == climbing
    assert sum(map(len, house.opened().values())) == opened
    assert house.rooms('house') == {room for floor in floors for room in floor}


def test_a_circle_is_found(tmp_path):
    (tmp_path / 'house').mkdir()
    for name, other in zip('abc', 'bca'):
        (tmp_path / 'house' /
         f'{name}.py').write_text(f'def later():\n    from .{other} import x')
    with pytest.raises(CycleError):
        Package(tmp_path, 'house').order()
