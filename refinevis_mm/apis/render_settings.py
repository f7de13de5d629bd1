# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""What a resumed run must have in common with the one it continues."""
import json
from typing import Any, Collection, Iterator, Sequence, Tuple

from mmengine.config import Config

from refinevis_mm.video_io import FrameSource
from .session import Session

ABSENT = 'nothing'


def render_settings(session: Session, source: FrameSource, score_thr: float,
                    drawn: Sequence[str]) -> dict:
    """Everything that the results of a video depend on.

    Args:
        session (:obj:`Session`): Model, mode and window.
        source (:obj:`FrameSource`): The video. Whether damage is allowed
            does not count: the frames before it are the same.
        score_thr (float): Least score of a drawn instance.
        drawn (Sequence[str]): Outputs that are made frame by frame.

    Returns:
        dict: Numbers, text and lists by name, as JSON gives them back.
    """
    model = session.model
    settings = dict(
        source.settings,
        fps=source.fps,
        num_frames=source.num_frames,
        view=session.view,
        views=list(session.views),
        window=session.window,
        weights=session.weights,
        classes=list(model.classes),
        score_thr=score_thr,
        drawn=sorted(drawn))
    settings.pop('allow_damaged', None)
    settings.update(config_settings(model.cfg))
    for name in ('model.mode', 'model.window'):  # the session has its own
        settings.pop(name, None)
    return json.loads(json.dumps(settings, default=str))


def config_settings(cfg: Config) -> dict:
    """What the results of any video depend on in a config.

    Args:
        cfg (:obj:`Config`): A config with a ``model``.

    Returns:
        dict: Values of the model and of the test pipeline by dotted name, as
        JSON gives them back.
    """
    dataset = cfg.get('test_dataloader', {}).get('dataset', {})
    parts = dict(model=cfg.model, pipeline=dataset.get('pipeline', []))
    return json.loads(json.dumps(dict(_flatten('', parts)), default=str))


def check_settings(found: dict,
                   wanted: dict,
                   out_dir: str,
                   ignored: Collection[str] = ()) -> None:
    """Refuse to continue a run with other settings.

    Args:
        found (dict): Settings of the run in ``out_dir``.
        wanted (dict): Settings of this run.
        out_dir (str): Its folder, for the message.
        ignored (Collection[str]): Names that may differ. Defaults to none.

    Raises:
        ValueError: If they differ; names the first one that does.
    """
    for name in dict.fromkeys((*wanted, *found)):
        old, new = (side.get(name, ABSENT) for side in (found, wanted))
        if old != new and name not in ignored:
            raise ValueError(
                f'out-dir "{out_dir}" holds a run with {name} {_short(old)}, '
                f'it cannot be resumed with {name} {_short(new)}; nothing '
                'was changed')


def _flatten(prefix: str, value: Any) -> Iterator[Tuple[str, Any]]:
    """Leaves of nested dicts and lists, with dotted names."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, (list, tuple)):
        items = list(enumerate(value))
    else:
        items = []
    if not items:
        yield prefix, value
    for key, child in items:
        yield from _flatten(f'{prefix}.{key}' if prefix else str(key), child)


def _short(value: Any) -> str:
    """A value in a message."""
    text = value if value is ABSENT else repr(value)
    return text if len(text) <= 80 else f'{text[:77]}...'
