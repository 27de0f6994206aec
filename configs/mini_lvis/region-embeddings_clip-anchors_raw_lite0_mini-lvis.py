# The raw teacher's proposals, and what it sees in them.
_base_ = './region-embeddings_clip-anchors_lite0_mini-lvis.py'

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(teacher=dict(pretrained=data_root + 'vild/teacher.pt'))
test_evaluator = dict(path=data_root + 'ezsd/regions_clip-anchors_raw')
