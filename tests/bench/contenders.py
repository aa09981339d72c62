"""The proxies that tests/bench/proxies compares: how each is set up as a bare TLS proxy on one thread, with connections to the
upstream that are kept and without an access log."""
import json
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

WAIT = 20  # seconds until a proxy has to listen
KEEP = 3600  # seconds that idle connections stay


class Place:
    """Where a run has its files, its upstream and its ports."""

    def __init__(self, work, files, upstream, core):
        self.work, self.files, self.upstream, self.core = Path(work), Path(files), upstream, core

    def write(self, name, text):
        file = self.work / name
        file.write_text(text)
        return str(file)


class Proxy:
    """One proxy that runs, pinned to its core."""

    def __init__(self, place, port, command, ready=None, log=subprocess.DEVNULL, **environment):
        self.port = port
        self.said = place.work / f'{Path(command[0]).name}-{port}.err'
        home = {'HOME': str(place.work), 'XDG_DATA_HOME': str(place.work), 'XDG_CONFIG_HOME': str(place.work)}
        with open(self.said, 'wb') as errors:
            self.process = subprocess.Popen(
                ['taskset', '-c', str(place.core), *command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=errors, env={**os.environ, **home, **environment})
        self.wait(ready or (lambda: listens(port)))

    def wait(self, ready):
        deadline = time.monotonic() + WAIT
        while not ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f'{self.process.args[3]} did not start:\n{self.said.read_text()}')
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def nginx(place):
    port = free_port()
    scratch = ''.join(f'{kind}_temp_path {place.work}/nginx-{kind};' for kind in ('client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'))
    user = 'user root;' if os.geteuid() == 0 else ''
    config = place.write(f'nginx-{port}.conf', f'''
daemon off; {user} worker_processes 1; worker_rlimit_nofile 20000; pid {place.work}/nginx-{port}.pid; error_log stderr error;
events {{ worker_connections 16384; }}
http {{
  access_log off; {scratch}
  keepalive_timeout {KEEP}s; keepalive_requests 1000000000;
  upstream up {{ server {place.upstream}; keepalive 64; keepalive_requests 1000000000; keepalive_timeout {KEEP}s; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096;
    ssl_certificate {place.files}/server.pem; ssl_certificate_key {place.files}/server.key; ssl_protocols TLSv1.3;
    location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
''')
    return Proxy(place, port, ['nginx', '-c', config, '-e', 'stderr'])


def haproxy(place):
    port = free_port()
    pem = place.write('haproxy.pem', (place.files / 'server.pem').read_text() + (place.files / 'server.key').read_text())
    config = place.write(f'haproxy-{port}.cfg', f'''
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client {KEEP}s
  timeout server {KEEP}s
  timeout http-keep-alive {KEEP}s
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 4096 ssl crt {pem} ssl-min-ver TLSv1.3
  default_backend out
backend out
  server up {place.upstream}
''')
    return Proxy(place, port, ['haproxy', '-db', '-f', config])


def envoy(place):
    port = free_port()
    host, upstream = place.upstream.split(':')
    address = lambda host, port: {'socket_address': {'address': host, 'port_value': int(port)}}
    manager = {
        '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
        'stat_prefix': 'in', 'codec_type': 'HTTP1',
        'http_filters': [{'name': 'router', 'typed_config': {'@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router'}}],
        'route_config': {'virtual_hosts': [{'name': 'all', 'domains': ['*'], 'routes': [{'match': {'prefix': '/'}, 'route': {'cluster': 'up'}}]}]},
    }
    chain = {'filename': str(place.files / 'server.pem')}
    tls = {
        '@type': 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext',
        'common_tls_context': {
            'tls_params': {'tls_minimum_protocol_version': 'TLSv1_3', 'tls_maximum_protocol_version': 'TLSv1_3'},
            'tls_certificates': [{'certificate_chain': chain, 'private_key': {'filename': str(place.files / 'server.key')}}],
        },
    }
    listener = {
        'name': 'in', 'address': address('127.0.0.1', port),
        'filter_chains': [{'filters': [{'name': 'http', 'typed_config': manager}], 'transport_socket': {'name': 'tls', 'typed_config': tls}}],
    }
    endpoints = [{'lb_endpoints': [{'endpoint': {'address': address(host, upstream)}}]}]
    cluster = {'name': 'up', 'type': 'STATIC', 'load_assignment': {'cluster_name': 'up', 'endpoints': endpoints}}
    config = place.write(f'envoy-{port}.json', json.dumps({'static_resources': {'listeners': [listener], 'clusters': [cluster]}}))
    return Proxy(place, port, ['envoy', '-c', config, '--concurrency', '1', '--log-level', 'error', '--disable-hot-restart'])


