# COCO-Stuff, 171 classes: COCO's pictures and stuffthingmaps_trainval2017.zip as it comes.
_base_ = './semantic_test.py'

val_dataloader = dict(
    dataset=dict(
        type='CocoStuff171Dataset',
        data_root='data/coco/',
        data_prefix=dict(img_path='val2017/', seg_map_path='stuffthingmaps/val2017/'),
    )
)
test_dataloader = val_dataloader
