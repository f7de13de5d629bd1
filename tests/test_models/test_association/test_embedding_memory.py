# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import math

import pytest
import torch
from torch.testing import assert_close

from refinevis_mm.models.association.embedding_memory import EmbeddingMemory
from refinevis_mm.models.association.track_table import TrackTable


def remembered(memory, frames):
    """Memory of each track after frames of {id: (score, embedding)}."""
    dims = len(next(iter(frames[0].values()))[1])
    table = TrackTable(memory.shapes(dims))
    for frame_id, found in enumerate(frames):
        rows = table.see(torch.tensor(list(found)), frame_id)
        scores, embeds = zip(*found.values())
        memory.remember(table, rows, torch.tensor(scores),
                        torch.tensor(embeds))
    return table


def test_shapes():
    memory = EmbeddingMemory('window', 3, True, 0.8)
    assert memory.shapes(8) == dict(embeds=(3, 8), scores=(3, ), memory=(8, ))


@pytest.mark.parametrize('recency, expected', [
    (False, (0.5 * 2 + 0.4 * 4 + 0.6 * 8) / 1.5),
    (True, ((0.5 + 1 / 3) * 2 + (0.4 + 2 / 3) * 4 + 1.6 * 8) / 3.5),
])
def test_window_by_hand(recency, expected):
    """The first of four frames is gone from a window of three."""
    memory = EmbeddingMemory('window', 3, recency, 0.8)
    frames = [(0.9, [100.]), (0.5, [2.]), (0.4, [4.]), (0.6, [8.])]
    table = remembered(memory, [{0: found} for found in frames])
    assert table.values['embeds'][0].tolist() == [[2.], [4.], [8.]]
    assert_close(table.values['scores'][0], torch.tensor([0.5, 0.4, 0.6]))
    assert_close(table.values['memory'], torch.tensor([[expected]]))


def test_tracks_do_not_mix():
    """Tracks of any age, in any order, as if each were alone."""
    memory = EmbeddingMemory('window', 2, True, 0.8)
    one = [(0.9, [1., 0.]), (0.5, [3., 1.]), (0.7, [0., 2.])]
    two = [(0.8, [5., 5.]), (0.2, [7., 1.])]
    table = remembered(memory, [{0: one[0]}, {1: two[0], 0: one[1]},
                                {1: two[1], 0: one[2]}])  # yapf: disable
    for row, alone in enumerate((one, two)):
        expected = remembered(memory, [{0: found} for found in alone])
        for name, value in table.values.items():
            assert_close(value[row], expected.values[name][0])


def test_momentum_by_hand():
    memory = EmbeddingMemory('momentum', 1, True, 0.25)
    table = remembered(memory, [{0: (0.9, [1.])}, {0: (0.1, [5.])}])
    assert_close(table.values['memory'], torch.tensor([[2.]]))


def test_similarity_by_hand():
    """Cosines 0.6 and 0 to the window (1, 0), (0.6, 0.8); then negative."""
    memory = EmbeddingMemory('similarity', 2, True, 0.8)
    frames = [{0: (0.9, embed)} for embed in ([1., 0.], [0.6, 0.8])]
    after = torch.tensor([0.4 * 1 + 0.6 * 0.6, 0.6 * 0.8])
    assert_close(remembered(memory, frames).values['memory'][0], after)
    frames.append({0: (0.9, [0.8, -0.6])})
    rate = (0.8 + 0.) / 2
    after = after.lerp(torch.tensor([0.8, -0.6]), rate)
    assert_close(remembered(memory, frames).values['memory'][0], after)
    frames.append({0: (0.9, [-1., 0.])})
    assert_close(remembered(memory, frames).values['memory'][0], after)


def test_scores_of_zero_are_no_division():
    memory = EmbeddingMemory('window', 2, False, 0.8)
    table = remembered(memory, [{0: (0., [3.])}])
    assert math.isfinite(table.values['memory'].item())


@pytest.mark.parametrize('arguments, message', [
    (('mean', 3, True, 0.8), "memory_type must be one of .*got 'mean'"),
    (('window', 0, True, 0.8), 'memory_len must be >= 1, got 0'),
    (('window', 3, True, 0.), r'memory_momentum must lie in \(0, 1\], got 0'),
    (('window', 3, True, 1.5), 'memory_momentum .* got 1.5'),
])
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingMemory(*arguments)
