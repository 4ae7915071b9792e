"""The secrets that a job's child gets: those that open model hubs, of its own workspace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from ..identity.refusals import NotFound
from ..identity.vault import Vault
from .job import Job

HUB_SECRETS = ("HF_TOKEN", "KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY")
"""Names under which a workspace's secrets become variables of its jobs' processes."""

CredentialsOf = Callable[[Job], Awaitable[Mapping[str, str]]]


async def no_credentials(job: Job) -> Mapping[str, str]:
    """For servers that keep no secrets."""
    return {}


def credentials_in(vault: Vault) -> CredentialsOf:
    """A function that looks a job's credentials up when its child is made, and keeps none.

    The function raises `TuneError` (`VAULT_KEY_LOST`) if a secret can't be read.
    """

    async def credentials_of(job: Job) -> Mapping[str, str]:
        found = {}
        for name in HUB_SECRETS:
            try:
                found[name] = await vault.get(job.workspace_id, name)
            except NotFound:
                continue
        return found

    return credentials_of
