# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A worker of a fleet: one model, one video after the other."""
import logging
import os
import os.path as osp
import tempfile
import traceback
import warnings
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Callable, Iterator, NamedTuple, Optional, Tuple

import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.utils import import_modules_from_strings

import refinevis_mm
from refinevis_mm.apis import (OUTPUTS, VISInferencer, config_settings,
                               find_checkpoint, render_video, resolve_model,
                               views_for)
from refinevis_mm.compat.checkpoints import CheckpointError
from refinevis_mm.files import file_sha256
from refinevis_mm.storage import (StorageError, fetch_file, is_address, join,
                                  list_files)
from refinevis_mm.utils import TRACEBACK_ENV, one_line
from refinevis_mm.video_io import FrameSource, open_source
from .fleet_folder import FleetFolder
from .video_unit import VideoUnit

DEFAULT_OUTPUTS = ('results', 'csv', 'parquet')
# what a worker ends with when it cannot start
START_ERRORS = (OSError, ValueError, CheckpointError, ImportError,
                NotImplementedError)


@dataclass(frozen=True)
class FleetSettings:
    """What all workers of a fleet have in common.

    Attributes:
        config (:obj:`Config`): The model of video, as
            :func:`prepare_settings` makes it.
        checkpoint (str): Name of weights, file or address.
        sha256 (str): Hash of its file.
        out (str): Folder or address of the results.
        outputs (tuple[str]): Names out of ``OUTPUTS``.
        device (str): Where the model runs. Defaults to 'cpu'.
        score_thr (float): Least running class score of a drawn instance.
            Defaults to 0.3.
        checkpoint_every (int): Frames between checkpoints. Defaults to 200.
        allow_mismatch (bool): See :func:`init_model`. Defaults to False.
    """

    config: Config
    checkpoint: str
    sha256: str
    out: str
    outputs: Tuple[str, ...] = DEFAULT_OUTPUTS
    device: str = 'cpu'
    score_thr: float = 0.3
    checkpoint_every: int = 200
    allow_mismatch: bool = False

    def facts(self) -> dict:
        """What all results depend on, for :meth:`FleetFolder.claim`.

        Where the model runs does not count, nor how often there are
        checkpoints.

        Returns:
            dict: Plain values by name.
        """
        return dict(
            version=refinevis_mm.__version__,
            checkpoint=self.sha256,
            allow_mismatch=self.allow_mismatch,
            outputs=sorted(self.outputs),
            score_thr=self.score_thr,
            **config_settings(self.config))

    def on_gpu(self, worker: int) -> 'FleetSettings':
        """Settings of one of several workers of a machine.

        Args:
            worker (int): Its number.

        Returns:
            :obj:`FleetSettings`: With the device 'cuda', those with a GPU of
            its own as far as there are as many.
        """
        if self.device != 'cuda' or not torch.cuda.device_count():
            return self
        gpu = worker % torch.cuda.device_count()
        return replace(self, device=f'cuda:{gpu}')


def prepare_settings(config: Any,
                     checkpoint: Optional[str],
                     out: str,
                     mode: Optional[str] = None,
                     window: Optional[int] = None,
                     cfg_options: Optional[dict] = None,
                     **options: Any) -> FleetSettings:
    """Find the model of a fleet, without building it.

    Args:
        config (str | :obj:`Config`): See :func:`init_model`.
        checkpoint (str, optional): See :func:`init_model`.
        out (str): Folder or address of the results.
        mode (str, optional): See :class:`VISInferencer`. Defaults to None.
        window (int, optional): See :class:`VISInferencer`. Defaults to None.
        cfg_options (dict, optional): Settings that override those of the
            model. Defaults to None.
        **options: Others of :class:`FleetSettings`.

    Returns:
        :obj:`FleetSettings`: For all workers.

    Raises:
        OSError: If a file is missing or cannot be fetched.
        ImportError: If a package that the weights or a storage need is not
            installed.
        ValueError: See :func:`init_model`.
        CheckpointError: If the checkpoint cannot be fetched.
    """
    merged = dict(cfg_options or {})
    if mode is not None:
        merged['model.mode'] = mode
    if window is not None:
        merged['model.window'] = window
    cfg, name = resolve_model(config, checkpoint, merged)
    path, _ = find_checkpoint(name)
    if not osp.isfile(path):
        raise FileNotFoundError(f'checkpoint "{name}" does not exist')
    if osp.exists(name):  # workers may run in another folder
        name = osp.abspath(name)
    for output in options.get('outputs', DEFAULT_OUTPUTS):
        if output not in OUTPUTS:
            raise ValueError(f'outputs must be out of {tuple(OUTPUTS)}, got '
                             f'{output!r}')
        check = OUTPUTS[output].check
        if check is not None:  # here, not once a video
            check()
    if not is_address(out):
        out = osp.abspath(out)
    return FleetSettings(cfg, name, file_sha256(path), out, **options)


class VideoReport(NamedTuple):
    """What became of a video.

    Attributes:
        record (dict, optional): See :meth:`FleetFolder.finish`; None if there
            is no result.
        reason (str): Why there is none, in one line.
        lost (bool): The storage is why, not the video.
    """

    record: Optional[dict]
    reason: str = ''
    lost: bool = False


