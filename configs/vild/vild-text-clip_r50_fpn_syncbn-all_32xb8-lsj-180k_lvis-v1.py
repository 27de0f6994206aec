# ViLD-text + CLIP: the ensemble of the paper's ViLD-text and the teacher on crops of its boxes. For
# testing only, on the checkpoint of ViLD-text.
_base_ = './clip-on-crops_r50_fpn_syncbn-all_32xb8-lsj-180k_lvis-v1.py'

model = dict(type='ViLDTextCLIP', with_objectness=False, ensemble_weight=2 / 3)
