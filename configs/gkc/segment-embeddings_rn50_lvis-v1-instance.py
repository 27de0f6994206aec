# Writes the teacher's embeddings of grey-masked instances of LVIS v1. For the test tool; the
# checkpoint that it wants may be any, as nothing is taken of it.
_base_ = './segment-embeddings_rn50_ov-coco-instance.py'

test_dataloader = dict(
    dataset=dict(
        type='OpenVocabularyLVISDataset',
        data_root='data/lvis_v1/',
        ann_file='annotations/lvis_v1_train.json',
        data_prefix=dict(img=''),
        filter_cfg=dict(min_size=32),
    )
)
test_evaluator = dict(
    path='data/lvis_v1/gkc/segments_rn50',
    ann_file='data/lvis_v1/annotations/lvis_v1_train.json',
)
