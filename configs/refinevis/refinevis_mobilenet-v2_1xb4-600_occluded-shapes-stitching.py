# The shipped small model as it is used: weights of the second phase, a tracker
# that breaks tracks rather than confusing them and joins the fragments ten
# frames later, and nothing drawn of what hides behind detected objects.
# Chosen on 80 videos of other seeds (see README.md).
_base_ = ['./refinevis_mobilenet-v2_1xb4-600_occluded-shapes-temporal.py']

model = dict(
    recovery_visible_thr=0.5,
    tracker=dict(
        _delete_=True,
        type='refinevis_mm.StitchingTracker',
        tracker=dict(
            type='refinevis_mm.StreamingTracker',
            appearance_weight=2.0,
            match_thr=0.5,
            low_overlap_thr=0.6,
            num_active_frames=1,
            num_frames_retain=1)))
