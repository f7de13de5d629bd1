# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""One running video: frames in, results out, state to save between two."""
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from typing import (Any, Deque, Dict, Iterable, Iterator, List, Mapping,
                    NamedTuple, Optional, Sequence, Tuple)

import numpy as np
import torch
from mmcv.transforms import Pad
from mmdet.registry import TRANSFORMS
from mmdet.structures import DetDataSample, TrackDataSample
from torch import Tensor

from refinevis_mm.deployment import geometry_steps
from refinevis_mm.models.association import (find_delay, find_last_merges,
                                             find_merges)
from refinevis_mm.models.base_vis_model import BaseVISModel, TrackedFrame
from refinevis_mm.models.refinement import BaseRefiner, build_refiner
from refinevis_mm.recording import check_codes
from refinevis_mm.structures import (FRAME_LEVEL, VIEWS, FrameInstances,
                                     FrameResult, FrameTracks, RunningScores,
                                     TrackMerges, Values, chain_merges,
                                     check_form, merge_entries)
from refinevis_mm.video_io import DEFAULT_FPS, TimedFrame
from .weights import weights_digest

STATE_FORMAT = 5
STATE = 'session state'  # in messages
WAITING = dict(frame_id=int, time=float, image=torch.Tensor, views={str: dict})


@dataclass
class _Waiting:
    """A frame whose views are not all there yet."""

    frame_id: int
    time: float
    image: np.ndarray
    views: Dict[str, FrameInstances] = field(default_factory=dict)


class Detected(NamedTuple):
    """What the first stage of a model found in a frame.

    Attributes:
        found: An entry of what :meth:`BaseVISModel.detect` returned.
        meta (dict): Metainfo of the frame.
    """

    found: Any
    meta: dict


