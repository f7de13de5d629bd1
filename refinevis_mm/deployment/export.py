# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""From a model to files that other runtimes read."""
import hashlib
import json
import os.path as osp
from typing import Any, Dict, List, Optional, Tuple

from mmengine.config import Config
from torch import Tensor

from refinevis_mm.files import refuse_existing, whole_folder
from refinevis_mm.models import (BaseVISModel, DeformableDETRCondInst,
                                 Mask2Former, MaskDINO, RefineVIS,
                                 use_attention_backend)
from refinevis_mm.version import __version__
from .formats import FORMATS, MIN_OPSET, NEEDED, check_format
from .graphs import Graph, make_graphs
from .manifest import Manifest
from .packages import installed
from .preprocessing import geometry_steps

# Those whose graphs were compared with PyTorch.
FRAME_MODELS = (MaskDINO, Mask2Former, DeformableDETRCondInst)
# Settings of a model that shape its graphs, beside its weights.
NETWORK_PARTS = ('frame_model', 'association_head', 'normed_association',
                 'tar_head')
# Sides are multiples of it where the config does not say another number.
STRIDE = 32
MAX_TRACKLETS = 1000


def export_model(model: BaseVISModel,
                 weights: str,
                 size: Tuple[int, int],
                 folder: str,
                 fmt: str = 'onnx',
                 picture: Optional[Tuple[int, int]] = None,
                 opset: int = MIN_OPSET,
                 max_tracklets: int = MAX_TRACKLETS,
                 force: bool = False) -> Manifest:
    """Write the graphs of a model and a JSON file that describes them.

    Tracker and memory stay in Python. Height and width are constants of the
    graphs, as is the window; the batch and the number of tracklets are free.

    Args:
        model (:obj:`BaseVISModel`): From :func:`init_model`, on the CPU, in
            evaluation mode.
        weights (str): Digest of its weights.
        size (tuple[int]): (H, W) of frames as they enter the network, resized
            and padded.
        folder (str): The folder to write, whole or not at all.
        fmt (str): 'onnx', 'openvino' or 'torch-export'. Defaults to 'onnx'.
        picture (tuple[int], optional): (h, w) of the pictures before padding;
            read by frame models that mask padding. Defaults to None, they
            fill the input.
        opset (int): Version of ONNX's operators. Defaults to 18.
        max_tracklets (int): Most tracklets that a window may have. Defaults
            to 1000.
        force (bool): Replace what has the folder's name. Defaults to False.

    Returns:
        :obj:`Manifest`: What is in the folder.

    Raises:
        ValueError: If the model cannot be exported, or an argument is not
            allowed.
        ImportError: If a package is missing.
        FileExistsError: If the folder exists and ``force`` is False.
        OSError: If it cannot be written.
    """
    check_format(fmt, opset)
    check_model(model)
    check_size(model, size)
    refuse_existing(folder, force)
    picture = picture_of(model, picture or size)
    if picture is not None and not (0 < picture[0] <= size[0]
                                    and 0 < picture[1] <= size[1]):
        raise ValueError(
            f'the picture must lie in the input of {size[0]} x {size[1]} '
            f'(height x width), got {picture[0]} x {picture[1]}')
    if max_tracklets < 1:
        raise ValueError(
            f'max_tracklets must be positive, got {max_tracklets}')
    with use_attention_backend('gather'):
        graphs = make_graphs(model, size, picture)
        with whole_folder(folder, force) as part:
            files = {
                name:
                osp.basename(FORMATS[fmt](graph, osp.join(part, name), opset))
                for name, graph in graphs.items()
            }
            manifest = Manifest(
                format=fmt,
                frame_model=type(model.frame_model).__name__,
                weights=weights,
                network=network_digest(model.cfg),
                classes=list(model.classes),
                size=size,
                picture=picture,
                window=model.window,
                max_tracklets=max_tracklets,
                preprocessing=_preprocessing(model),
                graphs={
                    name:
                    dict(
                        file=files[name],
                        inputs=_describe(graph.inputs, graph),
                        outputs=_describe(graph.outputs, graph))
                    for name, graph in graphs.items()
                },
                opset=None if fmt == 'torch-export' else opset,
                versions=dict(
                    refinevis_mm=__version__,
                    **{
                        name: str(installed(name))
                        for name in ('torch', *NEEDED[fmt])
                    }))
            manifest.write(part)
    return manifest


def check_model(model: BaseVISModel) -> None:
    """Refuse models that have no graphs.

    Args:
        model (:obj:`BaseVISModel`): The model.

    Raises:
        ValueError: If it is not :class:`RefineVIS` with a frame model whose
            graphs are known to be right.
    """
    if not isinstance(model, RefineVIS):
        raise ValueError('only models of type RefineVIS can be exported, got '
                         f'{type(model).__name__}')
    if not isinstance(model.frame_model, FRAME_MODELS):
        names = ', '.join(item.__name__ for item in FRAME_MODELS)
        raise ValueError(f'the frame model must be one of {names} to be '
                         f'exported, got {type(model.frame_model).__name__}')


def check_size(model: RefineVIS, size: Tuple[int, int]) -> None:
    """Refuse sizes that frames cannot have.

    Args:
        model (:obj:`RefineVIS`): The model.
        size (tuple[int]): (H, W) of the padded input.

    Raises:
        ValueError: If a side is not a positive multiple of the stride.
    """
    stride = _divisor(model)
    if any(side < 1 or side % stride for side in size):
        raise ValueError(f'height and width must be divisible by the stride '
                         f'{stride}, got {size[0]} x {size[1]}')


def picture_of(model: RefineVIS,
               picture: Tuple[int, int]) -> Optional[Tuple[int, int]]:
    """Size of a picture where the graphs depend on it, else None."""
    masked = isinstance(model.frame_model, DeformableDETRCondInst)
    return picture if masked else None


def network_digest(cfg: Config) -> str:
    """Short name of the settings that shape a model's networks.

    Args:
        cfg (Config): Config of the model of video.

    Returns:
        str: 16 hexadecimal digits.
    """
    parts = {name: cfg.model.get(name) for name in NETWORK_PARTS}
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _divisor(model: RefineVIS) -> int:
    """What the sides of padded frames are multiples of."""
    divisor = model.data_preprocessor.pad_size_divisor
    return divisor if divisor > 1 else STRIDE


def _preprocessing(model: RefineVIS) -> Dict[str, Any]:
    """What is done to frames before they enter the network."""
    settings = model.cfg.model.get('data_preprocessor', {})
    return dict(
        steps=geometry_steps(model.cfg),
        mean=list(settings.get('mean') or []),
        std=list(settings.get('std') or []),
        channels='RGB' if settings.get('bgr_to_rgb') else 'BGR',
        divisor=_divisor(model))


def _describe(tensors: Dict[str, Tensor], graph: Graph) -> List[dict]:
    """Names, types and shapes of inputs or outputs."""
    return [
        dict(
            name=name,
            dtype=str(tensor.dtype).replace('torch.', ''),
            shape=[graph.free[name], *tensor.shape[1:]]
            if name in graph.free else list(tensor.shape))
        for name, tensor in tensors.items()
    ]
