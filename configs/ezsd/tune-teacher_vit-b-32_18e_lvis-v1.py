# Tunes the LayerNorms of CLIP's image encoder to crops of the 866 base categories of LVIS, small
# ones with more weight; batches of 2 GPUs x 2 images. For the train tool.
_base_ = './tune-teacher_vit-b-32_12e_ov-coco.py'

data_root = 'data/lvis_v1/'
model = dict(text_embeddings='data/lvis_v1/vild/text_vit-b-32.npz', size_weighted=True)
dataset = dict(type='OpenVocabularyLVISDataset', data_root=data_root, data_prefix=dict(img=''))
train_dataloader = dict(
    sampler=dict(type='RepeatFactorSampler', shuffle=True),
    dataset=dict(
        **dataset,
        ann_file='annotations/lvis_v1_train.json',
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
    ),
)
val_dataloader = dict(
    dataset=dict(**dataset, ann_file='annotations/lvis_v1_val.json', filter_cfg=None)
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=18)
