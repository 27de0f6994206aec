# VSPW's frames, 124 classes: the lists and the vocabulary that tools/dataset_converters/vspw.py
# writes. Novel are the classes that are none of COCO panoptic's categories, in training too.
_base_ = './coco_panoptic_semantic.py'

dataset_type = 'OpenVocabularySegDataset'
data_root = 'data/VSPW_480p/'
dataset = dict(
    type=dataset_type,
    vocabulary=data_root + 'categories.json',
    base_vocabulary='CocoPanoptic133Dataset',
    data_root=data_root,
    data_prefix=dict(img_path='data', seg_map_path='data'),
    label_values=list(range(1, 125)),
    # Copies of the set have 253 and 254, too, where nothing is labelled.
    ignored_values=[0, 253, 254, 255],
)
train_dataloader = dict(dataset=dict(**dataset, ann_file='train.frames.txt'))
val_dataloader = dict(dataset=dict(**dataset, ann_file='val.frames.txt'))
test_dataloader = val_dataloader
