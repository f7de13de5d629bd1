# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Ground truth of a clip, aligned over frames by instance id."""
from dataclasses import dataclass, field
from typing import List, Optional, Tuple

import torch
import torch.nn.functional as F
from mmdet.structures import DetDataSample, TrackDataSample
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh, get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor


@dataclass
class FrameTargets:
    """Ground truth of one frame.

    Attributes:
        labels (Tensor): Class indices, has shape (n, ).
        boxes (Tensor): Normalised (cx, cy, w, h) of the padded input, has
            shape (n, 4).
        masks (Tensor): Bool masks of the padded input, has shape (n, H, W).
        slots (Tensor): Slot of each instance in the clip, has shape (n, ).
        ignored (Tensor, optional): Bool, pixels of which nobody says what
            they show (crowds, unlabelled objects), has shape (H, W). None
            where everything is labelled.
    """

    labels: Tensor
    boxes: Tensor
    masks: Tensor
    slots: Tensor
    ignored: Optional[Tensor] = None

    def __len__(self) -> int:
        return len(self.labels)


@dataclass
class ClipTargets:
    """Instance table of a clip: slot ``s`` is one instance in every frame.

    Slots are the union of the instance ids of all frames, in ascending
    order, so the order of the ground-truth lists never matters.

    Attributes:
        ids (Tensor): Instance ids, has shape (S, ).
        labels (Tensor): Class indices, has shape (S, ).
        valid (Tensor): Bool, True where the instance has a non-empty mask
            and a box of some area in a frame, has shape (T, S).
        boxes (Tensor): Normalised (cx, cy, w, h) of the padded input, 0
            where not valid, has shape (T, S, 4).
        masks (Tensor): Bool masks of the padded input, False where not
            valid, has shape (T, S, H, W).
        frame_inds (Tensor): Position of each frame in its video, has shape
            (T, ).
        ignored (list[Tensor | None]): Ignored pixels of each frame, see
            :class:`FrameTargets`.
    """

    ids: Tensor
    labels: Tensor
    valid: Tensor
    boxes: Tensor
    masks: Tensor
    frame_inds: Tensor
    ignored: List[Optional[Tensor]] = field(default_factory=list)

    @property
    def num_slots(self) -> int:
        """int: Number of instance slots S."""
        return len(self.ids)

    def frame(self, t: int) -> FrameTargets:
        """Ground truth of frame ``t`` of the clip."""
        slots = self.valid[t].nonzero().flatten()
        return FrameTargets(self.labels[slots], self.boxes[t, slots],
                            self.masks[t, slots], slots,
                            self.ignored[t] if self.ignored else None)

    def visible(self) -> 'ClipTargets':
        """The table without instances that no frame shows."""
        seen = self.valid.any(0)
        return ClipTargets(self.ids[seen], self.labels[seen],
                           self.valid[:, seen], self.boxes[:, seen],
                           self.masks[:, seen], self.frame_inds, self.ignored)

    @classmethod
    def from_data_sample(cls, data_sample: TrackDataSample,
                         inputs: Tensor) -> 'ClipTargets':
        """Build the table from mmdet's ground truth.

        Args:
            data_sample (:obj:`TrackDataSample`): ``gt_instances`` of each
                frame hold ``bboxes`` (n, 4) as (x1, y1, x2, y2) in pixels,
                ``labels``, ``masks`` (BitmapMasks) and ``instances_ids``;
                ``ignored_instances``, if there are any, ``masks``.
            inputs (Tensor): Padded frames of this clip, has shape
                (T, 3, H, W); gives size and device.

        Returns:
            :obj:`ClipTargets`: The instance table.

        Raises:
            ValueError: If an id occurs twice in a frame or has two different
                labels, or there are no masks.
        """
        num_frames, _, height, width = inputs.shape
        device = inputs.device
        label_of, rows = _index_instances(data_sample, num_frames)
        ids = sorted(label_of)
        slot_of = {instance_id: slot for slot, instance_id in enumerate(ids)}
        valid = torch.zeros(
            num_frames, len(ids), dtype=torch.bool, device=device)
        boxes = inputs.new_zeros(num_frames, len(ids), 4)
        masks = torch.zeros(
            num_frames,
            len(ids),
            height,
            width,
            dtype=torch.bool,
            device=device)
        for t, frame_rows in enumerate(rows):
            if not frame_rows:
                continue
            seen, frame_boxes, frame_masks = _visible_instances(
                data_sample[t].gt_instances, inputs)
            slots = torch.tensor([slot_of[i] for i in frame_rows],
                                 device=device)[seen]
            valid[t, slots] = True
            boxes[t, slots] = frame_boxes
            masks[t, slots] = frame_masks
        frame_inds = torch.tensor([img.frame_id for img in data_sample],
                                  device=device)
        labels = torch.tensor([label_of[i] for i in ids],
                              dtype=torch.long,
                              device=device)
        return cls(
            torch.tensor(ids, dtype=torch.long,
                         device=device), labels, valid, boxes, masks,
            frame_inds, [_ignored_pixels(img, inputs) for img in data_sample])

    @classmethod
    def from_image(cls, data_sample: DetDataSample,
                   image: Tensor) -> 'ClipTargets':
        """An image as a clip of one frame, its instances numbered from 0.

        Args:
            data_sample (:obj:`DetDataSample`): ``gt_instances`` hold
                ``bboxes`` (n, 4) as (x1, y1, x2, y2) in pixels, ``labels``
                and ``masks`` (BitmapMasks or PolygonMasks);
                ``ignored_instances``, if there are any, ``masks``.
            image (Tensor): The padded image, has shape (3, H, W); gives size
                and device.

        Returns:
            :obj:`ClipTargets`: The table, with visible instances only.

        Raises:
            ValueError: If there are no masks.
        """
        gt = data_sample.gt_instances
        seen, boxes, masks = _visible_instances(gt, image)
        labels = gt.labels.to(image.device)[seen]
        ids = torch.arange(len(labels), device=image.device)
        return cls(ids, labels,
                   torch.ones_like(ids, dtype=torch.bool)[None], boxes[None],
                   masks[None], ids.new_zeros(1),
                   [_ignored_pixels(data_sample, image)])


