_base_ = [
    '../_base_/models/idol_r101.py',
    '../_base_/datasets/youtubevis2019_idol.py',
    '../_base_/schedules/schedule_idol_12k.py', '../_base_/default_runtime.py'
]
