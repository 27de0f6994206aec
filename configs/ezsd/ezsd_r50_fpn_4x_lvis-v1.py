# EZSD on LVIS for 48 epochs, as the authors train it.
_base_ = './ezsd_r50_fpn_1x_lvis-v1.py'

train_cfg = dict(max_epochs=48)
param_scheduler = _base_.param_scheduler
param_scheduler[1].milestones = [32, 44]
param_scheduler[1].end = 48
