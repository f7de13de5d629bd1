# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Exported graphs behind the contracts of the frame model and of TAR."""
import os.path as osp
from typing import Dict, List, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from refinevis_mm.models import (FrameModel, InstanceHeads, RefineVIS, TARHead,
                                 predict_tracks)
from refinevis_mm.structures import (ClipTargets, FrameOutput, FrameTargets,
                                     FrameTracks, QueryMatch)
from .export import check_model, picture_of
from .graph_folders import GraphFolders
from .graphs import CLASSES, FRAME, MASKS, TAR, TAR_CLASSES, TAR_MASKS
from .manifest import Manifest
from .runtimes import Runtime, check_backend

UNTRAINABLE = 'exported graphs cannot be trained; use the model without backend'


class GraphSet:
    """The graphs of one folder, opened when they are first run.

    Args:
        folder (str): The folder.
        backend (str): 'onnxruntime' or 'openvino'.
        threads (int): Threads of one run.

    Raises:
        OSError: If a file is missing.
        ValueError: If the folder has no graphs that the backend reads.
        ImportError: If its package is missing.
    """

    def __init__(self, folder: str, backend: str, threads: int) -> None:
        self._runtime = check_backend(backend)
        self.manifest = Manifest.read(folder)
        if self.manifest.format not in self._runtime.formats:
            raise ValueError(f'backend "{backend}" reads graphs of format '
                             f'{" or ".join(self._runtime.formats)}, got '
                             f'"{self.manifest.format}" in "{folder}"')
        self._paths = {
            name: osp.join(folder, graph['file'])
            for name, graph in self.manifest.graphs.items()
        }
        for path in self._paths.values():
            if not osp.isfile(path):
                raise FileNotFoundError(f'there is no graph "{path}"')
        self._threads = threads
        self._open: Dict[str, Runtime] = {}

    def run(self, name: str, **inputs: Tensor) -> Dict[str, Tensor]:
        """Compute a graph.

        Args:
            name (str): Its name.
            **inputs: Its inputs, on the CPU.

        Returns:
            dict[str, Tensor]: Its outputs by name.
        """
        if name not in self._open:
            self._open[name] = self._runtime(self._paths[name], self._threads)
        outputs = self.manifest.graphs[name]['outputs']
        values = self._open[name].run(inputs)
        return dict(zip([output['name'] for output in outputs], values))

    def shape_of(self, name: str, output: str) -> List[int]:
        """Shape of an output, without its first dimension."""
        return next(item['shape'][1:]
                    for item in self.manifest.graphs[name]['outputs']
                    if item['name'] == output)


