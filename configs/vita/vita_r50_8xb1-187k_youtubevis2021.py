_base_ = [
    '../_base_/models/vita_r50.py',
    '../_base_/datasets/youtubevis2021_vita.py',
    '../_base_/schedules/schedule_vita_187k.py',
    '../_base_/default_runtime.py',
]
