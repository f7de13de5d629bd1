# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import sys

from refinevis_mm.zoo import progress
from refinevis_mm.zoo.progress import Progress


def test_terminal(monkeypatch, capsys):
    now = [100.]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    bar = Progress('model.pth', 1_000_000, 4_000_000)
    now[0] = 101.
    bar.update(2_000_000)
    now[0] = 101.1
    bar.update(2_100_000)  # too soon
    now[0] = 101.15
    bar.update(4_000_000)  # all of it is shown at once
    bar.close()
    first, *updates, end = capsys.readouterr().err.replace('\n',
                                                           '\r').split('\r')
    assert first == 'fetching model.pth, 4.0 MB, from 1.0 MB on' and end == ''
    assert [update.rstrip() for update in updates if update] == [
        f'[{"#" * 15}{" " * 15}]  50 %  2.0 MB, 1.0 MB/s',
        f'[{"#" * 30}] 100 %  4.0 MB, 2.6 MB/s'
    ]
    # a shorter line hides a longer one
    assert len({len(update) for update in updates if update}) == 1


def test_unknown_length(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    bar = Progress('model.pth', 0, None)
    bar.update(3_000_000)
    bar.close()
    first, second, end = capsys.readouterr().err.split('\n')
    assert first == 'fetching model.pth' and end == ''
    assert second.startswith('\r3.0 MB, ') and '%' not in second


def test_no_terminal(capsys):
    bar = Progress('model.pth', 0, 3_000_000)
    bar.update(3_000_000)
    bar.close()
    assert capsys.readouterr().err == 'fetching model.pth, 3.0 MB\n'
