# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A model's stages put together frame by frame, as its users do."""
from refinevis_mm.models.refinement import build_refiner


class ModelStream:
    """Tracker and refiner of one video of a model."""

    def __init__(self, model):
        self.model = model
        self.tracker = model.init_tracker()
        self.refiner = build_refiner(model.tar_head, model.mode, model.window)

    def step(self, image, meta):
        """Frames finished by the next one, decoded."""
        tracks = self.model.track(image, meta, self.tracker)
        self.refiner.discard(self.tracker.discarded_ids)
        return [self.model.decode(done) for done in self.refiner.push(tracks)]

    def run(self, images, metas):
        """All frames of a video, decoded."""
        results = []
        for image, meta in zip(images, metas):
            results += self.step(image, meta)
        return results + [
            self.model.decode(done) for done in self.refiner.flush()
        ]
