"""The routes of uploads: create, send pieces, ask for the offset, finish, give up.

A client creates an upload, then sends pieces with `PATCH` and the headers `Upload-Offset` and
`Content-Length`, each as `application/offset+octet-stream`. After a break it asks with `HEAD` where
to go on. Nothing of a body is ever held whole in memory.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from ..identity.access import Principal
from .answers import Refused
from .upload_finish import Finished
from .upload_rows import Upload
from .uploads import Purpose, Uploads


class NewUpload(BaseModel):
    """What is declared of a file before it comes."""

    model_config = ConfigDict(extra="forbid")

    purpose: Purpose
    name: str = Field(min_length=1, max_length=1000)
    size: int = Field(ge=1, le=2**50)
    sha256: str | None = Field(default=None, pattern="^[0-9a-f]{64}$")


def upload_router(uploads: Uploads) -> APIRouter:
    """The routes, to be mounted under the API."""
    router = APIRouter(prefix="/uploads", tags=["uploads"])

    @router.post("", status_code=201)
    async def create(request: Request, new: NewUpload) -> Upload:
        """Creates an upload."""
        return await uploads.create(
            _principal(request),
            purpose=new.purpose,
            name=new.name,
            size=new.size,
            sha256=new.sha256,
        )

    @router.get("")
    async def list_open(request: Request) -> list[Upload]:
        """Lists your open uploads."""
        return await uploads.list_of(_principal(request))

    @router.get("/{upload_id}")
    async def get(request: Request, upload_id: str, response: Response) -> Upload:
        """Tells how far an upload is."""
        upload = await uploads.get(_principal(request), upload_id)
        response.headers.update(_offset(upload.received))
        return upload

    @router.head("/{upload_id}")
    async def head(request: Request, upload_id: str) -> Response:
        """Tells the offset of the next piece, in the header Upload-Offset."""
        upload = await uploads.get(_principal(request), upload_id)
        headers = {**_offset(upload.received), "Upload-Length": str(upload.size)}
        return Response(headers=headers)

    @router.patch("/{upload_id}", status_code=204)
    async def piece(
        request: Request, upload_id: str, upload_offset: Annotated[int, Header(ge=0)]
    ) -> Response:
        """Takes one piece of the file."""
        end = await uploads.receive(
            _principal(request),
            upload_id,
            offset=upload_offset,
            length=_length(request),
            body=request.stream(),
        )
        return Response(status_code=204, headers=_offset(end))

    @router.post("/{upload_id}/finish")
    async def finish(request: Request, upload_id: str) -> Finished:
        """Checks the whole file and makes it a data set or a model."""
        return await uploads.finish(_principal(request), upload_id)

    @router.delete("/{upload_id}", status_code=204)
    async def abort(request: Request, upload_id: str) -> None:
        """Gives an upload up."""
        await uploads.abort(_principal(request), upload_id)

    return router


def _principal(request: Request) -> Principal:
    found: Principal = request.state.principal
    return found


def _offset(received: int) -> dict[str, str]:
    return {"Upload-Offset": str(received)}


def _length(request: Request) -> int:
    text = request.headers.get("content-length", "")
    if not text.isascii() or not text.isdigit():
        raise Refused(411, "LENGTH_REQUIRED", "Send a Content-Length with the piece.")
    return int(text)
