"""The page on which one signs in: a form without scripts, in both languages."""
from __future__ import annotations

from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import run_in_threadpool

from jittor_ipl.errors import UserError
from jittor_ipl.webui.accounts import SESSION_SECONDS, Accounts
from jittor_ipl.webui.guard import SESSION, address_of

_FORM = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<link rel="icon" href="data:,"><title>jittor_ipl: sign in 登录</title>
<style>:root{color-scheme:light dark}body{font:1.1rem/1.5 system-ui,sans-serif;max-width:22rem;margin:12vh auto;
padding:0 1rem}input,button{font:inherit;width:100%;box-sizing:border-box;padding:.6rem;margin:.25rem 0 1rem}</style>
<main><h1>jittor_ipl</h1><form method="post" action="/login">
<label>Name 用户名<input name="name" autocomplete="username" required autofocus></label>
<label>Password 密码<input name="password" type="password" autocomplete="current-password" required></label>
<p role="alert">{remark}</p><button>Sign in 登录</button></form></main></html>"""


def router(accounts: Accounts) -> APIRouter:
    """Return the routes /login and /logout."""
    routes = APIRouter()

    @routes.get("/login")
    def form() -> HTMLResponse:
        return _page("")

    @routes.post("/login")
    async def sign_in(request: Request):
        given = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=8)
        name, password = (given.get(field, [""])[0] for field in ("name", "password"))
        try:
            right = await run_in_threadpool(accounts.check, name, password, address_of(request.scope))
        except UserError:
            return _page("Too many wrong passwords: wait a minute. 错误次数过多，请等一分钟。", 429)
        if not right:
            return _page("Wrong name or password. 用户名或密码错误。", 401)
        answer = RedirectResponse("/", 303)
        answer.set_cookie(SESSION, accounts.open(name), max_age=SESSION_SECONDS, httponly=True, samesite="strict",
                          secure=request.url.scheme == "https")
        return answer

    @routes.post("/logout")
    def sign_out(request: Request) -> RedirectResponse:
        accounts.close(request.cookies.get(SESSION, ""))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(SESSION)
        return answer
    return routes


def _page(remark: str, status: int = 200) -> HTMLResponse:
    return HTMLResponse(_FORM.replace("{remark}", remark), status)
