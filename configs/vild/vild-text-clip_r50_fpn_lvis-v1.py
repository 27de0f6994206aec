# ViLD-text + CLIP: the ensemble of ViLD-text and the teacher on crops of its boxes. For testing
# only, on a checkpoint of ViLD-text.
_base_ = './clip-on-crops_r50_fpn_lvis-v1.py'

model = dict(type='ViLDTextCLIP', with_objectness=False, ensemble_weight=2 / 3)
