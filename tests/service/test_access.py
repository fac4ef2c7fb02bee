"""Who may ask: tokens, roles, sessions, forms; and what the gate refuses before a route sees it."""

from __future__ import annotations

import hmac
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from carpal.errors import ConfigError
from carpal.web.app import create_app
from carpal.web.auth import SESSION_SECONDS, Role, Tokens
from carpal.web.settings import Settings, is_loopback

Queue = Callable[..., dict[str, Any]]
Problem = Callable[..., bool]
HTML = {"Accept": "text/html"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    (tmp_path / "data").mkdir()
    return Tokens(tmp_path / "data")


def form_token(page: str) -> str:
    found = re.search(r'name="form_token" value="([^"]+)"', page)
    assert found
    return found.group(1)


def test_tokens_are_kept_as_hashes_only(tokens: Tokens, tmp_path: Path) -> None:
    token = tokens.add("anna", Role.READER)
    text = (tmp_path / "data" / "tokens.json").read_text()
    assert token not in text
    assert (tmp_path / "data" / "tokens.json").stat().st_mode & 0o777 == 0o600
    user = tokens.user_of(token)
    assert user is not None
    assert (user.name, user.role) == ("anna", Role.READER)
    assert tokens.user_of(token + "x") is None
    assert tokens.user_of("") is None


@pytest.mark.parametrize("name", ["", "a b", "../x", "ä", "x" * 65])
def test_odd_token_names_are_refused(tokens: Tokens, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name"):
        tokens.add(name, Role.READER)


def test_a_session_ends_with_time_with_its_token_and_when_it_is_forged(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = tokens.user_of(tokens.add("anna", Role.READER))
    tokens.add("otto", Role.ADMIN)
    assert user is not None
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    cookie = tokens.session(user)
    assert tokens.user_of_session(cookie) == user
    assert tokens.session(user) != cookie
    forged = [cookie.replace("anna", "otto"), cookie[:-1], cookie + "x", cookie.rsplit(".", 1)[0], "::", "", "anna:"]
    forged += [cookie[:at] + chr(ord(cookie[at]) ^ 1) + cookie[at + 1 :] for at in range(len(cookie) - 1)]
    assert [each for each in forged if tokens.user_of_session(each) is not None] == []
    monkeypatch.setattr(time, "time", lambda: 1000.0 + SESSION_SECONDS)
    assert tokens.user_of_session(cookie) == user
    monkeypatch.setattr(time, "time", lambda: 1001.0 + SESSION_SECONDS)
    assert tokens.user_of_session(cookie) is None
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    tokens.remove("anna")
    tokens.add("anna", Role.ADMIN)
    assert tokens.user_of_session(cookie) is None


def test_a_session_of_version_0_5_signs_in_again(tokens: Tokens, tmp_path: Path) -> None:
    """Its cookie: name, expiry, and the HMAC of both and of the token's hash, in hexadecimal digits."""
    tokens.add("anna", Role.READER)
    expiry, sha256 = int(time.time()) + 3600, tokens.entries()["anna"].sha256
    message = f"session:anna:{expiry}:{sha256}".encode()
    old = hmac.new((tmp_path / "data" / "secret").read_bytes(), message, "sha256").hexdigest()
    assert tokens.user_of_session(f"anna:{expiry}:{old}") is None


def test_a_form_token_is_of_one_browser_one_session_and_a_day(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.0)
    sent = tokens.form_token("browser", "session")
    assert tokens.form_token_is(sent, "browser", "session")
    others = [("other", "session"), ("browser", "other"), ("browser", ""), ("", "session"), ("session", "browser")]
    assert [pair for pair in others if tokens.form_token_is(sent, *pair)] == []
    assert not tokens.form_token_is(tokens.form_token("", ""), "", "")
    assert not tokens.form_token_is(sent.replace("form", "from"), "browser", "session")
    assert not tokens.form_token_is(sent[:-1], "browser", "session")
    monkeypatch.setattr(time, "time", lambda: 1001.0 + SESSION_SECONDS)
    assert not tokens.form_token_is(sent, "browser", "session")


def test_others_are_only_served_with_tokens(tmp_path: Path, engine: Any) -> None:
    with pytest.raises(ConfigError, match="nobody has a token"):
        create_app(Settings(tmp_path / "other", host="0.0.0.0"), engine)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("h.de", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_roles(build: Callable[..., TestClient], tokens: Tokens, queue: Queue, problem: Problem) -> None:
    reader, admin = bearer(tokens.add("anna", Role.READER)), bearer(tokens.add("otto", Role.ADMIN))
    client = build()
    assert problem(client.get("/api/v1/jobs"), 401, "unauthenticated")
    assert client.get("/api/v1/jobs").headers["www-authenticate"] == "Bearer"
    assert problem(client.get("/api/v1/jobs", headers=bearer("wrong")), 401, "unauthenticated")
    assert client.get("/api/v1/health").status_code == 200
    job = queue(client, headers=reader)
    for method, path in (
        ("GET", "/api/v1/metrics"),
        ("GET", "/api/v1/readings.csv"),
        ("DELETE", f"/api/v1/jobs/{job['id']}"),
    ):
        assert problem(client.request(method, path, headers=reader), 403, "forbidden")
        assert client.request(method, path, headers=admin).status_code in (200, 204)


def test_signing_in_on_the_page(build: Callable[..., TestClient], tokens: Tokens) -> None:
    token, client = tokens.add("anna", Role.READER), build()
    assert client.get("/", headers=HTML, follow_redirects=False).headers["location"] == "/login"
    page = client.get("/login", headers=HTML).text
    wrong = client.post("/login", data={"token": "x", "form_token": form_token(page)}, headers=HTML)
    assert wrong.status_code == 401
    assert "no such token" in wrong.text
    right = client.post("/login", data={"token": token, "form_token": form_token(page)}, headers=HTML)
    assert right.status_code == 200
    assert "anna" in right.text
    cookies = [cookie for answer in right.history for cookie in answer.headers.get_list("set-cookie")]
    assert any("httponly" in c.lower() and "samesite=strict" in c.lower() for c in cookies if "carpal_session" in c)
    assert client.get("/api/v1/jobs").status_code == 200, "the page's session also opens the API"
    client.post("/logout", data={"form_token": form_token(right.text)}, headers=HTML)
    assert client.get("/api/v1/jobs").status_code == 401


def test_a_form_from_elsewhere_is_refused(client: TestClient, problem: Problem) -> None:
    client.get("/")
    assert problem(client.post("/language", data={"language": "de", "form_token": "0" * 64}), 403, "bad-form")
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = client.post("/api/v1/jobs", headers=headers)
        assert problem(answer, 403, "cross-site")


def test_a_form_of_another_session_is_refused(
    build: Callable[..., TestClient], tokens: Tokens, problem: Problem
) -> None:
    """Also of the same browser: the page before signing in, and that of who sat here before."""
    anna, otto, client = tokens.add("anna", Role.READER), tokens.add("otto", Role.READER), build()
    before = form_token(client.get("/login", headers=HTML).text)
    hers = form_token(client.post("/login", data={"token": anna, "form_token": before}, headers=HTML).text)
    english = {"language": "en"}
    assert problem(client.post("/language", data=english | {"form_token": before}), 403, "bad-form")
    assert client.post("/language", data=english | {"form_token": hers}, follow_redirects=False).status_code == 303
    his = form_token(client.post("/login", data={"token": otto, "form_token": hers}, headers=HTML).text)
    assert problem(client.post("/language", data=english | {"form_token": hers}), 403, "bad-form")
    assert client.post("/language", data=english | {"form_token": his}, follow_redirects=False).status_code == 303


def test_the_way_back_leads_nowhere_else(client: TestClient) -> None:
    token = form_token(client.get("/", headers=HTML).text)
    for back in ("https://evil.example", "//evil.example", "/\\evil.example"):
        answer = client.post(
            "/language", data={"language": "de", "form_token": token, "back": back}, follow_redirects=False
        )
        assert answer.headers["location"] == "/"


def test_another_host_name_is_refused(client: TestClient, problem: Problem) -> None:
    assert problem(client.get("/api/v1/health", headers={"Host": "evil.example"}), 400, "bad-host")


def test_every_answer_is_fenced_in(client: TestClient) -> None:
    for path in ("/", "/api/v1/health", "/static/viewer.js", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    assert client.get("/").headers["cache-control"] == "no-store"


def test_a_large_request_is_refused(build: Callable[..., TestClient], png: bytes, problem: Problem) -> None:
    client = build(max_upload=2000)
    assert problem(client.post("/api/v1/assess", files={"file": ("h.png", png + b"0" * 3000)}), 413, "too-large")

    def parts() -> Any:  # a body without a length
        yield from (b"0" * 1500 for _ in range(3))

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert problem(client.post("/api/v1/assess", content=parts(), headers=headers), 413, "too-large")


def test_too_many_files_are_refused(build: Callable[..., TestClient], png: bytes, problem: Problem) -> None:
    files = [("files", (f"{n}.png", png)) for n in range(3)]
    assert problem(build(max_files=2).post("/api/v1/jobs", files=files, data={"sex": "male"}), 413, "too-large")


def test_too_many_requests_are_refused(build: Callable[..., TestClient], problem: Problem) -> None:
    client = build(rate=1)
    answers = [client.get("/api/v1/version") for _ in range(25)]
    assert [answer.status_code for answer in answers[:20]] == [200] * 20
    assert problem(answers[-1], 429, "too-many-requests")
    assert answers[-1].headers["retry-after"] == "5"


def test_the_log_names_no_patient(client: TestClient, queue: Queue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    job = queue(client, patient_name="Doe^Jane", patient_id="4711", birth_date="2014-03-02")
    client.get("/studies/" + job["id"], headers=HTML)
    client.get("/api/v1/jobs", params={"q": "Jane"})
    client.post("/api/v1/jobs", files={"files": ("Jane.png", b"x")})
    lines = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith(("carpal", "uvicorn")))
    assert "POST /api/v1/jobs 202" in lines
    for word in ("Jane", "4711", "2014", job["id"]):
        assert word not in lines
