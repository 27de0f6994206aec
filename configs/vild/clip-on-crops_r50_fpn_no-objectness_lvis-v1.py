# CLIP on cropped regions, without the RPN's objectness. For testing only.
_base_ = './clip-on-crops_r50_fpn_lvis-v1.py'

model = dict(with_objectness=False)
