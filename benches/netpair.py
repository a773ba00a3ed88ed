"""Two network namespaces joined by a veth pair, for the benches of live capture. Root and iproute2. Gone at exit."""

import atexit
import os
import subprocess

INTERFACE = "veth0"
SERVER, CLIENT = "10.97.0.2", "10.97.0.1"


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Pair:
    def __init__(self):
        base = f"weir-bench-{os.getpid()}"
        self.client, self.server = f"{base}-c", f"{base}-s"
        atexit.register(self.close)
        for host in (self.client, self.server):
            run("ip", "netns", "add", host)
            # No packets of its own: what is counted is what the bench sends.
            run("ip", "netns", "exec", host, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        run("ip", "link", "add", INTERFACE, "netns", self.client, "type", "veth", "peer", "name", INTERFACE, "netns", self.server)
        for host, address in ((self.client, CLIENT), (self.server, SERVER)):
            run("ip", "-n", host, "address", "add", f"{address}/24", "dev", INTERFACE)
            run("ip", "-n", host, "link", "set", "lo", "up")
            run("ip", "-n", host, "link", "set", INTERFACE, "up")

    def close(self):
        for host in (self.client, self.server):
            subprocess.run(["ip", "netns", "delete", host], capture_output=True, check=False)

    def inside(self, host, *command):
        return ["ip", "netns", "exec", host, *map(str, command)]

    def counter(self, host, name):
        return int(run(*self.inside(host, "cat", f"/sys/class/net/{INTERFACE}/statistics/{name}")))
