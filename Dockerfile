# docker build -t mmdet_vild .    with PyPI's torch: on NVIDIA's GPUs (--gpus all) and on CPUs
# docker build -t mmdet_vild . --build-arg TORCH=https://download.pytorch.org/whl/cpu    CPUs alone
# docker run --rm -it --gpus all --shm-size 8g -v $PWD/data:/mmdet_vild/data \
#     -v $PWD/work_dirs:/mmdet_vild/work_dirs -v mmdet_vild_cache:/root/.cache mmdet_vild
# Trainings stay in work_dirs, and downloaded weights in the volume mmdet_vild_cache; what is written
# elsewhere, such as configs/mine or checkpoints, goes with the container: mount those folders too.
FROM python:3.11-slim
ARG TORCH=
# What OpenCV loads; there is no compiler, which only torch.compile would need.
RUN apt-get update && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /mmdet_vild
COPY . .
RUN pip install --no-cache-dir ${TORCH:+--extra-index-url $TORCH} \
    -c requirements/openmmlab.txt -e '.[openmmlab,web]'
CMD ["bash"]
