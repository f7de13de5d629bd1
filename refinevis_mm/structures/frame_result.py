# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What a stream yields for one frame: numpy and plain Python only."""
from dataclasses import dataclass, field, replace
from typing import (TYPE_CHECKING, Dict, List, Mapping, Optional, Sequence,
                    Tuple)

import numpy as np
import torch
from pycocotools import mask as mask_utils

from .decoded_frame import DecodedFrame
from .mask_codes import encode_masks
from .running_scores import RunningScores
from .state_form import Values, check_form
from .track_merges import TrackMerges

if TYPE_CHECKING:
    from supervision import Detections

FRAME_LEVEL = 'frame_level'  # the result before refinement
VIEWS = (FRAME_LEVEL, 'online', 'offline')
CODE = dict(size=[int], counts=str)  # form of a run-length code
INSTANCES = dict(
    size=[int],
    ids=[int],
    labels=[int],
    classes=[str],
    scores=[float],
    cls_scores=Values((None, None), torch.float64),
    boxes=Values((None, 4), torch.float32),
    masks=[(None, CODE)],
    detected=[bool])


@dataclass
class FrameInstances:
    """Instances of one frame, N in number, as one view sees them.

    A tracklet that lives stands here also in frames where it was missed; its
    mask is then None, unless refinement recovered it.

    Attributes:
        size (tuple[int, int]): Height and width of the frame in pixels.
        ids (list[int]): Tracklet ids, not negative.
        labels (list[int]): Class of the highest running score.
        classes (list[str]): Names of the labels.
        scores (list[float]): Running score of the label, in [0, 1].
        cls_scores (np.ndarray): Running mean of all class scores, float64,
            has shape (N, K).
        boxes (np.ndarray): (x1, y1, x2, y2) in pixels, tight around the mask,
            x2 and y2 exclusive, zero without a mask, float32, has shape
            (N, 4).
        masks (list[dict | None]): COCO run-length codes at ``size``, None
            where a mask is empty.
        detected (list[bool]): Whether the frame model detected the object in
            this frame.
    """

    size: Tuple[int, int]
    ids: List[int]
    labels: List[int]
    classes: List[str]
    scores: List[float]
    cls_scores: np.ndarray
    boxes: np.ndarray
    masks: List[Optional[dict]]
    detected: List[bool]

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def from_decoded(cls, frame: DecodedFrame, running: RunningScores,
                     classes: Sequence[str]) -> 'FrameInstances':
        """Encode a frame and add its class scores to the running ones.

        Args:
            frame (:obj:`DecodedFrame`): The frame.
            running (:obj:`RunningScores`): Scores of the video so far,
                updated.
            classes (Sequence[str]): Class names; labels without a name are
                called ``class <label>``.

        Returns:
            FrameInstances: The same instances.
        """
        num_classes = frame.cls_scores.shape[1]
        running.add(frame.ids,
                    frame.cls_scores.detach().double().cpu().numpy(),
                    frame.scored.tolist())
        cls_scores = np.array([running.mean(i) for i in frame.ids])
        cls_scores = cls_scores.reshape(len(frame.ids), num_classes)
        labels = cls_scores.argmax(axis=1).tolist() if frame.ids else []
        masks = encode_masks(frame.masks)
        boxes = np.zeros((len(masks), 4), np.float32)
        filled = [row for row, mask in enumerate(masks) if mask is not None]
        if filled:
            boxes[filled] = mask_utils.toBbox([masks[row] for row in filled])
            boxes[:, 2:] += boxes[:, :2]
        return cls(
            size=tuple(frame.masks.shape[1:]),
            ids=list(frame.ids),
            labels=labels,
            classes=[class_name(classes, label) for label in labels],
            scores=[
                float(cls_scores[row, label])
                for row, label in enumerate(labels)
            ],
            cls_scores=cls_scores,
            boxes=boxes,
            masks=masks,
            detected=frame.detected.tolist())

    def state_dict(self) -> dict:
        """The instances with tensors in place of arrays, to be saved.

        Returns:
            dict: The attributes by name.
        """
        return {
            name:
            torch.from_numpy(value) if isinstance(value, np.ndarray) else value
            for name, value in vars(self).items()
        }

    @classmethod
    def from_state(cls, state: dict) -> 'FrameInstances':
        """Undo :meth:`state_dict`.

        Args:
            state (dict): What it returned. Run-length codes are not looked
                into.

        Returns:
            FrameInstances: The instances.

        Raises:
            ValueError: If the state has another form.
        """
        check_form(state, INSTANCES, 'the state of a frame')
        instances = cls(
            **{
                name:
                value.numpy() if isinstance(value, torch.Tensor) else value
                for name, value in state.items()
            })
        numbers = {len(state[name]) for name in INSTANCES if name != 'size'}
        if len(numbers) > 1:
            raise ValueError('the state of a frame must have as many of all '
                             f'as ids, got {sorted(numbers)}')
        return instances

    @property
    def recovered(self) -> List[bool]:
        """list[bool]: Missed by the frame model, with a refined mask."""
        return [
            not detected and mask is not None
            for detected, mask in zip(self.detected, self.masks)
        ]

    @property
    def missed(self) -> List[bool]:
        """list[bool]: Missed by the frame model, and nothing recovered."""
        return [
            not detected and mask is None
            for detected, mask in zip(self.detected, self.masks)
        ]

    def dense_masks(self) -> np.ndarray:
        """Decode the masks.

        Returns:
            np.ndarray: Bool, has shape (N, H, W).
        """
        dense = np.zeros((len(self), *self.size), bool)
        for row, mask in enumerate(self.masks):
            if mask is not None:
                dense[row] = mask_utils.decode(mask)
        return dense

    def select(self, rows: Sequence[int]) -> 'FrameInstances':
        """Some of the instances.

        Args:
            rows (Sequence[int]): Their positions.

        Returns:
            FrameInstances: Those instances, in the order of ``rows``.
        """
        rows = list(rows)
        lists = {
            name: [getattr(self, name)[row] for row in rows]
            for name in ('ids', 'labels', 'classes', 'scores', 'masks',
                         'detected')
        }
        return replace(
            self,
            cls_scores=self.cls_scores[rows],
            boxes=self.boxes[rows],
            **lists)

    def without(self, ids: Sequence[int]) -> 'FrameInstances':
        """The same frame without some tracklets."""
        return self.select([
            row for row, track_id in enumerate(self.ids) if track_id not in ids
        ])

    def merged(self, ids: Mapping[int, int], cls_scores: Mapping[int,
                                                                 np.ndarray],
               classes: Sequence[str]) -> 'FrameInstances':
        """The same frame after a merge.

        Where several tracklets of one object stand in it, what the youngest
        one, of the highest id, says stays.

        Args:
            ids (Mapping[int, int]): See :class:`TrackMerges`.
            cls_scores (Mapping[int, np.ndarray]): Running mean of class
                scores by id, of shape (K, ), where it is another one now.
            classes (Sequence[str]): Class names.

        Returns:
            FrameInstances: The frame.
        """
        rows = {
            ids.get(track_id, track_id): row
            for track_id, row in sorted(zip(self.ids, range(len(self))))
        }
        frame = self.select(sorted(rows.values()))
        frame = replace(
            frame,
            ids=[ids.get(track_id, track_id) for track_id in frame.ids],
            cls_scores=frame.cls_scores.copy())
        for row, track_id in enumerate(frame.ids):
            if track_id in cls_scores:
                scores = cls_scores[track_id]
                label = int(scores.argmax())
                frame.cls_scores[row] = scores
                frame.labels[row] = label
                frame.classes[row] = class_name(classes, label)
                frame.scores[row] = float(scores[label])
        return frame


