"""Distillation: an ImageNet teacher, weight transfer into the ResNeXt-50, hint and soft-label losses."""
