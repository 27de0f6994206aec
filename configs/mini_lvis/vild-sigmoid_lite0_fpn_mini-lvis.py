# ViLD with a sigmoid of each word in place of the softmax with background (LP-OVOD).
_base_ = './vild_lite0_fpn_mini-lvis.py'

model = dict(
    roi_head=dict(
        bbox_head=dict(
            cls_predictor_cfg=dict(with_background=False, bias=-10.0, learned_temperature=True),
            loss_cls=dict(use_sigmoid=True),
        ),
    ),
)
