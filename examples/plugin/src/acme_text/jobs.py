"""What the entry point names: a function that takes the application and declares handlers on it."""

from __future__ import annotations

from collections import Counter

from pydantic import BaseModel, Field

from trunkline import Job, Trunkline


class Text(BaseModel):
    """The payload of `word-count`: what does not fit is refused before the handler runs."""

    text: str = Field(max_length=100_000)
    top: int = Field(default=3, ge=1, le=100)


def register(app: Trunkline) -> None:
    @app.job("word-count", tenants="all", retry_limit=1, timeout=60)  # of every tenant of whoever installs this
    async def word_count(job: Job, payload: Text) -> dict:
        words = payload.text.lower().split()
        await job.progress(50, f"{len(words)} words")
        return {"words": len(words), "top": Counter(words).most_common(payload.top)}
