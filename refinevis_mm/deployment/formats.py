# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Files that a graph can be written to."""
import logging
import os.path as osp
import tempfile
import warnings
from contextlib import contextmanager
from typing import Callable, Dict, Iterator, Optional

import torch
from torch.export import Dim, ExportedProgram

from .graphs import Graph
from .packages import check_package

# What torch's exporter makes before it converts to newer ones.
MIN_OPSET = 18


def write_torch_export(graph: Graph, path: str, opset: int) -> str:
    """Write a graph as ``torch.export`` has it.

    Args:
        graph (:obj:`Graph`): The graph.
        path (str): The file without its ending.
        opset (int): Not read.

    Returns:
        str: The file.
    """
    torch.export.save(_trace(graph), f'{path}.pt2')
    return f'{path}.pt2'


def write_onnx(graph: Graph, path: str, opset: int) -> str:
    """Write a graph as ONNX, and check it.

    Args:
        graph (:obj:`Graph`): The graph.
        path (str): The file without its ending.
        opset (int): Version of the operators.

    Returns:
        str: The file.
    """
    import onnx
    path = f'{path}.onnx'
    with _quiet():
        program = torch.onnx.export(
            _trace(graph),
            dynamo=True,
            opset_version=opset,
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            verbose=False)
        program.save(path)
    onnx.checker.check_model(path, full_check=True)
    return path


def write_openvino(graph: Graph, path: str, opset: int) -> str:
    """Write a graph as OpenVINO's XML with its weights beside it.

    Args:
        graph (:obj:`Graph`): The graph.
        path (str): The file without its ending.
        opset (int): Of the ONNX graph it comes from.

    Returns:
        str: The XML file.
    """
    import openvino
    with tempfile.TemporaryDirectory() as folder:
        onnx_file = write_onnx(graph, osp.join(folder, 'graph'), opset)
        model = openvino.Core().read_model(onnx_file)
        openvino.save_model(model, f'{path}.xml', compress_to_fp16=False)
    return f'{path}.xml'


FORMATS: Dict[str, Callable[[Graph, str, int], str]] = {
    'onnx': write_onnx,
    'openvino': write_openvino,
    'torch-export': write_torch_export,
}
# Packages of each beside torch.
NEEDED = {
    'onnx': ('onnx', 'onnxscript'),
    'openvino': ('onnx', 'onnxscript', 'openvino'),
    'torch-export': (),
}


def check_format(name: str, opset: Optional[int]) -> None:
    """Check early that a format can be written.

    Args:
        name (str): A key of ``FORMATS``.
        opset (int, optional): Version of the operators.

    Raises:
        ValueError: If there is no such format, or the version is too old.
        ImportError: If a package is missing.
    """
    if name not in FORMATS:
        raise ValueError(f'format must be one of {list(FORMATS)}, got '
                         f'{name!r}')
    if opset is not None and opset < MIN_OPSET:
        raise ValueError(f'opset must be at least {MIN_OPSET}, got {opset}')
    for package in ('torch', *NEEDED[name]):
        check_package(package, f'export to {name}')


def _trace(graph: Graph) -> ExportedProgram:
    """The graph as torch.export sees it; refuses fixed sizes that are free."""
    dims = {name: Dim(name) for name in graph.free.values()}
    shapes = tuple({0: dims[graph.free[name]]} if name in graph.free else {}
                   for name in graph.inputs)
    with _quiet(), torch.no_grad():
        return torch.export.export(
            graph.module,
            tuple(graph.inputs.values()),
            dynamic_shapes=shapes,
            strict=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter says of itself and of absent packages."""
    loggers = [
        logging.getLogger(name) for name in ('torch.onnx', 'onnxscript')
    ]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
