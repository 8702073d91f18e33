"""Photo files: number of images, orientation, HEIF tiles."""
