"""Losses of distillation."""

from .vild_image_distill_loss import ViLDImageDistillLoss

__all__ = ['ViLDImageDistillLoss']
