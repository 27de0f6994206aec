# PASCAL VOC 2012, 20 classes; the background is ignored: VOCtrainval_11-May-2012.tar as it comes.
_base_ = './semantic_test.py'

val_dataloader = dict(
    dataset=dict(
        type='PascalVOC20Dataset',
        data_root='data/VOCdevkit/VOC2012/',
        ann_file='ImageSets/Segmentation/val.txt',
        data_prefix=dict(img_path='JPEGImages/', seg_map_path='SegmentationClass/'),
    )
)
test_dataloader = val_dataloader
