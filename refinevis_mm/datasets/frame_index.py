# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Objects of all frames of a data set in a few flat arrays.

Shapes: ``F`` frames of the data set, ``N`` masks of the data set.
"""
import os.path as osp
from collections import abc, defaultdict
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np
import pycocotools.mask as mask_utils

from refinevis_mm.vis_json import ObjectTracks, VideoSize

ENTRY_KEYS = ('first_frame', 'label', 'instance_id', 'ignore_flag')


class FrameIndex:
    """Which objects are in a frame, with masks as compressed RLE.

    Takes the objects with :meth:`add`; after :meth:`finish` they can be read
    by frame, and processes forked from this one share its memory. A mask
    costs the length of its code and about 40 bytes.
    """

    def __init__(self) -> None:
        self._codes = bytearray()
        self._columns: Dict[str, List[np.ndarray]] = defaultdict(list)

    def add(self, tracks: ObjectTracks, sizes: Sequence[VideoSize],
            entries: Sequence[Dict[str, int]]) -> None:
        """Take some objects.

        Args:
            tracks (ObjectTracks): Their masks and boxes.
            sizes (Sequence[VideoSize]): Extent of the video of each object.
            entries (Sequence[dict[str, int]]): For each object,
                ``first_frame`` (number in the data set of its video's first
                frame), ``label`` (class index), ``instance_id`` (unique in
                the video) and ``ignore_flag`` (1 for a crowd).
        """
        masks, boxes = tracks
        missing = np.isnan(boxes).any(1)
        if missing.any():
            boxes = boxes.copy()
            boxes[missing] = mask_utils.toBbox(
                masks.select(missing).rles(sizes))
            boxes[missing, 2:] += boxes[missing, :2]
        values = {
            key:
            np.array([entry[key] for entry in entries], np.int32)[masks.owners]
            for key in ENTRY_KEYS
        }
        ends = np.cumsum(masks.lengths)
        values.update(
            frame=(values.pop('first_frame') + masks.frames).astype(np.int32),
            start=len(self._codes) + ends - masks.lengths,
            length=masks.lengths.astype(np.int32),
            box=boxes.astype(np.float32))
        self._codes += masks.data
        for key, value in values.items():
            self._columns[key].append(value)

    def finish(self, num_frames: int) -> None:
        """Sort the objects by frame; no more can be added.

        Args:
            num_frames (int): F.
        """
        columns = {
            key: np.concatenate(self._columns[key] or [np.zeros(0, np.int32)])
            for key in (*ENTRY_KEYS[1:], 'frame', 'start', 'length', 'box')
        }
        del self._columns
        frames = columns.pop('frame')
        # stable: objects of a frame keep the order of the file
        order = np.argsort(frames, kind='stable')
        self._rows = {key: value[order] for key, value in columns.items()}
        self._first_rows = np.searchsorted(frames[order],
                                           np.arange(num_frames + 1))

    def count(self, first_frame: int, num_frames: int = 1) -> int:
        """Objects of some consecutive frames; crowds are none.

        Args:
            first_frame (int): Number in the data set.
            num_frames (int): Defaults to 1.

        Returns:
            int: Number of their masks in these frames.
        """
        first, last = self._first_rows[[first_frame, first_frame + num_frames]]
        return int((self._rows['ignore_flag'][first:last] == 0).sum())

    def instances(self, frame: int, size: Tuple[int, int]) -> List[dict]:
        """Objects of a frame.

        Args:
            frame (int): Number in the data set.
            size (tuple[int, int]): Height and width of its masks in pixels.

        Returns:
            list[dict]: As :class:`VISDataset` describes them.
        """
        first, last = self._first_rows[frame:frame + 2]
        rows = {
            key: value[first:last].tolist()
            for key, value in self._rows.items()
        }
        # NOTE: mmdet's LoadAnnotations takes counts of type bytes for a
        # broken mask and blanks it, so str it must be
        return [
            dict(
                bbox=box,
                bbox_label=label,
                mask=dict(
                    size=list(size),
                    counts=self._codes[start:start + length].decode('ascii')),
                ignore_flag=ignore_flag,
                instance_id=instance_id)
            for box, label, start, length, ignore_flag, instance_id in zip(
                *(rows[key] for key in ('box', 'label', 'start', 'length',
                                        'ignore_flag', 'instance_id')))
        ]

    @property
    def num_bytes(self) -> int:
        """Memory held by the index."""
        arrays = [self._first_rows, *self._rows.values()]
        return len(self._codes) + sum(value.nbytes for value in arrays)

    def __deepcopy__(self, memo: dict) -> 'FrameIndex':
        """Read-only, so copies of a data set share it."""
        return self


class VideoFrames(abc.Sequence):
    """Frames of a video, each made when it is asked for.

    Behaves like a list of dicts, but changes to a frame are not kept. Pickles
    and copies as a plain list.

    Args:
        index (FrameIndex): Objects of the data set.
        video (dict): ``first_frame``, ``file_names``, ``height``, ``width``.
        prefix (str): Folder of the file names.
    """

    def __init__(self, index: FrameIndex, video: dict, prefix: str) -> None:
        self._index, self._video, self._prefix = index, video, prefix

    def __len__(self) -> int:
        return len(self._video['file_names'])

    def __getitem__(self, position: Union[int, slice]) -> Any:
        """A frame, or a list of frames for a slice."""
        if isinstance(position, slice):
            return [self[i] for i in range(*position.indices(len(self)))]
        frame_id = range(len(self))[position]
        video = self._video
        size = (video['height'], video['width'])
        img_id = video['first_frame'] + frame_id
        return dict(
            img_id=img_id,
            img_path=osp.join(self._prefix, video['file_names'][frame_id]),
            height=video['height'],
            width=video['width'],
            frame_id=frame_id,
            instances=self._index.instances(img_id, size))

    def __reduce__(self) -> tuple:
        return list, (list(self), )
