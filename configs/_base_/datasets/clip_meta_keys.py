# Metas the models of clips and the metric read. mmdet's default adds
# `instances`, the whole annotation, which would be sent from worker to trainer
# for nothing.
meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
             'flip', 'flip_direction', 'frame_id', 'video_id', 'video_length',
             'ori_video_length')
