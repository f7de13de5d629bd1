_base_ = [
    '../_base_/models/vita_r50.py',
    '../_base_/datasets/youtubevis2019_vita.py',
    '../_base_/schedules/schedule_vita_140k.py',
    '../_base_/default_runtime.py',
]
