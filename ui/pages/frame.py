"""What stands around every page: the product's name, who is signed in, theme and sign-out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

from nicegui import ui

from ..gate.clients import current_person
from ..identity.csrf import FIELD
from ..parts import Parts

_THEME_COOKIE = "gkt-theme"
_YEAR_S = 365 * 24 * 3600
# Name to (what Quasar's dark mode is set to, icon); a click goes on to the next.
_THEMES = MappingProxyType(
    {
        "automatic": (None, "brightness_auto"),
        "light": (False, "light_mode"),
        "dark": (True, "dark_mode"),
    }
)


@contextmanager
def frame(parts: Parts, title: str) -> Iterator[None]:
    """The page's header; what is made inside stands below its title."""
    ui.page_title(f"{title} - Gemma Keras Tune")
    person = current_person(ui.context.client)
    with ui.header().classes(
        "items-center justify-between gap-2 px-4 py-2 bg-gray-50 text-gray-900 "
        "dark:bg-gray-900 dark:text-gray-100 border-b border-gray-300 dark:border-gray-700"
    ):
        ui.link("Gemma Keras Tune", "/").classes("text-lg font-bold no-underline text-inherit")
        with ui.row().classes("items-center gap-2"):
            ui.label(person.name).classes("max-w-40 truncate").mark("who")
            _theme_button(is_https=parts.settings.is_https)
            _sign_out(parts.identity.csrf.token(person.session_hash or ""))
    with ui.column().classes("w-full max-w-5xl mx-auto px-4 py-4 gap-6"):
        heading(title, level=1)
        yield


def heading(text: str, *, level: int) -> ui.label:
    """A heading that screen readers find by its level."""
    size = {1: "text-2xl font-bold", 2: "text-xl font-semibold"}[level]
    return ui.label(text).classes(size).props(f"role=heading aria-level={level}")


def _theme_button(*, is_https: bool) -> None:
    """Goes through the themes; the browser keeps the choice in a cookie that says nothing else."""
    request = ui.context.client.request
    chosen = request.cookies.get(_THEME_COOKIE, "")
    names = list(_THEMES)
    state = {"name": chosen if chosen in _THEMES else names[0]}
    dark = ui.dark_mode(_THEMES[state["name"]][0])
    button = ui.button().props("flat round color=inherit").mark("theme")

    def show() -> None:
        value, icon = _THEMES[state["name"]]
        dark.value = value
        button.props(f'icon={icon} aria-label="Theme: {state["name"]}"')

    def go_on() -> None:
        state["name"] = names[(names.index(state["name"]) + 1) % len(names)]
        show()
        secure = "; Secure" if is_https else ""
        ui.run_javascript(
            f"document.cookie = '{_THEME_COOKIE}={state['name']}; Path=/; Max-Age={_YEAR_S}; "
            f"SameSite=Strict{secure}'"
        )

    show()
    button.on_click(go_on)


def _sign_out(token: str) -> None:
    """A form, so that it works as the one on the sign-in page does."""
    with ui.element("form").props("method=post action=/sign-out").classes("m-0"):
        ui.element("input").props(f'type=hidden name={FIELD} value="{token}"')
        ui.button("Sign out").props("type=submit flat no-caps color=inherit").mark("sign-out")
