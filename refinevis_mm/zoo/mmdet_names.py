# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Names of mmdet's own zoo, read from the metafiles of its wheel."""
import os.path as osp
from glob import glob
from importlib.util import find_spec
from typing import Any, Dict, Iterator, List, Optional

import yaml

from .class_lists import class_list_of
from .entries import openmmlab_entry
from .entry import StatedResult, ZooEntry

TASK = 'Instance Segmentation'


def mmdet_models() -> Iterator[Dict[str, Any]]:
    """Read the models of the installed mmdet.

    Yields:
        dict: As its metafiles describe it, with the path of the metafile
        below mmdet's folder ``.mim`` as ``Metafile``.
    """
    for path in _metafiles():
        yield from _read(path)


def mmdet_names(model: Dict[str, Any]) -> List[str]:
    """Names by which mmdet's inferencers know a model.

    Args:
        model (dict): An item of :func:`mmdet_models`.

    Returns:
        list[str]: Its name, that of its config and its aliases, in lower
        case.
    """
    alias = model.get('Alias') or []
    names = [model['Name'], _config(model).split('/')[-1][:-len('.py')]]
    names += [alias] if isinstance(alias, str) else alias
    return [name.lower() for name in names]


def segments(model: Dict[str, Any]) -> bool:
    """Whether a model finds the masks of the instances of single images.

    Args:
        model (dict): An item of :func:`mmdet_models`.

    Returns:
        bool: True for instance segmenters.
    """
    return TASK in _tasks(model)


def find_mmdet_model(name: str) -> Optional[Dict[str, Any]]:
    """Find a model in mmdet's zoo.

    Args:
        name (str): One of :func:`mmdet_names`, in any case.

    Returns:
        dict, optional: An item of :func:`mmdet_models`, None if there is
        none of this name.
    """
    name = name.lower()
    for path in _metafiles():
        with open(path, encoding='utf-8') as file:
            if name not in file.read().lower():  # far faster than parsing
                continue
        for model in _read(path):
            if name in mmdet_names(model):
                return model
    return None


def mmdet_entry(model: Dict[str, Any]) -> ZooEntry:
    """Describe an instance segmenter of mmdet's zoo.

    Args:
        model (dict): An item of :func:`mmdet_models`.

    Returns:
        :obj:`ZooEntry`: Its entry, with its name in mmdet.

    Raises:
        ValueError: If it finds no masks of instances, has no published
            weights, or its classes are not known here.
    """
    if not segments(model):
        raise ValueError(
            f'"{model["Name"]}" of mmdet must find masks of instances in '
            f'images, but its task is {" and ".join(_tasks(model))}')
    if not model.get('Weights'):
        raise ValueError(f'"{model["Name"]}" of mmdet must have published '
                         'weights, but has none')
    result = next(item for item in model['Results'] if item['Task'] == TASK)
    return openmmlab_entry(
        model['Weights'],
        name=model['Name'],
        family=model['In Collection'],
        config=f'mmdet::{_config(model)}',
        class_names=class_list_of(result['Dataset']),
        result=StatedResult(TASK, result['Dataset'], result['Metrics'],
                            f'mmdet, {model["Metafile"]}'))


def _metafiles() -> List[str]:
    """Paths of mmdet's metafiles."""
    return sorted(glob(osp.join(_root(), 'configs', '*', 'metafile.yml')))


def _root() -> str:
    """Where mmdet keeps what mim looks for."""
    origin = find_spec('mmdet').origin  # type: ignore[union-attr]
    return osp.join(osp.dirname(str(origin)), '.mim')


def _read(path: str) -> List[Dict[str, Any]]:
    """Models of a metafile."""
    with open(path, encoding='utf-8') as file:
        content = yaml.safe_load(file)
    # a metafile may be a bare list of models
    if isinstance(content, dict):
        content = content.get('Models', [])
    where = osp.relpath(path, _root()).replace(osp.sep, '/')
    return [dict(model, Metafile=where) for model in content]


def _tasks(model: Dict[str, Any]) -> List[str]:
    """Tasks for which results are stated."""
    return [result['Task'] for result in model.get('Results') or []]


def _config(model: Dict[str, Any]) -> str:
    """Path of the config below mmdet's configs: beside the metafile."""
    folder = model['Metafile'].split('/')[-2]
    return f'{folder}/{model["Config"].split("/")[-1]}'
