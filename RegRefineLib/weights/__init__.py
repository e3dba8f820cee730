"""Weights of networks: listed in models.json, verified, and loaded strictly."""
