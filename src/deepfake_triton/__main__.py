"""Entry point of `python -m deepfake_triton`, the same as the command `deepfake-triton`."""

from __future__ import annotations

import sys

from deepfake_triton.cli import main

if __name__ == "__main__":
    sys.exit(main())
