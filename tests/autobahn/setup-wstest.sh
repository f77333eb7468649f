#!/usr/bin/env bash
# setup-wstest.sh DIR
# Installs the Autobahn TestSuite 25.10.1 (wstest: fuzzingclient and fuzzingserver, 517 cases, ws and wss) into DIR, from
# PyPI alone. It is Python 2 code: PY27 names a CPython 2.7; else python2.7 is looked for on PATH and in pyenv.
# gcc is needed for wsaccel, without which the long cases take hours.
# Afterwards:  DIR/wstest -m fuzzingclient -s client.json           exits 0 at the end, the reports are in the spec's outdir
#              DIR/wstest -m fuzzingserver -s server.json -u 0      -u 0: no web port
set -euo pipefail
DIR=${1:?usage: setup-wstest.sh DIR}
find_python27() {
  local candidate
  # A shim of pyenv is on PATH without being of use: only what runs counts.
  for candidate in "${PY27:-}" "$(command -v python2.7 || true)" "$(pyenv prefix 2.7.18 2>/dev/null || true)/bin/python2.7"; do
    if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "no CPython 2.7 (set PY27)" >&2
  exit 2
}
PY27=$(find_python27)
mkdir -p "$DIR"
DIR=$(cd "$DIR" && pwd)
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONWARNINGS=ignore PYTHONDONTWRITEBYTECODE=
quiet() { "$@" > "$DIR/setup.log" 2>&1 || { tail -40 "$DIR/setup.log" >&2; exit 1; }; }
# This virtualenv brings its own pip 20.3.4 and setuptools 44.1.1, the last of their kind.
quiet "$PY27" -m pip install --no-deps --target "$DIR/boot" virtualenv==16.7.12
quiet "$PY27" "$DIR/boot/virtualenv.py" --no-download "$DIR/v"
rm -rf "${DIR:?}/boot"
# All that wstest needs, installed with --no-deps: the pins of 25.10.1 contradict each other's metadata.
cat > "$DIR/lock.txt" <<'C'
argparse==1.4.0
attrs==21.4.0
autobahn==0.10.9
autobahntestsuite==25.10.1
Automat==0.8.0
cffi==1.15.1
constantly==15.1.0
cryptography==3.3.2
enum34==1.1.10
hyperlink==21.0.0
idna==2.10
incremental==16.10.1
ipaddress==1.0.23
Jinja2==2.11.3
klein==17.10.0
linecache2==1.0.0
MarkupSafe==1.1.1
pyasn1==0.5.1
pyasn1-modules==0.3.0
pycparser==2.21
PyHamcrest==1.10.1
pyOpenSSL==21.0.0
service_identity==18.1.0
six==1.16.0
traceback2==1.4.0
Twisted==20.3.0
txaio==2.1.0
typing==3.10.0.0
unittest2==1.1.0
Werkzeug==1.0.1
wsaccel==0.6.2
zope.interface==5.5.2
C
quiet "$DIR/v/bin/pip" install --no-deps -r "$DIR/lock.txt"
cat > "$DIR/wstest" <<W
#!/bin/sh
exec env PYTHONWARNINGS=ignore "$DIR/v/bin/python" -u "$DIR/v/bin/wstest" "\$@"
W
chmod +x "$DIR/wstest"
PYTHONWARNINGS=ignore "$DIR/v/bin/python" - <<'PYTHON'
from autobahntestsuite.case import Cases
import OpenSSL.SSL, wsaccel
assert len(Cases) == 517
print "wstest: 517 cases, wsaccel, " + OpenSSL.SSL.SSLeay_version(0)
PYTHON
