# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Where the masks of :class:`TrackedSegmenter` come from."""
from threading import get_ident
from typing import Any, Callable, Dict, List, Protocol, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmdet.structures import DetDataSample
from mmdet.utils import ConfigType
from mmengine.model import BaseModule
from mmengine.structures import InstanceData
from torch import Tensor, nn

from refinevis_mm.registry import MODELS

# Masks of the picture's size that are floats at once.
MASK_CHUNK = 8
# What a callable may give, in the order of a tuple.
FIELDS = ('masks', 'scores', 'labels', 'boxes', 'embeds')


class Segmenter(Protocol):
    """Finds the objects of an image.

    Attributes:
        num_classes (int): Classes K of its labels.
    """

    num_classes: int

    def segment(self, image: Tensor, meta: dict) -> InstanceData:
        """Segment a frame.

        Args:
            image (Tensor): Frame as the data preprocessor gives it, has shape
                (3, H, W).
            meta (dict): ``frame_id``, ``img_shape``, ``ori_shape`` and
                ``scale_factor``.

        Returns:
            :obj:`InstanceData`: n objects of the original size:

            - masks (Tensor): Bool, has shape (n, ori_h, ori_w).
            - scores (Tensor): In [0, 1], has shape (n, ).
            - labels (Tensor): Long, in [0, K), has shape (n, ).
            - boxes (Tensor, optional): (x1, y1, x2, y2) in pixels of the
              original size, has shape (n, 4); otherwise those of the masks.
            - embeds (Tensor, optional): What they look like, compared by
              cosine, has shape (n, E).
        """


@MODELS.register_module()
class MMDetSegmenter(BaseModule):
    """Any instance segmenter of mmdet: Mask R-CNN, RTMDet-Ins, SOLOv2 ...

    What an object looks like is the mean of the finest feature map inside
    its mask, relative to that of the whole frame.

    Args:
        detector (dict): The detector, as in mmdet's config but for its
            ``data_preprocessor``.

    Raises:
        ValueError: If it is no detector with a backbone, or its parts do not
            name one number of classes.
    """

    def __init__(self, detector: ConfigType) -> None:
        super().__init__()
        self.num_classes = find_num_classes(detector)
        self.detector = MODELS.build(detector)
        if not isinstance(self.detector, BaseDetector):
            raise ValueError('detector must be a detector of mmdet, got '
                             f'{type(self.detector).__name__}')
        self._features: Dict[int, Tensor] = {}  # of the frame of a thread
        source = getattr(self.detector, 'neck', None) or getattr(
            self.detector, 'backbone', None)
        if not isinstance(source, nn.Module):
            raise ValueError('detector must have a backbone, got '
                             f'{type(self.detector).__name__} without one')
        source.register_forward_hook(self._keep_features)

    def segment(self, image: Tensor, meta: dict) -> InstanceData:
        """See :meth:`Segmenter.segment`.

        Raises:
            ValueError: If the detector gives boxes only.
        """
        shape = tuple(image.shape[-2:])
        sample = DetDataSample(
            metainfo=dict(meta, batch_input_shape=shape, pad_shape=shape))
        try:
            found = self.detector.predict(image[None], [sample])[0]
        finally:
            features = self._features.pop(get_ident(), None)
        found = found.get('pred_instances', {})
        if 'masks' not in found:
            raise ValueError('the detector must give masks of instances, got '
                             f'{type(self.detector).__name__} without')
        masks = found.masks.bool()
        return InstanceData(
            masks=masks,
            scores=found.scores,
            labels=found.labels,
            embeds=pool_features(features, masks, meta, shape))

    def _keep_features(self, module: nn.Module, inputs: Any,
                       outputs: Sequence[Tensor]) -> None:
        """Hook: the finest feature map (C, h, w) of the running frame."""
        self._features[get_ident()] = outputs[0][0]


def find_num_classes(detector: ConfigType) -> int:
    """Number of classes that the parts of a detector name.

    Args:
        detector (dict): Config of a detector.

    Returns:
        int: What all of its ``num_classes`` say.

    Raises:
        ValueError: If none is there or they differ.
    """
    found, parts = set(), [detector]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if isinstance(part.get('num_classes'), int):
                found.add(part['num_classes'])
            # HTC's semantic head counts stuff, too
            parts.extend(value for key, value in part.items()
                         if key != 'semantic_head')
        elif isinstance(part, (list, tuple)):
            parts.extend(part)
    if len(found) != 1:
        raise ValueError('the parts of a detector must name one num_classes, '
                         f'got {sorted(found)}')
    return found.pop()


