# Mask2Former with words, and nothing else of GKC: the baseline of its ablations.
_base_ = [
    '../_base_/models/gkc_mini.py',
    '../_base_/datasets/mini_lvis_semantic.py',
    '../_base_/mini_runtime.py',
    '../_base_/schedules/schedule_gkc-mini.py',
]
