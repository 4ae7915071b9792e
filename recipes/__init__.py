"""Recipes that ship, and the small data sets they use; installed as `gemma_keras_tune_recipes`."""
