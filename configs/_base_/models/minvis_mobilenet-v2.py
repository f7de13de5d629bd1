# A small MinVIS with the frame model of mask2former_mobilenet-v2_refinevis.py.
_base_ = ['./mask2former_mobilenet-v2_refinevis.py']

model = dict(
    window=0,
    association_head=None,
    pair_selector=None,
    tracker=dict(_delete_=True, type='refinevis_mm.QueryMatcher'),
    tracklet_builder=None,
    tar_head=None,
    # the 10 best (query, class) pairs of the video, whatever their scores
    score_average='logits',
    cls_thr=0.0,
    max_per_video=10)
