# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import numpy as np
import pytest

from refinevis_mm.video_io import ArraySource, open_source
from tests.test_video_io.videos import noise, times


def test_frames_and_times():
    video = noise(5)
    source = open_source(video, fps=4)
    assert (source.num_frames, source.fps) == (5, 4)
    for _ in range(2):
        for frame, image in zip(source, video):
            np.testing.assert_array_equal(frame.image, image)
    assert times(source) == [0., .25, .5, .75, 1.]
    assert times(source.frames_from(3)) == [.75, 1.]


@pytest.mark.parametrize('shape, dtype, got', [
    ((48, 64, 3), np.uint8, r'got \(48, 64, 3\)'),
    ((0, 48, 64, 3), np.uint8, r'got \(0, 48, 64, 3\)'),
    ((2, 48, 64, 4), np.uint8, r'got shape \(48, 64, 4\) of uint8'),
    ((2, 48, 64, 3), np.float32, r'got shape \(48, 64, 3\) of float32'),
])
def test_other_arrays_are_refused(shape, dtype, got):
    with pytest.raises(ValueError, match=got):
        ArraySource(np.zeros(shape, dtype))
