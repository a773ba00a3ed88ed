"""What the benches share: an nginx origin, the proxies, load clients, and the figures of a process from /proc.

Python's standard library only. Everything listens on free ports of the loopback and is ended at exit.
"""

import atexit
import contextlib
import dataclasses
import glob
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
os.environ["PATH"] += ":/usr/sbin:/sbin:" + os.path.expanduser("~/.cargo/bin")
TICK = os.sysconf("SC_CLK_TCK")
HELD = tempfile.mkdtemp(prefix="weir-bench-")
os.chmod(HELD, 0o755)
atexit.register(shutil.rmtree, HELD, ignore_errors=True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def folder(name):
    place = pathlib.Path(HELD, f"{name}-{free_port()}")
    place.mkdir()
    return place


def find(program, *places):
    """The path of a program, or None."""
    return shutil.which(program) or next((place for place in places if os.path.exists(place)), None)


class Running:
    """A child and its children, ended when the context ends."""

    def __init__(self, name, command, cwd=None, stdout=subprocess.DEVNULL):
        self.log = open(pathlib.Path(HELD, f"{name}.log"), "ab")
        self.name = name
        self.child = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout, stderr=self.log, start_new_session=True
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        self.log.close()

    def tree(self):
        """Process ids of it and all below it."""
        parents = {}
        for stat in glob.glob("/proc/[0-9]*/stat"):
            with contextlib.suppress(OSError, ValueError):
                text = pathlib.Path(stat).read_text()
                parents.setdefault(int(text.rsplit(")", 1)[1].split()[1]), []).append(int(stat.split("/")[2]))
        todo, found = [self.child.pid], []
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += parents.get(pid, [])
        return found

    def cpu_seconds(self):
        """User and system time of the whole tree, with children that ended."""
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += sum(map(int, fields[11:15]))
        return total / TICK

    def rss_mib(self):
        total = 0
        for pid in self.tree():
            with contextlib.suppress(OSError):
                found = re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())
                total += int(found[1]) if found else 0
        return total / 1024

    def until_listening(self, port, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.child.poll() is not None:
                break
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return self
            time.sleep(0.02)
        self.log.flush()
        text = pathlib.Path(HELD, f"{self.name}.log").read_text(errors="replace")[-2000:]
        raise SystemExit(f"error: {self.name} does not listen on {port}: {text}")


def certificates():
    """An authority and a leaf for localhost: (folder, ca.crt, ca.key, leaf.crt, leaf.key, ca+key in one file)."""
    place = folder("certificates")
    run = lambda *arguments: subprocess.run(["openssl", *arguments], cwd=place, check=True, capture_output=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
    run("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.crt", "-days", "30", "-subj", "/CN=bench authority", *extensions)
    run("req", *key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=localhost")
    (place / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    run(
        "x509", "-req", "-in", "leaf.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
        "-days", "30", "-extfile", "names", "-out", "leaf.crt",
    )  # fmt: skip
    (place / "ca.pem").write_bytes((place / "ca.crt").read_bytes() + (place / "ca.key").read_bytes())
    (place / "leaf.pem").write_bytes((place / "leaf.crt").read_bytes() + (place / "leaf.key").read_bytes())
    return place


@dataclasses.dataclass
class Origin:
    running: Running
    http: int
    https: int
    certificates: pathlib.Path


BODIES = {"600": 600, "10k": 10 * 1024, "1m": 1024 * 1024}


def origin(certs):
    """nginx: /600, /10k and /1m over HTTP and HTTPS (HTTP/1.1 and HTTP/2), and /n?… with 600 bytes that differ."""
    place = folder("nginx")
    (place / "root").mkdir()
    (place / "root" / "600").write_text(json.dumps({"items": ["x" * 585]}).ljust(600)[:600])
    for name in ("10k", "1m"):
        # Half random: neither a best nor a worst case for whoever compresses.
        block = os.urandom(512) + b"y" * 512
        (place / "root" / name).write_bytes(block * (BODIES[name] // 1024))
    http, https = free_port(), free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    (place / "nginx.conf").write_text(f"""{user}
worker_processes 2; daemon off; pid {place}/pid; error_log stderr error; worker_rlimit_nofile 16000;
events {{ worker_connections 4000; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600; default_type application/json;
  open_file_cache max=100; root {place}/root;
  client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  server {{
    listen 127.0.0.1:{http} backlog=4096 reuseport; listen 127.0.0.1:{https} ssl http2 backlog=4096 reuseport;
    ssl_certificate {certs}/leaf.crt; ssl_certificate_key {certs}/leaf.key; http2_max_concurrent_streams 1000;
    location /n {{ return 200 '{{"uri":"$request_uri","fill":"{"z" * 550}"}}'; }}
  }}
}}
""")
    running = Running("nginx", ["nginx", "-p", str(place), "-c", str(place / "nginx.conf")]).until_listening(http)
    return Origin(running, http, https, certs)


@dataclasses.dataclass
class Proxy:
    """A proxy that runs. `reverse`: it is addressed as if it were the server (HAProxy)."""

    running: Running
    plain: int
    tls: int
    reverse: bool = False
    home: pathlib.Path | None = None
    session: str | None = None


def weir_binary():
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    return os.environ.get("WEIR_BIN") or str(pathlib.Path(target, "release", "weir"))


def weir(origin, *arguments, name="weir"):
    home = folder("weir-home")
    running = Running(
        name,
        [weir_binary(), "capture", "--json", "--proxy", "127.0.0.1:0", "--no-ui", "--home", str(home),
         "--upstream-ca", str(origin.certificates / "ca.crt"), *arguments],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    line = running.child.stdout.readline()
    if not line:
        raise SystemExit(f"error: weir did not start; see {HELD}/{name}.log")
    ready = json.loads(line)
    port = int(ready["proxy"].rsplit(":", 1)[1])
    return Proxy(running, port, port, home=home, session=ready["session"])


def weir_without_bodies(origin):
    return weir(origin, "--bodies", "none", name="weir-without-bodies")


def haproxy(origin):
    place, plain, tls = folder("haproxy"), free_port(), free_port()
    (place / "haproxy.cfg").write_text(f"""
global
  nbthread 2
  maxconn 4000
defaults
  mode http
  timeout connect 10s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend plain
  bind 127.0.0.1:{plain}
  default_backend plain
frontend tls
  bind 127.0.0.1:{tls} ssl crt {origin.certificates}/leaf.pem alpn h2,http/1.1
  default_backend tls
backend plain
  server origin 127.0.0.1:{origin.http}
backend tls
  server origin 127.0.0.1:{origin.https} ssl ca-file {origin.certificates}/ca.crt sni str(localhost) alpn h2,http/1.1
""")
    running = Running("haproxy", ["haproxy", "-db", "-f", str(place / "haproxy.cfg")]).until_listening(plain)
    return Proxy(running, plain, tls, reverse=True)


def squid(origin):
    place, port = folder("squid"), free_port()
    os.chmod(place, 0o777)
    helper = find("security_file_certgen", "/usr/lib/squid/security_file_certgen")
    subprocess.run([helper, "-c", "-s", str(place / "certs"), "-M", "4MB"], check=True, capture_output=True)
    # Started by root, squid becomes a user of its own, who must write here.
    subprocess.run(["chmod", "-R", "a+rwX", str(place)], check=True)
    (place / "squid.conf").write_text(f"""
http_port 127.0.0.1:{port} ssl-bump tls-cert={origin.certificates}/ca.pem generate-host-certificates=on dynamic_cert_mem_cache_size=4MB
sslcrtd_program {helper} -s {place}/certs -M 4MB
sslcrtd_children 2 startup=1 idle=1
tls_outgoing_options cafile={origin.certificates}/ca.crt
acl step1 at_step SslBump1
ssl_bump peek step1
ssl_bump bump all
http_access allow all
cache deny all
pinger_enable off
access_log none
cache_log {place}/cache.log
pid_filename {place}/pid
coredump_dir {place}
shutdown_lifetime 0 seconds
client_persistent_connections on
server_persistent_connections on
pipeline_prefetch 0
max_filedescriptors 8192
""")
    running = Running("squid", ["squid", "-N", "-n", f"weirbench{port}", "-f", str(place / "squid.conf")], cwd=place).until_listening(port)
    return Proxy(running, port, port)


def mitmdump(origin):
    place, port = folder("mitmdump"), free_port()
    program = find("mitmdump", str(HERE / ".venv/bin/mitmdump"), "/opt/mitm/bin/mitmdump")
    running = Running(
        "mitmdump",
        [program, "--quiet", "--listen-host", "127.0.0.1", "--listen-port", str(port), "--save-stream-file", str(place / "flows"),
         "--set", f"confdir={place}", "--set", f"ssl_verify_upstream_trusted_ca={origin.certificates}/ca.crt",
         "--set", "connection_strategy=lazy", "--set", "flow_detail=0"],
    ).until_listening(port, 60)  # fmt: skip
    return Proxy(running, port, port)


PROXIES = {
    "weir": (weir, lambda: os.path.exists(weir_binary())),
    "weir --bodies none": (weir_without_bodies, lambda: os.path.exists(weir_binary())),
    "HAProxy (records nothing)": (haproxy, lambda: find("haproxy")),
    "Squid ssl-bump (records nothing)": (squid, lambda: find("squid") and find("security_file_certgen", "/usr/lib/squid/security_file_certgen")),
    "mitmdump (records)": (mitmdump, lambda: find("mitmdump", str(HERE / ".venv/bin/mitmdump"), "/opt/mitm/bin/mitmdump")),
}  # fmt: skip


def machine():
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = int(re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())[1]) // 1024 // 1024
    return f"{cpu}, {os.cpu_count()} cores, {memory} GiB, Linux {os.uname().release}"


def commit():
    got = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return got.stdout.strip() or "?"


def say(*words):
    print(*words, file=sys.stderr, flush=True)
