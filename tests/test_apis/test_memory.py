# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A long stream takes the memory of a short one."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_files import write_model_files

ROOT = Path(__file__).parents[2]

# A process of its own, for the peak memory of a process never falls. The
# first tenth is the short video: peaks of 100 and of 1,000 frames, both modes.
PROGRAM = """
import json, resource, sys
import numpy as np
from refinevis_mm.apis import Session, init_model
from refinevis_mm.recording import VideoRecording
config, checkpoint, folder = sys.argv[1:]
views = ('frame_level', 'online', 'offline')
session = Session(init_model(config, checkpoint), views)

def images():
    rng = np.random.default_rng(0)
    while session.num_frames < 1000:
        if session.num_frames % 20 == 0:  # other things to be seen
            scene = rng.integers(0, 256, (4, 5, 3), dtype=np.uint8)
        image = scene.repeat(15, 0).repeat(16, 1)
        yield np.roll(image, session.num_frames, 1)

peaks, ids = [], set()
with VideoRecording.create(folder + '/r.sqlite', [], (60, 80), 25., views,
                           'offline', {}) as recording:
    for frame in session.stream(images()):
        recording.add(frame)
        ids.update(frame.ids)
        if frame.frame_id + 1 in (100, 1000):
            peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    recording.finish()
print(json.dumps(dict(peaks=peaks, num_ids=len(ids))))
"""


@pytest.mark.skipif(
    sys.platform == 'win32', reason='Windows has no peak memory of a process')
@pytest.mark.slow
def test_1000_frames_need_the_memory_of_100(tmp_path):
    files = write_model_files(tmp_path)
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, *files,
         str(tmp_path)],
        cwd=ROOT,
        env={
            **os.environ, 'OMP_NUM_THREADS': '1'
        },
        check=True,
        capture_output=True,
        text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    short, long = found['peaks']
    assert long <= 1.05 * short
    assert found['num_ids'] > 50  # tracks came and went all the time
