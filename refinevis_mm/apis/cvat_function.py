# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Automatic annotation in CVAT, by its client::

    cvat-cli task auto-annotate 137 \\
        --function-module refinevis_mm.apis.cvat_function \\
        -p config=str:refinevis-small_occluded-shapes

See ``cvat_sdk.auto_annotation`` for what such a module is.
"""
import os.path as osp
from typing import Any, List, Optional, Set, Tuple

import numpy as np
from PIL.Image import Image

from refinevis_mm.models.association import find_delay
from refinevis_mm.structures import FrameInstances
from refinevis_mm.vis_json import cvat_labels, mask_polygons
from .vis_inferencer import VISInferencer

SCORE_THR = 0.3
ATTRIBUTE = 0  # id of the attribute of every label


def create(config: str,
           checkpoint: Optional[str] = None,
           device: str = 'cpu',
           window: Optional[int] = None) -> 'CvatFunction':
    """What ``cvat-cli`` calls, with its options ``-p``.

    Args:
        config (str): See :class:`VISInferencer`.
        checkpoint (str, optional): See there. Defaults to None.
        device (str): Where the model runs. Defaults to 'cpu'.
        window (int, optional): See there. Defaults to None, the config's.

    Returns:
        :obj:`CvatFunction`: The function, which refines online: CVAT wants
        the shapes of an image before it gives the next one.

    Raises:
        ImportError: If cvat_sdk is not installed.
        OSError: If a file is missing or cannot be fetched.
        ValueError: If an argument is not allowed, or the model does not name
            its classes.
        CheckpointError: If the checkpoint cannot be used.
    """
    _import_sdk()
    return CvatFunction(
        VISInferencer(config, checkpoint, device, 'online', window))


class CvatFunction:
    """A detection function of cvat_sdk whose shapes keep their ids.

    Images are taken for the frames of one video in the order in which they
    come. Another one begins with an image in another folder or of another
    size, and with one that has been there.

    Shapes are masks, or polygons where CVAT asks for them. They have the
    track id as attribute ``track_id`` and, + 1, as group, as in the files of
    :func:`write_cvat_video`. What the tracker later judges noise stays;
    objects of classes that the model does not name are left out.

    Args:
        inferencer (:obj:`VISInferencer`): The model.

    Attributes:
        spec (cvat_sdk.auto_annotation.DetectionFunctionSpec): Its labels.

    Raises:
        ImportError: If cvat_sdk is not installed.
        ValueError: If the model does not name its classes, names two alike,
            refines offline, or has a tracker that settles ids later.
    """

    def __init__(self, inferencer: VISInferencer) -> None:
        sdk = _import_sdk()
        if not inferencer.classes:
            raise ValueError('the model must name its classes, which are the '
                             'labels of CVAT')
        self._session = inferencer.session()
        if self._session.view == 'offline':
            raise ValueError("the model must have mode 'online', got "
                             "'offline': CVAT takes one image at a time")
        tracker = inferencer.model.tracker
        if find_delay(tracker):
            raise ValueError('the tracker must settle ids at once, got '
                             f'{type(tracker).__name__}: shapes that CVAT has '
                             'keep theirs')
        self.spec = sdk.DetectionFunctionSpec(labels=[
            sdk.label_spec(
                label['name'],
                index,
                attributes=[
                    sdk.number_attribute_spec(
                        attribute['name'],
                        ATTRIBUTE,
                        attribute['values'],
                        default_value=attribute['default_value'])
                    for attribute in label['attributes']
                ])
            for index, label in enumerate(cvat_labels(inferencer.classes))
        ])
        self._video: Tuple[Any, ...] = ()
        self._names: Set[str] = set()

    def detect(self, context: Any, image: Image) -> List[Any]:
        """Find and follow the objects in the next image.

        Args:
            context (cvat_sdk.auto_annotation.DetectionFunctionContext): Its
                name, the least score (where there is none 0.3), and whether
                polygons are wanted.
            image (PIL.Image.Image): The image.

        Returns:
            list[cvat_sdk.models.LabeledShapeRequest]: The shapes.
        """
        video = osp.dirname(context.frame_name), image.size
        if video != self._video or context.frame_name in self._names:
            self._session.reset()
            self._video, self._names = video, set()
        self._names.add(context.frame_name)
        pixels = np.ascontiguousarray(
            np.asarray(image.convert('RGB'))[..., ::-1])
        result, = self._session.step(pixels)
        least = context.conf_threshold
        return self._shapes(result.instances,
                            SCORE_THR if least is None else least,
                            context.conv_mask_to_poly)

    def _shapes(self, instances: FrameInstances, least: float,
                as_polygons: bool) -> List[Any]:
        """Shapes of the instances that have a mask and are good enough."""
        from cvat_sdk.masks import encode_mask
        from cvat_sdk.models import AttributeValRequest
        sdk, shapes = _import_sdk(), []
        rows = [
            row for row, label in enumerate(instances.labels)
            if label < len(self.spec.labels) and instances.masks[row]
            is not None and instances.scores[row] >= least
        ]
        found = instances.select(rows)
        for label, track_id, mask in zip(found.labels, found.ids,
                                         found.dense_masks()):
            parts = [
                sdk.polygon(label, points) for points in mask_polygons(mask)
            ] if as_polygons else [sdk.mask(label, encode_mask(mask))]
            for shape in parts:
                shape.group = track_id + 1
                shape.attributes = [
                    AttributeValRequest(
                        spec_id=ATTRIBUTE, value=str(track_id))
                ]
            shapes += parts
        return shapes


def _import_sdk() -> Any:
    """The interface of such functions; one line where it is missing."""
    try:
        from cvat_sdk import auto_annotation
    except ImportError as error:
        raise ImportError('the function for CVAT needs the package cvat-sdk. '
                          'Run: pip install "refinevis_mm[cvat]"') from error
    return auto_annotation
