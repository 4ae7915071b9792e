"""The texts of the pages Settings and Admin."""

from __future__ import annotations

SETTINGS_TITLE = "Settings"
ADMIN_TITLE = "Admin"

PROFILE = "You"
SIGNED_IN_AS = "Signed in as {name}."
ROLE_HERE = "Your role in the workspace “{workspace}”: {role}."
SERVER_ADMIN = "You may also look after the whole server."
WORKSPACE = "Workspace"
PASSWORD = "Password"
PASSWORD_NOW = "Your password now"
PASSWORD_NEW = "New password"
PASSWORD_AGAIN = "New password again"
PASSWORD_DIFFER = "The two new passwords are not the same."
PASSWORD_CHANGE = "Change it"
PASSWORD_CHANGED = "Changed. Your other sessions have ended."

SESSIONS = "Where you are signed in"
SESSIONS_TEXT = "End what you don't know; that browser must then sign in again."
SESSION_HERE = "this one"
SESSION_DETAIL = "From {address}, last used {when}"
BROWSER_ON = "{browser} on {system}"
UNKNOWN_BROWSER = "An unknown browser or program"
END = "End"
END_OTHERS = "End all others"
ENDED = "Ended."

TOKENS = "Access tokens"
TOKENS_TEXT = "For programs that use the API in your name. Each is shown once, when it is made."
TOKENS_NONE = "You have none in this workspace."
TOKEN_NAME = "What it is for"
TOKEN_SCOPES = "What it may do"
SCOPES = {
    "read": "read: look and download",
    "write": "write: upload and name",
    "run": "run: start and steer jobs",
    "admin": "admin: members, quotas, secrets",
}
TOKEN_DAYS = "Days that it holds"
TOKEN_MAKE = "Make a token"
TOKEN_MADE = "Copy it now: it is not shown again."
TOKEN_STATE = "{scopes}, until {until}"
TOKEN_USED = "last used {when}"
TOKEN_UNUSED = "never used"
REVOKE = "Revoke"
REVOKE_TITLE = "Revoke this token?"
REVOKE_TEXT = "Programs that use it are refused from now on."

MEMBERS = "Members of this workspace"
MEMBERS_TEXT = "Add people here who have an account on this server already."
MEMBER_ADD = "Add a member"
MEMBER_NAME = "Name of the account"
ROLE = "Role"
ROLES = {
    "viewer": "viewer (may look)",
    "editor": "editor (data and runs)",
    "admin": "admin (members as well)",
    "owner": "owner (everything)",
}
REMOVE = "Remove"
REMOVE_TITLE = "Remove {name} from this workspace?"
REMOVE_TEXT = "Their sessions and tokens here end. What they made stays."
DONE = "Done."
DISABLED = "shut out"

USERS = "Accounts of this server"
USERS_TEXT = (
    "Make an account here for somebody to whom you can tell a first password. They become a member "
    "of this workspace."
)
USER_NAME = "Name to sign in with"
USER_SHOWN = "Name to show"
USER_MAKE = "Make an account"
USER_PASSWORD_TITLE = "The password of {name}"
USER_PASSWORD_TEXT = (
    "Tell it to them: it is not shown again, and they must change it when they sign in."
)
USER_RESET = "New password"
USER_DISABLE = "Shut out"
USER_ENABLE = "Let in again"
USER_DISABLE_TITLE = "Shut {name} out?"
USER_DISABLE_TEXT = (
    "Their sessions end at once, and they can't sign in any more. Nothing is deleted."
)
USER_ADMIN = "administrator"

INVITATIONS = "Invitations"
INVITATIONS_TEXT = (
    "Make a link here for somebody elsewhere, who then makes an account of their own in this "
    "workspace, with a password that only they know. It works once, for a week."
)
INVITATIONS_NONE = "None waits to be used."
INVITE = "Make a link"
INVITE_FOR = "For whom (a remark)"
INVITE_ANYBODY = "for anybody"
INVITE_STATE = "{role}, until {until}"
INVITE_MADE_TITLE = "The invitation"
INVITE_MADE = "Send it to one person: whoever opens it first is in. It is not shown again."
INVITE_ONLY_HERE = (
    "This link works only on the computer that this app runs on: you have opened the app under an "
    "address that leads everybody to their own computer."
)
INVITE_HOW = "How colleagues can reach it"
INVITE_REVOKE_TITLE = "Revoke this invitation?"
INVITE_REVOKE_TEXT = "The link is worthless from now on."

SECRETS = "Secrets of this workspace"
SECRETS_TEXT = "Handed to the jobs of this workspace, encrypted at rest, and never shown again."
SECRET_NAME = "Name, such as HF_TOKEN"
SECRET_VALUE = "Value"
SECRET_PUT = "Keep it"
SECRETS_NONE = "There are none."
SECRET_CHANGED = "changed {when}"
DELETE = "Delete"
DELETE_SECRET_TITLE = "Delete the secret {name}?"
DELETE_SECRET_TEXT = "Jobs that need it fail until it is set again."

QUOTAS = "Quotas"
QUOTAS_TEXT = "What each member may use here; empty: the server's default."
QUOTA_RUNNING = "Jobs at once"
QUOTA_QUEUED = "Jobs that wait"
QUOTA_DISK = "Gigabytes on the disk"
SAVE = "Save"

AUDIT = "Audit log"
AUDIT_COLUMNS = ("When", "What", "Who", "About", "From")
AUDIT_ACTION = "Only this action"
AUDIT_VERIFY = "Check the chain"
AUDIT_SOUND = "The chain is whole: {count} entries."
AUDIT_BROKEN = "The chain is broken: {why}"

BACKUPS = "Backups of the database"
BACKUP_NOW = "Back it up now"
BACKUP_MADE = "Made."
BACKUPS_NONE = "There is none yet."
BACKUPS_ELSEWHERE = "The database is a PostgreSQL; its own tools back it up."
STORAGE = "Storage"
STORAGE_TEXT = "What the data root holds. What can be made again can be cleared."
STORAGE_COLUMNS = ("What", "Size", "Files")
STORAGE_NAMES = {
    "runs": "Runs",
    "datasets": "Data sets",
    "models": "Uploaded models",
    "uploads": "Uploads that aren't finished",
    "jobs": "Jobs",
    "cache": "Cache: prepared data, the demo's weights, plans, compiled programs",
    "backups": "Backups",
    "trash": "Trash",
}
CLEAR_CACHE = "Clear the cache"
CLEAR_CACHE_TITLE = "Clear the cache?"
CLEAR_CACHE_TEXT = "The next run prepares its data again; nothing else is lost."
CLEARED = "{size} are free again."
