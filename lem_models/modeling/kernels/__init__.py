"""Fused CPU kernels of the TKAN layer and of variable selection, compiled on the machine where they are first used."""
