# EZSD with proposals that count alike, however sure the teacher is of them.
_base_ = './ezsd_r50_fpn_1x_ov-coco.py'

model = dict(roi_head=dict(distill_loss=dict(normalize_weights='ignore')))
