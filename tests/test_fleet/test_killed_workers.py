# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Workers are killed at random, and nothing of it shows in the end.

With ``FLEET_VIDEOS`` and ``FLEET_KILLS`` in the environment there are so many
videos and kills.
"""
import io
import os

import pytest

from refinevis_mm.fleet import (DEFAULT_OUTPUTS, FleetProgress, SerialEngine,
                                read_units, run_fleet)
from tests.tiny_fleet import (PLAIN_OUTPUTS, KillingEngine, differences,
                              make_engine, tiny_settings, write_clips)

# the last digits of results depend on the number of threads
pytestmark = pytest.mark.usefixtures('one_thread')

NUM_VIDEOS = int(os.environ.get('FLEET_VIDEOS', 6))
NUM_KILLS = int(os.environ.get('FLEET_KILLS', 2))


def run(root, settings, engine):
    """Run a fleet; what it said."""
    said = io.StringIO()
    summary = run_fleet(
        read_units(f'{root}/clips/*'),
        settings,
        lambda: engine,
        progress=FleetProgress(said))
    return summary, said.getvalue()


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A model, clips and a file that is no video."""
    root = tmp_path_factory.mktemp('fleet')
    write_clips(root / 'clips', NUM_VIDEOS)
    (root / 'clips/broken.mp4').write_bytes(b'no video')
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, outputs',
    [('local', PLAIN_OUTPUTS),
     pytest.param('local', DEFAULT_OUTPUTS, marks=pytest.mark.fleet),
     pytest.param('ray', DEFAULT_OUTPUTS, marks=pytest.mark.fleet)])
def test_equal_to_the_serial_run(name, outputs, root, tmp_path, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    if 'parquet' in outputs:
        pytest.importorskip('pyarrow')
    if name == 'ray':
        pytest.importorskip('ray')
    serial = root / '-'.join(outputs)
    if not serial.exists():
        settings = tiny_settings(root, serial, outputs=outputs)
        summary, _ = run(root, settings, SerialEngine(settings))
        assert [item['name'] for item in summary.failures] == ['broken']
    settings = tiny_settings(root, tmp_path, outputs=outputs)
    engine = KillingEngine(
        make_engine(name, settings), NUM_KILLS, 2 * NUM_KILLS / NUM_VIDEOS)
    summary, said = run(root, settings, engine)
    assert engine.killed
    assert [item['name'] for item in summary.failures] == ['broken']
    assert 'cannot be read as a video' in summary.failures[0]['reason']
    assert differences(tmp_path, serial) == []
    assert ('parquet' in outputs) == (tmp_path / 'tracks.parquet').exists()
    again = said.count('another one goes on')
    print(f'{name}: {NUM_VIDEOS} videos, {len(engine.killed)} kills, {again} '
          f'videos went on elsewhere, {summary.seconds:.0f} s')
