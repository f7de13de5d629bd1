# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
import pytest
import torch

from refinevis_mm.profiling import ProfileSettings
from tests.docs_checkout import write_video
from tests.tiny_files import write_model_files

# so that noise makes tracklets
NO_THRESHOLDS = {
    f'model.tracker.{name}': 0.0
    for name in ('select_score_thr', 'init_score_thr', 'new_score_thr')
}


@pytest.fixture(scope='session')
def tiny_files(tmp_path_factory):
    """Config and checkpoint of a tiny model, and a video."""
    folder = tmp_path_factory.mktemp('profiling')
    config, checkpoint = write_model_files(folder)
    video = folder / 'clip.mp4'
    write_video(video)
    return str(config), str(checkpoint), str(video)


@pytest.fixture
def tiny(tiny_files):
    """Makes settings for the tiny model."""
    torch.manual_seed(0)
    config, checkpoint, _ = tiny_files

    def make(**options):
        return ProfileSettings(
            config,
            **dict(dict(checkpoint=checkpoint, shape=(64, 96)), **options))

    return make
