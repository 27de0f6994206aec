# GKC with one text projection for all ten predictions.
_base_ = './gkc_r50-clip_8xb14-50k_coco-panoptic.py'

model = dict(panoptic_head=dict(shared_projection=True))
