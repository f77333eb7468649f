"""The snippets of the page about deployment, each with the program that it is for."""

import getpass
import grp
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from integration.peer import PATIENCE, frame, make_certificate, request, within
from integration.process import ENVIRONMENT, TWISTD, Twistd
from integration.test_proxies import LOOPBACK, check_echo, connecting, running
from tools import find, free_port, require
from twisted.web.resource import Resource
from twisted.web.server import Site

from wsock import WebSocketProtocol, WebSocketServerFactory
from wsock.service.tap import Options
from wsock.testing import Pair, ScriptedPeer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/howto/deployment.md").read_text()

pytestmark = [pytest.mark.peer, pytest.mark.slow]


def snippet(language: str, beginning: str) -> str:
    """The only one that begins so."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if block.startswith(beginning)]
    return str(block)


def replaced(text: str, **others: object) -> str:
    """A snippet in another place: what it says has to be there."""
    for old, new in others.items():
        assert old in text
        text = text.replace(old, str(new))
    return text


def test_all_snippets_are_here() -> None:
    languages = re.findall(r"^```(\w+)$", PAGE, re.MULTILINE)
    assert sorted(languages) == sorted(["nginx", "nginx", "text", "ini", "text", "sh", "dockerfile", "sh", "python"])


# nginx


def nginx_of(folder: Path, certificate: tuple[Path, Path], server: int) -> tuple[int, list[str]]:
    """Writes nginx's configuration; returns its port and the command."""
    key, pem = certificate
    port = free_port()
    site = snippet("nginx", "upstream wsock")
    site = replaced(site, **{"127.0.0.1:8080": f"127.0.0.1:{server}", "listen 443": f"listen 127.0.0.1:{port}"})
    site = replaced(site, **{"/etc/ssl/example.com.pem": pem, "/etc/ssl/example.com.key": key})
    paths = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/nginx.pid; error_log stderr;\n"
        f"{snippet('nginx', 'worker_rlimit_nofile')}\nhttp {{ access_log off; {paths}\n{site}\n}}\n"
    )
    return port, [require("nginx"), "-p", f"{folder}/", "-c", f"{folder}/nginx.conf"]