class ExportedHeads:
    """Class and mask head as graphs; :class:`InstanceHeads`.

    Args:
        source (:obj:`InstanceHeads`): The heads in PyTorch. They answer
            before the first frame has told its size, that is for a stored
            state.
        graphs (:obj:`OpenGraphs`): The graphs.
        classes (str): Name of the class head. Defaults to 'classes'.
        masks (str): Name of the mask head. Defaults to 'masks'.
    """

    def __init__(self,
                 source: InstanceHeads,
                 graphs: 'OpenGraphs',
                 classes: str = CLASSES,
                 masks: str = MASKS) -> None:
        self._source = source
        self._graphs = graphs
        self._classes = classes
        self._masks = masks

    def classify(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.classify`; by PyTorch."""
        return self._source.classify(embeds)

    def class_scores(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.class_scores`."""
        graphs = self._graphs.any()
        if graphs is None or embeds.numel() == 0:
            return self._source.class_scores(embeds)
        scores = graphs.run(
            self._classes, embeds=embeds.flatten(0, -2))['cls_scores']
        return scores.unflatten(0, embeds.shape[:-1])

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """See :meth:`FrameModel.segment`; without boxes by PyTorch."""
        graphs = self._graphs.of_features(mask_features)
        if graphs is None or boxes is None or embeds.numel() == 0:
            return self._source.segment(embeds, mask_features, boxes)
        return torch.stack([
            graphs.run(
                self._masks,
                embeds=frame_embeds,
                mask_features=features[None],
                boxes=frame_boxes)['mask_logits']
            for frame_embeds, features, frame_boxes in zip(
                embeds, mask_features, boxes)
        ])


class OpenGraphs:
    """The sets of graphs that a model runs, one for each size of frames.

    Args:
        folders (:obj:`GraphFolders`): Where they lie.
        backend (str): 'onnxruntime' or 'openvino'.
        threads (int): Threads of one run.
    """

    # Sizes whose graphs are kept open.
    MAX_OPEN = 4

    def __init__(self, folders: GraphFolders, backend: str,
                 threads: int) -> None:
        self._folders = folders
        self._backend = backend
        self._threads = threads
        self._sets: Dict[tuple, GraphSet] = {}

    def of_frames(self, size: Tuple[int, int],
                  picture: Optional[Tuple[int, int]]) -> GraphSet:
        """Graphs for frames of a size.

        Args:
            size (tuple[int]): (H, W) of the padded input.
            picture (tuple[int], optional): Size of the picture in it, where
                it matters.

        Returns:
            GraphSet: Opened before, or now.

        Raises:
            ValueError: If there are none for this size.
        """
        key = (size, picture)
        graphs = self._sets.pop(key, None)
        if graphs is None:
            graphs = GraphSet(
                self._folders.find(size, picture), self._backend,
                self._threads)
        self._sets[key] = graphs  # the last one used is the last to go
        while len(self._sets) > self.MAX_OPEN:
            del self._sets[next(iter(self._sets))]
        return graphs

    def of_features(self, mask_features: Tensor) -> Optional[GraphSet]:
        """Graphs whose mask features have this shape, None if none are open."""
        shape = list(mask_features.shape[1:])
        for graphs in self._sets.values():
            if graphs.shape_of(FRAME, 'mask_features') == shape:
                return graphs
        return None

    def any(self) -> Optional[GraphSet]:
        """Graphs of any size, None if none are open."""
        return next(iter(self._sets.values()), None)


class ExportedFrameModel(FrameModel):
    """A frame model that another runtime computes.

    Weights and their names stay those of the model it stands for.

    Args:
        source (:obj:`FrameModel`): The frame model in PyTorch.
        graphs (:obj:`OpenGraphs`): The graphs.
        masks_padding (bool): Whether the graphs depend on the size of the
            picture before padding.
    """

    def __init__(self, source: FrameModel, graphs: OpenGraphs,
                 masks_padding: bool) -> None:
        super().__init__()
        self.source = source
        self.softmax_classes = source.softmax_classes
        self._graphs = graphs
        self._heads = ExportedHeads(source, graphs)
        self._masks_padding = masks_padding

    def state_dict(self, *args, **kwargs) -> Dict[str, Tensor]:
        """Weights by the names they have without this class around them."""
        return self.source.state_dict(*args, **kwargs)

    def forward_frames(
            self,
            images: Tensor,
            targets: Optional[List[ClipTargets]] = None,
            sizes: Optional[Sequence[Tuple[int, int]]] = None) -> FrameOutput:
        """See :meth:`FrameModel.forward_frames`.

        Returns:
            :obj:`FrameOutput`: With association embeddings.

        Raises:
            NotImplementedError: If there are targets.
            ValueError: If the graphs are of frames of another size, or
                pictures of a batch differ in theirs.
        """
        if targets is not None:
            raise NotImplementedError(UNTRAINABLE)
        size = (images.shape[-2], images.shape[-1])
        picture = None
        if self._masks_padding:
            pictures = {(height, width) for height, width in sizes or [size]}
            if len(pictures) > 1:
                raise ValueError('frames of a batch must have one size '
                                 f'before padding, got {sorted(pictures)}')
            picture = pictures.pop()
        graphs = self._graphs.of_frames(size, picture)
        return FrameOutput(**graphs.run(FRAME, images=images))

    def loss_frames(self, output: FrameOutput,
                    targets: List[FrameTargets]) -> Dict[str, Tensor]:
        """Not there.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(UNTRAINABLE)

    def match(self, output: FrameOutput,
              targets: List[FrameTargets]) -> List[QueryMatch]:
        """Not there.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(UNTRAINABLE)

    def classify(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.classify`; by PyTorch."""
        return self._heads.classify(embeds)

    def class_scores(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.class_scores`."""
        return self._heads.class_scores(embeds)

    def match_embeds(self, embeds: Tensor) -> Tensor:
        """See :meth:`FrameModel.match_embeds`; by PyTorch."""
        return self.source.match_embeds(embeds)

    def segment(self,
                embeds: Tensor,
                mask_features: Tensor,
                boxes: Optional[Tensor] = None) -> Tensor:
        """See :meth:`FrameModel.segment`."""
        return self._heads.segment(embeds, mask_features, boxes)


class ExportedTARHead(BaseModule):
    """A :class:`TARHead` that another runtime computes.

    Weights and their names stay those of the head it stands for.

    Args:
        source (:obj:`TARHead`): The head in PyTorch.
        graphs (:obj:`OpenGraphs`): The graphs.
    """

    def __init__(self, source: TARHead, graphs: OpenGraphs) -> None:
        super().__init__()
        self.source = source
        self.embed_dims = source.embed_dims
        self._graphs = graphs
        self._heads = None if source.heads is None else ExportedHeads(
            source.heads, graphs, TAR_CLASSES, TAR_MASKS)

    def state_dict(self, *args, **kwargs) -> Dict[str, Tensor]:
        """Weights by the names they have without this class around them."""
        return self.source.state_dict(*args, **kwargs)

    def refine(self,
               embeds: Tensor,
               frame_inds: Tensor,
               detected: Optional[Tensor] = None,
               padding_mask: Optional[Tensor] = None) -> Tensor:
        """See :meth:`TARHead.refine`.

        The window is padded on the right to that of the graph; what is
        padding no entry attends to.

        Raises:
            ValueError: If there are more tracklets or entries than the graph
                allows.
        """
        graphs = self._graphs.any()
        if graphs is None:
            return self.source.refine(embeds, frame_inds, detected,
                                      padding_mask)
        num, length = embeds.shape[:2]
        most, window = graphs.manifest.max_tracklets, graphs.manifest.window
        if num > most:
            raise ValueError(
                f'the graphs refine at most {most} tracklets at a time, got '
                f'{num}; export them with a greater --max-tracklets')
        if length > window:
            raise ValueError(f'the graphs refine windows of {window} frames, '
                             f'got {length}')
        if detected is None:
            detected = torch.ones_like(frame_inds, dtype=torch.bool)
        if padding_mask is None:
            padding_mask = torch.zeros_like(detected)
        missing = (0, window - length)
        return graphs.run(
            TAR,
            embeds=F.pad(embeds, (0, 0, *missing)),
            frame_inds=F.pad(frame_inds, missing),
            detected=F.pad(detected, missing),
            padding=F.pad(padding_mask, missing,
                          value=True))['refined'][:, :length]

    def predict(
            self,
            tracks: FrameTracks,
            shared_heads: Optional[InstanceHeads] = None
    ) -> Tuple[Tensor, Tensor]:
        """See :meth:`TARHead.predict`."""
        heads = shared_heads if self._heads is None else self._heads
        if heads is None:
            raise ValueError('TARHead without heads of its own needs '
                             'shared_heads, got None')
        return predict_tracks(tracks, heads)


def use_backend(model: RefineVIS,
                backend: str,
                weights: str,
                folder: Optional[str] = None,
                threads: Optional[int] = None,
                cache_dir: str = '') -> None:
    """Let another runtime compute the networks of a model.

    Trackers, sessions, states and results are those of the model: its
    weights keep their digest, so that a state goes from one backend to
    another.

    Args:
        model (:obj:`RefineVIS`): From :func:`init_model`, on the CPU, in
            evaluation mode; changed in place.
        backend (str): 'onnxruntime' or 'openvino'.
        weights (str): Digest of its weights.
        folder (str, optional): Graphs of :func:`export_model`. Defaults to
            None: those of the cache, exported when a frame of a new size
            comes.
        threads (int, optional): Threads of one run. Defaults to None, those
            of PyTorch.
        cache_dir (str): The cache, needed without ``folder``.

    Raises:
        OSError: If a file of ``folder`` is missing.
        ValueError: If there is no such backend, the model cannot be
            exported, ``folder`` is of other weights, of another network or
            of a smaller window, or ``threads`` is not positive.
        ImportError: If a package is missing.
    """
    check_backend(backend)
    check_model(model)
    device = next(model.parameters()).device
    if device.type != 'cpu':
        raise ValueError(f'backend "{backend}" runs on the CPU, got the '
                         f'device "{device}"')
    if threads is None:
        threads = torch.get_num_threads()
    if threads < 1:
        raise ValueError(f'threads must be positive, got {threads}')
    folders = GraphFolders(model, weights, folder, cache_dir)
    graphs = OpenGraphs(folders, backend, threads)
    frame_model = model.frame_model
    masks_padding = picture_of(model, (1, 1)) is not None
    if folder is not None:
        manifest = folders.manifest
        graphs.of_frames(manifest.size, manifest.picture)
    model.frame_model = ExportedFrameModel(frame_model, graphs, masks_padding)
    if model.tar_head is not None:
        model.tar_head = ExportedTARHead(model.tar_head, graphs)
    model.eval()
