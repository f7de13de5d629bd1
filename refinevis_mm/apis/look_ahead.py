# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Frames of a video with what the first stage finds in them, in batches."""
from itertools import islice
from typing import Iterator, List, NamedTuple, Optional

import numpy as np

from refinevis_mm.video_io import FrameSource, LazyFrame
from .session import Detected, Session

# Frames of a batch, a power of two, and pixels of the network input in all of
# them: small frames cost more calls than arithmetic, large ones gain nothing.
MAX_BATCH = 8
MAX_PIXELS = 2**18


class SeenFrame(NamedTuple):
    """What :meth:`Session.step` takes of a frame, and where it comes from.

    Attributes:
        frame (:obj:`LazyFrame`): The frame.
        image (np.ndarray): Its image.
        detected (:obj:`Detected`, optional): What was found in it. Defaults
            to None: :meth:`Session.step` is to look.
    """

    frame: LazyFrame
    image: np.ndarray
    detected: Optional[Detected] = None


def look_ahead(session: Session, source: FrameSource) -> Iterator[SeenFrame]:
    """Go through the frames that a session has not taken.

    Those of a source that is not live go through the first stage of a
    ``batched`` model in batches. Batches lie at fixed places of the video,
    and the last one is filled up: what a frame gives does not depend on where
    a run began, or where it ends.

    Args:
        session (:obj:`Session`): Takes each frame before the next one is
            asked for.
        source (:obj:`FrameSource`): The video.

    Yields:
        :obj:`SeenFrame`: The next frame.

    Raises:
        ValueError: What the source raises, behind the frames before.
    """
    num_frames = session.num_frames
    if source.live or not session.model.batched:
        for frame in islice(source.scan(), num_frames, None):
            yield SeenFrame(frame, frame.load())
        return
    start = first = num_frames - num_frames % MAX_BATCH
    frames = islice(source.scan(), start, None)
    size, error = 1, None
    while error is None:
        batch: List[SeenFrame] = []
        try:
            for frame in frames:
                batch.append(SeenFrame(frame, frame.load()))
                if start == first and len(batch) == 1:
                    size = _batch_size(session, batch[0].image)
                if len(batch) == size:
                    break
        except Exception as caught:  # comes behind the frames before it
            error = caught
        if not batch:
            break
        yield from _detect(session, batch, start,
                           size)[max(num_frames - start, 0):]
        start += size
    if error is not None:
        raise error


def _batch_size(session: Session, image: np.ndarray) -> int:
    """Frames of a batch, a power of two; 1 for an image that is none."""
    session.check_image(image)
    inputs, _ = session.preprocess(image, session.num_frames)
    size = MAX_BATCH
    while size > 1 and size * inputs[0].numel() > MAX_PIXELS:
        size //= 2
    return size


def _detect(session: Session, batch: List[SeenFrame], start: int,
            size: int) -> List[SeenFrame]:
    """The frames with what is found in them, if they go together."""
    images = [seen.image for seen in batch]
    alike = {(image.shape, image.dtype) for image in images}
    if size == 1 or len(alike) > 1:  # Session.step says what is wrong
        return batch
    images += images[-1:] * (size - len(images))
    return [
        seen._replace(detected=detected)
        for seen, detected in zip(batch, session.detect(images, start))
    ]
