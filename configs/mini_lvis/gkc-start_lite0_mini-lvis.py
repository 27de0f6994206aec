# What all segmentors of the mini world start from: the plain one, before synonyms and distillation
# make a difference. Queries learn names slowly: after a quarter of this they tell materials apart.
_base_ = './gkc-plain_lite0_mini-lvis.py'

max_iters = 1000
train_cfg = dict(max_iters=max_iters, val_begin=max_iters + 1)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=max_iters, eta_min_ratio=0.3),
]
