# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What the test loop of a model remembers of its video."""
from dataclasses import dataclass
from typing import List, Sequence, Union

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

    def refine(self, tracks: TrackedFrame,
               is_last: bool) -> List[TrackedFrame]:
        """Take the next tracked frame.

        Args:
            tracks (:obj:`FrameTracks` | :obj:`DecodedFrame`): The frame.
            is_last (bool): Whether it ends the video.

        Returns:
            list[:obj:`FrameTracks` | :obj:`DecodedFrame`]: Frames finished
            by it: itself online, up to W frames offline.
        """
        frames = self.refiner.push(tracks)
        return frames + self.refiner.flush() if is_last else frames

    def add(self, frame: DecodedFrame) -> None:
        """Add a finished frame to the results.

        Args:
            frame (:obj:`DecodedFrame`): The next one in order.
        """
        self.result.add_frame(frame.frame_id, frame.ids, frame.cls_scores,
                              frame.scored, frame.masks)
