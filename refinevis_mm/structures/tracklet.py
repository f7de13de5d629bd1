# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Objects followed over frames: at inference and in training."""
from collections import deque
from dataclasses import dataclass, replace
from typing import Deque, Dict, List, Mapping, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .state_form import Values, check_form
from .track_merges import merge_entries

Entry = Tuple[int, Tensor, bool]  # frame, embedding, whether detected


@dataclass
class FrameTracks:
    """The tracklets of one frame, before or after refinement.

    Attributes:
        frame_id (int): Position of the frame in its video.
        meta (dict): Metainfo of the frame (``img_shape``, ``ori_shape``).
        ids (list[int]): Tracklet ids, N of them.
        embeds (Tensor): Object embeddings, has shape (N, C).
        boxes (Tensor): Normalised (cx, cy, w, h) that place the masks, where
            not detected from the nearest detections, has shape (N, 4).
        detected (Tensor): Bool, whether the tracklet was detected in this
            frame, has shape (N, ).
        mask_features (Tensor): Per-pixel features, has shape (C', h', w').
        met (Tensor, optional): Bool, True where two tracklets were detected
            in one frame of the refined window, has shape (N, N); None before
            refinement.
    """

    frame_id: int
    meta: dict
    ids: List[int]
    embeds: Tensor
    boxes: Tensor
    detected: Tensor
    mask_features: Tensor
    met: Optional[Tensor] = None

    def without(self, ids: Sequence[int]) -> 'FrameTracks':
        """The same frame without some tracklets."""
        keep = [
            i for i, track_id in enumerate(self.ids) if track_id not in ids
        ]
        return FrameTracks(
            self.frame_id, self.meta, [self.ids[i]
                                       for i in keep], self.embeds[keep],
            self.boxes[keep], self.detected[keep], self.mask_features,
            None if self.met is None else self.met[keep][:, keep])

    def renamed(self, ids: Mapping[int, int]) -> 'FrameTracks':
        """The same frame after a merge.

        Args:
            ids (Mapping[int, int]): See :class:`TrackMerges`; no two
                tracklets of the frame may become one.
        """
        return replace(self, ids=[ids.get(i, i) for i in self.ids])

    @classmethod
    def from_state(cls, state: dict) -> 'FrameTracks':
        """A frame before refinement that was saved by its attributes.

        Args:
            state (dict): The attributes by name.

        Returns:
            FrameTracks: The frame.

        Raises:
            ValueError: If the state has another form.
        """
        num = len(state['ids']) if isinstance(state.get('ids'), list) else 0
        check_form(
            state,
            dict(
                frame_id=int,
                meta=dict,
                ids=[int],
                embeds=Values((num, None)),
                boxes=Values((num, 4)),
                detected=Values((num, ), torch.bool),
                mask_features=Values((None, None, None)),
                met=(None, Values((num, num), torch.bool))),
            'the state of a tracked frame')
        return cls(**state)

    def to(self, device: torch.device) -> 'FrameTracks':
        """The same frame on another device."""
        moved = {
            name: value.to(device)
            for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **moved)


@dataclass
class TrackletBatch:
    """Training tracklets of a batch with their targets.

    The first M of the N tracklets have mask targets. Many of them may follow
    the same object, so its masks are held once.

    Attributes:
        embeds (Tensor): Object embeddings, zero where the tracklet has no
            match in a frame, has shape (N, T, C).
        boxes (Tensor): Normalised (cx, cy, w, h), interpolated where the
            tracklet has no match, has shape (N, T, 4).
        frame_inds (Tensor): Position of the frames in their video, has shape
            (N, T).
        clip_inds (Tensor): Clip of each tracklet, has shape (N, ).
        labels (Tensor): Class indices, K for a tracklet that follows no
            object, has shape (N, ).
        present (Tensor): Bool, whether the object is visible in a frame,
            False for tracklets without one, has shape (N, T).
        masks (Tensor): Bool masks of U objects, empty where an object is not
            visible, has shape (U, T, H, W).
        mask_inds (Tensor): Object in ``masks`` of the first M tracklets, -1
            for a mask that must be empty in all frames, has shape (M, ).
    """

    embeds: Tensor
    boxes: Tensor
    frame_inds: Tensor
    clip_inds: Tensor
    labels: Tensor
    present: Tensor
    masks: Tensor
    mask_inds: Tensor

    @property
    def detected(self) -> Tensor:
        """Tensor: Bool, False at zero embeddings, has shape (N, T)."""
        return self.embeds.detach().ne(0).any(-1)

    @property
    def num_masked(self) -> int:
        """int: Number M of tracklets with mask targets."""
        return len(self.mask_inds)


