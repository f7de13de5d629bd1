# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Ground truth of a clip, aligned over frames by instance id."""
from dataclasses import dataclass
from typing import List

import torch
from mmdet.structures import TrackDataSample
from mmdet.structures.bbox import bbox_xyxy_to_cxcywh
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
    """

    labels: Tensor
    boxes: Tensor
    masks: Tensor
    slots: Tensor

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
        valid (Tensor): Bool, True where the instance has a non-empty mask in
            a frame, has shape (T, S).
        boxes (Tensor): Normalised (cx, cy, w, h) of the padded input, 0
            where not valid, has shape (T, S, 4).
        masks (Tensor): Bool masks of the padded input, False where not
            valid, has shape (T, S, H, W).
        frame_inds (Tensor): Position of each frame in its video, has shape
            (T, ).
    """

    ids: Tensor
    labels: Tensor
    valid: Tensor
    boxes: Tensor
    masks: Tensor
    frame_inds: Tensor

    @property
    def num_slots(self) -> int:
        """int: Number of instance slots S."""
        return len(self.ids)

    def frame(self, t: int) -> FrameTargets:
        """Ground truth of frame ``t`` of the clip."""
        slots = self.valid[t].nonzero().flatten()
        return FrameTargets(self.labels[slots], self.boxes[t, slots],
                            self.masks[t, slots], slots)

    @classmethod
    def from_data_sample(cls, data_sample: TrackDataSample,
                         inputs: Tensor) -> 'ClipTargets':
        """Build the table from mmdet's ground truth.

        Args:
            data_sample (:obj:`TrackDataSample`): ``gt_instances`` of each
                frame hold ``bboxes`` (n, 4) as (x1, y1, x2, y2) in pixels,
                ``labels``, ``masks`` (BitmapMasks) and ``instances_ids``.
            inputs (Tensor): Padded frames of this clip, has shape
                (T, 3, H, W); gives size and device.

        Returns:
            :obj:`ClipTargets`: The instance table.

        Raises:
            ValueError: If an id occurs twice in a frame, or has two
                different labels.
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
        scale = boxes.new_tensor([width, height, width, height])
        for t, frame_rows in enumerate(rows):
            if not frame_rows:
                continue
            gt = data_sample[t].gt_instances
            slots = torch.tensor([slot_of[i] for i in frame_rows],
                                 device=device)
            frame_masks = gt.masks.pad(
                (height, width)).to_tensor(torch.bool, device)
            visible = frame_masks.flatten(1).any(1)
            slots, frame_masks = slots[visible], frame_masks[visible]
            xyxy = gt.bboxes.to(boxes)[visible] / scale
            valid[t, slots] = True
            masks[t, slots] = frame_masks
            boxes[t, slots] = bbox_xyxy_to_cxcywh(xyxy)
        frame_inds = torch.tensor([img.frame_id for img in data_sample],
                                  device=device)
        labels = torch.tensor([label_of[i] for i in ids],
                              dtype=torch.long,
                              device=device)
        return cls(
            torch.tensor(ids, dtype=torch.long, device=device), labels, valid,
            boxes, masks, frame_inds)


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
