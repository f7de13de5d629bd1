# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest

from refinevis_mm.profiling import (Case, WorkerError, frame_shape, list_cases,
                                    run_suite, suite)

MODELS = dict(R50='r50.py', SwinL='swin-l.py')


@pytest.mark.parametrize('side, shape', [(480, (480, 864)), (720, (736, 1280)),
                                         (64, (64, 128))])
def test_shapes_of_16_to_9(side, shape):
    assert frame_shape(side) == shape


def test_everything_is_asked_for():
    cases = list_cases(MODELS, [480, 720], [1, 8], 'cuda')
    found = {(case.model, case.variant, case.settings.train,
              tuple(case.settings.shape), case.settings.batch_size)
             for case in cases}
    assert len(found) == len(cases)
    for model in MODELS:
        for shape in ((480, 864), (736, 1280)):
            for batch_size in (1, 8):
                for variant in ('float32', 'bfloat16', 'compiled',
                                'compiled bfloat16'):
                    assert (model, variant, False, shape, batch_size) in found
            for variant in ('float32', 'AMP float16'):
                assert (model, variant, True, shape, 1) in found
    for backend in ('mmcv_cuda', 'mmcv_pytorch'):
        for train in (False, True):
            assert ('R50', f'attention {backend}', train, (480, 864),
                    1) in found
    # what takes long to begin with comes last
    compiled = [case.settings.compile for case in cases]
    assert compiled == sorted(compiled)
    assert not any(case.settings.stages for case in cases)


class FakeWorker:
    """Fails as it is told."""

    fails = {}
    started = 0

    def __init__(self):
        type(self).started += 1

    def __exit__(self, *error):
        pass

    def ask(self, do, timeout=None, **options):
        if do == 'open':
            error = self.fails.get(options['config'])
            if error is not None:
                raise error
        if do == 'measure':
            return dict(total=0.25)
        return dict(
            memory={},
            load=dict(others=0.),
            gflops_per_second=dict(median=1.),
            setup=dict(device='one', versions='two'))


@pytest.fixture
def worker(monkeypatch):
    monkeypatch.setattr(suite, 'WorkerProcess', FakeWorker)
    monkeypatch.setattr(FakeWorker, 'started', 0)
    return FakeWorker


def test_what_fails_is_named_and_the_rest_goes_on(worker, monkeypatch, tiny):
    monkeypatch.setattr(
        worker, 'fails', {
            'a.py': WorkerError('x\ny', 'OutOfMemoryError'),
            'b.py': WorkerError('no compiler\nat all', 'OSError'),
            'c.py': TimeoutError('no answer')
        })
    cases = [Case('m', 'v', tiny(checkpoint=name)) for name in 'abcd']
    for case, name in zip(cases, 'abcd'):
        case.settings.config = f'{name}.py'
    seen = []
    results = run_suite(cases, 60, 2, 1, seen.append)
    assert [result.get('skipped') for result in results] == [
        'out of memory', 'OSError: no compiler', 'the time is over', None
    ]
    assert results[3]['ms']['median'] == 250
    assert seen == results
    assert worker.started == 4  # a fresh process after each error


def test_the_time_ends(worker, tiny):
    results = run_suite([Case('m', 'v', tiny())] * 2, 0, 2, 1,
                        lambda result: None)
    assert [result['skipped']
            for result in results] == ['the time is over'] * 2
    assert worker.started == 0


@pytest.mark.parametrize('options, reason', [
    (dict(backend='mmcv_cuda'), 'needs a GPU and compiled mmcv'),
    (dict(train=True, dtype='float16'), 'needs a GPU'),
    (dict(dtype='float16'), None),
])
def test_what_is_impossible(tiny, options, reason):
    assert Case('m', 'v', tiny(**options)).impossible == reason
