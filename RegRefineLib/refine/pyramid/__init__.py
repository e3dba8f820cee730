"""The project's own refinement: coarse-to-fine diffeomorphic descent."""