def test_nginx(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    with Twistd("--port", LOOPBACK) as twistd:
        port, command = nginx_of(tmp_path, certificate, twistd.ports[0])
        with running(command, tmp_path, [port]), connecting(port) as address:
            address.certificate = certificate[1]
            check_echo(address)
            address.open(host=f"localhost:{port}", origin=f"https://localhost:{port}")
        log = (tmp_path / "log").read_text()
        assert "[emerg]" not in log
        assert "[warn]" not in log


def test_what_nginx_passes_on(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        port, command = nginx_of(tmp_path, certificate, server.getsockname()[1])
        with running(command, tmp_path, [port]), connecting(port) as address:
            address.certificate = certificate[1]
            peer = address.connect()
            peer.send(request(more="X-Forwarded-For: 192.0.2.1\r\n", host="example.com"))
            sock, _ = server.accept()
            with sock:
                sock.settimeout(PATIENCE)
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += sock.recv(65536)
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "get /echo http/1.1"
    for line in ("host: example.com", "upgrade: websocket", "connection: upgrade", "x-forwarded-for: 127.0.0.1"):
        assert lines.count(line) == 1
    assert len([line for line in lines if line.startswith("x-forwarded-for")]) == 1


# haproxy


@pytest.mark.parametrize("proxied", [True, False])
def test_haproxy(certificate: tuple[Path, Path], tmp_path: Path, proxied: bool) -> None:
    """With the PROXY protocol, and without it."""
    haproxy, port = require("haproxy"), free_port()
    key, pem = certificate
    (tmp_path / "both.pem").write_bytes(pem.read_bytes() + key.read_bytes())
    assert "`--port haproxy:tcp:8080:interface=127.0.0.1`" in PAGE
    log = tmp_path / "access.log"
    with Twistd("--port", f"haproxy:{LOOPBACK}" if proxied else LOOPBACK, "--access-log", log) as twistd:
        text = snippet("text", "frontend public")
        text = replaced(
            text, **{"127.0.0.1:8080": f"127.0.0.1:{twistd.ports[0]}", "bind :443": f"bind 127.0.0.1:{port}"}
        )
        text = replaced(text, **{"/etc/ssl/example.com.pem": tmp_path / "both.pem", " check": " check inter 50ms"})
        if not proxied:
            text = replaced(text, **{" send-proxy": ""})
        (tmp_path / "haproxy.cfg").write_text(f"global\n    stats socket unix@stats level admin\n{text}")
        with running([haproxy, "-db", "-f", "haproxy.cfg"], tmp_path, [port]), connecting(port) as address:
            within(PATIENCE, lambda: checked(tmp_path) == "L7OK/200", "haproxy finds the server well")
            address.certificate = pem
            peer = address.open()
            client = peer.socket.getsockname()[1]
            peer.send(frame(0x81, b"Hello") + frame(0x88, b"\x03\xe8"))
            assert [peer.frame(), peer.frame()] == [(0x81, b"Hello"), (0x88, b"\x03\xe8")]
            within(PATIENCE, lambda: log.exists() and " /echo 101 " in log.read_text(), "the access log has it")
            assert (f" 127.0.0.1:{client} /echo 101 " in log.read_text()) == proxied
        assert "[ALERT]" not in (tmp_path / "log").read_text()


def checked(folder: Path) -> str:
    """The result of haproxy's last check."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(PATIENCE)
        try:
            sock.connect(os.path.relpath(folder / "stats"))
        except OSError:
            return ""
        sock.sendall(b"show stat json\n")
        rows = json.loads(sock.makefile().read())
    fields = [{field["field"]["name"]: field["value"]["value"] for field in row} for row in rows]
    row = next(row for row in fields if row.get("svname") == "one")
    return f"{row.get('check_status')}/{row.get('check_code')}"


# systemd


def unit() -> tuple[str, ConfigParser]:
    text = snippet("ini", "[Unit]")
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return text, parser


def test_the_unit(tmp_path: Path) -> None:
    """Its command starts a server, whose log is opened again as `ExecReload` says."""
    _, parser = unit()
    service = parser["Service"]
    assert int(service["LimitNOFILE"]) == 65536
    # The server gives its clients 4 seconds.
    assert int(service["TimeoutStopSec"]) > 4
    assert service["Restart"] == "on-failure"
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/wsock/bin/twistd"
    # The user may write there.
    assert words[-1] == f"/var/log/{service['LogsDirectory']}/access.log"
    assert words[words.index("--port") + 1] == "tcp:8080:interface=127.0.0.1"
    log = tmp_path / "access.log"
    flags, options = words[: words.index("wsock")], words[words.index("wsock") + 1 : -1]
    options[options.index("--port") + 1] = LOOPBACK
    with Twistd(*options, log, flags=" ".join(flags)) as twistd:
        within(PATIENCE, log.exists, "the log is there")
        log.rename(tmp_path / "moved")
        line = shlex.split(service["ExecReload"].replace("$MAINPID", str(twistd.process.pid)))
        subprocess.run(line, check=True)
        within(PATIENCE, log.exists, "the log is opened again")
        twistd.process.send_signal(signal.SIGTERM)
        assert twistd.process.wait(PATIENCE) in (0, -signal.SIGTERM)


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    command = find("systemd-analyze")
    if command is None:
        pytest.skip("systemd-analyze is missing")
    text, parser = unit()
    program = parser["Service"]["ExecStart"].split()[0]
    # It looks whether the program is there.
    file = tmp_path / "wsock.service"
    file.write_text(text.replace(program, shutil.which("true") or program))
    result = subprocess.run([command, "verify", file], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert [line for line in (result.stdout + result.stderr).splitlines() if "wsock" in line] == []


# Logs


def test_logrotate(tmp_path: Path) -> None:
    """It moves the file away, the server makes another, and no line is lost."""
    logrotate = require("logrotate")
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o755)
    log = logs / "access.log"
    with Twistd("--port", LOOPBACK, "--access-log", log) as twistd:
        text = snippet("text", "/var/log/wsock/access.log {")
        text = replaced(text, **{"/var/log/wsock/access.log": log})
        text = replaced(text, **{"su wsock wsock": f"su {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"})
        _, parser = unit()
        reload = parser["Service"]["ExecReload"].replace("$MAINPID", str(twistd.process.pid))
        text = replaced(text, **{"systemctl reload wsock.service": reload})
        configuration = tmp_path / "wsock.conf"
        configuration.write_text(text)
        configuration.chmod(0o644)
        said = subprocess.run([logrotate, "--debug", configuration], capture_output=True, text=True, check=True)
        assert "error" not in said.stdout + said.stderr

        def visit(path: str) -> None:
            with socket.create_connection(("127.0.0.1", twistd.ports[0]), PATIENCE) as sock:
                sock.sendall(request(f"GET /{path} HTTP/1.1"))
                assert sock.makefile("rb").readline() == b"HTTP/1.1 404 Not Found\r\n"

        for number in range(3):
            visit(f"visit{number}")
            within(
                PATIENCE,
                lambda number=number: log.exists() and f"/visit{number} 404" in log.read_text(),
                "it is written",
            )
            state, before = tmp_path / "state", log.stat().st_ino
            subprocess.run([logrotate, "--force", "--state", state, configuration], check=True, timeout=PATIENCE)
            # A file that is copied and cut off would lose what is written meanwhile.
            assert not log.exists() or log.stat().st_ino != before
            within(PATIENCE, log.exists, "the server makes another")
        assert log.read_text() == ""
        # The last one waits for its compression.
        assert sorted(path.name for path in logs.iterdir()) == [
            "access.log",
            "access.log.1",
            "access.log.2.gz",
            "access.log.3.gz",
        ]
        assert "/visit2 404" in (logs / "access.log.1").read_text()


# Containers


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, in their order."""
    lines = [line for line in snippet("dockerfile", "FROM").splitlines() if line]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def command_of(text: str) -> list[str]:
    """A command in the form of a list, with the Python of this test."""
    program, *words = json.loads(text)
    known = {"/opt/wsock/bin/python": [sys.executable], "/opt/wsock/bin/twistd": TWISTD}
    return [*known[program], *words]


def test_the_container(tmp_path: Path) -> None:
    """Its entry point serves, its health check finds that out, and SIGTERM ends it."""
    found = dict(instructions())
    command = command_of(found["ENTRYPOINT"])
    begin = len(TWISTD)
    assert command[:begin] == TWISTD
    flags, name = command[begin:-1], command[-1]
    assert name == "wsock"
    assert json.loads(found["CMD"]) == ["--port", f"tcp:{found['EXPOSE']}"]
    options, _, check = found["HEALTHCHECK"].partition(" CMD ")
    assert re.fullmatch(r"--interval=\d+s --timeout=\d+s", options)
    with Twistd("--port", "tcp:0:interface=127.0.0.1", flags=" ".join(flags)) as twistd:
        line = command_of(check.replace(":8080/", f":{twistd.ports[0]}/"))
        # Not by way of a proxy that the environment may name.
        environment = {**os.environ, "no_proxy": "*"}
        assert subprocess.run(line, env=environment, timeout=PATIENCE, check=False).returncode == 0
        twistd.process.send_signal(signal.SIGTERM)
        assert twistd.process.wait(PATIENCE) in (0, -signal.SIGTERM)
    ended = subprocess.run(line, env=environment, timeout=PATIENCE, stderr=subprocess.DEVNULL, check=False)
    assert ended.returncode != 0


def test_how_the_image_is_made() -> None:
    found = instructions()
    assert [word for word, _ in found] == [
        *("FROM", "COPY", "RUN", "RUN"),
        *("FROM", "COPY", "USER", "WORKDIR", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    ]
    # A virtual environment has a link to the Python that made it, so that both have to have the same.
    images = [rest.split()[0] for word, rest in found if word == "FROM"]
    assert images[1] == f"{images[0]}-slim"
    version = images[0].removeprefix("python:")
    assert f"Programming Language :: Python :: {version}" in (ROOT / "pyproject.toml").read_text()
    for word, rest in found:
        if word == "RUN":
            subprocess.run(["sh", "-n", "-c", rest], check=True)
    (install, cache) = [rest for word, rest in found if word == "RUN"]
    assert shlex.split(install)[-1] == "/source[tls]"
    assert re.search(r"^tls = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert cache == "/opt/wsock/bin/twistd --help > /dev/null"
    # It is a command of the service that reads all plugins.
    result = subprocess.run([*TWISTD, "--help"], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert re.search(r"^ +wsock +A WebSocket server", result.stdout, re.MULTILINE)


# Certificates


def test_the_hook_of_certbot(tmp_path: Path) -> None:
    """Run for a renewal, it has the server use the new certificate, and an open connection goes on."""
    old, new = (tmp_path / name / "example.com" for name in ("old", "new"))
    folder, programs = tmp_path / "tls", tmp_path / "bin"
    programs.mkdir()
    (programs / "systemctl").write_text('#!/bin/sh\n[ "$1 $2" = "reload wsock.service" ] && kill -HUP "$PID"\n')
    (programs / "systemctl").chmod(0o755)
    hook = tmp_path / "wsock"
    owner, group = getpass.getuser(), grp.getgrgid(os.getgid()).gr_name
    names = {"/etc/wsock/tls": folder, "-o root": f"-o {owner}", "-g wsock": f"-g {group}"}
    hook.write_text(replaced(snippet("sh", "#!"), **names))
    hook.chmod(0o755)

    def renew(lineage: Path, process: str) -> None:
        lineage.mkdir(parents=True)
        key, certificate = make_certificate(lineage)
        key.rename(lineage / "privkey.pem")
        certificate.rename(lineage / "fullchain.pem")
        path = os.pathsep.join((str(programs), os.environ["PATH"]))
        environment = {**os.environ, "PATH": path, "RENEWED_LINEAGE": str(lineage), "PID": process}
        # Without a server yet, the last command fails.
        subprocess.run([hook], env=environment, check=process != "none", capture_output=True)

    renew(old, "none")
    with Twistd("--port", LOOPBACK, "--tls-cert", folder) as twistd:
        peer = twistd.address(certificate=old / "fullchain.pem").open()
        renew(new, str(twistd.process.pid))
        within(PATIENCE, lambda: "the certificates were read again" in twistd.log(), "it was reloaded")
        twistd.address(certificate=new / "fullchain.pem").open()
        peer.send(frame(0x81, b"still?"))
        assert peer.frame() == (0x81, b"still?")


# Health checks


def test_curl() -> None:
    curl = require("curl")
    with Twistd("--port", LOOPBACK) as twistd:
        command = snippet("sh", "curl").replace(":8080/", f":{twistd.ports[0]}/")
        line = [curl, "--noproxy", "*", *shlex.split(command)[1:]]
        result = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert (result.returncode, result.stdout, result.stderr) == (0, "ok\n", "")
        line[-1] = line[-1].replace("/healthz", "/other")
        assert subprocess.run(line, capture_output=True, timeout=PATIENCE, check=False).returncode == 22


def test_a_health_page_of_ones_own() -> None:
    names: dict[str, Any] = {"Resource": Resource, "Site": Site, "WebSocketServerFactory": WebSocketServerFactory}
    exec(snippet("python", "class Health"), names | {"build": lambda request: WebSocketProtocol()}, names)
    for method, body in (("GET", b"ok\n"), ("HEAD", b"")):
        pair = Pair(names["factory"], ScriptedPeer())
        pair.client.send(f"{method} /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        pair.flush()
        answer = pair.client.answer()
        assert (answer.status, answer.headers.get("cache-control")) == (200, "no-store")
        assert pair.client.taken() == body


def test_options_that_the_page_names() -> None:
    options = Options()
    for name in re.findall(r"`--(max-connections|access-log)\b", PAGE):
        assert name in options.longOpt or f"{name}=" in options.longOpt
