# Copyright (c) The refinevis_mm authors. Licensed under the Apache License 2.0.
"""Serve a model over HTTP, a session for each camera; see docs/serving.md."""
import argparse
import asyncio
import io
from pathlib import Path
from threading import Lock
from typing import AsyncIterator, Dict, List

import cv2
import torch
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from refinevis_mm.apis import Session, VISInferencer
from refinevis_mm.compat.checkpoints import CheckpointError, read_bytes
from refinevis_mm.structures import FrameResult
from refinevis_mm.utils import add_model_arguments, one_line_errors
from refinevis_mm.video_io import decode_image
from refinevis_mm.visualization import draw_frame

MAX_CAMERAS, MAX_BYTES = 16, dict(POST=16 << 20, PUT=256 << 20)
PAGE = Path(__file__).with_suffix('.html').read_bytes()
FACTS = ('frame_id', 'time', 'ids', 'classes', 'scores', 'detected', 'masks',
         'discarded_ids', 'merged_ids')
PART = b'Content-Type: image/jpeg\r\n\r\n%b\r\n--frame\r\n'


class Camera:
    """A session that does one thing at a time, and its last picture."""

    def __init__(self, session: Session) -> None:
        self.session, self.lock, self.picture = session, Lock(), b''

    def show(self, frames: List[FrameResult]) -> List[dict]:
        """Draw the last result; give all of them without their images."""
        for frame in frames[-1:]:
            drawn = draw_frame(frame.image, frame.instances)
            self.picture = cv2.imencode('.jpg', drawn)[1].tobytes()
        return [{
            key: getattr(frame, key)
            for key in FACTS
        } for frame in frames]


async def body(request: Request) -> bytes:
    """What was sent; refused as soon as it is too long."""
    data, most = bytearray(), MAX_BYTES[request.method]
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise HTTPException(413, f'a body must have at most {most} bytes')
    return bytes(data)


def create_app(inferencer: VISInferencer) -> FastAPI:
    """A page to look at, and a resource for each camera."""
    app = FastAPI()
    cameras: Dict[str, Camera] = {}

    def find(name: str) -> Camera:
        if name not in cameras:
            raise HTTPException(404, f'there is no camera {name!r}')
        return cameras[name]

    @app.exception_handler(ValueError)
    @app.exception_handler(CheckpointError)
    async def refuse(_: Request, error: Exception) -> Response:
        return JSONResponse(dict(detail=str(error)), 400)

    @app.get('/')
    def look() -> Response:
        return Response(PAGE, media_type='text/html')

    @app.get('/cameras')
    def names() -> List[str]:
        return sorted(cameras)

    @app.put('/cameras/{name}')
    def start(name: str, state: bytes = Depends(body)) -> None:
        if not name.isidentifier() or len(cameras) >= MAX_CAMERAS:
            raise HTTPException(
                403, f'there may be {MAX_CAMERAS} cameras '
                f'with names like cam_1, got {name!r}')
        camera = Camera(inferencer.session())
        if state:  # of a session that goes on
            camera.session.load_state_dict(read_bytes(state, 'the state'))
        if cameras.setdefault(name, camera) is not camera:
            raise HTTPException(409, f'there is a camera {name!r} already')

    @app.post('/cameras/{name}')
    def step(image: bytes = Depends(body),
             camera: Camera = Depends(find)) -> List[dict]:
        with camera.lock:
            return camera.show(camera.session.step(decode_image(image)))

    @app.get('/cameras/{name}/state')
    def state(camera: Camera = Depends(find)) -> Response:
        buffer = io.BytesIO()
        with camera.lock:
            torch.save(camera.session.state_dict(), buffer)
        return Response(buffer.getvalue())

    @app.delete('/cameras/{name}')
    def close(name: str, camera: Camera = Depends(find)) -> dict:
        with camera.lock:
            cameras.pop(name, None)
            results = camera.show(camera.session.flush())
            merged = camera.session.last_merges.ids
            return dict(results=results, merged_ids=merged)

    @app.get('/cameras/{name}')
    def watch(name: str, camera: Camera = Depends(find)) -> Response:

        async def pictures() -> AsyncIterator[bytes]:
            shown = b''
            yield b'--frame\r\n'
            while cameras.get(name) is camera:
                if camera.picture is not shown:
                    shown = camera.picture
                    # browsers show a part when the next one is there
                    yield PART % shown * 2
                await asyncio.sleep(0.04)

        return StreamingResponse(
            pictures(), media_type='multipart/x-mixed-replace; boundary=frame')

    return app


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Serve a model over HTTP')
    add_model_arguments(parser)
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--mode', choices=['online', 'offline'])
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=int, default=8000)
    return parser.parse_args()


@one_line_errors
def main() -> None:
    """Serve until Ctrl-C."""
    args = parse_args()
    app = create_app(
        VISInferencer(args.config, args.checkpoint, args.device, args.mode))
    uvicorn.run(
        app, host=args.host, port=args.port, timeout_graceful_shutdown=1)


if __name__ == '__main__':
    main()
