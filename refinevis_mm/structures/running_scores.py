# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Class scores of tracklets, averaged as the frames come."""
from typing import Dict, List, Sequence

import numpy as np

from .state_form import check_form


class RunningScores:
    """Mean class scores of instances over the frames that count.

    Holds K sums and a number per instance, whatever the number of frames.
    """

    def __init__(self) -> None:
        self._sums: Dict[int, np.ndarray] = {}
        self._counts: Dict[int, int] = {}

    def __contains__(self, instance_id: int) -> bool:
        return instance_id in self._sums

    @property
    def ids(self) -> List[int]:
        """list[int]: Instances held, in order of appearance."""
        return list(self._sums)

    def add(self, ids: Sequence[int], cls_scores: np.ndarray,
            scored: Sequence[bool]) -> None:
        """Add the scores of one frame.

        Args:
            ids (Sequence[int]): N instance ids.
            cls_scores (np.ndarray): Class probabilities in [0, 1], float64,
                has shape (N, K).
            scored (Sequence[bool]): Whether a row counts, N of them.
        """
        for instance_id, scores, counts in zip(ids, cls_scores, scored):
            if instance_id not in self._sums:
                self._sums[instance_id] = np.zeros(len(scores))
                self._counts[instance_id] = 0
            if counts:
                self._sums[instance_id] += scores
                self._counts[instance_id] += 1

    def mean(self, instance_id: int) -> np.ndarray:
        """Mean over the frames that counted so far.

        Args:
            instance_id (int): An instance that was added.

        Returns:
            np.ndarray: In [0, 1], zero if no frame counted, float64, has
            shape (K, ).

        Raises:
            ValueError: If the id is unknown or was discarded.
        """
        if instance_id not in self._sums:
            raise ValueError(f'instance {instance_id} is not among the '
                             f'{len(self._sums)} instances of this video')
        return self._sums[instance_id] / max(self._counts[instance_id], 1)

    def discard(self, ids: Sequence[int]) -> None:
        """Forget instances; unknown ids are skipped."""
        for instance_id in ids:
            self._sums.pop(instance_id, None)
            self._counts.pop(instance_id, None)

    def state_dict(self) -> dict:
        """The state as plain numbers and lists.

        Returns:
            dict: ``sums`` by id, ``counts`` by id.
        """
        return dict(
            sums={
                key: value.tolist()
                for key, value in self._sums.items()
            },
            counts=dict(self._counts))

    def load_state_dict(self, state: dict) -> None:
        """Continue from what :meth:`state_dict` returned.

        Raises:
            ValueError: If the state has another form.
        """
        what = 'the state of the class scores'
        check_form(state, dict(sums={int: [float]}, counts={int: int}), what)
        lengths = {len(sums) for sums in state['sums'].values()}
        if len(lengths) > 1 or state['sums'].keys() != state['counts'].keys():
            raise ValueError(f'{what} must have sums of one length and a '
                             'count for each id')
        self._sums = {
            key: np.array(value, dtype=np.float64)
            for key, value in state['sums'].items()
        }
        self._counts = dict(state['counts'])
