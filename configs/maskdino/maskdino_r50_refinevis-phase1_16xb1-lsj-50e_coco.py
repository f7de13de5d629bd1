# First of the three phases of RefineVIS R50.
_base_ = [
    '../_base_/models/maskdino_r50_refinevis.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/schedules/schedule_coco_368k.py', '../_base_/coco_runtime.py'
]
