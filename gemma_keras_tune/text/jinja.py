"""The chat template of a Hugging Face folder: Jinja that writes what our own templates encode."""

from __future__ import annotations


def chat_template(
    *,
    user_open: str,
    user_close: str,
    model_open: str,
    model_close: str,
    between: str,
    system_open: str,
    system_close: str,
) -> str:
    """A Hugging Face chat template that writes what `render` encodes.

    `assistant` and `model` mean the same; content may be a string or a list of text parts.
    Jinja's `trim` is Python's `str.strip`.
    """
    written = {
        "USER_OPEN": user_open,
        "USER_CLOSE": user_close,
        "MODEL_OPEN": model_open,
        "MODEL_CLOSE": model_close,
        "BETWEEN": between,
        "SYSTEM_OPEN": system_open,
        "SYSTEM_CLOSE": system_close,
        "SYSTEM": "own" if system_open else "first user",
    }
    text = _TEXT
    for name, value in written.items():
        text = text.replace(f"@{name}@", value.replace("\n", "\\n"))
    return text


_TEXT = """\
{%- macro content_of(message) -%}
{%- if message['content'] is string -%}
{{ message['content'] | trim }}
{%- else -%}
{%- set ns = namespace(text='') -%}
{%- for item in message['content'] -%}
{%- if item['type'] != 'text' -%}
{{ raise_exception('This model reads text only, not ' ~ item['type']) }}
{%- endif -%}
{%- set ns.text = ns.text ~ item['text'] -%}
{%- endfor -%}
{{ ns.text | trim }}
{%- endif -%}
{%- endmacro -%}
{{ bos_token }}
{%- set system = '' -%}
{%- set talk = messages -%}
{%- if messages[0]['role'] in ['system', 'developer'] -%}
{%- set system = content_of(messages[0]) -%}
{%- set talk = messages[1:] -%}
{%- endif -%}
{%- if system and '@SYSTEM@' == 'own' -%}
{{ '@SYSTEM_OPEN@' ~ system ~ '@SYSTEM_CLOSE@' }}
{%- set system = '' -%}
{%- elif system -%}
{%- set system = system ~ '\\n\\n' -%}
{%- endif -%}
{%- for message in talk -%}
{%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
{{ raise_exception('Roles must alternate: user, assistant, user, assistant, ...') }}
{%- endif -%}
{%- if message['role'] == 'user' -%}
{{ ('' if loop.first else '@BETWEEN@') ~ '@USER_OPEN@' ~ (system if loop.first else '') \
~ content_of(message) ~ '@USER_CLOSE@' }}
{%- elif message['role'] in ['assistant', 'model'] -%}
{{ '@MODEL_OPEN@' ~ content_of(message) ~ '@MODEL_CLOSE@' }}
{%- else -%}
{{ raise_exception('Unknown role ' ~ message['role']) }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{ '@MODEL_OPEN@' }}
{%- endif -%}"""
