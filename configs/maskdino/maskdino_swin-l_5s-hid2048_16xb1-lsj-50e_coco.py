_base_ = [
    '../_base_/models/maskdino_swin-l.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/schedules/schedule_coco_368k_swin-l.py',
    '../_base_/coco_runtime.py'
]
