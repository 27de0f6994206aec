# Mask R-CNN supervised with base and novel categories, the images of rare ones repeated (repeat
# factor sampling, RFS): what annotating the novel categories would give.
_base_ = './mask-rcnn_r50_fpn_20e_lvis-v1-base.py'

train_dataset = _base_.train_dataloader.dataset
train_dataset.drop_novel = False
train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='ClassBalancedDataset', oversample_thr=1e-3, dataset=train_dataset
    )
)
