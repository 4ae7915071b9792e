"""Members of the workspace, and accounts of the server."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from ...api.invitations import (
    NewInvitation,
    create_invitation,
    list_invitations,
    revoke_invitation,
)
from ...api.members import (
    NewMember,
    NewRole,
    NewUser,
    UserChanges,
    add_member,
    change_user,
    create_user,
    list_members,
    list_users,
    remove_member,
    reset_password,
    set_role,
)
from ...api.session import ROLES
from ...identity.access import Action
from ...identity.passwords import fresh_password
from ...settings import is_loopback_url
from ...words import account as words
from ...words import common
from ..visit import Visit
from ..widgets import code, heading, note, primary
from .parts import Part, asked_first, field, line


class Members:
    """Who is a member, as what, and who else is to become one."""

    def __init__(self, visit: Visit) -> None:
        self._visit, manages = visit, visit.may(Action.MANAGE_MEMBERS)
        self._part = Part(visit, words.MEMBERS, words.MEMBERS_TEXT if manages else "", term="role")
        if manages:
            with self._part.card, ui.row().classes("w-full items-end gap-3"):
                self._name = field(words.MEMBER_NAME)
                self._role = _role_select("viewer")
                primary(words.MEMBER_ADD, visit.tells(self._add)).mark("add-member")

    async def show(self) -> None:
        """Shows them as they are now."""
        await self._part.draw(self._build)

    async def _build(self) -> None:
        manages = self._visit.may(Action.MANAGE_MEMBERS)
        for member in await list_members(self._visit.asked(Action.VIEW_MEMBERS)):
            state = f" ({words.DISABLED})" if member.is_disabled else ""
            buttons: list[Any] = []
            if manages:
                title = words.REMOVE_TITLE.format(name=member.name)
                remove = asked_first(
                    self._visit, title, words.REMOVE_TEXT, yes=words.REMOVE,
                    do=self._remover(member.user_id),
                )  # fmt: skip
                buttons.append((words.REMOVE, remove))
            with ui.row().classes("w-full items-center gap-3"):
                with ui.column().classes("grow basis-48 min-w-0"):
                    line(f"{member.display_name}{state}", member.name, *buttons)
                if manages:
                    role = _role_select(member.role)
                    role.on_value_change(self._visit.tells(self._changer(member.user_id)))
                else:
                    ui.label(member.role)

    async def _add(self) -> None:
        name = (self._name.value or "").strip()
        new = NewMember.model_construct(name=name, role=self._role.value)
        await add_member(self._visit.asked(Action.MANAGE_MEMBERS), new)
        self._name.value = ""
        await self.show()

    def _remover(self, user_id: str) -> Any:
        async def remove() -> None:
            await remove_member(self._visit.asked(Action.MANAGE_MEMBERS), user_id)
            await self.show()

        return remove

    def _changer(self, user_id: str) -> Any:
        async def change(event: Any) -> None:
            try:
                asked = self._visit.asked(Action.MANAGE_MEMBERS)
                await set_role(asked, user_id, NewRole(role=event.value))
                ui.notify(words.DONE, type="positive")
            finally:
                await self.show()

        return change


class Accounts:
    """Everybody who may sign in to the server."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.USERS, words.USERS_TEXT)
        with self._part.card, ui.row().classes("w-full items-end gap-3"):
            self._name, self._shown = field(words.USER_NAME), field(words.USER_SHOWN)
            self._role = _role_select("editor")
            primary(words.USER_MAKE, visit.tells(self._make)).mark("make-user")

    async def show(self) -> None:
        """Shows them as they are now."""
        await self._part.draw(self._build)

    async def _build(self) -> None:
        me = self._visit.principal.user_id
        for user in await list_users(self._visit.asked(Action.MANAGE_USERS)):
            notes = [user.name]
            notes += [words.USER_ADMIN] if user.is_server_admin else []
            notes += [words.DISABLED] if user.is_disabled else []
            buttons = []
            if user.id != me:
                buttons.append((words.USER_RESET, self._reset(user.id, user.name)))
                buttons.append(self._switch(user.id, user.name, is_disabled=user.is_disabled))
            line(user.display_name, ", ".join(notes), *buttons)

    async def _make(self) -> None:
        name = (self._name.value or "").strip()
        password = fresh_password()
        new = NewUser.model_construct(
            name=name, display_name=(self._shown.value or "").strip() or name,
            role=self._role.value, email=None, password=password,
        )  # fmt: skip
        await create_user(self._visit.asked(Action.MANAGE_USERS), new)
        self._name.value = self._shown.value = ""
        await self.show()
        _tell_password(name, password)

    def _reset(self, user_id: str, name: str) -> Any:
        async def do() -> None:
            made = await reset_password(self._visit.asked(Action.MANAGE_USERS), user_id)
            _tell_password(name, made.password)

        return self._visit.tells(do)

    def _switch(self, user_id: str, name: str, *, is_disabled: bool) -> tuple[str, Any]:
        async def do() -> None:
            changes = UserChanges(is_disabled=not is_disabled)
            await change_user(self._visit.asked(Action.MANAGE_USERS), user_id, changes)
            await self.show()

        if is_disabled:
            return words.USER_ENABLE, self._visit.tells(do)
        title = words.USER_DISABLE_TITLE.format(name=name)
        return words.USER_DISABLE, asked_first(
            self._visit, title, words.USER_DISABLE_TEXT, yes=words.USER_DISABLE, do=do
        )


