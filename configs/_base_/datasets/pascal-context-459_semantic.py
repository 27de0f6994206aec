# PASCAL-Context, 459 classes: what tools/dataset_converters/pascal_context.py writes.
_base_ = './semantic_test.py'

data_root = 'data/VOCdevkit/VOC2010/'
val_dataloader = dict(
    dataset=dict(
        type='OpenVocabularySegDataset',
        vocabulary=data_root + 'context_459.json',
        data_root=data_root,
        ann_file='ImageSets/Main/val.txt',
        data_prefix=dict(img_path='JPEGImages/', seg_map_path='context_459/'),
    )
)
test_dataloader = val_dataloader
