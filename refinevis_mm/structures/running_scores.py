# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Class scores of tracklets, averaged as the frames come."""
from typing import Dict, List, Mapping, Sequence

import numpy as np

from .state_form import check_form
from .track_merges import merge_entries

AVERAGES = ('scores', 'logits', 'max')


class RunningScores:
    r"""Mean class scores of instances over the frames that count.

    Holds K or K + 1 sums and a number per instance, whatever the number of
    frames.

    Args:
        average (str): 'scores' for the mean of class probabilities, as IDOL;
            'logits' for the softmax of mean logits, as MinVIS, which is the
            geometric mean of probabilities over its sum, "no object", whose
            probability is what the classes leave, among them:

            .. math:: \bar p_k \propto \exp\frac1T\sum_t\log p_{tk},
                \quad p_{t0} = 1 - \sum_{k>0} p_{tk}

            Of classes that do not compete in a softmax there is none.
            'max' for the highest probability of each class, IDOL's other
            choice. Defaults to 'scores'.

    Raises:
        ValueError: If ``average`` is none of them.
    """

    def __init__(self, average: str = 'scores') -> None:
        if average not in AVERAGES:
            raise ValueError(f'score_average must be one of {AVERAGES}, got '
                             f'{average!r}')
        self.average = average
        self._combine = np.maximum if average == 'max' else np.add
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

        Raises:
            ValueError: If they do not compete in a softmax and logits are
                averaged.
        """
        if self.average == 'logits':
            cls_scores = log_probabilities(cls_scores)
        for instance_id, scores, counts in zip(ids, cls_scores, scored):
            if instance_id not in self._sums:
                self._sums[instance_id] = np.zeros(len(scores))
                self._counts[instance_id] = 0
            if counts:
                self._combine(
                    self._sums[instance_id],
                    scores,
                    out=self._sums[instance_id])
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
        if self.average == 'max':
            return self._sums[instance_id].copy()
        mean = self._sums[instance_id] / max(self._counts[instance_id], 1)
        if self.average == 'scores':
            return mean
        if not self._counts[instance_id]:
            return mean[1:]
        shares = np.exp(mean - mean.max())
        return shares[1:] / shares.sum()

    def discard(self, ids: Sequence[int]) -> None:
        """Forget instances; unknown ids are skipped."""
        for instance_id in ids:
            self._sums.pop(instance_id, None)
            self._counts.pop(instance_id, None)

    def merge(self, ids: Mapping[int, int]) -> None:
        """Let the scores of some instances count for others.

        A frame in which both count, one of them missed there, counts twice.

        Args:
            ids (Mapping[int, int]): See :class:`TrackMerges`; unknown ids are
                skipped.
        """
        self._sums = merge_entries(self._sums, ids, self._combine)
        self._counts = merge_entries(self._counts, ids, int.__add__)

    def state_dict(self) -> dict:
        """The state as plain numbers and lists.

        Returns:
            dict: ``average``, ``sums`` by id, ``counts`` by id.
        """
        return dict(
            average=self.average,
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
        form = dict(average=str, sums={int: [float]}, counts={int: int})
        check_form(state, form, what)
        if state['average'] != self.average:
            raise ValueError(f'{what} must be averages of {self.average}, got '
                             f'{state["average"]}')
        lengths = {len(sums) for sums in state['sums'].values()}
        if len(lengths) > 1 or state['sums'].keys() != state['counts'].keys():
            raise ValueError(f'{what} must have sums of one length and a '
                             'count for each id')
        self._sums = {
            key: np.array(value, dtype=np.float64)
            for key, value in state['sums'].items()
        }
        self._counts = dict(state['counts'])


def log_probabilities(cls_scores: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities of "no object" and of all classes.

    They are as exact as float32 probabilities allow: what is left for "no
    object" is at least the spacing of numbers at 1.

    Args:
        cls_scores (np.ndarray): Probabilities of a softmax without that of
            "no object", has shape (N, K).

    Returns:
        np.ndarray: Finite, at most 0, "no object" first, has shape
        (N, K + 1).

    Raises:
        ValueError: If probabilities of a row add up to more than 1.
    """
    rest = 1 - cls_scores.sum(axis=1, keepdims=True)
    info = np.finfo(np.float32)
    if (rest < -1e-3).any():
        raise ValueError("score_average='logits' needs classes that compete "
                         'in a softmax, got scores that add up to '
                         f'{1 - rest.min():.4g}')
    return np.log(
        np.concatenate([rest.clip(info.eps, 1),
                        cls_scores.clip(info.tiny, 1)],
                       axis=1))
