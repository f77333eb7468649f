"""`twistd wsock` behind nginx and haproxy, which ask by HTTP/1.0 for pages and for health unless told otherwise."""

import contextlib
import csv
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.peer import PATIENCE, Address, Peer, frame, request, within
from integration.process import Twistd
from tools import free_port, require

pytestmark = pytest.mark.peer

LOOPBACK = "tcp:0:interface=127.0.0.1"


@pytest.fixture(scope="module")
def twistd() -> Iterator[Twistd]:
    with Twistd("--port", LOOPBACK) as twistd:
        yield twistd


@contextlib.contextmanager
def running(command: list[str], folder: Path, ports: list[int]) -> Iterator[None]:
    """Runs a proxy in a folder, from when it listens on its ports."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        for port in ports:
            within(PATIENCE, lambda port=port: process.poll() is not None or listens(port), f"{command[0]} listens")
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextlib.contextmanager
def connecting(port: int) -> Iterator[Address]:
    address = Address(port=port)
    try:
        yield address
    finally:
        address.close()


def check_page(peer: Peer, method: str = "GET", version: str = "HTTP/1.1") -> None:
    """The console, as `twistd wsock` serves it without a proxy."""
    peer.send(f"{method} / {version}\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    answer = peer.answer()
    assert (answer.status, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    content = peer.rest()
    assert content.startswith(b"<!doctype html>" if method == "GET" else b"")
    if answer["Content-Length"] is not None:
        assert len(content) == (int(answer["Content-Length"]) if method == "GET" else 0)


def check_echo(address: Address) -> None:
    peer = address.connect()
    peer.send(request() + frame(0x81, b"early"))
    assert peer.answer().status == 101
    peer.send(frame(0x82, bytes(70000)))
    assert [peer.frame(), peer.frame()] == [(0x81, b"early"), (0x82, bytes(70000))]
    peer.send(frame(0x88, b"\x03\xe8"))
    assert peer.frame() == (0x88, b"\x03\xe8")


# haproxy

HAPROXY = """
global
    stats socket unix@stats
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
listen front
    bind 127.0.0.1:{port}
    {check}
    server one 127.0.0.1:{server} check inter 50ms
"""


def answers(path: Path) -> bool:
    """Whether somebody listens on a UNIX socket: its file is there a little earlier."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(os.path.relpath(path)) == 0


def judgement(folder: Path) -> tuple[str, str, str]:
    """The opinion of haproxy of the server: its status, the result of the last check, and the HTTP status in that."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(os.path.relpath(folder / "stats"))
        sock.sendall(b"show stat\n")
        text = sock.makefile().read()
    rows = csv.DictReader(text.removeprefix("# ").splitlines())
    row = next(row for row in rows if row["svname"] == "one")
    return row["status"], row["check_status"], row["check_code"]


CHECKS = {
    "as it is": "option httpchk",
    "as it is, of health": "option httpchk /healthz",
    "HTTP/1.0, GET": "option httpchk GET /",
    "HTTP/1.0, HEAD": "option httpchk HEAD /",
    "HTTP/1.1": "option httpchk GET / HTTP/1.1\n    http-check send hdr Host localhost",
}


@pytest.mark.parametrize("check", CHECKS)
def test_haproxy_calls_the_server_up(twistd: Twistd, tmp_path: Path, check: str) -> None:
    haproxy, port = require("haproxy"), free_port()
    configuration = HAPROXY.format(port=port, server=twistd.ports[0], check=CHECKS[check])
    (tmp_path / "haproxy.cfg").write_text(configuration)
    with running([haproxy, "-db", "-f", "haproxy.cfg"], tmp_path, [port]):
        within(PATIENCE, lambda: answers(tmp_path / "stats"), "haproxy can be asked")
        # It thinks well of a server that it has not asked yet.
        within(PATIENCE, lambda: judgement(tmp_path)[1].startswith("L7"), "haproxy has asked for its health")
        assert judgement(tmp_path) == ("UP", "L7OK", "200")
        with connecting(port) as address:
            check_page(address.connect())
            check_page(address.connect(), "HEAD")
            check_echo(address)


# nginx

NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $http_connection;
    proxy_set_header Host $http_host;
    {servers}
}}
"""
SERVER = """
    server {{
        listen 127.0.0.1:{port};
        {version}
        location / {{ proxy_pass http://127.0.0.1:{server}; }}
    }}
"""


@contextlib.contextmanager
def nginx(twistd: Twistd, folder: Path, *versions: str) -> Iterator[list[int]]:
    """Runs nginx with a server for each directive about the version; gives their ports."""
    command, ports = require("nginx"), [free_port() for _ in versions]
    servers = [
        SERVER.format(port=port, version=version, server=twistd.ports[0])
        for port, version in zip(ports, versions, strict=True)
    ]
    (folder / "nginx.conf").write_text(NGINX.format(servers="".join(servers)))
    with running([command, "-p", f"{folder}/", "-c", f"{folder}/nginx.conf"], folder, ports):
        yield ports


def test_nginx_as_it_is(twistd: Twistd, tmp_path: Path) -> None:
    """Until version 1.29.7 it asked by HTTP/1.0 where it was not told otherwise."""
    with nginx(twistd, tmp_path, "", "proxy_http_version 1.0;") as ports:
        for port in ports:
            with connecting(port) as address:
                check_page(address.connect())
                check_page(address.connect(), "HEAD")
        # The version matters to a WebSocket.
        with connecting(ports[1]) as address:
            peer = address.connect()
            peer.send(request())
            assert peer.answer().status == 505


def test_nginx_by_http_1_1(twistd: Twistd, tmp_path: Path) -> None:
    with nginx(twistd, tmp_path, "proxy_http_version 1.1;") as ports, connecting(ports[0]) as address:
        check_page(address.connect())
        check_page(address.connect(), "HEAD")
        check_echo(address)
        # It passes what the Origin rule compares.
        address.open(host=f"localhost:{ports[0]}", origin=f"http://localhost:{ports[0]}")
