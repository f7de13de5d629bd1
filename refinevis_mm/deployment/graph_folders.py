# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where the graphs of a model lie: a given folder, or the cache."""
import copy
import os
import os.path as osp
from typing import Optional, Tuple

from filelock import FileLock
from mmengine.logging import print_log

from refinevis_mm.models import RefineVIS
from refinevis_mm.version import __version__
from .export import check_size, export_model, network_digest
from .formats import check_format
from .manifest import FORMAT_VERSION, Manifest


class GraphFolders:
    """Finds the graphs of a model, and exports them where there are none.

    Args:
        model (:obj:`RefineVIS`): The model in PyTorch.
        weights (str): Digest of its weights.
        folder (str, optional): The only graphs to use. Defaults to None:
            those of the cache.
        cache_dir (str): The cache, needed without ``folder``.

    Raises:
        OSError: If there is no such folder.
        ValueError: If it is of another model.
        ImportError: If what export needs is missing.
    """

    def __init__(self,
                 model: RefineVIS,
                 weights: str,
                 folder: Optional[str] = None,
                 cache_dir: str = '') -> None:
        # keeps its parts when the model's are replaced
        self._model = copy.copy(model)
        self._model._modules = dict(model._modules)
        self._weights = weights
        self._network = network_digest(model.cfg)
        self._folder = folder
        self._cache = cache_dir
        if folder is None:
            check_format('onnx', None)
        else:
            self.manifest = Manifest.read(folder)
            self._check(folder)

    def find(self, size: Tuple[int, int],
             picture: Optional[Tuple[int, int]]) -> str:
        """Folder with graphs for frames of a size.

        Args:
            size (tuple[int]): (H, W) of the padded input.
            picture (tuple[int], optional): Size of the picture in it, where
                it matters.

        Returns:
            str: The folder.

        Raises:
            ValueError: If the given folder is of another size.
            OSError: If graphs cannot be written to the cache.
        """
        if self._folder is not None:
            self._check_sizes(size, picture)
            return self._folder
        sides = [
            f'{sides[0]}x{sides[1]}' for sides in (size, picture)
            if sides is not None
        ]
        name = '_'.join([
            self._weights, self._network, *sides, f'w{self._model.window}',
            f'{__version__}-{FORMAT_VERSION}'
        ])
        folder = osp.join(self._cache, name)
        check_size(self._model, size)
        os.makedirs(self._cache, exist_ok=True)
        with FileLock(f'{folder}.lock'):
            if not osp.isdir(folder):
                print_log(
                    f'exporting graphs for frames of {size[1]} x {size[0]}, '
                    f'once, into {folder}',
                    logger='current')
                export_model(
                    self._model, self._weights, size, folder, picture=picture)
        return folder

    def _check(self, folder: str) -> None:
        """Refuse graphs of another model."""
        found = self.manifest
        for what, got, own in (('weights', found.weights, self._weights),
                               ('network settings', found.network,
                                self._network)):
            if got != own:
                raise ValueError(f'the graphs in "{folder}" must be of the '
                                 f'model\'s {what} {own}, got {got}')
        if found.window < self._model.window:
            raise ValueError(f'the graphs in "{folder}" refine windows of '
                             f'{found.window} frames, got window '
                             f'{self._model.window}')

    def _check_sizes(self, size: Tuple[int, int],
                     picture: Optional[Tuple[int, int]]) -> None:
        """Refuse frames of another size than the graphs'."""
        found = self.manifest
        for what, option, own, got in (('frames', '--size', found.size, size),
                                       ('pictures', '--picture-size',
                                        found.picture, picture)):
            if got != own and own is not None and got is not None:
                kind = 'padded' if what == 'frames' else 'unpadded'
                raise ValueError(
                    f'the graphs take {what} of {own[1]} x {own[0]} (width x '
                    f'height, {kind}), got {got[1]} x {got[0]}; export others '
                    f'with {option} {got[0]} {got[1]}')
