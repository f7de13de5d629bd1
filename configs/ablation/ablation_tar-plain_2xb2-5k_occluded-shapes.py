# Every option of TAR as the text of the paper has it: the row that the other
# tar-* configs change in one thing.
_base_ = ['../refinevis/refinevis_mobilenet-v2_2xb2-5k_occluded-shapes.py']

model = dict(
    tar_head=dict(
        pe_placement='embed',
        mask_missing=False,
        recursive_prob=0.0,
        heads=None),
    tracklet_builder=dict(type='refinevis_mm.MatchedTrackletBuilder'))
