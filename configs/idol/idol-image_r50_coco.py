# Single images with IDOL's weights of COCO.
_base_ = [
    '../_base_/models/idol_r50_image.py',
    '../_base_/datasets/coco_idol_test.py', '../_base_/coco_runtime.py'
]
