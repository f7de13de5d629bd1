# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What breaks, what it costs and what oracles give, on bars by hand."""
import pytest

from refinevis_mm.evaluation import evaluate_tracking
from refinevis_mm.evaluation.identity_events import (explain_identity,
                                                     track_held)
from refinevis_mm.evaluation.oracles import ORACLES, evaluate_oracles
from tests.test_evaluation.test_tracking_eval import (CASES, ground_truth,
                                                      result)


def events_of(gt, rows):
    videos = explain_identity(gt, rows)
    return [event for video in videos for event in video.events]


def test_a_switch_costs_what_its_repair_gains():
    gt = ground_truth([0, 0, 0, 0])
    rows = [result([0, 0, None, None]), result([None, None, 0, 0])]
    event, = events_of(gt, rows)
    assert event.kind == 'switch'
    assert (event.before, event.after, event.old, event.new) == (1, 2, 0, 1)
    # two halves: AssA 1 / 2, HOTA its root; repaired 1
    assert event.cost == pytest.approx(1 - 0.5**0.5, abs=1e-12)
    assert (event.object_id, event.category_id, event.visible) == (0, 1, 1)


def test_a_crossing():
    """Two objects whose tracklets change places: two switches, of which the
    repair of either repairs both."""
    gt = ground_truth([0, 8, 16, 24], [24, 16, 8, 0])
    rows = [result([0, 8, 8, 0]), result([24, 16, 16, 24])]
    events = events_of(gt, rows)
    assert [event.kind for event in events] == ['switch'] * 2
    for event in events:
        assert event.cost == pytest.approx(1 - (1 / 3)**0.5, abs=1e-12)
        assert event.moved == pytest.approx(8 / 4**0.5)


def test_other_results_hold_an_identity():
    gt = ground_truth([0, 0, 0, 0])
    video, = explain_identity(
        gt, [result([0, 0, None, None]),
             result([None, None, 0, 0])])
    event, = video.events
    assert track_held(video, event) is None
    # the second tracklet is the object's; misses outside of frames 1 and 2
    # of the event do not count
    for bars, held in (([0, 0, 0, 0], 1), ([None, 0, 0, 0], 1),
                       ([0, None, 0, 0], None), ([0, 0, None, 0], None)):
        other, = explain_identity(gt, [result([20] * 4), result(bars)])
        assert track_held(other, event) == held
    # a second tracklet comes between
    rows = [result([0, None, None, 0]), result([None, 0, None, None])]
    event.before, event.after = 0, 3
    assert track_held(explain_identity(gt, rows[:1])[0], event) == 0
    assert track_held(explain_identity(gt, rows)[0], event) is None


def test_a_fragmentation_is_a_gap_while_visible():
    gt = ground_truth([0, 0, 0, 0], [20, 20, 20, 20])
    rows = [result([0, None, 0, 0]), result([20, 20, 20, 20])]
    event, = events_of(gt, rows)
    assert (event.kind, event.before, event.after) == ('fragmentation', 0, 2)
    numbers = evaluate_tracking(gt, rows)
    assert event.cost == pytest.approx(1 - numbers['hota'], abs=1e-12)
    # no gap: the object itself is away
    gt['annotations'][0]['segmentations'][1] = None
    assert events_of(gt, rows) == []


def test_visible_share_of_a_switch():
    gt = ground_truth([0, 0, 0, 0])
    gt['annotations'][0]['segmentations'][1] = None
    rows = [result([0, None, None, None]), result([None, None, 0, 0])]
    event, = events_of(gt, rows)
    assert event.kind == 'switch' and event.visible == 0


def test_duplicates_come_in_stretches():
    gt = ground_truth([0, 0, 0, 0, 0])
    rows = [result([0, 0, 0, 0, 0]), result([1, 1, None, None, 1])]  # 3 / 5
    events = events_of(gt, rows)
    assert [event.kind for event in events] == ['duplicate'] * 2
    stretches = sorted((event.before, event.after) for event in events)
    assert stretches == [(0, 1), (4, 4)]
    assert events[0].cost > events[1].cost > 0  # two frames, then one
    assert {event.new for event in events} == {1}


def test_nothing_breaks_and_nothing_found():
    gt = ground_truth([0, 0], [20, None])
    assert events_of(gt, [result([0, 0]), result([20, None])]) == []
    assert events_of(gt, []) == []
    assert len(explain_identity(ground_truth([0], num_videos=3), [])) == 3


@pytest.mark.parametrize('case', ['small', 'tracking_mixed'])
def test_events_are_those_that_are_counted(case):
    files = CASES / case / 'gt.json', CASES / case / 'pred.json'
    events = events_of(*files)
    numbers = evaluate_tracking(*files)
    switches = sum(event.kind == 'switch' for event in events)
    assert switches == numbers['id_switches'] > 0


def test_oracles_by_hand():
    gt = ground_truth([0, 0, 0, 0], [20, 20, 20, 20])  # classes 1 and 2
    rows = [
        result([0, 0, None, None], 0.9),
        result([None, None, 0, 0], 0.5),
        result([20, 20, 20, None], 0.8)  # the wrong class, one missed
    ]
    table = evaluate_oracles(gt, rows)
    assert list(table) == list(ORACLES)
    plain = evaluate_tracking(gt, rows)
    assert table['as it is']['hota'] == plain['hota']
    assert table['as it is']['AP'] < table['classes']['AP']
    assert table['association']['id_switches'] == 0
    assert table['association']['assa'] == pytest.approx((4 + 9 / 4) / 7)
    assert table['detection']['deta'] == pytest.approx(1)
    assert table['detection']['id_switches'] == 1
    # all at once is what the first object has with 'association'
    one = evaluate_oracles(ground_truth([0, 0, 0, 0]), rows[:2])
    for key in ('AP', 'hota'):
        assert one['association'][key] == pytest.approx(1)


def test_masks_become_those_of_the_objects():
    gt = ground_truth([0, 0])
    table = evaluate_oracles(gt, [result([1, 1])])  # 3 / 5
    assert table['as it is']['hota'] == pytest.approx((12 / 19))
    assert table['masks']['hota'] == pytest.approx(1)


def test_score_threshold():
    gt = ground_truth([0, 0])
    rows = [result([0, 0], 0.6), result([20, 20], 0.4)]
    assert evaluate_oracles(gt, rows, 0.5)['as it is']['hota'] == 1
    assert evaluate_oracles(gt, rows)['as it is']['hota'] < 1
