# Cityscapes, 19 classes: leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip as they come.
_base_ = './semantic_test.py'

val_dataloader = dict(
    dataset=dict(
        type='Cityscapes19Dataset',
        data_root='data/cityscapes/',
        data_prefix=dict(img_path='leftImg8bit/val/', seg_map_path='gtFine/val/'),
    )
)
test_dataloader = val_dataloader
