# ViLD: one head learns the words of base categories and the teacher's region embeddings.
_base_ = [
    '../_base_/models/vild_mini.py',
    '../_base_/datasets/mini_lvis_instance.py',
    '../_base_/mini_runtime.py',
    '../_base_/schedules/schedule_mini.py',
]
