# GKC on instances with masks: OV-COCO, 48 base and 17 novel categories. One store is for both, for
# drawing synonyms and for distillation. base_ap and novel_ap of the test are of masks.
_base_ = [
    '../_base_/models/gkc_r50-clip.py',
    '../_base_/datasets/ov_coco_instance.py',
    '../_base_/schedules/schedule_gkc-50k.py',
    '../_base_/iter_runtime.py',
]

num_classes = 65
words = 'data/coco/gkc/instance-'
store = dict(type='EmbeddingStore', path=words + 'segments_rn50')
model = dict(
    panoptic_head=dict(
        num_things_classes=num_classes,
        cls_predictor_cfg=dict(text_embeddings=words + 'names_rn50.npz'),
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
        synonym_loss=dict(type='SynonymLoss', text_embeddings=words + 'synonyms_rn50.npz'),
        distill_loss=dict(type='TextGuidedDistillLoss', loss_weight=10.0),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
    test_cfg=dict(semantic_on=False, instance_on=True),
)
train_pipeline = [
    *_base_.train_pipeline[:2],
    dict(type='NumberSegments'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomResize', scale=(512, 512), ratio_range=(0.8, 1.2), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 512), allow_negative_crop=True),
    dict(type='SegmentInstances'),
    dict(type='DrawSynonyms', text_embeddings=words + 'synonyms_rn50.npz', store=store),
    dict(type='SegmentEmbeddings', store=store),
    dict(type='PackSegmentInputs'),
]
train_dataloader = dict(
    batch_size=14,
    num_workers=8,
    sampler=dict(type='InfiniteSampler'),
    batch_sampler=None,
    dataset=dict(pipeline=train_pipeline),
)
test_pipeline = _base_.test_pipeline
test_pipeline[1].update(scale=(2048, 512))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(metric=['bbox', 'segm'])
test_evaluator = val_evaluator