def pool_features(features: Tensor, masks: Tensor, meta: dict,
                  shape: Sequence[int]) -> Tensor:
    """Mean feature inside of each mask, less the mean of the frame.

    Args:
        features (Tensor): Feature map of the padded input, has shape
            (C, h, w).
        masks (Tensor): Bool masks of the original size, has shape
            (n, ori_h, ori_w).
        meta (dict): ``img_shape`` (before padding).
        shape (Sequence[int]): Height and width of the padded input.

    Returns:
        Tensor: 0 for masks that miss every cell, has shape (n, C).
    """
    height, width = (max(round(side * cells / padded),
                         1) for side, cells, padded in zip(
                             meta['img_shape'], features.shape[1:], shape))
    features = features[:, :height, :width].float()
    features = features - features.mean((1, 2), keepdim=True)
    if len(masks) == 0:  # interpolate refuses zero channels
        return features.new_zeros(0, len(features))
    shares = torch.cat([
        F.interpolate(
            part[None].to(features), size=(height, width), mode='area')[0]
        for part in masks.split(MASK_CHUNK)
    ])
    area = shares.sum((1, 2), keepdim=True).clamp(min=1e-6)
    return torch.einsum('nhw,chw->nc', shares / area, features)


class CallableSegmenter:
    """A function from an image to masks, of whatever model.

    Args:
        function (Callable): Gets an image of shape (H, W, 3), uint8, BGR;
            gives ``masks``, ``scores``, ``labels`` and perhaps ``boxes`` and
            ``embeds`` as a tuple or as a dict, as arrays or tensors: masks
            bool (or 0 and 1) of shape (n, H, W), scores in [0, 1] (n, ),
            labels in [0, K) (n, ), boxes (x1, y1, x2, y2) in pixels (n, 4),
            embeds (n, E).
        num_classes (int): Number of classes K.

    Attributes:
        name (str): What a resumed run recognises the function by.

    Raises:
        ValueError: If it is no function.
    """

    def __init__(self, function: Callable, num_classes: int) -> None:
        if not callable(function):
            raise ValueError('segment must be a function of an image, got '
                             f'{function!r}')
        self.function = function
        self.num_classes = num_classes
        inner = getattr(function, 'func', function)  # of a partial
        self.name = getattr(inner, '__qualname__', type(inner).__qualname__)

    def segment(self, image: Tensor, meta: dict) -> InstanceData:
        """See :meth:`Segmenter.segment`.

        Raises:
            ValueError: If the function gives something else.
        """
        pixels = image.permute(1, 2, 0).byte().cpu().numpy()
        found = _as_fields(self.function(np.ascontiguousarray(pixels)))
        found = _check_lengths({
            name: _as_tensor(name, value).to(image.device)
            for name, value in found.items()
        })
        if len(found['scores']) == 0:  # of any type
            found = dict(
                masks=image.new_zeros((0, *image.shape[1:]), dtype=torch.bool),
                scores=image.new_zeros(0),
                labels=image.new_zeros(0, dtype=torch.long))
        found['masks'] = _as_bool(found['masks'])
        return InstanceData(**found)


def _as_fields(found: Any) -> Dict[str, Any]:
    """Name what a function has given."""
    if isinstance(found, (tuple, list)) and 3 <= len(found) <= len(FIELDS):
        found = dict(zip(FIELDS, found))
    if isinstance(found, dict):
        found = {
            name: value
            for name, value in found.items() if value is not None
        }
    names = set(found) if isinstance(found, dict) else set()
    if not set(FIELDS[:3]) <= names <= set(FIELDS):
        got = sorted(names) if names else type(found).__name__
        raise ValueError('a segmenter must give masks, scores and labels '
                         '(boxes and embeds, too), as a tuple or a dict, got '
                         f'{got}')
    return found


def _as_tensor(name: str, value: Any) -> Tensor:
    """Numbers as a tensor; text and lists of different lengths are refused."""
    if isinstance(value, Tensor):
        return value
    try:
        if len(value) and isinstance(value[0], Tensor):
            return torch.stack(tuple(value))
    except TypeError:  # a number
        pass
    try:
        # torch is slow with lists of arrays and refuses mirrored ones
        array = np.asarray(value, order='C')
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise ValueError(f'{name} must be an array or tensor of numbers, got '
                         f'{str(value)[:40]}') from error


def _as_bool(masks: Tensor) -> Tensor:
    """Bool masks; other numbers than 0 and 1 are refused."""
    if masks.dtype == torch.bool:
        return masks
    if masks.dtype.is_floating_point or masks.dtype.is_complex:
        raise ValueError(f'masks must be bool, got {masks.dtype}: compare '
                         'them with a threshold, such as masks > 0.5')
    masks = masks.long()  # some types of numbers cannot be compared
    if masks.numel() and (masks.max() > 1 or masks.min() < 0):
        raise ValueError('masks must be bool or 0 and 1, got values from '
                         f'{int(masks.min())} to {int(masks.max())}: compare '
                         'them with a threshold, such as masks > 127')
    return masks.bool()


def _check_lengths(found: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Raise ValueError if the fields are not of the same objects."""
    lengths: List[int] = [
        len(value) if value.dim() else -1 for value in found.values()
    ]
    if len(set(lengths)) != 1 or lengths[0] < 0:
        shapes = ', '.join(f'{name} {tuple(value.shape)}'
                           for name, value in found.items())
        raise ValueError('a segmenter must give as many masks as scores and '
                         f'labels, got {shapes}')
    return found
