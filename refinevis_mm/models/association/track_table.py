# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""The tracks a tracker remembers, one row each, and which of them end."""
from typing import Dict, List, Tuple

import torch
from torch import Tensor

from refinevis_mm.structures import Values, check_form

COUNTS = ('ids', 'last_seen', 'num_seen', 'num_results')


class TrackTable:
    """Live tracks of a video in order of birth.

    Counts live on the CPU; what a tracker remembers of a track besides
    (``values``) lives where the detections do.

    Args:
        shapes (dict[str, tuple[int]]): Shape of a row of each value.

    Attributes:
        ids (Tensor): Long, ascending, has shape (N, ).
        last_seen (Tensor): Long, last frame of each track, has shape (N, ).
        num_seen (Tensor): Long, frames in which it was seen, has shape
            (N, ).
        num_results (Tensor): Long, frames that count in the results:
            ``num_seen`` until it is discarded as noise, has shape (N, ).
        values (dict[str, Tensor]): Float rows by name, each (N, ...).
        forgotten (list[list[int]]): Id and last frame of short tracks that
            are no longer in the table and not yet judged.
    """

    def __init__(self, shapes: Dict[str, Tuple[int, ...]]) -> None:
        self.ids, self.last_seen, self.num_seen, self.num_results = (
            torch.zeros(0, dtype=torch.long) for _ in COUNTS)
        self.values: Dict[str, Tensor] = {
            name: torch.zeros(0, *shape)
            for name, shape in shapes.items()
        }
        self.forgotten: List[List[int]] = []

    def __len__(self) -> int:
        return len(self.ids)

    def to(self, device: torch.device) -> None:
        """Move the values; does nothing where they are there already."""
        for name, value in self.values.items():
            self.values[name] = value.to(device)

    def see(self, ids: Tensor, frame_id: int) -> Tensor:
        """Count a frame for the tracks seen in it.

        Args:
            ids (Tensor): Long ids on the CPU, each once; those above all
                others are born, with values of 0. Has shape (M, ).
            frame_id (int): Position of the frame in the video.

        Returns:
            Tensor: Long rows of these tracks, has shape (M, ).
        """
        newest = int(self.ids[-1]) if len(self) else -1
        born = ids[ids > newest].sort().values
        if len(born) > 0:
            self.ids = torch.cat([self.ids, born])
            for name in COUNTS[1:]:
                self._append(vars(self), name, len(born))
            for name in self.values:
                self._append(self.values, name, len(born))
        rows = torch.searchsorted(self.ids, ids)
        self.last_seen[rows] = frame_id
        self.num_seen[rows] += 1
        self.num_results[rows] += 1
        return rows

    def forget(self, frame_id: int, num_missed: int, min_frames: int) -> None:
        """Drop tracks that have been missed for too long.

        Args:
            frame_id (int): The current frame.
            num_missed (int): Frames, up to the current one, that a track
                misses when it is dropped.
            min_frames (int): Tracks seen in fewer frames are kept in
                ``forgotten`` for :meth:`judge_noise`.
        """
        self._drop(frame_id - self.last_seen >= num_missed, min_frames)

    def keep_newest(self, max_tracks: int, min_frames: int) -> None:
        """Drop the tracks that were not seen for longest.

        Args:
            max_tracks (int): Tracks that stay at most.
            min_frames (int): As in :meth:`forget`.
        """
        if len(self) > max_tracks:
            order = self.last_seen.sort(stable=True).indices
            lost = torch.zeros(len(self), dtype=torch.bool)
            lost[order[:len(self) - max_tracks]] = True
            self._drop(lost, min_frames)

    def judge_noise(self, frame_id: int, num_missed: int,
                    min_frames: int) -> List[int]:
        """Short tracks that went missing; they do not count from now on.

        Args:
            frame_id (int): The current frame.
            num_missed (int): Frames in a row, up to the current one, that a
                short track must miss.
            min_frames (int): A track seen in fewer frames is short.

        Returns:
            list[int]: Their ids, ascending.
        """
        last = frame_id - num_missed
        noise = (self.num_results > 0) & (self.num_results < min_frames) & (
            self.last_seen <= last)
        self.num_results[noise] = 0
        ids = [track_id for track_id, seen in self.forgotten if seen <= last]
        self.forgotten = [item for item in self.forgotten if item[1] > last]
        return sorted(ids + self.ids[noise].tolist())

    def state_dict(self) -> Dict[str, Tensor]:
        """Copies of all rows by name; ``forgotten`` is not among them."""
        rows = {name: getattr(self, name).clone() for name in COUNTS}
        rows.update({
            name: value.clone()
            for name, value in self.values.items()
        })
        return rows

    @classmethod
    def from_state(cls, rows: Dict[str, Tensor],
                   forgotten: List[List[int]]) -> 'TrackTable':
        """A table of any shapes from what :meth:`state_dict` returned.

        Args:
            rows (dict[str, Tensor]): The rows by name.
            forgotten (list[list[int]]): As the attribute.

        Returns:
            TrackTable: With copies of them.

        Raises:
            ValueError: If counts are missing or rows differ in number.
        """
        missing = [name for name in COUNTS if name not in rows]
        if missing:
            raise ValueError(f'tracks of a state must have {COUNTS}, got no '
                             f'{missing[0]}')
        table = cls({
            name: tuple(value.shape[1:])
            for name, value in rows.items() if name not in COUNTS
        })
        table.load_state_dict(rows)
        table.forgotten = [list(item) for item in forgotten]
        return table

    def load_state_dict(self, rows: Dict[str, Tensor]) -> None:
        """Take over what :meth:`state_dict` of such a table returned.

        Raises:
            ValueError: If a row is missing or unknown, or has another shape.
                The table is unchanged then.
        """
        own = self.state_dict()
        if set(rows) != set(own):
            raise ValueError(f'tracks of a state must have {sorted(own)}, got '
                             f'a difference in {sorted(set(rows) ^ set(own))}')
        num = len(rows['ids']) if isinstance(rows['ids'], Tensor) else 0
        for name, value in own.items():
            check_form(rows[name], Values((num, *value.shape[1:]),
                                          value.dtype),
                       f'{name} of the tracks of a state')
        if (rows['ids'].diff() < 1).any():
            raise ValueError('ids of the tracks of a state must be ascending')
        for name in COUNTS:
            setattr(self, name, rows[name].clone())
        self.values = {name: rows[name].clone() for name in self.values}

    @staticmethod
    def _append(owner: dict, name: str, num: int) -> None:
        """Append zero rows to a tensor."""
        old = owner[name]
        owner[name] = torch.cat([old, old.new_zeros((num, *old.shape[1:]))])

    def _drop(self, lost: Tensor, min_frames: int) -> None:
        """Remove rows, a bool tensor (N, ) on the CPU."""
        if not lost.any():
            return
        short = lost & (self.num_results > 0) & (self.num_results < min_frames)
        self.forgotten += torch.stack([self.ids[short], self.last_seen[short]],
                                      dim=1).tolist()
        for name in COUNTS:
            setattr(self, name, getattr(self, name)[~lost])
        for name, value in self.values.items():
            self.values[name] = value[~lost.to(value.device)]
