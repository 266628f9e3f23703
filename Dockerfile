# A bundle as a server, and `quadrat apply`: without DVC, torch and lightning; onnxruntime runs the model.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN python -m venv /opt/quadrat \
    && /opt/quadrat/bin/pip install --no-cache-dir --no-compile -c constraints.txt '.[serve]'

FROM python:3.11-slim
# what wheels of GDAL and onnxruntime take from the system
RUN apt-get update && apt-get install --yes --no-install-recommends libexpat1 libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 10001 quadrat && install -d -o quadrat /cache /work
COPY --from=build /opt/quadrat /opt/quadrat
ENV PATH=/opt/quadrat/bin:$PATH PYTHONUNBUFFERED=1
USER quadrat
WORKDIR /work
EXPOSE 8000
ENTRYPOINT ["quadrat"]
CMD ["--help"]
