# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A video file through the pipeline that users run."""
import tempfile
from contextlib import closing
from typing import Any, Dict

from torch import nn

from refinevis_mm.apis import Session, render_video, views_for
from refinevis_mm.apis.look_ahead import MAX_BATCH
from refinevis_mm.models import BaseVISModel
from refinevis_mm.video_io import FrameSource, open_source
from .settings import ProfileSettings
from .stage_timer import StageTimer
from .workload import Workload

# Frames in which operations are counted: a whole batch, others are filled up.
COUNTED_FRAMES = MAX_BATCH


class VideoFrames(Workload):
    """The first frames of a video, from the file to the results.

    Args: See :class:`Workload`.

    Raises:
        OSError: If there is no such video.
        ValueError: If it cannot be read or has no frame, or there is no such
            output.
    """

    model: BaseVISModel

    def __init__(self, model: nn.Module, settings: ProfileSettings,
                 timer: StageTimer) -> None:
        super().__init__(model, settings, timer)
        self.video = str(settings.video)
        self.num_tracks = 0
        views = views_for(settings.outputs, model)
        self.session = Session(model, views)
        # says what is wrong, and how many frames there are
        self.num_units = self._run(settings.frames)

    def __call__(self) -> None:
        """See :meth:`Workload.__call__`."""
        self._run(self.num_units)

    @property
    def num_sampled(self) -> int:
        """int: See :attr:`Workload.num_sampled`."""
        return min(self.num_units, COUNTED_FRAMES)

    def sample(self) -> None:
        """See :meth:`Workload.sample`; the first frames only."""
        self._run(self.num_sampled)

    def _run(self, num_frames: int) -> int:
        """Render some frames, give their number."""
        with tempfile.TemporaryDirectory(
                prefix='refinevis_mm-') as folder, closing(
                    open_source(self.video, end=num_frames)) as source:
            self._watch(source)
            with self.autocast():
                done = render_video(self.session, source, folder,
                                    self.settings.outputs)
        self.num_tracks = done.num_tracks
        return done.num_frames

    def _watch(self, source: FrameSource) -> None:
        """Time how frames are read and converted."""
        scan = source.scan

        def timed_scan() -> Any:
            for frame in self.timer.timed_items('decode', scan()):
                yield frame._replace(
                    load=self.timer.timed('decode', frame.load))

        source.scan = timed_scan  # type: ignore[method-assign]

    def facts(self) -> Dict[str, Any]:
        """See :meth:`Workload.facts`."""
        return dict(frames=self.num_units, tracklets=self.num_tracks)
