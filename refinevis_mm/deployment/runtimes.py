# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Runtimes that compute exported graphs on the CPU: tensors in and out."""
from abc import ABCMeta, abstractmethod
from typing import Any, Dict, List, Optional, Type

import torch
from torch import Tensor

from .graphs import IMAGES
from .packages import check_package

ERRORS_ONLY = 3  # severity of onnxruntime's log


class Runtime(metaclass=ABCMeta):
    """A graph that is ready to run.

    Args:
        path (str): File of the graph.
        threads (int): Threads of one run.

    Raises:
        ImportError: If the runtime's package is missing.
    """

    package = ''
    formats: tuple = ()

    def __init__(self, path: str, threads: int) -> None:
        check_package(self.package, f'backend "{self.package}"')
        self.path = path
        self.threads = threads

    @abstractmethod
    def run(self, inputs: Dict[str, Tensor]) -> List[Tensor]:
        """Compute all outputs.

        Args:
            inputs (dict[str, Tensor]): By name, on the CPU.

        Returns:
            list[Tensor]: In the order of the graph's outputs.
        """


class ONNXRuntime(Runtime):
    """onnxruntime on the CPU.

    Threads do not spin between two graphs: they would take the cores from
    what Python does there.

    Args: See :class:`Runtime`.
    """

    package = 'onnxruntime'
    formats = ('onnx', )

    def __init__(self, path: str, threads: int) -> None:
        super().__init__(path, threads)
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry('session.intra_op.allow_spinning',
                                         '0')
        self._session = onnxruntime.InferenceSession(
            path, options, providers=['CPUExecutionProvider'])

    def run(self, inputs: Dict[str, Tensor]) -> List[Tensor]:
        """See :meth:`Runtime.run`."""
        outputs = self._session.run(None, {
            name: value.contiguous().numpy()
            for name, value in inputs.items()
        })
        return [torch.from_numpy(output) for output in outputs]


class OpenVINORuntime(Runtime):
    """OpenVINO on the CPU, in float32.

    A graph of images is compiled for each batch it meets: with fixed sizes
    it runs faster. Numbers of tracklets change all the time and stay free.

    Args: See :class:`Runtime`.
    """

    package = 'openvino'
    formats = ('onnx', 'openvino')

    def __init__(self, path: str, threads: int) -> None:
        super().__init__(path, threads)
        import openvino
        self._core = openvino.Core()
        self._model = self._core.read_model(path)
        self._requests: Dict[Optional[int], Any] = {}

    def run(self, inputs: Dict[str, Tensor]) -> List[Tensor]:
        """See :meth:`Runtime.run`."""
        batch = len(inputs[IMAGES]) if IMAGES in inputs else None
        if batch not in self._requests:
            self._requests[batch] = self._compile(inputs, batch)
        outputs = self._requests[batch].infer({
            name: value.contiguous().numpy()
            for name, value in inputs.items()
        })
        return [
            torch.from_numpy(outputs[i].copy()) for i in range(len(outputs))
        ]

    def _compile(self, inputs: Dict[str, Tensor], batch: Optional[int]) -> Any:
        """A request for one batch, or for any number of tracklets."""
        model = self._model
        if batch is not None:
            model = model.clone()
            model.reshape({IMAGES: list(inputs[IMAGES].shape)})
        return self._core.compile_model(
            model, 'CPU', {
                'INFERENCE_NUM_THREADS': self.threads,
                'INFERENCE_PRECISION_HINT': 'f32',
                'PERFORMANCE_HINT': 'LATENCY',
            }).create_infer_request()


RUNTIMES: Dict[str, Type[Runtime]] = {
    'onnxruntime': ONNXRuntime,
    'openvino': OpenVINORuntime,
}


def check_backend(name: str) -> Type[Runtime]:
    """Find a runtime, and check that it is installed.

    Args:
        name (str): A key of ``RUNTIMES``.

    Returns:
        type: A :class:`Runtime`.

    Raises:
        ValueError: If there is no such runtime.
        ImportError: If its package is missing.
    """
    if name not in RUNTIMES:
        raise ValueError(f'backend must be one of {list(RUNTIMES)}, got '
                         f'{name!r}')
    runtime = RUNTIMES[name]
    check_package(runtime.package, f'backend "{name}"')
    return runtime
