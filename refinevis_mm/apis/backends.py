# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Which runtime computes the networks of a model."""
import os.path as osp
from typing import Optional

from refinevis_mm.deployment import use_backend
from refinevis_mm.models import BaseVISModel
from refinevis_mm.zoo import cache_folder
from .weights import weights_digest


def choose_backend(model: BaseVISModel,
                   backend: Optional[str] = None,
                   graphs: Optional[str] = None,
                   threads: Optional[int] = None) -> None:
    """Let a runtime compute the networks of a model.

    Args:
        model (:obj:`BaseVISModel`): With its ``cfg`` and ``classes``, on the
            CPU; changed in place.
        backend (str, optional): 'onnxruntime' or 'openvino'. Defaults to
            None, PyTorch.
        graphs (str, optional): Folder of exported graphs. Defaults to None:
            those in the cache of fetched weights, exported when a frame of a
            new size comes.
        threads (int, optional): Threads of the backend. Defaults to None,
            those of PyTorch.

    Raises:
        OSError: If a file of ``graphs`` is missing.
        ValueError: If there is no such backend, the model cannot be
            exported, the graphs are of another one, or ``graphs`` or
            ``threads`` are given without backend.
        ImportError: If a package is missing.
    """
    if backend is None:
        if (graphs, threads) != (None, None):
            raise ValueError('graphs and threads are those of a backend, got '
                             'no backend')
        return
    use_backend(model, backend, weights_digest(model), graphs, threads,
                osp.join(cache_folder(), 'exported'))
