# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest

from refinevis_mm.recording.frame_names import frame_names
from tests.tiny_recordings import ResultStream, create


@pytest.mark.parametrize('origins, names, stems', [
    ([(4, 'a/4.png'), (6, 'a/6.png')], ['a/4.png', 'a/6.png'], ['4', '6']),
    ([(4, 'a/0.png'),
      (6, 'b/0.png')], ['a/0.png', 'b/0.png'], ['000004', '000006']),
    ([(4, '0.jpg'), (6, '0.png')], ['0.jpg', '0.png'], ['000004', '000006']),
    ([(4, '0.jpg'),
      (6, '0.jpg')], ['000004.jpg', '000006.jpg'], ['000004', '000006']),
    ([(4, None),
      (1234567, None)], ['000004.jpg', '1234567.jpg'], ['000004', '1234567']),
])
def test_names_lead_to_the_source(tmp_path, origins, names, stems):
    stream = ResultStream()
    with create(tmp_path / 'recording.sqlite') as recording:
        for k, origin in enumerate(origins):
            recording.add_origin(k, *origin)
            recording.add(stream.frame({}))
        assert frame_names(recording) == names
        assert frame_names(recording, stems=True) == stems
        assert frame_names(
            recording, ['x/a.b.c', 'd'], stems=True) == ['a.b', 'd']
