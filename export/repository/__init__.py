"""The model repository: configs, layout on disk, versions, queue sizes."""
