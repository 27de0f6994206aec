# For the test tool: a GKC trained on COCO panoptic, on ade20k-150. Only the vocabulary
# differs; of a category with several names the likeliest counts.
_base_ = [
    '../_base_/models/gkc_r50-clip.py',
    '../_base_/datasets/ade20k-150_semantic.py',
    '../_base_/schedules/test_only.py',
    '../_base_/iter_runtime.py',
]

num_classes = 150
model = dict(
    panoptic_head=dict(
        num_things_classes=num_classes,
        cls_predictor_cfg=dict(text_embeddings='data/gkc/ade20k-150_rn50.npz', synonyms='max'),
        loss_cls=dict(class_weight=[1.0] * num_classes + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
)
