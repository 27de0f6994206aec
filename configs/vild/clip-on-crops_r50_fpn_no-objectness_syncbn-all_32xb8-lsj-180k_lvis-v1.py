# CLIP on cropped regions, of the paper's network, without the RPN's objectness. For testing only.
_base_ = './clip-on-crops_r50_fpn_syncbn-all_32xb8-lsj-180k_lvis-v1.py'

model = dict(with_objectness=False)
