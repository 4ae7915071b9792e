"""What stands around every page: where one can go, who is signed in, theme, help and sign-out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from nicegui import app as nicegui
from nicegui import ui

from gemma_keras_tune.errors import TuneError

from ..collecting import let_go
from ..identity.access import Action, may
from ..identity.csrf import FIELD
from ..reader import COOKIE
from ..words import common
from .browser_notices import BrowserNotices
from .visit import Visit
from .widgets import empty_state, heading, link_button

_THEME_COOKIE = "gkt-theme"
_YEAR_S = 365 * 24 * 3600
_PATIENCE_S = 30.0  # for a page to be built while the machine is busy
# Name to (what Quasar's dark mode is set to, icon); a click goes on to the next.
_THEMES = MappingProxyType(
    {
        "automatic": (None, "brightness_auto"),
        "light": (False, "light_mode"),
        "dark": (True, "dark_mode"),
    }
)
_LOOK = (Path(__file__).parent / "look.css").read_text("utf-8")

# The browser says how its reader writes numbers and times; the page is asked for once more if
# what it says is new. Without cookies it isn't.
_READER = f"""
<script>
  (() => {{
    const said = encodeURIComponent(
      navigator.language + "," + Intl.DateTimeFormat().resolvedOptions().timeZone);
    const has = () => document.cookie.split("; ").includes("{COOKIE}=" + said);
    if (has()) return;
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie =
      "{COOKIE}=" + said + "; Path=/; Max-Age={_YEAR_S}; SameSite=Strict" + secure;
    if (has()) location.reload();
  }})();
</script>
"""


@dataclass(frozen=True)
class _Section:
    """A page that the navigation leads to."""

    path: str
    name: str
    icon: str
    needs: Action | None


def install(app: FastAPI) -> None:
    """Prepares what all pages share; once an app, before the first page is registered."""
    app.state.sections = []
    nicegui.on_delete(let_go)
    ui.add_head_html(_READER, shared=True)
    ui.add_css(_LOOK, shared=True)


def page(
    app: FastAPI,
    path: str,
    *,
    title: str,
    nav: str = "",
    icon: str = "",
    needs: Action | None = None,
    wide: bool = False,
) -> Callable[[Callable[..., Any]], None]:
    """A decorator: the function fills the page at `path`; its first argument is the `Visit`.

    A `TuneError` that it raises is told in the page's place.

    Args:
        app: The outer app.
        path: With parameters as FastAPI writes them; the function takes them by name.
        title: What the page is called; `visit.title` changes it.
        nav: What the navigation calls it; left out, it doesn't lead there.
        icon: Stands before that.
        needs: What somebody must be allowed to do to see it.
        wide: Whether it uses the whole width of a wide screen.
    """
    if nav:
        app.state.sections.append(_Section(path, nav, icon, needs))

    def decorate(build: Callable[..., Any]) -> None:
        parameters = list(inspect.signature(build, eval_str=True).parameters.values())[1:]

        async def shown(**given: Any) -> None:
            visit = Visit(app, ui.context.client)
            with frame(visit, title, at=path, wide=wide):
                try:
                    if needs is not None:
                        visit.asked(needs)
                    result = build(visit, **given)
                    if inspect.isawaitable(result):
                        await result
                except TuneError as error:
                    _instead(visit, error)

        shown.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        ui.page(path, dark=None, response_timeout=_PATIENCE_S)(shown)

    return decorate


@contextmanager
def frame(visit: Visit, title: str, *, at: str, wide: bool = False) -> Iterator[None]:
    """Header and navigation; what is made inside stands below the title."""
    ui.page_title(f"{title} - {common.PRODUCT}")
    ui.colors(primary="#1d4ed8", negative="#b91c1c", positive="#15803d", warning="#b45309")
    with (
        ui.left_drawer(top_corner=False, bottom_corner=True)
        .classes("gkt-drawer")
        .props(f'width=220 breakpoint=900 show-if-above aria-label="{common.NAVIGATION}"') as drawer
    ):
        _navigation(visit, at)
    with ui.header(elevated=False).classes("gkt-header"):
        ui.link(common.SKIP, "#content").classes("gkt-skip")  # the first thing on the page
        ui.button(icon="menu", on_click=drawer.toggle).props(
            f'flat round color=inherit aria-label="{common.MENU}"'
        ).classes("gkt-only-narrow").mark("menu")
        ui.link(common.PRODUCT, "/").classes("gkt-product")
        ui.space()
        with ui.row().classes("items-center gap-2 no-wrap"):
            ui.label(visit.principal.name).classes("max-w-40 truncate gkt-only-wide").mark("who")
            _theme_button(visit, is_https=visit.parts.settings.is_https)
            _sign_out(visit.parts.identity.csrf.token(visit.principal.session_hash or ""))
    with ui.column().classes("gkt-page" + (" gkt-wide" if wide else "")).props("id=content"):
        visit.title = heading(title, level=1)
        visit.notices = BrowserNotices(visit)
        yield


def _navigation(visit: Visit, at: str) -> None:
    sections: Sequence[_Section] = visit.app.state.sections
    for section in sections:
        principal = visit.principal
        if section.needs and not may(principal, section.needs, principal.workspace_id):
            continue
        here = at == section.path or (section.path != "/" and at.startswith(f"{section.path}/"))
        with ui.link(target=section.path).classes(
            "gkt-nav" + (" gkt-here" if here else "")
        ) as link:
            if here:
                link.props("aria-current=page")
            ui.icon(section.icon, size="1.25rem").props("aria-hidden=true")
            ui.label(section.name)


def _instead(visit: Visit, error: TuneError) -> None:
    """What a page shows that can't be shown."""
    with empty_state("search_off", common.GONE_TITLE, visit.text_of(error)):
        link_button(common.TO_HOME, "/")


def _theme_button(visit: Visit, *, is_https: bool) -> None:
    """Goes through the themes; the browser keeps the choice in a cookie that says nothing else."""
    chosen = visit.client.request.cookies.get(_THEME_COOKIE, "")
    names = list(_THEMES)
    state = {"name": chosen if chosen in _THEMES else names[0]}
    dark = ui.dark_mode(_THEMES[state["name"]][0])
    button = ui.button().props("flat round color=inherit").mark("theme")

    def show() -> None:
        value, icon = _THEMES[state["name"]]
        dark.value = value
        label = common.THEME.format(name=state["name"])
        button.props(f'icon={icon} aria-label="{label}"')

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
        button = ui.button(icon="logout").props("type=submit flat no-caps color=inherit")
        button.props(f'aria-label="{common.SIGN_OUT}"').mark("sign-out")
        with button:
            ui.label(common.SIGN_OUT).classes("gkt-only-wide ml-2")