class Session:
    """One stream of frames through a model.

    Any number of sessions can share a model, e.g. one per camera; each has
    its own ids, which count up and are never given twice until
    :meth:`reset`. The memory is bounded by the window and the live tracks,
    whatever the number of frames.

    Several views of the same tracks can be asked for: 'frame_level' is the
    result before refinement, 'online' refines each frame from the past,
    'offline' clip by clip. Association does not depend on refinement, so the
    ids are the same in all of them.

    Args:
        model (:obj:`BaseVISModel`): From :func:`init_model`, in evaluation
            mode. Its ``window`` is read once, here.
        views (Sequence[str], optional): Views of every frame. Defaults to
            None: 'frame_level' and the model's ``mode``, with ``window=0``
            'frame_level' only.

    Attributes:
        view (str): The main view: the model's ``mode`` if it is among the
            views, else the last one.
        num_frames (int): Frames taken since the start.
        last_merges (:obj:`TrackMerges`): After :meth:`flush`, what the end of
            the video told of tracklets and no frame is left to say; belongs
            behind all frames, as :meth:`VideoRecording.merge` takes it.

    Raises:
        ValueError: If a view is unknown or needs refinement that the model
            has switched off.
    """

    def __init__(self,
                 model: BaseVISModel,
                 views: Optional[Sequence[str]] = None) -> None:
        if views is None:
            views = (FRAME_LEVEL, ) if model.window == 0 else (FRAME_LEVEL,
                                                               model.mode)
        self.model = model
        self.window = model.window
        self.views = tuple(views)
        _check_views(self.views, self.window)
        self.view = model.mode if model.mode in self.views else self.views[-1]
        self._geometry = [
            TRANSFORMS.build(step) for step in geometry_steps(model.cfg)
        ]
        self.reset()

    def reset(self) -> None:
        """Forget everything: start of a new video, ids from 0."""
        self.num_frames = 0
        self._size: Optional[List[int]] = None  # height, width
        self._tracker = self.model.init_tracker()
        self._refiners = self._build_refiners()
        self._scores = self._build_scores()
        self._last_seen: Dict[int, int] = {}
        self._waiting: Deque[_Waiting] = deque()
        self._discarded: List[int] = []
        self._merged: Dict[int, int] = {}
        self.last_merges = TrackMerges()

    def stream(self, frames: Iterable) -> Iterator[FrameResult]:
        """Run the model over frames.

        Online a frame leaves before the next one is asked for; offline up to
        ``window`` frames are held, and those that a merging tracker needs to
        settle its ids. The session goes on where it was.

        Args:
            frames (Iterable[np.ndarray | TimedFrame]): Images of shape
                (H, W, 3), uint8, BGR, or frames of a source.

        Yields:
            :obj:`FrameResult`: One per frame, in order.

        Raises:
            ValueError: If an image has another form or size.
        """
        for frame in frames:
            if isinstance(frame, TimedFrame):
                yield from self.step(frame.image, frame.time)
            else:
                yield from self.step(frame)
        yield from self.flush()

    @torch.no_grad()
    def detect(self, images: Sequence[np.ndarray],
               first: int) -> List[Detected]:
        """First stage for frames in a row, which costs less together.

        The session is unchanged. Numbers differ from those of :meth:`step`
        alone by rounding.

        Args:
            images (Sequence[np.ndarray]): As those of :meth:`step`, all of
                one size.
            first (int): Position of the first one in the video.

        Returns:
            list[:obj:`Detected`]: What :meth:`step` takes with each image.

        Raises:
            NotImplementedError: If the model is not ``batched``.
        """
        inputs, metas = self._preprocess(images, first)
        return [
            Detected(*frame)
            for frame in zip(self.model.detect(inputs, metas), metas)
        ]

    @torch.no_grad()
    def step(self,
             image: np.ndarray,
             time: Optional[float] = None,
             detected: Optional[Detected] = None) -> List[FrameResult]:
        """Take the next frame.

        Args:
            image (np.ndarray): Has shape (H, W, 3), uint8, BGR, the same
                size in all frames.
            time (float, optional): Seconds since the first frame. Defaults
                to None, which counts 10 frames a second.
            detected (:obj:`Detected`, optional): What :meth:`detect` found
                in this frame. Defaults to None: the first stage is run now.

        Returns:
            list[:obj:`FrameResult`]: Frames finished by this one, the oldest
            first: itself online, none or a whole clip of ``window`` frames
            offline.

        Raises:
            ValueError: If the image has another form or size. The session is
                unchanged then.
        """
        self.check_image(image)
        frame_id = self.num_frames
        if time is None:
            time = frame_id / DEFAULT_FPS
        if detected is None:
            tracks = self.model.track(*self.preprocess(image, frame_id),
                                      self._tracker)
        else:
            tracks = self.model.associate(*detected, self._tracker)
        self.num_frames += 1
        self._size = list(image.shape[:2])
        self._discard()
        self._merge(find_merges(self._tracker))
        self._last_seen.update(dict.fromkeys(tracks.ids, frame_id))
        self._waiting.append(_Waiting(frame_id, float(time), image))
        for view, refiner in self._refiners.items():
            self._decode(view, refiner.push(tracks))
        return self._finished()

    @torch.no_grad()
    def flush(self) -> List[FrameResult]:
        """End the video: the frames that offline refinement still holds.

        Returns:
            list[:obj:`FrameResult`]: Frames that are left; none online.
        """
        self._merge(find_last_merges(self._tracker))
        for view, refiner in self._refiners.items():
            self._decode(view, refiner.flush())
        results = self._finished()
        self.last_merges = self._take_merges()
        return results

    def state_dict(self) -> dict:
        """Everything the session remembers between two frames.

        Tensors and plain Python values only: ``torch.save`` it, and load
        it with ``weights_only=True``. Offline it holds the frames of the
        unfinished clip.

        Returns:
            dict: The state.
        """
        return dict(
            format=STATE_FORMAT,
            views=list(self.views),
            window=self.window,
            weights=self.weights,
            num_frames=self.num_frames,
            size=self._size,
            tracker=self._tracker.state_dict(),
            refiners={
                view: refiner.state_dict()
                for view, refiner in self._refiners.items()
            },
            scores={
                view: scores.state_dict()
                for view, scores in self._scores.items()
            },
            last_seen=dict(self._last_seen),
            discarded=list(self._discarded),
            merged=dict(self._merged),
            waiting=[
                dict(
                    frame_id=frame.frame_id,
                    time=frame.time,
                    image=torch.from_numpy(frame.image.copy()),
                    views={
                        view: instances.state_dict()
                        for view, instances in frame.views.items()
                    }) for frame in self._waiting
            ])

    def load_state_dict(self, state: dict) -> None:
        """Continue a stream, in this or in another process.

        The model must have the weights the state was made with; ids and
        results are then those of an uninterrupted stream.

        Args:
            state (dict): What :meth:`state_dict` returned.

        Raises:
            ValueError: If the state is of other views, of another window, of
                another model or of other weights, lacks a part or has one of
                another form. The session is unchanged then.
        """
        check_form(state, {str: object}, STATE)
        found = state.get('format')
        check_form(found, (None, int), f'format of {STATE}')
        if found != STATE_FORMAT:
            raise ValueError(f'{STATE} must have format {STATE_FORMAT}, got '
                             f'{found}')
        check_form(
            state,
            dict(
                format=int,
                views=[str],
                window=int,
                weights=str,
                num_frames=int,
                size=(None, [int]),
                tracker=dict,
                refiners={str: dict},
                scores={str: dict},
                last_seen={int: int},
                discarded=[int],
                merged={int: int},
                waiting=[WAITING]), STATE)
        for name, own in (('views', list(self.views)), ('window', self.window),
                          ('weights', self.weights)):
            if state[name] != own:
                raise ValueError(f'{STATE} must have {name} {own}, got '
                                 f'{state[name]}')
        vars(self).update(self._restore(state))

    def _restore(self, state: dict) -> dict:
        """Attributes of the session that had this state."""
        tracker, refiners = self.model.init_tracker(), self._build_refiners()
        all_scores = self._build_scores()
        device = self.model.data_preprocessor.device
        waiting = self._restore_waiting(state)
        try:
            tracker.load_state_dict(state['tracker'])
            for view in self.views:
                all_scores[view].load_state_dict(state['scores'][view])
                part = state['refiners'][view]
                self._check_refiner(view, part, waiting)
                refiners[view].load_state_dict(part, device)
        except KeyError as error:
            raise ValueError(f'{STATE} lacks {error}') from error
        except (AttributeError, IndexError, RuntimeError, TypeError) as error:
            # trackers of others need not look at all of their state
            reason = str(error).split('\n')[0]
            raise ValueError(f'{STATE} cannot be used: {reason}') from error
        return dict(
            _tracker=tracker,
            _refiners=refiners,
            _scores=all_scores,
            _waiting=waiting,
            num_frames=state['num_frames'],
            _size=state['size'],
            _last_seen=dict(state['last_seen']),
            _discarded=list(state['discarded']),
            _merged=dict(state['merged']),
            last_merges=TrackMerges())

    def _restore_waiting(self, state: dict) -> Deque[_Waiting]:
        """The last frames, whose views are not all there."""
        num, frames, size = (
            state[name] for name in ('num_frames', 'waiting', 'size'))
        ids = [frame['frame_id'] for frame in frames]
        most = self.window + find_delay(self._tracker)
        if num < len(ids) or len(ids) > most or ids != list(
                range(num - len(ids), num)):
            raise ValueError(f'{STATE} must have the last of its {num} frames '
                             f'as those that wait, at most {most}, got '
                             f'{len(ids)} others')
        if size is not None:
            check_codes((), size, STATE)
        waiting: Deque[_Waiting] = deque()
        for frame in frames:
            what = f'frame {frame["frame_id"]} of the {STATE}'
            check_form(frame['image'], Values((*(size or ()), 3), torch.uint8),
                       what)
            views = {
                view: FrameInstances.from_state(instances)
                for view, instances in frame['views'].items()
            }
            if not set(views) <= set(self.views):
                raise ValueError(f'{what} must have views out of '
                                 f'{self.views}, got {list(views)}')
            for instances in views.values():
                check_codes(instances.masks, size, what)
            waiting.append(
                _Waiting(frame['frame_id'], frame['time'],
                         frame['image'].numpy(), views))
        return waiting

    def _check_refiner(self, view: str, part: dict,
                       waiting: Deque[_Waiting]) -> None:
        """Refuse a refiner's state that does not fit model and frames."""
        clip = [
            FrameTracks.from_state(frame) for frame in part.get('clip', ())
        ]
        held = [frame for frame in waiting if view not in frame.views]
        if [tracks.frame_id
                for tracks in clip] != [frame.frame_id for frame in held]:
            raise ValueError(f'{STATE} must hold the tracks of the frames '
                             f'that wait for the view {view!r}')
        embeds = [tracks.embeds for tracks in clip]
        embeds += [
            track['embeds'] for track in part.get('memory', {}).values()
        ]
        for tracks, frame in zip(clip, held):
            self._check_tracks(tracks, frame)
        for tensor in embeds:
            head = self.model.tar_head
            check_form(
                tensor,
                Values((None, head.embed_dims),
                       next(head.parameters()).dtype), STATE)

    def _check_tracks(self, tracks: FrameTracks, frame: _Waiting) -> None:
        """Refuse tracks that are not of a frame, or of another model."""
        inputs, meta = self.preprocess(frame.image, frame.frame_id)
        form = dict(
            frame_id=int,
            img_shape=[int],
            ori_shape=[int],
            scale_factor=[float])
        check_form(tracks.meta, form, f'metainfo of the {STATE}')
        sides = tracks.mask_features.shape[1:]
        if tracks.meta != meta or max(sides) > max(inputs.shape):
            raise ValueError(f'tracks of the {STATE} must be of the frames '
                             'that wait')
        self.model.decode(tracks.to(inputs.device), refined=False)

    @cached_property
    def weights(self) -> str:
        """str: Digest of the model's weights when it was first asked for."""
        return weights_digest(self.model)

    def _build_refiners(self) -> Dict[str, BaseRefiner]:
        """Empty refiners of all views."""
        return {view: self._build_refiner(view) for view in self.views}

    def _build_scores(self) -> Dict[str, RunningScores]:
        """Empty running scores of all views."""
        return {
            view: RunningScores(self.model.score_average)
            for view in self.views
        }

    def _build_refiner(self, view: str) -> BaseRefiner:
        """An empty refiner for a view."""
        if view == FRAME_LEVEL:
            return build_refiner(None, self.model.mode, 0)
        return build_refiner(self.model.tar_head, view, self.window,
                             find_delay(self._tracker))

    def _discard(self) -> None:
        """Let go of the tracklets that the tracker has judged noise."""
        ids = self._tracker.discarded_ids
        if not ids:
            return
        gone = set(ids)
        ids = [old for old, new in self._merged.items() if new in gone] + ids
        self._merged = {
            old: new
            for old, new in self._merged.items() if new not in gone
        }
        self._discarded.extend(ids)
        for view in self.views:
            self._refiners[view].discard(ids)
            self._scores[view].discard(ids)
        for frame in self._waiting:
            frame.views = {
                view: instances.without(ids)
                for view, instances in frame.views.items()
            }

    def _merge(self, ids: Mapping[int, int]) -> None:
        """Make one of the tracklets that the tracker has found to be one."""
        if not ids:
            return
        self._merged = chain_merges(self._merged, ids)
        self._last_seen = merge_entries(self._last_seen, ids, max)
        for view in self.views:
            self._refiners[view].merge(ids)
            self._scores[view].merge(ids)
        cls_scores = self._mean_scores(set(ids.values()))
        for frame in self._waiting:
            frame.views = {
                view: instances.merged(ids, cls_scores[view],
                                       self.model.classes)
                for view, instances in frame.views.items()
            }

    def _mean_scores(self,
                     ids: Iterable[int]) -> Dict[str, Dict[int, np.ndarray]]:
        """Running class scores by view of those instances that have some."""
        return {
            view: {
                i: scores.mean(i)
                for i in ids if i in scores
            }
            for view, scores in self._scores.items()
        }

    def _take_merges(self) -> TrackMerges:
        """What the next result has to say of merges."""
        ids, self._merged = self._merged, {}
        if not ids:
            return TrackMerges()
        return TrackMerges(ids, self._mean_scores(set(ids.values())))

    def _decode(self, view: str, frames: List[TrackedFrame]) -> None:
        """Hand frames that left a refiner to those that wait."""
        waiting = {frame.frame_id: frame for frame in self._waiting}
        for tracks in frames:
            decoded = self.model.decode(tracks, refined=view != FRAME_LEVEL)
            waiting[tracks.frame_id].views[view] = FrameInstances.from_decoded(
                decoded, self._scores[view], self.model.classes)

    def _finished(self) -> List[FrameResult]:
        """Frames of which all views are there."""
        results = []
        while self._waiting and len(self._waiting[0].views) == len(self.views):
            frame = self._waiting.popleft()
            results.append(
                FrameResult(frame.frame_id, frame.time, frame.image,
                            frame.views, self.view))
        if results:
            results[0].discarded_ids, self._discarded = self._discarded, []
            results[0].merges = self._take_merges()
        self._forget()
        return results

    def _forget(self) -> None:
        """Drop the scores of tracklets that cannot be reported any more."""
        oldest = self.num_frames - len(self._waiting) - self.window
        live = set(self._tracker.live_ids)
        gone = [
            track_id for track_id, frame_id in self._last_seen.items()
            if frame_id < oldest and track_id not in live
        ]
        for track_id in gone:
            del self._last_seen[track_id]
        for scores in self._scores.values():
            scores.discard(gone)

    def check_image(self, image: np.ndarray) -> None:
        """Check the next frame.

        Args:
            image (np.ndarray): See :meth:`step`.

        Raises:
            ValueError: If it has another form or size.
        """
        if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or \
                image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            got = f'{image.dtype} {image.shape}' if isinstance(
                image, np.ndarray) else type(image).__name__
            raise ValueError('a frame must be an uint8 array of shape '
                             f'(H, W, 3), got {got}')
        if self._size not in (None, list(image.shape[:2])):
            raise ValueError(
                f'frame {self.num_frames} must be {self._size[1]} x '
                f'{self._size[0]} as those before, got {image.shape[1]} x '
                f'{image.shape[0]}; reset() starts a new video')

    def preprocess(self, image: np.ndarray,
                   frame_id: int) -> Tuple[Tensor, dict]:
        """Bring a frame to what :meth:`BaseVISModel.track` takes.

        Args:
            image (np.ndarray): Has shape (H, W, 3), uint8, BGR.
            frame_id (int): Position of the frame in the video.

        Returns:
            tuple[Tensor, dict]: Normalised, padded frame (3, H', W') and its
            metainfo.
        """
        inputs, metas = self._preprocess([image], frame_id)
        return inputs[0], metas[0]

    def _preprocess(self, images: Sequence[np.ndarray],
                    first: int) -> Tuple[Tensor, List[dict]]:
        """See :meth:`preprocess`; of B frames in a row, (B, 3, H', W')."""
        pixels, metas = [], []
        for frame_id, image in enumerate(images, first):
            data = dict(img=image, img_shape=image.shape[:2])
            for step in self._geometry:
                size = data['img_shape']
                data = step(data)
                if isinstance(step, Pad):
                    data['img_shape'] = size  # of the picture in it
            pixels.append(torch.from_numpy(np.ascontiguousarray(data['img'])))
            metas.append(
                dict(
                    frame_id=frame_id,
                    img_shape=data['img_shape'],
                    ori_shape=image.shape[:2],
                    scale_factor=data.get('scale_factor', (1.0, 1.0))))
        sample = TrackDataSample()
        sample.video_data_samples = [
            DetDataSample(metainfo=meta) for meta in metas
        ]
        batch = self.model.data_preprocessor(
            dict(
                inputs=[torch.stack(pixels).permute(0, 3, 1, 2)],
                data_samples=[sample]))
        return batch['inputs'][0], metas


def _check_views(views: Sequence[str], window: int) -> None:
    """Raise ValueError if a session cannot have these views."""
    allowed = VIEWS if window > 0 else (FRAME_LEVEL, )
    if not views or not set(views) <= set(allowed) or len(
            set(views)) < len(views):
        raise ValueError(f'views must be different ones of {allowed} with '
                         f'window {window}, got {tuple(views)}')