@dataclass
class FrameResult:
    """Result of one frame of a stream.

    ``ids``, ``labels``, ``classes``, ``scores``, ``boxes``, ``masks`` and
    ``detected`` are those of the main view.

    Attributes:
        frame_id (int): Position in the stream, from 0.
        time (float): Seconds since the first frame.
        image (np.ndarray): The frame as it was given, uint8, BGR, has shape
            (H, W, 3).
        views (dict[str, :obj:`FrameInstances`]): What each view found:
            'frame_level' is the result before refinement, 'online' and
            'offline' are refined. Ids are the same in all views.
        view (str): The main view.
        discarded_ids (list[int]): Tracklets the tracker judged noise since
            the last result: drop what earlier frames said of them before
            adding this frame. An id may come back later.
        merges (:obj:`TrackMerges`): Tracklets found since the last result to
            continue older ones: what earlier frames said of the younger one,
            after ``discarded_ids``, is of the older one. In this frame they
            have its id already.
    """

    frame_id: int
    time: float
    image: np.ndarray
    views: Dict[str, FrameInstances]
    view: str
    discarded_ids: List[int] = field(default_factory=list)
    merges: TrackMerges = field(default_factory=TrackMerges)

    @property
    def merged_ids(self) -> Dict[int, int]:
        """dict[int, int]: Older id by younger id, see ``merges``."""
        return self.merges.ids

    @property
    def instances(self) -> FrameInstances:
        """:obj:`FrameInstances`: The main view."""
        return self.views[self.view]

    @property
    def frame_level(self) -> Optional[FrameInstances]:
        """:obj:`FrameInstances`: Before refinement; None if not asked for."""
        return self.views.get('frame_level')

    @property
    def ids(self) -> List[int]:
        """list[int]: See :class:`FrameInstances`."""
        return self.instances.ids

    @property
    def labels(self) -> List[int]:
        """list[int]: See :class:`FrameInstances`."""
        return self.instances.labels

    @property
    def classes(self) -> List[str]:
        """list[str]: See :class:`FrameInstances`."""
        return self.instances.classes

    @property
    def scores(self) -> List[float]:
        """list[float]: See :class:`FrameInstances`."""
        return self.instances.scores

    @property
    def boxes(self) -> np.ndarray:
        """np.ndarray: See :class:`FrameInstances`."""
        return self.instances.boxes

    @property
    def masks(self) -> List[Optional[dict]]:
        """list[dict | None]: See :class:`FrameInstances`."""
        return self.instances.masks

    @property
    def detected(self) -> List[bool]:
        """list[bool]: See :class:`FrameInstances`."""
        return self.instances.detected

    def to_supervision(self) -> 'Detections':
        """The main view as the package supervision takes it.

        Objects without a mask in this frame (missed, and not recovered) are
        left out: they have no place in it.

        Returns:
            supervision.Detections: Of M objects: ``xyxy`` as
            ``boxes``, float32, (M, 4); ``mask`` bool, (M, H, W); ``confidence``
            the running scores, float32, (M, ); ``class_id`` and
            ``tracker_id`` int, (M, ); ``data['class_name']`` str, (M, ), by
            which its annotators label; ``data['detected']`` bool, (M, ).

        Raises:
            ImportError: If supervision is not installed.
        """
        try:
            from supervision import Detections
        except ImportError as error:
            raise ImportError(
                'FrameResult.to_supervision needs the package supervision. '
                'Run: pip install "refinevis_mm[supervision]"') from error
        instances = self.instances
        seen = instances.select(
            [row for row, mask in enumerate(instances.masks) if mask])
        return Detections(
            xyxy=seen.boxes,
            mask=seen.dense_masks(),
            confidence=np.array(seen.scores, np.float32),
            class_id=np.array(seen.labels, int),
            tracker_id=np.array(seen.ids, int),
            data=dict(
                class_name=np.array(seen.classes, str),
                detected=np.array(seen.detected, bool)))


def class_name(classes: Sequence[str], label: int) -> str:
    """Name of a label, ``class <label>`` where there is none."""
    return classes[label] if label < len(classes) else f'class {label}'
