# PASCAL-Context, 59 classes: what tools/dataset_converters/pascal_context.py writes, or
# MMSegmentation's SegmentationClassContext, which has the same numbers.
_base_ = './semantic_test.py'

val_dataloader = dict(
    dataset=dict(
        type='PascalContext59Dataset',
        data_root='data/VOCdevkit/VOC2010/',
        ann_file='ImageSets/Main/val.txt',
        data_prefix=dict(img_path='JPEGImages/', seg_map_path='context_59/'),
    )
)
test_dataloader = val_dataloader
