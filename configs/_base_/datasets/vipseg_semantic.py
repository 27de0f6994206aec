# VIPSeg's frames, 124 classes, 12 of them novel: what tools/dataset_converters/vipseg.py writes.
_base_ = './coco_panoptic_semantic.py'

dataset_type = 'OpenVocabularySegDataset'
data_root = 'data/VIPSeg/VIPSeg_720P/'
dataset = dict(
    type=dataset_type,
    vocabulary=data_root + 'categories.json',
    data_root=data_root,
    data_prefix=dict(img_path='images/', seg_map_path='semantic/'),
)
train_dataloader = dict(dataset=dict(**dataset, ann_file='train.frames.txt'))
val_dataloader = dict(dataset=dict(**dataset, ann_file='val.frames.txt'))
test_dataloader = val_dataloader
