"""Linear-time models for Transformers: the library behind the notebooks."""
