"""How the benchmarks here measure a program from outside: its processor time and memory, while tests/bench/load drives it."""
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class Load:
    """tests/bench/load, and what it runs against."""

    def __init__(self, binary, place, core):
        self.binary, self.place, self.core = str(binary), place, core

    def start(self, command, port, *options):
        child = subprocess.Popen(
            [self.binary, command, f'127.0.0.1:{port}', '--files', str(self.place.files), '--upstream', self.place.upstream, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        said = self.hear(child)
        # Only now: making the requests may use every core.
        os.sched_setaffinity(child.pid, {self.core})
        return child, said

    @staticmethod
    def hear(child):
        line = child.stdout.readline().split()
        if not line:
            raise RuntimeError(f'the load ended with {child.wait()}')
        return line

    def go_on(self, child):
        child.stdin.write('\n')
        child.stdin.flush()

    def measure(self, proxy, kind, path, requests, connections=32):
        """CPU microseconds a request, requests a second, how busy the proxy's core was, and microseconds of latency: the median and the 99th percentile."""
        child, _ = self.start(
            'run', proxy.port, '--kind', kind, '--path', path, '--requests', str(requests), '--connections', str(connections))
        before = processor_time(proxy.process.pid)
        self.go_on(child)
        _, done, seconds, *latency = self.hear(child)
        after = processor_time(proxy.process.pid)
        self.go_on(child)
        child.wait()
        spent = sum(time - before.get(thread, 0) for thread, time in after.items())
        return spent / 1000 / int(done), int(done) / float(seconds), spent / 1e9 / float(seconds), *map(float, latency)

    def bare(self, count):
        """Microseconds of one bare verification, on the proxies' core."""
        command = ['taskset', '-c', str(self.place.core), self.binary, 'bare', str(count)]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1000

    def idle(self, proxy, count):
        """Bytes of memory for each idle connection: at rest after the handshake, and at rest after a request on each."""
        warm, _ = self.start('run', proxy.port, '--requests', '0')
        for _ in range(2):
            self.go_on(warm)
        warm.wait()
        before = memory(proxy.process.pid)
        child, _ = self.start('idle', proxy.port, '--connections', str(count))
        opened = memory(proxy.process.pid)
        self.go_on(child)
        self.hear(child)
        used = memory(proxy.process.pid)
        self.go_on(child)
        child.wait()
        return [(after - before) / count for after in (opened, used)]


def tree(pid):
    """A process and those below it."""
    parents = {}
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / 'stat').read_text().rsplit(')', 1)[1].split()[1])
            except OSError:
                pass  # It has ended meanwhile.
    found = [pid]
    for known in found:
        found += [child for child, parent in parents.items() if parent == known]
    return found


def processor_time(pid):
    """Nanoseconds that each thread of a process tree has run."""
    tasks = (task for process in tree(pid) for task in Path(f'/proc/{process}/task').iterdir())
    return {task.name: int((task / 'schedstat').read_text().split()[0]) for task in tasks}


def memory(pid):
    """Resident bytes of a process tree."""
    statuses = (Path(f'/proc/{process}/status').read_text().splitlines() for process in tree(pid))
    lines = (line.split() for status in statuses for line in status)
    return sum(int(line[1]) * 1024 for line in lines if line[0] == 'VmRSS:')


def build(quick):
    """The gateway, where HOLDFAST names none, and the load. The short round makes do with what `cargo test` has built."""
    parts = ['--example', 'load', '--example', 'certs'] + ([] if 'HOLDFAST' in os.environ else ['--bin', 'holdfast'])
    profile = [] if quick else ['--release']
    subprocess.run(['cargo', 'build', '--quiet', '--locked', *profile, *parts], cwd=ROOT, check=True)
    target = Path(os.environ.get('CARGO_TARGET_DIR', ROOT / 'target')) / ('debug' if quick else 'release')
    return Path(os.environ.get('HOLDFAST', target / 'holdfast')), target / 'examples/load', target / 'examples/certs'
