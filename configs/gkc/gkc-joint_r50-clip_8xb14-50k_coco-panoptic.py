# GKC with one mean over segments and pairs, as the authors' code has it.
_base_ = './gkc_r50-clip_8xb14-50k_coco-panoptic.py'

model = dict(panoptic_head=dict(distill_loss=dict(reduce='joint')))
