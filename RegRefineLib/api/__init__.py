"""The Python API: what `import RegRefineLib as rr` offers; its names are listed in the package."""