class TrackletMemory:
    """The last W embeddings of every live tracklet (paper Sec. 3.6).

    A tracklet lives as long as one of its last W entries is a detection.
    The memory holds O(W * N * C) numbers, whatever the video's length, and
    never a positional encoding.

    Args:
        window (int): Entries W kept per tracklet, current frame included.

    Raises:
        ValueError: If the window is not positive.
    """

    def __init__(self, window: int) -> None:
        if window < 1:
            raise ValueError(f'window must be positive, got {window}')
        self.window = window
        self._entries: Dict[int, Deque[Entry]] = {}
        self._last_box: Dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def ids(self) -> List[int]:
        """list[int]: Ids of the live tracklets, in order of birth."""
        return list(self._entries)

    def push(self, frame: FrameTracks) -> None:
        """Append a frame: embeddings of its tracklets, zeros for the rest.

        Args:
            frame (:obj:`FrameTracks`): Detections of the current frame.
        """
        found = dict(zip(frame.ids, frame.embeds))
        missing = frame.embeds.new_zeros(frame.embeds.shape[-1])
        for track_id in found:
            if track_id not in self._entries:
                self._entries[track_id] = deque(maxlen=self.window)
        for track_id, entries in self._entries.items():
            embed = found.get(track_id, missing)
            entries.append((frame.frame_id, embed, track_id in found))
        self._last_box.update(zip(frame.ids, frame.boxes))
        self.discard([
            track_id for track_id, entries in self._entries.items()
            if not any(detected for _, _, detected in entries)
        ])

    def batch(self) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        """All live tracklets, right-aligned and padded on the left.

        Returns:
            tuple[Tensor]: Embeddings (N, W', C), frame positions (N, W'),
            bool detection flags (N, W') and bool padding (N, W'), True where
            a tracklet was not born yet; W' is the longest tracklet. The last
            column is the current frame.
        """
        length = max(len(entries) for entries in self._entries.values())
        embeds, frame_inds, detected, padding = [], [], [], []
        for entries in self._entries.values():
            missing = length - len(entries)
            rows = torch.stack([embed for _, embed, _ in entries])
            embeds.append(
                torch.cat([rows.new_zeros(missing, rows.shape[1]), rows]))
            frame_inds.append([0] * missing +
                              [frame_id for frame_id, _, _ in entries])
            detected.append([False] * missing +
                            [found for _, _, found in entries])
            padding.append([True] * missing + [False] * len(entries))
        device = embeds[0].device
        return (torch.stack(embeds), torch.tensor(frame_inds, device=device),
                torch.tensor(detected, device=device),
                torch.tensor(padding, device=device))

    def current_boxes(self) -> Tensor:
        """Boxes of the live tracklets where they were last detected.

        Returns:
            Tensor: Normalised (cx, cy, w, h), has shape (N, 4).
        """
        return torch.stack([self._last_box[i] for i in self._entries])

    def write_back(self, refined: Tensor) -> None:
        """Replace the current embeddings by refined ones, Eq. (4).

        The zero embedding of a missed frame stays: it has nothing to carry
        on but what its neighbours hold already.

        Args:
            refined (Tensor): Refined embeddings of the current frame, in the
                order of :attr:`ids`, has shape (N, C).
        """
        for entries, embed in zip(self._entries.values(), refined):
            frame_id, _, detected = entries[-1]
            if detected:
                entries[-1] = (frame_id, embed, detected)

    def discard(self, ids: Sequence[int]) -> None:
        """Forget tracklets; unknown ids are ignored."""
        for track_id in ids:
            self._entries.pop(track_id, None)
            self._last_box.pop(track_id, None)

    def merge(self, ids: Mapping[int, int]) -> None:
        """Make one of tracklets that turned out to be one.

        Args:
            ids (Mapping[int, int]): See :class:`TrackMerges`; unknown ids are
                skipped. A frame must not have a detection of both.
        """
        self._entries = merge_entries(self._entries, ids, _join_entries)
        self._last_box = merge_entries(self._last_box, ids,
                                       lambda _, younger: younger)

    def state_dict(self) -> Dict[int, dict]:
        """The state as tensors, numbers and lists.

        Returns:
            dict[int, dict]: By id, in order of birth: ``frame_inds`` and
            ``detected`` (list), ``embeds`` (w, C) and ``box`` (4, ).
        """
        state = {}
        for track_id, entries in self._entries.items():
            frame_inds, embeds, detected = zip(*entries)
            state[track_id] = dict(
                frame_inds=list(frame_inds),
                detected=list(detected),
                embeds=torch.stack(embeds),
                box=self._last_box[track_id].clone())
        return state

    def load_state_dict(self, state: Dict[int, dict],
                        device: torch.device) -> None:
        """Continue from what :meth:`state_dict` returned.

        Args:
            state (dict[int, dict]): State of a memory of the same window.
            device (torch.device): Where the embeddings live from now on.

        Raises:
            ValueError: If the state has another form. The memory is
                unchanged then.
        """
        self._check_state(state)
        self._entries = {
            track_id:
            deque(
                zip(track['frame_inds'], track['embeds'].to(device),
                    track['detected']),
                maxlen=self.window)
            for track_id, track in state.items()
        }
        self._last_box = {
            track_id: track['box'].to(device)
            for track_id, track in state.items()
        }

    def _check_state(self, state: Dict[int, dict]) -> None:
        """Raise ValueError if it is no state of such a memory."""
        what = 'the state of the tracklets'
        form = dict(
            frame_inds=[int],
            detected=[bool],
            embeds=Values((None, None)),
            box=Values((4, )))
        check_form(state, {int: form}, what)
        for track in state.values():
            lengths = {
                len(track[name])
                for name in ('frame_inds', 'detected', 'embeds')
            }
            if len(lengths) > 1 or not 0 < lengths.pop() <= self.window:
                raise ValueError(f'{what} must have as many of all, 1 to '
                                 f'{self.window}, for each id')
        dims = {track['embeds'].shape[1] for track in state.values()}
        if len(dims) > 1:
            raise ValueError(f'{what} must have embeddings of one width, got '
                             f'{sorted(dims)}')


