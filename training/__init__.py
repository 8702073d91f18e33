"""From labelled videos and photos to a checkpoint: data first."""
