# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What is written in several files of the repository is the same in all."""
import re
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import refinevis_mm
from tests import docs_markdown

ROOT = Path(__file__).parents[2]
PAGES = ('CHANGELOG.md', 'CONTRIBUTING.md')
WORKFLOW = '.github/workflows/ci.yml'


def read(name):
    """A file of the repository."""
    return (ROOT / name).read_text('utf-8')


def requirements(name):
    """Requirements of a file by name."""
    lines = (line.split('#')[0].strip() for line in read(name).splitlines())
    items = [Requirement(line) for line in lines if line]
    return {item.name: item.specifier for item in items}


def test_one_version():
    versions = re.findall(r'^## \[(.+?)\]', read('CHANGELOG.md'), re.MULTILINE)
    assert versions[0] == refinevis_mm.__version__
    assert len(set(versions)) == len(versions)
    assert yaml.safe_load(
        read('CITATION.cff'))['version'] == refinevis_mm.__version__


def test_lowest_versions_are_those_of_the_ranges():
    ranges = requirements('requirements/runtime.txt')
    ranges['mmcv-lite'] = Requirement(
        re.search(r"'(mmcv-lite.*?)'", read('setup.py'))[1]).specifier
    lowest = requirements('requirements/constraints-lowest.txt')
    bounds = {
        name: re.findall(r'>=([\w.]+)', str(specifier))
        for name, specifier in ranges.items()
    }
    for name, specifier in lowest.items():
        pinned, = (item.version for item in specifier)
        assert f'{pinned}.'.startswith(f'{bounds[name][0]}.')
    assert set(lowest) == {name for name in bounds if bounds[name]}


def test_one_python():
    lowest = re.search(r"python_requires='>=(3\.\d+)'", read('setup.py'))[1]
    supported = re.findall(r'Python :: (3\.\d+)', read('setup.py'))
    assert supported[0] == lowest
    jobs = yaml.safe_load(read(WORKFLOW))['jobs']
    rows = jobs['versions']['strategy']['matrix']['include']
    tried = {row['python'] for row in rows}
    tried.update(jobs['pinned']['strategy']['matrix']['python'])
    assert set(supported) <= tried


@pytest.mark.parametrize('page', PAGES)
def test_pages(page):
    path = ROOT / page
    for target in docs_markdown.links(path):
        assert target.startswith('https://') or (
            ROOT / target.partition('#')[0]).exists(), target
    for name in docs_markdown.FILE_NAME.findall(path.read_text('utf-8')):
        assert (ROOT / name).exists(), name
    for command in re.findall(r'`make ([\w-]+)`', path.read_text('utf-8')):
        assert f'\n{command}:' in read('Makefile'), command