class FleetWorker:
    """Runs videos through a model that is loaded once.

    Args:
        settings (:obj:`FleetSettings`): Model and outputs.

    Attributes:
        version (str): Of this package, where the worker runs.

    Raises:
        OSError: If a file is missing or cannot be fetched.
        ImportError: If a package is not installed.
        ValueError: If the model cannot be built, the checkpoint is another
            one than that of the fleet, or there is no such device.
        CheckpointError: If the checkpoint cannot be read.
    """

    def __init__(self, settings: FleetSettings) -> None:
        self.version = refinevis_mm.__version__
        self.settings = settings
        self.folder = FleetFolder(settings.out)
        custom = settings.config.get('custom_imports')
        if custom:  # done where the file was read, which may be elsewhere
            import_modules_from_strings(**custom)
        self.inferencer = VISInferencer(
            settings.config,
            settings.checkpoint,
            settings.device,
            allow_mismatch=settings.allow_mismatch)
        found = file_sha256(self.inferencer.model.weights)
        if found != settings.sha256:
            raise ValueError(
                f'checkpoint "{settings.checkpoint}" must have the SHA-256 '
                f'{settings.sha256[:16]}... on all machines, got '
                f'{found[:16]}...')

    def run(self, unit: VideoUnit, on_frame: Callable[[],
                                                      None]) -> VideoReport:
        """Give a video its results, from its last checkpoint on.

        Args:
            unit (:obj:`VideoUnit`): The video.
            on_frame (Callable): Called after every frame.

        Returns:
            :obj:`VideoReport`: The record, or why there is none.

        Raises:
            RenderStopped: If SIGTERM stopped it; a KeyboardInterrupt. The
                checkpoint is kept.
        """
        try:
            return VideoReport(self._render(unit, on_frame))
        except StorageError as error:
            return VideoReport(None, one_line(error), lost=True)
        # whatever one video does to the model, the others are not lost
        except Exception as error:
            if os.environ.get(TRACEBACK_ENV):
                traceback.print_exc()
            try:
                self.folder.probe()
            except StorageError as lost:
                return VideoReport(None, one_line(lost), lost=True)
            reason = one_line(error)
            if not isinstance(error, START_ERRORS):
                reason = f'{type(error).__name__}: {reason}'
            return VideoReport(None, reason)

    def _render(self, unit: VideoUnit, on_frame: Callable[[], None]) -> dict:
        """Run a video; its record."""
        settings, model = self.settings, self.inferencer.model
        with _opened(unit) as source, self.folder.place(unit) as place:
            video = render_video(
                self.inferencer.session(views_for(settings.outputs, model)),
                source,
                str(place.path),
                settings.outputs,
                settings.score_thr,
                resume=True,
                checkpoint_every=settings.checkpoint_every,
                on_frame=on_frame,
                on_checkpoint=place.on_checkpoint)
            return self.folder.finish(
                unit, place, [osp.basename(path) for path in video.files],
                dict(
                    num_frames=video.num_frames,
                    num_tracks=video.num_tracks,
                    classes=list(model.classes)))


def quiet() -> None:
    """Leave the terminal to the progress, and the cores to other workers.

    A worker has one thread unless ``OMP_NUM_THREADS`` says otherwise, however
    many workers there are: sums depend on the number of threads in their last
    digits, and results must not depend on the number of workers.
    """
    warnings.filterwarnings('ignore')
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    if 'OMP_NUM_THREADS' not in os.environ:
        torch.set_num_threads(1)


@contextmanager
def _opened(unit: VideoUnit) -> Iterator[FrameSource]:
    """The frames of a video, fetched to this machine for the time."""
    if not is_address(unit.input):
        with closing(open_source(unit.input, **unit.options)) as source:
            _refuse_live(source)
            yield source
        return
    with tempfile.TemporaryDirectory(prefix='refinevis_mm-') as scratch:
        path = _fetch(unit.input, scratch)
        try:
            with closing(open_source(path, **unit.options)) as source:
                # the same wherever it was fetched to
                source.name = unit.input
                source.settings = _replaced(source.settings, path, unit.input)
                yield source
        except (OSError, ValueError) as error:
            if path not in str(error):
                raise
            kind = OSError if isinstance(error, OSError) else ValueError
            raise kind(str(error).replace(path, unit.input)) from error


def _fetch(address: str, folder: str) -> str:
    """Copy a file, or a folder of frames, to this machine; its path."""
    path = osp.join(folder, osp.basename(address.rstrip('/')) or 'video')
    try:
        fetch_file(address, path)
    except (FileNotFoundError, IsADirectoryError, StorageError):
        names = list_files(address)
        if not names:
            raise
        for name in names:
            fetch_file(join(address, name), osp.join(path, name))
    return path


def _refuse_live(source: FrameSource) -> None:
    """A camera does not wait for a worker, and cannot be read again."""
    if source.live:
        raise ValueError(f'{source.name} is live; a fleet takes files')


def _replaced(value: Any, path: str, address: str) -> Any:
    """Plain values with an address in the place of a path."""
    if isinstance(value, dict):
        return {
            key: _replaced(item, path, address)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_replaced(item, path, address) for item in value]
    return value.replace(path, address) if isinstance(value, str) else value
