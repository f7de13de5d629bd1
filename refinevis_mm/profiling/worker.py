# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A process that measures when it is asked: one line in, one line out.

Whoever asks speaks JSON: ``open`` with settings, then ``measure`` and
``report``. The process can belong to another checkout of the package than
this file does.
"""
import json
import os
import sys
from contextlib import ExitStack
from typing import Any, Dict, Optional, Tuple

from torch import nn

from .building import build_model
from .profile import Profile
from .settings import ProfileSettings

# What a model depends on.
MODEL_FIELDS = ('config', 'checkpoint', 'cfg_options', 'device', 'train',
                'video', 'data')


class Worker:
    """Answers requests; keeps a model for the next settings that need it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._profile: Optional[Profile] = None
        self._model: Optional[Tuple[tuple, nn.Module]] = None

    def answer(self, request: Dict[str, Any]) -> Dict[str, Any]:
        """Do what is asked.

        Args:
            request (dict): ``do``, 'open', 'measure' or 'report', and its
                arguments.

        Returns:
            dict: The answer.
        """
        do, options = request['do'], request.get('options', {})
        if do == 'open':
            self._open(ProfileSettings(**options))
            return {}
        if self._profile is None:
            raise ValueError(f'{do!r} needs settings that were opened')
        if do == 'measure':
            return self._profile.measure(**options)
        return self._profile.report(**options)

    def _open(self, settings: ProfileSettings) -> None:
        """Prepare a measurement in place of the one before."""
        self._stack.close()
        self._profile = None
        settings.check()
        key = tuple(repr(getattr(settings, name)) for name in MODEL_FIELDS)
        if self._model is None or self._model[0] != key:
            self._model = None  # room for the next one
            self._model = (key, build_model(settings))
        model = self._model[1]
        if settings.runtime is not None:  # changes the model for good
            self._model = None
        self._profile = self._stack.enter_context(Profile(settings, model))


def serve() -> None:
    """Answer requests on the standard input until it ends."""
    # libraries print; answers go where nobody else writes
    answers = os.fdopen(os.dup(sys.stdout.fileno()), 'w')
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = Worker()
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:  # goes to whoever asked
            answer = dict(
                error=str(error).strip() or type(error).__name__,
                kind=type(error).__name__)
        answers.write(json.dumps(answer) + '\n')
        answers.flush()
