# ADE20K, 150 classes: ADEChallengeData2016.zip as it comes.
_base_ = './semantic_test.py'

val_dataloader = dict(
    dataset=dict(
        type='ADE20K150Dataset',
        data_root='data/ADEChallengeData2016/',
        data_prefix=dict(img_path='images/validation/', seg_map_path='annotations/validation/'),
    )
)
test_dataloader = val_dataloader
