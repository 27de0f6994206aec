# Writes what the tuned teacher sees in ViLD's regions, the proposals of ViLD-text.
_base_ = './region-embeddings_lite0_fpn_mini-lvis.py'

data_root = '{{$MINI_LVIS:data/mini_lvis}}/'
model = dict(teacher=dict(pretrained=data_root + 'ezsd/teacher_tuned.pt'))
test_evaluator = dict(path=data_root + 'ezsd/regions_rpn')
