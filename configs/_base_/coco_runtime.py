# Runtime of image models with COCO's metric.
_base_ = ['./default_runtime.py']

default_hooks = dict(checkpoint=dict(save_best='coco/segm_mAP'))
visualizer = dict(type='DetLocalVisualizer')