def collate_slots(targets: List[ClipTargets]) -> Tuple[Tensor, Tensor, Tensor]:
    """Tables of several clips, padded to the largest number of slots.

    Args:
        targets (list[:obj:`ClipTargets`]): Ground truth of bs clips of T
            frames.

    Returns:
        tuple[Tensor]: Labels (bs * T, S), boxes (bs * T, S, 4) and bool
        validity (bs * T, S); padding is 0 and not valid.
    """
    num_slots = max(target.num_slots for target in targets)
    labels, boxes, valid = [], [], []
    for target in targets:
        pad = num_slots - target.num_slots
        labels.append(
            F.pad(target.labels, (0, pad)).expand(len(target.valid), -1))
        boxes.append(F.pad(target.boxes, (0, 0, 0, pad)))
        valid.append(F.pad(target.valid, (0, pad)))
    return torch.cat(labels), torch.cat(boxes), torch.cat(valid)


def _visible_instances(gt_instances: InstanceData,
                       image: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    """Ground truth that is left to see: a mask and a box of some area.

    Args:
        gt_instances (:obj:`InstanceData`): ``bboxes`` and ``masks``.
        image (Tensor): Gives padded size and device, has shape (..., H, W).

    Returns:
        tuple[Tensor]: Bool, which instances are visible (n, ), their boxes,
        normalised (cx, cy, w, h), (k, 4), and bool masks (k, H, W).

    Raises:
        ValueError: If the ground truth has no masks.
    """
    if 'masks' not in gt_instances:
        raise ValueError('gt_instances must hold masks (with_mask=True of '
                         f'the loading), got {gt_instances.keys()}')
    height, width = image.shape[-2:]
    masks = gt_instances.masks.pad(
        (height, width)).to_tensor(torch.bool, image.device)
    xyxy = get_box_tensor(gt_instances.bboxes).to(image)
    boxes = bbox_xyxy_to_cxcywh(
        xyxy / xyxy.new_tensor([width, height, width, height]))
    seen = masks.flatten(1).any(1) & (boxes[:, 2:] > 0).all(1)
    return seen, boxes[seen], masks[seen]


def _ignored_pixels(data_sample: DetDataSample,
                    image: Tensor) -> Optional[Tensor]:
    """Union of the masks of ignored instances, padded, or None, (H, W)."""
    ignored = data_sample.get('ignored_instances')
    if not ignored or 'masks' not in ignored:
        return None
    masks = ignored.masks.pad(image.shape[-2:])
    return masks.to_tensor(torch.bool, image.device).any(0)


def _index_instances(data_sample: TrackDataSample, num_frames: int):
    """Labels by instance id, and the ids of each frame in list order."""
    label_of = {}
    rows: List[List[int]] = []
    for t in range(num_frames):
        gt = data_sample[t].gt_instances
        ids = gt.instances_ids.tolist()
        if len(set(ids)) != len(ids):
            raise ValueError('instances_ids must be unique inside a frame, '
                             f'got {ids} in {data_sample[t].img_path}')
        for instance_id, label in zip(ids, gt.labels.tolist()):
            if label_of.setdefault(instance_id, label) != label:
                raise ValueError(
                    f'instance {instance_id} must keep its label over a '
                    f'clip, got {label_of[instance_id]} and {label} in '
                    f'{data_sample[t].img_path}')
        rows.append(ids)
    return label_of, rows