def _join_entries(older: Deque[Entry], younger: Deque[Entry]) -> Deque[Entry]:
    """Entries of two tracklets that end in the same frame."""
    joined = {entry[0]: entry for entry in older}
    for frame_id, embed, detected in younger:
        if detected or frame_id not in joined:
            joined[frame_id] = (frame_id, embed, detected)
    frames = sorted(joined)
    return deque((joined[frame] for frame in frames), maxlen=older.maxlen)


def interpolate_boxes(boxes: Tensor, detected: Tensor,
                      frame_inds: Tensor) -> Tensor:
    """Fill the boxes of missed frames from the detected ones.

    Linear in time between two detections, the nearest detection before the
    first and after the last.

    Args:
        boxes (Tensor): Boxes of N tracklets over T frames, anything where
            not detected, has shape (N, T, 4).
        detected (Tensor): Bool, True at least once per tracklet, has shape
            (N, T).
        frame_inds (Tensor): Position of the frames in their video,
            ascending, has shape (N, T).

    Returns:
        Tensor: Boxes, has shape (N, T, 4).
    """
    num_frames = detected.shape[1]
    steps = torch.arange(
        num_frames, device=detected.device).expand_as(detected)
    before = steps.masked_fill(~detected, -1).cummax(1).values
    after = steps.masked_fill(~detected, num_frames).flip(1).cummin(1).values
    after = after.flip(1)
    before, after = (before.where(before >= 0, after),
                     after.where(after < num_frames, before))
    start, end = frame_inds.gather(1, before), frame_inds.gather(1, after)
    share = (frame_inds - start) / (end - start).clamp(min=1)
    rows = torch.arange(len(boxes), device=detected.device)[:, None]
    return torch.lerp(boxes[rows, before], boxes[rows, after],
                      share[..., None].to(boxes))
