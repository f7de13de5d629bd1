# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from typing import List, Optional, Sequence, Tuple

import mmcv
import numpy as np
from mmdet.structures.mask import BitmapMasks, PolygonMasks
from mmengine.dist import master_only
from mmengine.structures import BaseDataElement, InstanceData
from mmengine.visualization import Visualizer
from torch import Tensor

from refinevis_mm.registry import VISUALIZERS
from refinevis_mm.structures import class_name
from .vis_overlay import display_scale, draw_instances, instance_text

# mmdet spells it in one way in predictions, in another in ground truth
ID_KEYS = ('instances_id', 'instances_ids')


@VISUALIZERS.register_module()
class VISTrackVisualizer(Visualizer):
    """Draws the tracked instances of a frame for mmengine's backends.

    Takes the place of mmdet's ``TrackLocalVisualizer`` in configs. An
    instance keeps its colour over the video, and the colours can be told
    apart with colour blindness. Samples are those of mmdet: ``gt_instances``
    and ``pred_track_instances`` with ``masks``, ``labels``, ``instances_id``
    (or ``instances_ids``) and, for predictions, ``scores``.

    Args:
        name (str): Name of the instance. Defaults to 'visualizer'.
        image (np.ndarray, optional): First image to draw on, has shape
            (H, W, 3), RGB. Defaults to None.
        vis_backends (list, optional): Configs of the backends. Defaults to
            None.
        save_dir (str, optional): Folder of the backends. Defaults to None,
            which writes nothing.
        alpha (float): Opacity of the masks in [0, 1]. Defaults to 0.45.

    Raises:
        ValueError: If ``alpha`` is out of its range.
    """

    def __init__(self,
                 name: str = 'visualizer',
                 image: Optional[np.ndarray] = None,
                 vis_backends: Optional[Sequence[dict]] = None,
                 save_dir: Optional[str] = None,
                 alpha: float = 0.45) -> None:
        super().__init__(name, image, vis_backends, save_dir)
        if not 0 <= alpha <= 1:
            raise ValueError(f'alpha must lie in [0, 1], got {alpha}')
        self.alpha = alpha

    @master_only
    def add_datasample(self,
                       name: str,
                       image: np.ndarray,
                       data_sample: Optional[BaseDataElement] = None,
                       draw_gt: bool = True,
                       draw_pred: bool = True,
                       show: bool = False,
                       wait_time: float = 0.,
                       out_file: Optional[str] = None,
                       pred_score_thr: float = 0.3,
                       step: int = 0) -> None:
        """Draw a frame and give it to the backends, or write or show it.

        Ground truth stands at the left of the prediction. What the sample
        does not have is left out; without both, the image alone is drawn.
        Small images are enlarged until labels can be read.

        Args:
            name (str): Name of the picture.
            image (np.ndarray): The frame, has shape (H, W, 3), in [0, 255],
                RGB.
            data_sample (:obj:`DetDataSample`, optional): Has
                ``gt_instances``, ``pred_track_instances`` or both. Defaults
                to None.
            draw_gt (bool): Whether to draw the ground truth. Defaults to
                True.
            draw_pred (bool): Whether to draw the prediction. Defaults to
                True.
            show (bool): Whether to show the picture in a window. Defaults to
                False.
            wait_time (float): Seconds that it is shown, 0 until a key is
                pressed. Defaults to 0.
            out_file (str, optional): File for the picture; the backends then
                do not get it. Defaults to None.
            pred_score_thr (float): Least score of a drawn prediction, in
                [0, 1]. Defaults to 0.3.
            step (int): Step that the backends record. Defaults to 0.

        Raises:
            ValueError: If instances have no masks, ids or labels, or masks
                of another size than the image.
        """
        image = image.clip(0, 255).astype(np.uint8)
        panels: List[np.ndarray] = []
        if draw_gt:
            panels += self._draw(image, data_sample, 'gt_instances')
        if draw_pred:
            panels += self._draw(image, data_sample, 'pred_track_instances',
                                 pred_score_thr)
        drawn = np.concatenate(panels or [self._overlay(image)], axis=1)
        self.set_image(drawn)
        if show:
            self.show(drawn, win_name=name, wait_time=wait_time)
        if out_file is not None:
            mmcv.imwrite(drawn[..., ::-1], out_file)
        else:
            self.add_image(name, drawn, step)

    def _draw(self,
              image: np.ndarray,
              data_sample: Optional[BaseDataElement],
              key: str,
              score_thr: float = 0.) -> Sequence[np.ndarray]:
        """Draw a group of instances: one panel, or none without the group.

        The ground truth of a pipeline that loads no annotations is an
        :obj:`InstanceData` without any field.
        """
        instances = None if data_sample is None else data_sample.get(key)
        if instances is None or not instances.keys():
            return []
        masks, ids, labels = _check_instances(instances, image.shape[:2], key)
        scores = [None] * len(ids)
        if 'scores' in instances:
            scores = instances.scores.tolist()
        rows = [
            row for row, score in enumerate(scores)
            if score is None or score >= score_thr
        ]
        classes = (self.dataset_meta or {}).get('classes') or ()
        texts = [
            instance_text(
                class_name(classes, labels[row]), ids[row], scores[row])
            for row in rows
        ]
        return [
            self._overlay(image, list(masks[rows]), [ids[row] for row in rows],
                          texts)
        ]

    def _overlay(
        self,
        image: np.ndarray,
        masks: Sequence[np.ndarray] = (),
        ids: Sequence[int] = (),
        texts: Sequence[str] = ()
    ) -> np.ndarray:
        """Draw masks (N, H, W) on an RGB image; gives an RGB image."""
        drawn = draw_instances(
            image[..., ::-1],
            masks,
            ids,
            texts,
            scale=display_scale(*image.shape[:2]),
            alpha=self.alpha)
        return np.ascontiguousarray(drawn[..., ::-1])


def _check_instances(instances: InstanceData, size: Tuple[int, ...],
                     key: str) -> Tuple[np.ndarray, list, list]:
    """Masks (N, H, W), ids and labels of instances of a frame."""
    id_key = next((name for name in ID_KEYS if name in instances), ID_KEYS[0])
    missing = [
        name for name in ('masks', id_key, 'labels') if name not in instances
    ]
    if missing:
        raise ValueError(f'{key} must have masks, {ID_KEYS[0]} and labels, '
                         f'got {sorted(instances.keys())}')
    masks = instances.masks
    if isinstance(masks, (BitmapMasks, PolygonMasks)):
        masks = masks.to_ndarray()
    elif isinstance(masks, Tensor):
        masks = masks.detach().cpu().numpy()
    masks = np.asarray(masks)
    if len(masks) and masks.shape[1:] != size:
        raise ValueError(
            f'masks of {key} must have the size {size} of the image, got '
            f'{masks.shape[1:]}; a test pipeline loads annotations after '
            'Resize')
    return (masks.astype(bool), _to_ints(instances[id_key]),
            _to_ints(instances.labels))


def _to_ints(values: Sequence) -> list:
    """Plain numbers of a tensor, an array or a list."""
    return [int(value) for value in values]
