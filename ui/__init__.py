"""The web app of Gemma Keras Tune: one process that serves pages and an API, and runs jobs.

It holds no accelerator code. What computes runs in child processes that speak through their
folders; see `gemma_keras_tune.job_folder`.
"""