class Invitations:
    """Links for people who have no account yet."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.INVITATIONS, words.INVITATIONS_TEXT)
        with self._part.card, ui.row().classes("w-full items-end gap-3"):
            self._meant_for = field(words.INVITE_FOR)
            self._role = _role_select("editor")
            primary(words.INVITE, visit.tells(self._make)).mark("invite")

    async def show(self) -> None:
        """Shows those that wait."""
        await self._part.draw(self._build)

    async def _build(self) -> None:
        found = await list_invitations(self._visit.asked(Action.MANAGE_USERS))
        if not found:
            ui.label(words.INVITATIONS_NONE).classes("gkt-soft")
        for one in found:
            until = self._visit.reader.time(one.expires_at)
            revoke = asked_first(
                self._visit, words.INVITE_REVOKE_TITLE, words.INVITE_REVOKE_TEXT,
                yes=words.REVOKE, do=self._revoker(one.id),
            )  # fmt: skip
            detail = words.INVITE_STATE.format(role=one.role, until=until)
            line(one.meant_for or words.INVITE_ANYBODY, detail, (words.REVOKE, revoke))

    async def _make(self) -> None:
        new = NewInvitation.model_construct(
            role=self._role.value, meant_for=(self._meant_for.value or "")
        )
        made = await create_invitation(self._visit.asked(Action.MANAGE_USERS), new)
        self._meant_for.value = ""
        await self.show()
        origin = self._visit.parts.settings.public_url or self._visit.origin
        _tell_once(
            words.INVITE_MADE_TITLE,
            words.INVITE_MADE,
            f"{origin}{made.path}",
            is_only_here=is_loopback_url(origin),
        )

    def _revoker(self, invitation_id: str) -> Any:
        async def revoke() -> None:
            await revoke_invitation(self._visit.asked(Action.MANAGE_USERS), invitation_id)
            await self.show()

        return revoke


def _role_select(role: str) -> ui.select:
    named = {name: words.ROLES[name] for name in ROLES}
    return ui.select(named, label=words.ROLE, value=role).props("outlined dense").classes("w-60")


def _tell_password(name: str, password: str) -> None:
    _tell_once(words.USER_PASSWORD_TITLE.format(name=name), words.USER_PASSWORD_TEXT, password)


def _tell_once(title: str, text: str, secret: str, *, is_only_here: bool = False) -> None:
    """Shows what is never shown again, to be copied; a link that works only here is said to be."""
    with ui.dialog() as dialog, ui.card().classes("gkt-dialog"):
        heading(title, level=2)
        note(text, kind="warning")
        code(secret)
        if is_only_here:
            with note(words.INVITE_ONLY_HERE, kind="warning").classes("gkt-asks"):
                ui.link(words.INVITE_HOW, "/help#others", new_tab=True)
        ui.button(common.CLOSE, on_click=dialog.close).props("flat no-caps").mark("close")
    dialog.on("hide", dialog.delete)
    dialog.open()
