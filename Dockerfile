# The page in the browser, with the models that ship. The same image runs every other command.
#   docker build -t tfmlc .                            for the CPU
#   docker build -t tfmlc --build-arg TORCH=cu128 .    for CUDA: a folder of https://download.pytorch.org/whl
#   docker run --rm -p 127.0.0.1:7860:7860 tfmlc
FROM python:3.12-slim

ARG TORCH=cpu
RUN pip install --no-cache-dir --index-url "https://download.pytorch.org/whl/${TORCH}" "torch>=2.6,<3" "torchvision>=0.21,<1"

WORKDIR /opt/tfmlc
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY results/bench/step.json results/bench/step_counts.json results/bench/
# hadolint ignore=DL3013  # the package itself: its own ranges hold
RUN pip install --no-cache-dir ".[app,video,heic,jxl,raw]" && useradd --create-home --uid 10001 tfmlc

USER 10001
WORKDIR /home/tfmlc

EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:7860/', timeout=4)"]
ENTRYPOINT ["tfmlc"]
CMD ["app", "--host", "0.0.0.0"]
