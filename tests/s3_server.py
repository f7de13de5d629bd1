# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""A real S3 server, moto's, on loopback."""
import secrets
from contextlib import contextmanager
from typing import Iterator

import fsspec
import pytest


@contextmanager
def s3_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Start a server; skips where moto or s3fs is not installed.

    Args:
        monkeypatch (MonkeyPatch): Sets what s3fs, here and in processes that
            are started, reads of the environment.

    Yields:
        str: Address of a new bucket.
    """
    moto = pytest.importorskip('moto.server', exc_type=ImportError)
    s3fs = pytest.importorskip('s3fs', exc_type=ImportError)
    server = moto.ThreadedMotoServer('127.0.0.1', 0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in dict(
                AWS_ENDPOINT_URL=f'http://{host}:{port}',
                AWS_ACCESS_KEY_ID='key',
                AWS_SECRET_ACCESS_KEY='secret',
                AWS_DEFAULT_REGION='us-east-1').items():
            monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        bucket = f'box-{secrets.token_hex(4)}'
        fsspec.filesystem('s3').mkdir(bucket)
        yield f's3://{bucket}'
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()
