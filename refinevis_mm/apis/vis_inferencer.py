# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""RefineVIS on your own video in two lines."""
import shutil
import tempfile
import weakref
from contextlib import closing
from pathlib import Path
from typing import (Any, Callable, Iterable, Iterator, List, Optional,
                    Sequence, Union)

from mmengine.config import Config

from refinevis_mm.datasets.coco_results import CocoResults
from refinevis_mm.models import BaseVISModel, CallableSegmenter
from refinevis_mm.recording import VideoRecording
from refinevis_mm.structures import FrameResult
from refinevis_mm.video_io import open_source
from refinevis_mm.vis_json import check_class_names
from .backends import choose_backend
from .inference import init_model, track_segmenter
from .outputs import views_for
from .render import RenderedVideo, record_video, render_video
from .session import Session

SOURCE_OPTIONS = ('fps', 'start', 'end', 'stride', 'max_size', 'allow_damaged')


class VISInferencer:
    """Finds, follows and refines the objects of videos.

    >>> inferencer = VISInferencer('mask2former-r50_coco')
    >>> inferencer = VISInferencer(config, checkpoint, mode='offline')
    >>> for frame in inferencer.stream(images):
    ...     print(frame.frame_id, frame.ids, frame.classes, frame.scores)

    Args:
        config (str | :obj:`Config`): Name of weights
            (``python -m refinevis_mm.zoo`` lists them), config file, name of
            a shipped config, or the config; see :func:`init_model`.
        checkpoint (str, optional): File or address of the weights. Defaults
            to None: ``config`` is the name of weights.
        device (str): Where the model runs. Defaults to 'cpu'.
        mode (str, optional): 'online', each frame refined from the past and
            given out at once, or 'offline', clip by clip. Defaults to None,
            the config's.
        window (int, optional): Frames seen by refinement, 0 switches it off.
            Defaults to None, the config's.
        cfg_options (dict, optional): Settings that override the config's.
            Defaults to None.
        allow_mismatch (bool): Load what fits of a checkpoint of another
            architecture instead of refusing it, see :func:`init_model`.
            Defaults to False.
        backend (str, optional): 'onnxruntime' or 'openvino' compute the
            networks in place of PyTorch, on the CPU. Defaults to None,
            PyTorch.
        graphs (str, optional): Folder of graphs that
            ``tools/deployment/export.py`` has written, for frames of one
            size. Defaults to None: graphs are exported when a frame of a new
            size comes, once, into the cache.
        threads (int, optional): Threads of the backend. Defaults to None,
            as many as PyTorch has.

    Attributes:
        model (:obj:`BaseVISModel`): The model.

    Raises:
        OSError: If a file is missing or cannot be fetched.
        ImportError: If a package that the weights or the backend need is not
            installed.
        ValueError: If there is no such name, the config describes no model
            that can stream, the graphs are of another model, or an argument
            is not allowed.
        CheckpointError: If the checkpoint cannot be fetched or read, or
            belongs to another architecture.
    """

    def __init__(self,
                 config: Union[str, Config],
                 checkpoint: Optional[str] = None,
                 device: str = 'cpu',
                 mode: Optional[str] = None,
                 window: Optional[int] = None,
                 cfg_options: Optional[dict] = None,
                 allow_mismatch: bool = False,
                 backend: Optional[str] = None,
                 graphs: Optional[str] = None,
                 threads: Optional[int] = None) -> None:
        options = dict(cfg_options or {})
        if mode is not None:
            options['model.mode'] = mode
        if window is not None:
            options['model.window'] = window
        self.model = init_model(config, checkpoint, device, options,
                                allow_mismatch)
        choose_backend(self.model, backend, graphs, threads)

    @classmethod
    def from_segmenter(cls,
                       segment: Callable,
                       classes: Sequence[str],
                       device: str = 'cpu',
                       **tracker: Any) -> 'VISInferencer':
        """Follow what a function finds in images.

        Args:
            segment (Callable): Gets an image of shape (H, W, 3), uint8, BGR;
                gives masks, scores and labels, perhaps boxes and embeddings,
                see :class:`CallableSegmenter`.
            classes (Sequence[str]): Class names in the order of the labels.
            device (str): Where masks are compared. Defaults to 'cpu'.
            **tracker: Arguments of :class:`StreamingTracker`.

        Returns:
            VISInferencer: With the same sessions and outputs as any other;
            refinement is off.

        Raises:
            ValueError: If there are no classes, an argument of the tracker
                is not allowed, or there is no such device.
        """
        classes = check_class_names(classes)
        return cls._of(
            track_segmenter(
                CallableSegmenter(segment, len(classes)), classes, device,
                tracker))

    @classmethod
    def from_results(cls,
                     results: CocoResults,
                     device: str = 'cpu',
                     **tracker: Any) -> 'VISInferencer':
        """Follow what a results file says of the frames of one video.

        Args:
            results (:obj:`CocoResults`): The results.
            device (str): Where masks are compared. Defaults to 'cpu'.
            **tracker: Arguments of :class:`StreamingTracker`.

        Returns:
            VISInferencer: As :meth:`from_segmenter` returns it, for this
            video only.

        Raises:
            ValueError: If an argument of the tracker is not allowed, or
                there is no such device.
        """
        return cls._of(
            track_segmenter(results, results.classes, device, tracker))

    @classmethod
    def _of(cls, model: BaseVISModel) -> 'VISInferencer':
        """An inferencer around a model that is there already."""
        inferencer = cls.__new__(cls)
        inferencer.model = model
        return inferencer

    @property
    def classes(self) -> List[str]:
        """list[str]: Class names; empty where the checkpoint names none."""
        return self.model.classes

    def session(self, views: Optional[Sequence[str]] = None) -> Session:
        """Start a stream that is fed frame by frame.

        Args:
            views (Sequence[str], optional): See :class:`Session`. Defaults
                to None.

        Returns:
            :obj:`Session`: A session of its own; several can run at once.

        Raises:
            ValueError: If the views are not allowed.
        """
        return Session(self.model, views)

    def stream(self,
               frames: Iterable,
               views: Optional[Sequence[str]] = None) -> Iterator[FrameResult]:
        """Run over the frames of one video.

        Args:
            frames (Iterable[np.ndarray | TimedFrame]): Images of shape
                (H, W, 3), uint8, BGR, or the frames of a source.
            views (Sequence[str], optional): See :class:`Session`. Defaults
                to None.

        Yields:
            :obj:`FrameResult`: One per frame: at once online, after at most
            ``window`` frames offline.

        Raises:
            ValueError: If the views are not allowed, or an image has another
                form or size.
        """
        yield from self.session(views).stream(frames)

    def __call__(self,
                 video: Any,
                 views: Optional[Sequence[str]] = None,
                 on_frame: Optional[Callable[[], None]] = None,
                 **source_options: Any) -> VideoRecording:
        """Run over a whole video and keep its results on disk.

        Args:
            video (str | Path | int | np.ndarray | Iterable): File, folder,
                glob pattern, address, webcam, array (T, H, W, 3) or images,
                or a :obj:`FrameSource`.
            views (Sequence[str], optional): See :class:`Session`. Defaults
                to None.
            on_frame (Callable, optional): Called after every frame. Defaults
                to None.
            **source_options: ``start``, ``end``, ``stride``, ``max_size``,
                ``fps``, ``allow_damaged`` of :func:`open_source`.

        Returns:
            :obj:`VideoRecording`: The results, in a temporary file that goes
            with the object.

        Raises:
            OSError: If there is no such video, or the results cannot be
                written.
            ValueError: If it cannot be read or has no frame, or an argument
                is not allowed.
        """
        session = self.session(views)
        folder = tempfile.mkdtemp(prefix='refinevis_mm-')
        try:
            with closing(open_source(video, **source_options)) as source:
                recording = record_video(session, source,
                                         Path(folder, 'recording.sqlite'),
                                         on_frame)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        weakref.finalize(recording, shutil.rmtree, folder, True)
        return recording

    def render(self,
               video: Any,
               out_dir: str,
               views: Optional[Sequence[str]] = None,
               **options: Any) -> RenderedVideo:
        """Run over a whole video and write pictures and results.

        Args:
            video (str | Path | int | np.ndarray | Iterable): As in
                :meth:`__call__`.
            out_dir (str): Folder of the files.
            views (Sequence[str], optional): See :class:`Session`. Defaults
                to None, what the outputs show.
            **options: Those of :func:`open_source` and
                :func:`render_video`.

        Returns:
            :obj:`RenderedVideo`: The files and a summary.

        Raises:
            OSError: If there is no such video, or the files cannot be
                written.
            RenderStopped: If Ctrl-C or SIGTERM stopped it, see
                :func:`render_video`.
            ValueError: If the video cannot be read or has no frame, or an
                argument is not allowed.
        """
        source_options = {
            name: options.pop(name)
            for name in SOURCE_OPTIONS if name in options
        }
        if views is None:
            views = views_for(options.get('outputs', ()), self.model)
        session = self.session(views)
        with closing(open_source(video, **source_options)) as source:
            return render_video(session, source, out_dir, **options)
