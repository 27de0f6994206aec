# Text-guided distillation, without synonyms, on Swin-T.
_base_ = './gkc_swin-t_8xb2-lsj-50e_coco-panoptic.py'

model = dict(panoptic_head=dict(synonym_loss=None))
# Without DrawSynonyms.
train_pipeline = [*_base_.train_pipeline[:-3], *_base_.train_pipeline[-2:]]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