def caddy(place):
    port = free_port()
    config = place.write(f'Caddyfile-{port}', f'''
{{
  admin off
  auto_https off
  persist_config off
  log {{
    level ERROR
  }}
  servers {{
    protocols h1
  }}
}}
https://localhost:{port} {{
  bind 127.0.0.1
  tls {place.files}/server.pem {place.files}/server.key {{
    protocols tls1.3
  }}
  reverse_proxy {place.upstream}
}}
''')
    return Proxy(place, port, ['caddy', 'run', '--adapter', 'caddyfile', '--config', config], GOMAXPROCS='1')


def traefik(place):
    port = free_port()
    certificate = f'{{ certFile: {place.files}/server.pem, keyFile: {place.files}/server.key }}'
    routes = place.write(f'traefik-{port}-routes.yaml', f'''
http:
  routers: {{ all: {{ rule: "PathPrefix(`/`)", service: up, entryPoints: [in], tls: {{}} }} }}
  services: {{ up: {{ loadBalancer: {{ servers: [{{ url: "http://{place.upstream}" }}] }} }} }}
tls:
  stores: {{ default: {{ defaultCertificate: {certificate} }} }}
  options: {{ default: {{ minVersion: VersionTLS13 }} }}
''')
    config = place.write(f'traefik-{port}.yaml', f'''
entryPoints: {{ in: {{ address: "127.0.0.1:{port}", transport: {{ respondingTimeouts: {{ idleTimeout: {KEEP}s }} }} }} }}
providers: {{ file: {{ filename: {routes}, watch: false }} }}
log: {{ level: ERROR }}
global: {{ checkNewVersion: false, sendAnonymousUsage: false }}
''')
    return Proxy(place, port, ['traefik', f'--configFile={config}'], GOMAXPROCS='1')


# Room for the proofs of all rounds.
MEMORY = 'memory: { capacity: 4000000, per_key: 1000000, after_restart: accept }'


def holdfast(place, binary, access_log='none', replay=MEMORY, dpop=''):
    """One gateway with a route for each kind of request: /, /certificate and /dpop."""
    port, admin = free_port(), free_port()
    url = f'https://localhost:{port}'
    config = place.write(f'holdfast-{port}.yaml', f'''
listeners:
  - name: public
    address: 127.0.0.1:{port}
    public_urls: [{url}]
    tls:
      min_version: "1.3"
      certificates: [{{ chain: {place.files}/server.pem, key: {place.files}/server.key }}]
      client_certificates: {{ request: optional, trust: any }}
issuers:
  - {{ issuer: https://issuer.example.com, audiences: [{url}], keys: {{ jwks_file: {place.files}/issuer.jwks.json }} }}
dpop: {{ {dpop} }}
replay: {{ {replay} }}
upstreams: {{ up: {{ servers: [http://{place.upstream}] }} }}
routes:
  - {{ name: public, match: {{ path_prefix: / }}, upstream: up, public: true }}
  - {{ name: certificate, match: {{ path_prefix: /certificate }}, upstream: up, require: {{ binding: mtls, scopes: ["accounts:read"] }} }}
  - {{ name: dpop, match: {{ path_prefix: /dpop }}, upstream: up, require: {{ binding: dpop, scopes: ["accounts:read"] }} }}
log: {{ level: error, access: {access_log} }}
admin: {{ address: 127.0.0.1:{admin} }}
limits: {{ idle_timeout: 1h }}
''')
    with open(place.work / f'access-{port}.log', 'wb') as log:
        return Proxy(place, port, [str(binary), 'serve', '--config', config], ready=lambda: is_ready(admin), log=log)


PEERS = {'nginx': nginx, 'haproxy': haproxy, 'envoy': envoy, 'caddy': caddy, 'traefik': traefik}
VERSIONS = {'nginx': ['-v'], 'haproxy': ['-v'], 'envoy': ['--version'], 'caddy': ['version'], 'traefik': ['version']}


def version(name):
    """What a proxy calls itself; None where it is not installed."""
    if not shutil.which(name):
        return None
    told = subprocess.run([name, *VERSIONS[name]], capture_output=True, text=True)
    words = (told.stdout + told.stderr).replace('/', ' ').split()
    numbers = (word.lstrip('v').split('-')[0] for word in words)
    return next((word for word in numbers if word[0].isdigit() and '.' in word), '?')


def free_port():
    """Below the range of outgoing connections: the load's could take it before the proxy listens."""
    while True:
        port = random.randrange(12_000, 32_000)
        with socket.socket() as holder:
            try:
                holder.bind(('127.0.0.1', port))
                return port
            except OSError:
                pass


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(('127.0.0.1', port)) == 0


def is_ready(admin):
    try:
        with urllib.request.urlopen(f'http://127.0.0.1:{admin}/readyz', timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False
