# Mask R-CNN supervised with base and novel categories, with repeat factor sampling and the
# paper's schedule, from scratch.
_base_ = './mask-rcnn_r50_fpn_syncbn-all_32xb8-lsj-180k_lvis-v1-base.py'

train_dataset = _base_.train_dataloader.dataset
train_dataset.drop_novel = False
train_dataloader = dict(
    dataset=dict(
        _delete_=True, type='ClassBalancedDataset', oversample_thr=1e-3, dataset=train_dataset
    )
)
