# ADE20K, 847 classes: what tools/dataset_converters/ade20k_full.py writes.
_base_ = './semantic_test.py'

data_root = 'data/ade20k_847/'
val_dataloader = dict(
    dataset=dict(
        type='OpenVocabularySegDataset',
        vocabulary=data_root + 'categories.json',
        data_root=data_root,
        data_prefix=dict(img_path='images/', seg_map_path='annotations/'),
        seg_map_suffix='.tif',
    )
)
test_dataloader = val_dataloader
