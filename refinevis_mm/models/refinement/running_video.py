# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the test loop of a model remembers of its video."""
from dataclasses import dataclass
from typing import Iterable, Mapping, Sequence, Union

from refinevis_mm.structures import DecodedFrame, FrameTracks, VideoResult
from .refiners import BaseRefiner

# what the first two stages say of a frame
TrackedFrame = Union[FrameTracks, DecodedFrame]


@dataclass
class RunningVideo:
    """Refinement and results of the video that is being tested.

    Attributes:
        refiner (:obj:`BaseRefiner`): Refinement memory.
        result (:obj:`VideoResult`): Results of the finished frames.
    """

    refiner: BaseRefiner
    result: VideoResult

    def discard(self, ids: Sequence[int]) -> None:
        """Forget tracklets that the tracker has judged noise.

        Args:
            ids (Sequence[int]): Their ids.
        """
        self.refiner.discard(ids)
        self.result.discard(ids)

    def merge(self, ids: Mapping[int, int]) -> None:
        """Make one of tracklets that turned out to be one.

        Args:
            ids (Mapping[int, int]): See :class:`TrackMerges`.
        """
        self.refiner.merge(ids)
        self.result.merge(ids)

    def add(self, frames: Iterable[DecodedFrame]) -> None:
        """Add finished frames to the results.

        Args:
            frames (Iterable[:obj:`DecodedFrame`]): The next ones in order.
        """
        for frame in frames:
            self.result.add_frame(frame.frame_id, frame.ids, frame.cls_scores,
                                  frame.scored, frame.masks)
