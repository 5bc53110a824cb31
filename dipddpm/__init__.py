"""Does starting a diffusion model from a Deep Image Prior pay for itself? See README.md."""

__version__ = "0.1.0"
