"""Training and evaluation, in the order data flows through the folders.

datasets (manifest) → faces (crops, portraits) → forgery (recipes, blending) → augmentation (degraded
real–fake pairs) → samples (batches, clips) → distillation (teacher, student) → loop (phases, checkpoint) →
evaluation (scores, metrics, calibration). `commands` holds the subcommands.
"""
