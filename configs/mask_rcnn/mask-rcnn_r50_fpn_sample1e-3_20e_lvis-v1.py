# Mask R-CNN supervised with base and novel categories, the images of rare ones repeated: what
# annotating the novel categories would give.
_base_ = './mask-rcnn_r50_fpn_20e_lvis-v1-base.py'

train_dataloader = dict(dataset=dict(drop_novel=False))
