# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The rfdetr package (Apache-2.0): the only module that imports it.

Its inner modules move from release to release, so version and shapes are
checked when a network is built. Nothing of it is imported before.
"""
import importlib.metadata
import logging
import os
import os.path as osp
import warnings
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Dict, Iterator, List, Optional, Tuple

from torch import Tensor, nn

from refinevis_mm.compat.checkpoints import CheckpointError
from refinevis_mm.compat.versions import VersionRange

# The sizes whose results were compared with those of the package itself.
SIZES = ('nano', 'small', 'medium', 'large')
SUPPORTED = VersionRange('1.11.0', '1.12.0', 'refinevis_mm[rfdetr]')
EMBED_DIMS = 256
# Published class heads have a row for each COCO category id, 0 included.
COCO_ROWS = 91


def check_rfdetr() -> str:
    """Check that a supported rfdetr is installed.

    Returns:
        str: Its version.

    Raises:
        ImportError: If it is missing or of another version; one line with
            the command that installs it.
    """
    try:
        found: Optional[str] = importlib.metadata.version('rfdetr')
    except importlib.metadata.PackageNotFoundError:
        found = None
    if found is None or not SUPPORTED.has(found):
        raise ImportError(f'RFDETRSeg needs rfdetr>={SUPPORTED.minimum},'
                          f'<{SUPPORTED.maximum} but found {found or "none"}. '
                          f'Run: pip install "{SUPPORTED.install}"')
    return found


def coco_category_ids() -> List[int]:
    """Ids of COCO's 80 classes, ascending, as mmdet orders the classes."""
    from rfdetr.assets.coco_classes import COCO_CLASSES
    return sorted(COCO_CLASSES)


def model_config(size: str, num_rows: int) -> Any:
    """The package's config of a size, with one group of queries.

    Further groups of queries exist in training only, to speed it up.

    Args:
        size (str): One of ``SIZES``.
        num_rows (int): Rows of the class heads, at least 2.

    Returns:
        rfdetr.config.ModelConfig: The config.
    """
    with _quiet():
        from rfdetr import config
    cls = getattr(config, f'RFDETRSeg{size.capitalize()}Config')
    return cls(device='cpu', num_classes=num_rows - 1, group_detr=1)


def build_network(size: str, num_rows: int) -> nn.Module:
    """The package's network with random weights.

    Args:
        size (str): One of ``SIZES``.
        num_rows (int): Rows of the class heads, at least 2.

    Returns:
        nn.Module: Its ``LWDETR``, one group of queries.

    Raises:
        ImportError: If the package is missing, of another version, or its
            network is not the known one.
    """
    version = check_rfdetr()
    config = model_config(size, num_rows)
    with _quiet():
        from rfdetr.models.lwdetr import build_model_from_config
        network = build_model_from_config(config)
    for name, value in _known_parts(config, num_rows).items():
        try:
            found = attrgetter(name)(network)
        except AttributeError:
            found = 'nothing'
        if found != value:
            raise ImportError(
                f'the network of rfdetr {version} is not the known one: '
                f'{name} must be {value}, got {found}')
    return network


def _known_parts(config: Any, num_rows: int) -> Dict[str, Any]:
    """What RFDETRSeg relies on inside of the network."""
    return {
        'num_queries': config.num_queries,
        'group_detr': 1,
        'two_stage': True,
        'bbox_reparam': True,
        'lite_refpoint_refine': True,
        'refpoint_embed.num_embeddings': config.num_queries,
        'query_feat.embedding_dim': EMBED_DIMS,
        'class_embed.out_features': num_rows,
        'class_embed.in_features': EMBED_DIMS,
        'bbox_embed.num_layers': 3,
        'transformer.d_model': EMBED_DIMS,
        'transformer.dec_layers': config.dec_layers,
        'transformer.decoder.norm.normalized_shape': (EMBED_DIMS, ),
        'transformer.decoder.bbox_embed': None,
        'segmentation_head.downsample_ratio': 4,
        'segmentation_head.bias.shape': (1, ),
        'segmentation_head.spatial_features_proj.out_channels': EMBED_DIMS,
        'segmentation_head.query_features_proj.out_features': EMBED_DIMS,
    }


def pack_images(images: Tensor) -> Any:
    """A batch of images, none of them padded, as the backbone takes it.

    Args:
        images (Tensor): Has shape (B, 3, H, W).

    Returns:
        rfdetr.utilities.tensors.NestedTensor: The batch.
    """
    from rfdetr.utilities.tensors import nested_tensor_from_tensor_list
    return nested_tensor_from_tensor_list(images)


def build_criterion(size: str, num_rows: int) -> nn.Module:
    """The package's losses, with its matcher as ``matcher``.

    Args:
        size (str): One of ``SIZES``.
        num_rows (int): Rows of the class heads, at least 2.

    Returns:
        nn.Module: Its ``SetCriterion``; no parameters.
    """
    with _quiet():
        from rfdetr.config import SegmentationTrainConfig
        from rfdetr.models.lwdetr import build_criterion_from_config
    train_config = SegmentationTrainConfig(dataset_dir='.', output_dir='.')
    return build_criterion_from_config(
        model_config(size, num_rows), train_config)[0]


def published_weights(size: str) -> Tuple[str, str]:
    """Where the package has its weights from, and where it keeps them.

    Args:
        size (str): One of ``SIZES``.

    Returns:
        tuple[str]: Address, and path in the package's cache, which
        ``RF_HOME`` moves.
    """
    from rfdetr.assets.model_weights import ModelWeights, get_model_cache_dir
    name = osp.basename(model_config(size, COCO_ROWS).pretrain_weights)
    return ModelWeights.get_url(name), osp.join(get_model_cache_dir(), name)


def fetch_weights(size: str) -> str:
    """Let the package fetch its weights unless its cache has them.

    A file of that name that is not the published one is used, with a
    warning of the package.

    Args:
        size (str): One of ``SIZES``.

    Returns:
        str: The file.

    Raises:
        CheckpointError: If it cannot be fetched; one line with address and
            path.
        ImportError: If the package is missing or of another version.
    """
    check_rfdetr()
    from rfdetr.assets.model_weights import download_pretrain_weights
    address, path = published_weights(size)
    try:
        os.makedirs(osp.dirname(path), exist_ok=True)
        download_pretrain_weights(path)
    except (OSError, ValueError) as error:  # ValueError: another hash
        reason = str(error).split('\n')[0]
        raise CheckpointError(
            f'weights of RF-DETR-Seg {size} cannot be fetched; download '
            f'{address} and put it to "{path}" ({reason})') from error
    return path


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the package says of DINOv2 weights and of torch's JIT.

    It builds without weights on purpose: the encoder's are part of its own.
    """
    logger = logging.getLogger('rf-detr')
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        try:
            import rfdetr  # noqa: F401  sets the level
            logger.setLevel(logging.ERROR)
            yield
        finally:
            logger.setLevel(level)
