# EZSD with boxes that do not depend on the class.
_base_ = './ezsd_r50_fpn_1x_lvis-v1.py'

model = dict(roi_head=dict(bbox_head=dict(class_conditioned=False)))
