# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
from mmengine.config import Config
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import init_default_scope

import refinevis_mm
from refinevis_mm import registry


def test_package():
    assert refinevis_mm.__version__ == '0.2.0'
    assert MODULE2PACKAGE['refinevis_mm'] == 'refinevis-mm'


def test_registries_are_children_of_the_root():
    for name in ('MODELS', 'DATASETS', 'TRANSFORMS', 'METRICS', 'HOOKS',
                 'DATA_SAMPLERS', 'TASK_UTILS', 'VISUALIZERS'):
        child = getattr(registry, name)
        assert child.scope == 'refinevis_mm'
        assert child.parent.children['refinevis_mm'] is child
        child.import_from_location()


def test_prefix_works_from_another_scope():

    @registry.MODELS.register_module(force=True)
    class ToyOfRegistryTest:
        """Registered class."""

    init_default_scope('mmdet')
    try:
        model = ROOT_MODELS.build(
            Config(dict(type='refinevis_mm.ToyOfRegistryTest'))._cfg_dict)
    finally:
        registry.MODELS.module_dict.pop('ToyOfRegistryTest')
    assert isinstance(model, ToyOfRegistryTest)
