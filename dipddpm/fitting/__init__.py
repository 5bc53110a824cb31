"""Fitting Deep Image Priors."""
