# Runtime of image models with COCO's metric.
_base_ = ['./default_runtime.py']

default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
custom_hooks = [
    dict(type='refinevis_mm.RandomStateHook'),
    dict(type='NumClassCheckHook')
]
visualizer = dict(type='DetLocalVisualizer')
