# The web app on a machine without an accelerator of its own; see docs/web_app.md.
FROM python:3.12-slim-bookworm AS build
RUN python -m venv /opt/gemma-keras-tune
ENV PATH=/opt/gemma-keras-tune/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY gemma_keras_tune gemma_keras_tune
COPY recipes recipes
COPY ui ui
RUN pip install --constraint constraints.txt '.[demo,eval,export,ui]'

FROM python:3.12-slim-bookworm
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data tune \
    && install --directory --owner=tune --group=tune --mode=0700 /data
COPY --from=build /opt/gemma-keras-tune /opt/gemma-keras-tune
ENV PATH=/opt/gemma-keras-tune/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    GEMMA_KERAS_TUNE_HOME=/data \
    GEMMA_KERAS_TUNE_HOST=0.0.0.0 \
    GEMMA_KERAS_TUNE_PORT=8080 \
    GEMMA_KERAS_TUNE_LOG__FORMAT=json
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=8)"]
# The server is process 1 and handles SIGTERM by itself, so it needs no init before it.
ENTRYPOINT ["gemma-keras-tune"]
CMD ["ui"]
