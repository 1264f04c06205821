"""Fused CPU kernels, compiled on the machine where they are first used, or brought by the wheel."""
