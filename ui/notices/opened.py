"""Notices as a running server has them: by its settings, with the pages that are open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..api.naming import Shown
from ..identity.service import Identity
from ..jobs.job import Job
from ..listening import address_of
from ..settings import Settings
from ..settings_sources import mail_password
from ..store.engine import Store
from .open_pages import OpenPages
from .outbox import Outbox
from .senders import MailServer, Send, to_pages, to_slack, to_webhook
from .targets import Targets


@dataclass(frozen=True)
class Notices:
    """All about telling people of their work.

    Attributes:
        targets: Where they are told.
        outbox: What is told, and sending it.
        pages: The pages that are open, which show what goes to the browser.
    """

    targets: Targets
    outbox: Outbox
    pages: OpenPages


def open_notices(
    settings: Settings,
    store: Store,
    identity: Identity,
    silent: Callable[[float], Sequence[Job]],
) -> Notices:
    """Notices over an open database.

    Args:
        settings: What the server goes by.
        store: The open database.
        identity: Its vault encrypts addresses, and its audit log notes who is told where.
        silent: The jobs that have said nothing for so many seconds.

    Raises:
        TuneError: `SETTINGS_UNREADABLE` if the file with the mail password can't be read.
    """
    notices, pages = settings.notices, OpenPages()
    hosts = notices.webhook_hosts
    senders: dict[str, Send] = {"browser": to_pages(pages.show)}
    if notices.mail_host is not None:
        senders["email"] = MailServer(
            host=notices.mail_host,
            port=notices.mail_port,
            security=notices.mail_security,
            sender=notices.mail_sender or "",
            user=notices.mail_user,
            password=mail_password(settings),
        )
    senders |= {"slack": to_slack, "webhook": to_webhook(hosts)}
    targets = Targets(
        store, identity.audit, identity.vault, kinds=tuple(senders), known_hosts=hosts
    )
    outbox = Outbox(
        store,
        targets,
        senders,
        silent=silent,
        stalled_s=60 * notices.stalled_minutes,
        address=address_of(settings, settings.port) if settings.port else "",
        clean=Shown(settings.root).text,
    )
    return Notices(targets, outbox, pages)
