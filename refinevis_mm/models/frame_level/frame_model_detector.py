# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Image instance segmentation with a frame model, as an mmdet detector."""
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from mmdet.models.detectors import BaseDetector
from mmdet.structures import OptSampleList, SampleList
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from mmdet.utils import ConfigType, OptConfigType, OptMultiConfig
from mmengine.structures import InstanceData
from torch import Tensor

from refinevis_mm.compat.checkpoints import CheckpointMismatchError
from refinevis_mm.registry import MODELS
from refinevis_mm.structures import ClipTargets, FrameOutput
from ..layers.mask_resize import resize_masks

# Masks brought to the size of the picture at once: little memory, and the
# fastest on a CPU, whose cache they fit.
MASK_CHUNK = 8
# Keys of a checkpoint that an error names.
MAX_NAMED = 10
# Keeps the score of an empty mask finite, from the official code.
AREA_EPS = 1e-6


@MODELS.register_module()
class FrameModelDetector(BaseDetector):
    """Any :class:`FrameModel` as a stand-alone detector of images.

    With :class:`MaskDINO` it is the detector of the `MaskDINO paper
    <https://arxiv.org/abs/2206.02777>`_, and the image-level phase of
    RefineVIS (Sec. 4.1). The weights lie under ``frame_model.``, as in
    :class:`RefineVIS`.

    Args:
        frame_model (dict): A :class:`FrameModel`.
        backbone (dict, optional): Its backbone, put into ``frame_model``.
            mmdet's ``init_detector`` expects it here. Defaults to None.
        allow_mismatch (bool): Leave out weights of a checkpoint that have
            another shape, as for training on other classes, instead of
            refusing it. Defaults to False.
        data_preprocessor (dict, optional): :class:`DetDataPreprocessor` with
            ``pad_mask=True``.
        test_cfg (dict, optional): ``max_per_img``, the number of results of
            an image; 100 by default.
        init_cfg (dict, optional): Initialisation config.

    Raises:
        ValueError: If the backbone is given twice or ``test_cfg`` is not
            allowed.
    """

    # The keys that test_cfg must have, with their values where it is None.
    default_test_cfg: Dict[str, Any] = dict(max_per_img=100)

    def __init__(self,
                 frame_model: ConfigType,
                 backbone: OptConfigType = None,
                 allow_mismatch: bool = False,
                 data_preprocessor: OptConfigType = None,
                 test_cfg: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        if backbone is not None:
            if 'backbone' in frame_model:
                raise ValueError('the backbone must be given once, got it '
                                 'beside and inside of frame_model')
            frame_model = dict(frame_model, backbone=backbone)
        self.frame_model = MODELS.build(frame_model)
        self.allow_mismatch = allow_mismatch
        self.test_cfg = self.default_test_cfg if test_cfg is None else test_cfg
        if set(self.test_cfg) != set(self.default_test_cfg) or \
                self.test_cfg['max_per_img'] < 1:
            raise ValueError(
                f'test_cfg must hold {" and ".join(self.default_test_cfg)} '
                f'only, max_per_img >= 1, got {dict(self.test_cfg)}')
        self.max_per_img = self.test_cfg['max_per_img']

    def loss(self, batch_inputs: Tensor,
             batch_data_samples: SampleList) -> Dict[str, Tensor]:
        """Train on images, Eq. (2).

        Args:
            batch_inputs (Tensor): Normalised, padded images, has shape
                (B, 3, H, W).
            batch_data_samples (list[:obj:`DetDataSample`]): Ground truth;
                see :meth:`ClipTargets.from_image`.

        Returns:
            dict[str, Tensor]: Weighted losses of every prediction set.

        Raises:
            FloatingPointError: If an image or a prediction is not finite.
        """
        _check_images(batch_inputs, batch_data_samples)
        targets = [
            ClipTargets.from_image(sample, image)
            for sample, image in zip(batch_data_samples, batch_inputs)
        ]
        output = self.frame_model.forward_frames(batch_inputs, targets,
                                                 _sizes(batch_data_samples))
        return self.frame_model.loss_frames(
            output, [target.frame(0) for target in targets])

    def predict(self,
                batch_inputs: Tensor,
                batch_data_samples: SampleList,
                rescale: bool = True) -> SampleList:
        """Detect the objects of images.

        Args:
            batch_inputs (Tensor): Normalised, padded images, has shape
                (B, 3, H, W).
            batch_data_samples (list[:obj:`DetDataSample`]): With the
                metainfo ``img_shape`` (before padding) and ``ori_shape``.
            rescale (bool): Whether results are of ``ori_shape`` or of
                ``img_shape``. Defaults to True.

        Returns:
            list[:obj:`DetDataSample`]: The given samples with
            ``pred_instances``, by descending score before its last factor:

            - scores (Tensor): Class score times mask score, in [0, 1], has
              shape (n, ).
            - labels (Tensor): Class indices, has shape (n, ).
            - bboxes (Tensor): (x1, y1, x2, y2) in pixels, has shape (n, 4).
              They may leave the picture, as in the official code.
            - masks (Tensor): Bool, has shape (n, height, width).

        Raises:
            FloatingPointError: If an image or a class logit is not finite.
        """
        _check_images(batch_inputs, batch_data_samples)
        output = self.frame_model.forward_frames(
            batch_inputs, sizes=_sizes(batch_data_samples))
        if not torch.isfinite(output.cls_logits).all():
            raise FloatingPointError(
                'predictions must be finite, got NaN or Inf in cls_logits')
        results = []
        for row, sample in enumerate(batch_data_samples):
            meta = sample.metainfo
            if not rescale:
                meta = dict(meta, ori_shape=meta['img_shape'])
            results.append(
                self._predict_single(output, row, meta,
                                     batch_inputs.shape[-2:]))
        return self.add_pred_to_datasample(batch_data_samples, results)

    def _predict_single(self, output: FrameOutput, row: int, meta: dict,
                        padded_shape: Tuple[int, int]) -> InstanceData:
        """Results of one image of a batch (official MaskDINO)."""
        cls_scores = output.cls_logits[row].float().sigmoid()
        num_classes = cls_scores.shape[1]
        scores, inds = cls_scores.flatten().topk(
            min(self.max_per_img, cls_scores.numel()))
        # A query may stand for several classes; its mask is made once.
        queries, result_of = torch.unique(
            inds // num_classes, return_inverse=True)
        masks, mask_scores = self._segment(output, row, queries, meta)
        return InstanceData(
            scores=scores * mask_scores[result_of],
            labels=inds % num_classes,
            bboxes=rescale_boxes(output.boxes[row, queries], padded_shape,
                                 meta)[result_of],
            masks=masks[result_of])

    def _segment(self, output: FrameOutput, row: int, queries: Tensor,
                 meta: dict) -> Tuple[Tensor, Tensor]:
        """Masks of some queries and how sure they are.

        Returns:
            tuple[Tensor]: Bool masks (n, ori_h, ori_w) and the mean
            probability inside of each, (n, ).
        """
        masks, mask_scores = [], []
        for inds in queries.split(MASK_CHUNK):
            logits = self.frame_model.segment(
                output.embeds[row:row + 1, inds],
                output.mask_features[row][None], output.mask_boxes[row:row + 1,
                                                                   inds])
            logits = resize_masks(logits[0].float(), meta).flatten(1)
            inside = logits > 0
            area = inside.sum(1, dtype=torch.int32)
            # the sigmoid of -inf is 0: only the inside counts
            logits = F.threshold_(logits, 0, -torch.inf).sigmoid_()
            mask_scores.append(logits.sum(1) / (area + AREA_EPS))
            masks.append(inside.unflatten(1, tuple(meta['ori_shape'][:2])))
        return torch.cat(masks), torch.cat(mask_scores)

    def extract_feat(self, batch_inputs: Tensor) -> Tensor:
        """Per-pixel features (B, C', h', w'), which every frame model has."""
        return self.frame_model.forward_frames(batch_inputs).mask_features

    def _forward(self,
                 batch_inputs: Tensor,
                 batch_data_samples: OptSampleList = None
                 ) -> Tuple[Tensor, Tensor, Tensor]:
        """The network without post-processing.

        Returns:
            tuple[Tensor]: Class logits (B, Q, K), normalised (cx, cy, w, h)
            boxes (B, Q, 4) and mask logits (B, Q, h, w).
        """
        output = self.frame_model.forward_frames(
            batch_inputs, sizes=_sizes(batch_data_samples))
        masks = self.frame_model.segment(output.embeds, output.mask_features,
                                         output.mask_boxes)
        return output.cls_logits, output.boxes, masks

    def _load_from_state_dict(self, state_dict: Dict[str, Tensor], prefix: str,
                              *args, **kwargs) -> None:
        """Refuse weights of another shape unless they are allowed.

        NOTE: mmengine and mmdet's ``init_detector`` only warn of them and go
        on with random weights, e.g. where the number of classes differs.
        """
        others = []
        for key, value in self.state_dict().items():
            loaded = state_dict.get(prefix + key, value)
            if loaded.shape != value.shape:
                others.append(f'{key} {tuple(loaded.shape)} in the '
                              f'checkpoint, {tuple(value.shape)} in the model')
        if others and not self.allow_mismatch:
            raise CheckpointMismatchError(
                'the checkpoint does not fit the model (another num_classes?):'
                f' {"; ".join(others[:MAX_NAMED])}; '
                'model.allow_mismatch=True leaves these weights out')
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def rescale_boxes(boxes: Tensor, padded_shape: Tuple[int, int],
                  meta: dict) -> Tensor:
    """Bring boxes to the original size, not clipped (official MaskDINO).

    Args:
        boxes (Tensor): Normalised (cx, cy, w, h) of the padded input, has
            shape (n, 4).
        padded_shape (tuple[int]): Its (H, W).
        meta (dict): ``img_shape`` (before padding) and ``ori_shape``.

    Returns:
        Tensor: (x1, y1, x2, y2) in pixels of ``ori_shape``, has shape (n, 4).
    """
    size = [
        padded * original / resized for padded, original, resized in zip(
            padded_shape, meta['ori_shape'], meta['img_shape'])
    ]
    height, width = size
    xyxy = bbox_cxcywh_to_xyxy(boxes.float())
    return xyxy * xyxy.new_tensor([width, height, width, height])


def _sizes(data_samples: OptSampleList) -> Optional[List[Tuple[int, int]]]:
    """(h, w) of images before padding, None without data samples."""
    if data_samples is None:
        return None
    return [sample.metainfo['img_shape'][:2] for sample in data_samples]


def _check_images(images: Tensor, data_samples: SampleList) -> None:
    """Raise FloatingPointError, naming the images that are not finite."""
    if torch.isfinite(images).all():
        return
    bad = (~torch.isfinite(images.flatten(1)).all(1)).nonzero().flatten()
    names = [
        data_samples[i].get('img_path', f'image {i} of the batch')
        for i in bad.tolist()
    ]
    raise FloatingPointError(
        f'images must be finite, got NaN or Inf in {", ".join(names)}')
